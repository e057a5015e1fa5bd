//! What the machine that this code runs on says of itself: kernel, boot id, CPUID, DMI, uptime.

use serde::{Deserialize, Serialize};
use std::arch::x86_64::CpuidResult;
use std::fs;

/// CPUID's answers, as far as they tell where we run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpuid {
    pub vendor: String,
    pub brand: String,
    pub family: u32,
    pub model: u32,
    pub stepping: u32,
    /// The signature at leaf 0x4000_0000, where the hypervisor bit is set.
    pub hypervisor: Option<String>,
    pub svm: bool,
    pub vmx: bool,
}

/// The firmware's description of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dmi {
    pub sys_vendor: String,
    pub product_name: String,
    pub product_version: String,
    pub product_uuid: String,
    pub bios_vendor: String,
}

/// One machine, as seen from inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub kernel: String,
    pub boot_id: String,
    pub uptime_seconds: f64,
    pub memory_bytes: u64,
    pub processors: usize,
    pub cpuid: Cpuid,
    pub dmi: Dmi,
}

pub fn cpuid(leaf: u32) -> CpuidResult {
    std::arch::x86_64::__cpuid(leaf)
}

pub fn read() -> Facts {
    Facts {
        kernel: line("/proc/sys/kernel/osrelease"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        uptime_seconds: uptime(),
        memory_bytes: memory("MemTotal"),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        cpuid: read_cpuid(),
        dmi: read_dmi(),
    }
}

/// Seconds since the kernel started.
pub fn uptime() -> f64 {
    line("/proc/uptime").split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0)
}

/// A field of /proc/meminfo in bytes; 0 when it is not there.
pub fn memory(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    meminfo(&text, field).unwrap_or(0)
}

fn meminfo(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    Some(rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn read_dmi() -> Dmi {
    let field = |name: &str| line(&format!("/sys/class/dmi/id/{name}"));
    Dmi {
        sys_vendor: field("sys_vendor"),
        product_name: field("product_name"),
        product_version: field("product_version"),
        product_uuid: field("product_uuid"),
        bios_vendor: field("bios_vendor"),
    }
}

fn text_of(registers: &[u32]) -> String {
    let bytes: Vec<u8> = registers.iter().flat_map(|r| r.to_le_bytes()).filter(|&b| b != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn read_cpuid() -> Cpuid {
    let vendor = cpuid(0);
    let features = cpuid(1);
    let (family, model, stepping) = family_model_stepping(features.eax);
    let extended = cpuid(0x8000_0000).eax;
    // Bit 31 of ECX is reserved for hypervisors (APM vol. 3, E.3.2).
    let under_hypervisor = features.ecx >> 31 != 0;
    Cpuid {
        vendor: text_of(&[vendor.ebx, vendor.edx, vendor.ecx]),
        brand: if extended >= 0x8000_0004 { brand() } else { String::new() },
        family,
        model,
        stepping,
        hypervisor: under_hypervisor.then(|| {
            let leaf = cpuid(0x4000_0000);
            text_of(&[leaf.ebx, leaf.ecx, leaf.edx])
        }),
        svm: extended >= 0x8000_0001 && cpuid(0x8000_0001).ecx & 1 << 2 != 0,
        vmx: features.ecx & 1 << 5 != 0,
    }
}

fn brand() -> String {
    let registers: Vec<u32> = (0x8000_0002..=0x8000_0004)
        .map(cpuid)
        .flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
        .collect();
    text_of(&registers)
}

/// CPUID Fn0000_0001_EAX (APM vol. 3, E.3.2): the extended fields count when the base family is 15 (the model also
/// for Intel's family 6).
fn family_model_stepping(eax: u32) -> (u32, u32, u32) {
    let (base_family, base_model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
    let family = if base_family == 0xf { base_family + (eax >> 20 & 0xff) } else { base_family };
    let extended = matches!(base_family, 0x6 | 0xf);
    let model = if extended { base_model | (eax >> 16 & 0xf) << 4 } else { base_model };
    (family, model, eax & 0xf)
}

/// Short names of the x86-64-v3 features (psABI) that this processor lacks; empty when it has them all.
pub fn missing_of_v3() -> Vec<&'static str> {
    macro_rules! missing {
        ($($name:tt)*) => { [$(($name, std::arch::is_x86_feature_detected!($name))),*] };
    }
    missing!("cmpxchg16b" "popcnt" "sse3" "ssse3" "sse4.1" "sse4.2" "avx" "avx2" "bmi1" "bmi2" "f16c" "fma"
             "lzcnt" "movbe" "xsave")
    .into_iter()
    .filter_map(|(name, there)| (!there).then_some(name))
    .collect()
}

/// An error unless the processor has what the engines need.
pub fn require_v3() -> anyhow::Result<()> {
    let missing = missing_of_v3();
    anyhow::ensure!(
        missing.is_empty(),
        "this processor ({}) is below x86-64-v3: it lacks {}; Ireko needs a Haswell, Zen or newer",
        read_cpuid().brand,
        missing.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_family_and_model_are_added_as_the_manual_says() {
        // An EPYC 7003: family 19h, model 1, stepping 1.
        assert_eq!(family_model_stepping(0x00a0_0f11), (0x19, 1, 1));
        // A Haswell: family 6, model 3Ch, stepping 3.
        assert_eq!(family_model_stepping(0x0003_06c3), (6, 0x3c, 3));
    }

    #[test]
    fn meminfo_fields_are_read_in_bytes() {
        let text = "MemTotal:        2048 kB\nMemAvailable:       10 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), Some(10240));
        assert_eq!(meminfo(text, "Mem"), None);
    }

    #[test]
    fn a_hosts_facts_are_there() {
        let facts = read();
        assert_eq!(facts.boot_id.len(), 36);
        assert!(facts.memory_bytes > 0 && !facts.cpuid.vendor.is_empty());
    }
}
