//! Which engine executes a VM: chosen by trying, not by looking.

use crate::{EngineChoice, MachineError};
use ireko_cpu::SoftHypervisor;
use ireko_kvm::KvmHypervisor;
use ireko_vmcore::{Caps, Changes, CpuModel, Hypervisor};
use std::sync::Arc;

/// An engine and why it is the one.
#[derive(Clone)]
pub struct Chosen {
    /// `soft` or `kvm`.
    pub name: &'static str,
    /// A sentence for people.
    pub reason: String,
    /// It can give its guests virtualization extensions.
    pub nested: bool,
    pub hypervisor: Arc<dyn Hypervisor>,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl Chosen {
    fn new(hypervisor: Arc<dyn Hypervisor>, reason: String) -> Self {
        let caps = hypervisor.caps();
        Self { name: caps.engine, nested: caps.nested, reason, hypervisor }
    }
}

/// Picks the engine for a VM that wants (or does not want) to be a hypervisor itself.
pub fn choose(want: EngineChoice, nested: bool) -> Result<Chosen, MachineError> {
    let chosen = match want {
        EngineChoice::Soft => soft("asked for".into()),
        EngineChoice::Kvm => kvm().map_err(|why| MachineError::EngineUnusable { engine: "kvm", why })?,
        EngineChoice::Auto => automatic(nested),
    };
    if nested && !chosen.nested {
        let why = "the kvm module's `nested` parameter is off, or the processor has no virtualization".into();
        return Err(MachineError::NestingImpossible { engine: chosen.name, why });
    }
    Ok(chosen)
}

/// Secure boot needs system-management mode, or the guest's kernel could write firmware's keys.
pub fn check_for(spec: &crate::Spec, caps: &Caps) -> Result<(), MachineError> {
    match caps.management || !spec.secure_boot() {
        true => Ok(()),
        false => Err(MachineError::NoSecureBoot { engine: caps.engine }),
    }
}

/// As [`choose`], of an engine with system-management mode if that is to be had.
pub fn choose_for_secure_boot(want: EngineChoice, nested: bool) -> Result<Chosen, MachineError> {
    if want == EngineChoice::Auto { Ok(soft(SECURE_BOOT.into())) } else { choose(want, nested) }
}

const SECURE_BOOT: &str = "secure boot was asked for, which needs system-management mode";

/// For one VM: a processor by name is the software engine's.
pub fn choose_for(spec: &crate::Spec) -> Result<Chosen, MachineError> {
    match (spec.engine, &spec.cpu) {
        (EngineChoice::Auto, Some(CpuModel::Named(named))) => {
            let chosen = soft(format!("the processor {} was asked for", named.name));
            Ok(chosen)
        }
        (EngineChoice::Auto, Some(CpuModel::Changed(..))) => {
            Ok(soft("a processor with features more or less was asked for".into()))
        }
        (EngineChoice::Auto, _) if spec.secure_boot() => Ok(soft(SECURE_BOOT.into())),
        _ => choose(spec.engine, spec.nested),
    }
}

fn automatic(nested: bool) -> Chosen {
    match kvm() {
        Ok(chosen) if !nested || chosen.nested => chosen,
        Ok(_) => soft("KVM runs guests here but cannot give them nesting".into()),
        Err(why) => soft(why),
    }
}

/// The error is a sentence that says why not.
fn kvm() -> Result<Chosen, String> {
    let report = ireko_kvm::probe()?;
    let hypervisor = KvmHypervisor::new().map_err(|e| e.to_string())?;
    Ok(Chosen::new(Arc::new(hypervisor), report.sentence))
}

fn soft(reason: String) -> Chosen {
    Chosen::new(Arc::new(SoftHypervisor::new()), reason)
}

/// The name of the processor that an engine's guests see, if that is not the host's.
pub fn processor_name(engine: &str) -> Option<&'static str> {
    (engine == "soft").then(ireko_cpu::cpuid::name)
}

/// A processor that a VM can be given by name.
#[derive(Clone, Debug)]
pub struct Processor {
    pub name: &'static str,
    pub about: &'static str,
    /// Its features that this host and the software engine cannot give.
    pub lacks: Vec<&'static str>,
}

/// All of them.
pub fn processors() -> Vec<Processor> {
    let whole = Processor {
        name: "amd",
        about: "all that can be had here (host: the same, or KVM's)",
        lacks: vec![],
    };
    let host = ireko_cpu::cpuid::host::Host::native();
    let named = ireko_x86::models::NAMED.iter().map(|model| Processor {
        name: model.name,
        about: model.about,
        lacks: ireko_cpu::cpuid::model::lacking(&host, model, &Changes::default()),
    });
    std::iter::once(whole).chain(named).collect()
}

/// A feature of processors.
pub struct FeatureHere {
    pub name: &'static str,
    /// Whether guests of this host can have it, and how.
    pub here: &'static str,
}

/// What `NAME,+FEATURE,-FEATURE` can name.
pub fn features() -> Vec<FeatureHere> {
    use ireko_cpu::cpuid::features::{FEATURES, Need};
    let host = ireko_cpu::cpuid::host::Host::native();
    let of = |(feature, need): &(ireko_x86::cpuid::Feature, Need)| FeatureHere {
        name: feature.name,
        here: match need {
            Need::Nested => "by --nested",
            Need::Many => "with several processors",
            Need::Asked => "if asked for",
            Need::HostOrNamed if !host.has(*feature) => "if asked for, or by a model's name",
            _ if ireko_cpu::cpuid::model::can_have(&host, *feature) => "yes",
            _ => "no",
        },
    };
    FEATURES.iter().map(of).collect()
}

/// What one engine can do on this host.
#[derive(Clone, Debug)]
pub struct Survey {
    pub engine: &'static str,
    pub usable: bool,
    pub nested: bool,
    /// A sentence for people.
    pub what: String,
}

/// Tries every engine.
pub fn survey() -> Vec<Survey> {
    let of = |engine, result: Result<Chosen, String>| match result {
        Ok(chosen) => Survey { engine, usable: true, nested: chosen.nested, what: chosen.reason },
        Err(what) => Survey { engine, usable: false, nested: false, what },
    };
    let soft = soft("the software CPU runs on every x86-64-v3 Linux host".into());
    vec![of("kvm", kvm()), of("soft", Ok(soft))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Firmware, Source, Spec, Variables};

    fn spec(secure_boot: bool) -> Spec {
        let file = rustix::fs::memfd_create("variables", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let variables = Variables { name: "variables".into(), file: Arc::new(file.into()) };
        let code = Source::Bytes { name: "code".into(), data: Arc::default() };
        Spec::with_firmware(Firmware::Uefi { code, variables, secure_boot })
    }

    #[test]
    fn secure_boot_is_refused_where_there_is_no_system_management_mode() {
        let caps = Caps { engine: "kvm", nested: true, irqchip: true, max_vcpus: 1, management: false };
        let said = check_for(&spec(true), &caps).unwrap_err().to_string();
        assert!(said.contains("the kvm engine") && said.contains("use --engine soft"), "{said}");
        assert!(check_for(&spec(false), &caps).is_ok());
        assert!(check_for(&spec(true), &Caps { management: true, ..caps }).is_ok());
    }

    #[test]
    fn a_machine_with_secure_boot_gets_an_engine_that_has_it() {
        let chosen = choose_for(&spec(true)).unwrap();
        assert_eq!(chosen.name, "soft");
        assert!(chosen.reason.starts_with("secure boot was asked for"), "{}", chosen.reason);
    }
}
