//! What keeps a VM from starting on this host, with the numbers.

use crate::host::{EngineFacts, HostFacts};
use crate::store::config::MIB;
use crate::store::{Config, ConfigVersion};

pub fn check(config: &Config, host: &HostFacts, engine: &Result<EngineFacts, String>) -> Result<(), String> {
    let engine = engine.as_ref().map_err(Clone::clone)?;
    if !ConfigVersion::SUPPORTED.contains(&config.version) {
        return Err(format!(
            "Configuration version {} is not one that this host runs; use Update-VMVersion.",
            config.version
        ));
    }
    let count = config.processor.count;
    // The software engine's are threads, which share what there is.
    if count > host.logical_processors && engine.name != "soft" {
        return Err(format!(
            "The virtual machine has {count} virtual processors and this host has {} logical processor{}; use Set-VMProcessor -Count {} or less.",
            host.logical_processors,
            if host.logical_processors == 1 { "" } else { "s" },
            host.logical_processors
        ));
    }
    if count > engine.max_vcpus {
        return Err(format!(
            "The virtual machine has {count} virtual processors and the {} engine gives {} at most; use Set-VMProcessor -Count {}.",
            engine.name, engine.max_vcpus, engine.max_vcpus
        ));
    }
    let asked = config.memory.startup;
    if asked > host.memory_free {
        return Err(format!(
            "Not enough memory in the system to start the virtual machine {} with ram size {} megabytes. {} megabytes are free; use Set-VMMemory -StartupBytes with less.",
            config.name,
            asked / MIB,
            host.memory_free / MIB
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::Guid;

    fn host() -> HostFacts {
        HostFacts {
            name: "h".into(),
            logical_processors: 2,
            memory: 4 << 30,
            memory_free: 2 << 30,
            vendor: "AuthenticAMD".into(),
            megahertz: 2000,
            brand: String::new(),
        }
    }
    fn sentence(change: impl FnOnce(&mut Config), max_vcpus: u32) -> String {
        let mut config = Config::new(Guid::NIL, "vm", 0);
        change(&mut config);
        let engine = Ok(EngineFacts { name: "kvm".into(), reason: String::new(), nested: true, max_vcpus });
        check(&config, &host(), &engine).err().unwrap_or_default()
    }

    #[test]
    fn what_fits_starts() {
        assert_eq!(sentence(|_| (), 8), "");
    }

    #[test]
    fn more_processors_than_the_host_has_are_refused_with_both_numbers() {
        let text = sentence(|config| config.processor.count = 3, 8);
        assert!(text.contains("3 virtual processors") && text.contains("2 logical processors"));
    }

    #[test]
    fn more_processors_than_the_engine_gives_are_refused() {
        assert!(sentence(|config| config.processor.count = 2, 1).contains("gives 1 at most"));
    }

    #[test]
    fn more_memory_than_is_free_is_refused_with_both_numbers() {
        let text = sentence(|config| config.memory.startup = 3 << 30, 8);
        assert!(text.contains("3072 megabytes") && text.contains("2048 megabytes"));
    }

    #[test]
    fn a_version_that_the_host_does_not_run_is_refused() {
        assert!(sentence(|config| config.version = ConfigVersion(5, 0), 8).contains("5.0"));
    }
}
