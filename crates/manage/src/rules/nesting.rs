//! What keeps a VM from holding VMs (design: 7; reference: 1.2, 1.3).

use crate::host::EngineFacts;
use crate::state::State;
use crate::store::{Config, ConfigVersion};

pub const INTEL_LEAST: ConfigVersion = ConfigVersion(8, 0);
pub const AMD_LEAST: ConfigVersion = ConfigVersion(9, 3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Amd,
    Intel,
    Other,
}

impl Vendor {
    /// From CPUID's vendor text.
    pub fn of_host(text: &str) -> Self {
        match text {
            "AuthenticAMD" | "HygonGenuine" => Self::Amd,
            "GenuineIntel" => Self::Intel,
            _ => Self::Other,
        }
    }
    pub fn least_version(self) -> ConfigVersion {
        if self == Self::Intel { INTEL_LEAST } else { AMD_LEAST }
    }
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Other => "this vendor's",
        }
    }
}

/// The vendor that the VM's processor shows: its model, or else what the engine takes.
pub fn personality(model: &str, engine: &str, host: Vendor) -> Vendor {
    match (model, engine) {
        ("amd", _) => Vendor::Amd,
        ("host", _) => host,
        (_, "kvm") => host,
        _ => Vendor::Amd,
    }
}

/// One reason why nesting would not work, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker(pub String);

/// Everything that keeps this VM from being given the extensions, whatever its state. `engine` is what it would get
/// with nesting asked for.
pub fn blockers(config: &Config, engine: &Result<EngineFacts, String>, host: Vendor) -> Vec<Blocker> {
    let engine = match engine {
        Err(why) => return vec![Blocker(why.clone())],
        Ok(engine) => engine,
    };
    let vendor = personality(&config.processor.model, &engine.name, host);
    [engine_blocker(engine), vendor_blocker(vendor, &engine.name), version_blocker(vendor, config.version)]
        .into_iter()
        .flatten()
        .collect()
}

fn engine_blocker(engine: &EngineFacts) -> Option<Blocker> {
    let text = format!(
        "the {} engine cannot nest on this host ({}); use the engine auto or soft",
        engine.name, engine.reason
    );
    (!engine.nested).then_some(Blocker(text))
}

fn vendor_blocker(vendor: Vendor, engine: &str) -> Option<Blocker> {
    match (vendor, engine) {
        (Vendor::Intel, "soft") => {
            Some(Blocker("the software engine does not have Intel's virtualization extensions yet; use the processor model amd".into()))
        }
        (Vendor::Other, "soft") => Some(Blocker("the processor model host is of a vendor without virtualization extensions here; use the processor model amd".into())),
        _ => None,
    }
}

fn version_blocker(vendor: Vendor, version: ConfigVersion) -> Option<Blocker> {
    let least = vendor.least_version();
    let text = format!(
        "configuration version {version} is below {least}, which nesting on {} processors needs; use Update-VMVersion",
        vendor.name()
    );
    (version < least).then_some(Blocker(text))
}

/// Whether the extensions may be switched now; the error has Hyper-V's shape for device changes.
pub fn check_switch(config: &Config, on: bool, state: State, blockers: &[Blocker]) -> Result<(), String> {
    let failed = |short: &str, detail: &str| {
        format!(
            "Failed to modify device 'Processor'.\n{short}\n'{}' failed to modify device 'Processor'. (Virtual machine ID {})\n{detail}",
            config.name,
            config.id.to_string().to_uppercase()
        )
    };
    if state != State::Off {
        return Err(failed(
            crate::state::WRONG_STATE,
            &format!(
                "ExposeVirtualizationExtensions changes only while the virtual machine is Off, and it is {state}; use Stop-VM first."
            ),
        ));
    }
    if on && !blockers.is_empty() {
        let texts: Vec<&str> = blockers.iter().map(|blocker| blocker.0.as_str()).collect();
        return Err(failed(
            "The virtual machine could not hold virtual machines.",
            &format!("{}.", texts.join("; ")),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::Guid;

    fn config(version: ConfigVersion, model: &str) -> Config {
        let mut config = Config::new(Guid::NIL, "vm", 0);
        config.version = version;
        config.processor.model = model.into();
        config
    }
    fn engine(name: &str, nested: bool) -> Result<EngineFacts, String> {
        Ok(EngineFacts { name: name.into(), reason: "why".into(), nested, max_vcpus: 1 })
    }
    fn texts(config: &Config, engine: Result<EngineFacts, String>, host: Vendor) -> Vec<String> {
        blockers(config, &engine, host).into_iter().map(|blocker| blocker.0).collect()
    }

    #[test]
    fn nothing_blocks_a_new_vm_on_the_software_engine() {
        assert!(
            texts(&config(ConfigVersion::NEWEST, "auto"), engine("soft", true), Vendor::Intel).is_empty()
        );
    }

    #[test]
    fn amd_needs_version_9_3_and_intel_8_0() {
        let old = config(ConfigVersion(9, 2), "auto");
        assert!(texts(&old, engine("kvm", true), Vendor::Amd)[0].contains("9.2 is below 9.3"));
        assert!(texts(&old, engine("kvm", true), Vendor::Intel).is_empty());
        let older = config(ConfigVersion(7, 1), "auto");
        assert!(texts(&older, engine("kvm", true), Vendor::Intel)[0].contains("7.1 is below 8.0"));
    }

    #[test]
    fn version_10_is_above_9_3() {
        assert!(texts(&config(ConfigVersion(10, 0), "amd"), engine("soft", true), Vendor::Amd).is_empty());
    }

    #[test]
    fn an_engine_that_cannot_nest_is_named() {
        let blockers = texts(&config(ConfigVersion::NEWEST, "auto"), engine("kvm", false), Vendor::Amd);
        assert!(blockers[0].contains("kvm engine cannot nest"));
    }

    #[test]
    fn intel_on_the_software_engine_is_not_there_yet() {
        let blockers = texts(&config(ConfigVersion::NEWEST, "host"), engine("soft", true), Vendor::Intel);
        assert!(blockers[0].contains("yet"));
    }

    #[test]
    fn the_extensions_are_switched_only_off() {
        let config = config(ConfigVersion::NEWEST, "auto");
        for on in [true, false] {
            let error = check_switch(&config, on, State::Running, &[]).unwrap_err();
            assert!(error.contains(crate::state::WRONG_STATE) && error.contains("Stop-VM"));
            assert!(check_switch(&config, on, State::Off, &[]).is_ok());
        }
    }

    #[test]
    fn taking_the_extensions_away_is_never_blocked() {
        let config = config(ConfigVersion::NEWEST, "auto");
        let blocker = Blocker("b".into());
        assert!(check_switch(&config, false, State::Off, std::slice::from_ref(&blocker)).is_ok());
        assert!(check_switch(&config, true, State::Off, &[blocker]).is_err());
    }
}
