//! Which CPUID the guest sees: what KVM supports here, with topology filled in and virtualization as asked.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// CPUID bits by leaf (APM vol. 3, appendix E; SDM vol. 2, CPUID).
mod bits {
    /// Leaf 1, ECX.
    pub const VMX: u32 = 1 << 5;
    pub const X2APIC: u32 = 1 << 21;
    pub const TSC_DEADLINE: u32 = 1 << 24;
    pub const HYPERVISOR: u32 = 1 << 31;
    /// Leaf 1, EDX.
    pub const HTT: u32 = 1 << 28;
    /// Leaf 0x80000001, ECX.
    pub const SVM: u32 = 1 << 2;
    pub const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
}

/// What a vCPU's CPUID is made from.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub apic_id: u32,
    pub vcpus: u32,
    pub nested: bool,
    pub tsc_deadline: bool,
}

fn leaf(cpuid: &CpuId, function: u32) -> Option<&kvm_cpuid_entry2> {
    cpuid.as_slice().iter().find(|e| e.function == function && e.index == 0)
}

/// The vendor string of leaf 0.
pub fn vendor(cpuid: &CpuId) -> String {
    let Some(e) = leaf(cpuid, 0) else { return String::new() };
    let bytes: Vec<u8> = [e.ebx, e.edx, e.ecx].iter().flat_map(|r| r.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// KVM supports SVM or VMX for guests.
pub fn has_virtualization(cpuid: &CpuId) -> bool {
    leaf(cpuid, 1).is_some_and(|e| e.ecx & bits::VMX != 0)
        || leaf(cpuid, 0x8000_0001).is_some_and(|e| e.ecx & bits::SVM != 0)
}

/// Turns KVM's supported CPUID into one vCPU's.
pub fn entries(supported: &CpuId, choice: Choice) -> Vec<kvm_cpuid_entry2> {
    let mut entries: Vec<_> =
        supported.as_slice().iter().filter(|e| !matches!(e.function, 0xb | 0x1f)).copied().collect();
    entries.iter_mut().for_each(|entry| adapt(entry, choice));
    if entries.iter().any(|e| e.function == 0 && e.eax >= 0xb) {
        entries.extend(topology_leaf(choice));
    }
    entries
}

fn adapt(entry: &mut kvm_cpuid_entry2, choice: Choice) {
    match entry.function {
        0 => entry.eax = entry.eax.min(0x1e),
        1 => adapt_features(entry, choice),
        // Cores of a package (SDM vol. 2, CPUID leaf 4, EAX[31:26]); what shares a cache: one.
        4 => entry.eax = entry.eax & 0x3fff | (choice.vcpus.min(64) - 1) << 26,
        0x8000_0001 => {
            entry.ecx &= !bits::TOPOLOGY_EXTENSIONS;
            mask_unless(choice.nested, &mut entry.ecx, bits::SVM);
        }
        // Number of cores, and the bits of the APIC id that name one (APM vol. 3, E.4.7).
        0x8000_0008 => entry.ecx = id_width(choice.vcpus) << 12 | (choice.vcpus - 1) & 0xff,
        0x8000_000a if !choice.nested => clear(entry),
        0x8000_001e => clear(entry),
        _ => {}
    }
}

fn adapt_features(entry: &mut kvm_cpuid_entry2, choice: Choice) {
    entry.ebx = entry.ebx & 0xffff | choice.vcpus.min(255) << 16 | choice.apic_id << 24;
    entry.ecx |= bits::X2APIC | bits::HYPERVISOR;
    if choice.tsc_deadline {
        entry.ecx |= bits::TSC_DEADLINE;
    }
    mask_unless(choice.nested, &mut entry.ecx, bits::VMX);
    mask_unless(choice.vcpus > 1, &mut entry.edx, bits::HTT);
    if choice.vcpus > 1 {
        entry.edx |= bits::HTT;
    }
}

fn mask_unless(keep: bool, register: &mut u32, bits: u32) {
    if !keep {
        *register &= !bits;
    }
}

fn clear(entry: &mut kvm_cpuid_entry2) {
    (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
}

/// Bits that hold an APIC id below `count`.
fn id_width(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

/// Leaf 0xb: one thread a core, all cores in one package (SDM vol. 2, CPUID leaf 0BH).
fn topology_leaf(choice: Choice) -> [kvm_cpuid_entry2; 3] {
    const THREAD: u32 = 1;
    const CORE: u32 = 2;
    let level = |index: u32, kind: u32, shift: u32, count: u32| kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: count,
        ecx: index | kind << 8,
        edx: choice.apic_id,
        padding: [0; 3],
    };
    [level(0, THREAD, 0, 1), level(1, CORE, id_width(choice.vcpus), choice.vcpus), level(2, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supported() -> CpuId {
        let entry = |function, eax, ecx| kvm_cpuid_entry2 { function, eax, ecx, ..Default::default() };
        CpuId::from_entries(&[
            entry(0, 0x20, 0),
            entry(1, 0, bits::VMX),
            entry(0xb, 7, 7),
            entry(0x8000_0001, 0, bits::SVM),
            entry(0x8000_000a, 1, 0),
        ])
        .unwrap()
    }

    fn of(nested: bool, function: u32) -> kvm_cpuid_entry2 {
        let choice = Choice { apic_id: 1, vcpus: 2, nested, tsc_deadline: true };
        entries(&supported(), choice).into_iter().find(|e| e.function == function).unwrap()
    }

    #[test]
    fn virtualization_is_hidden_unless_asked_for() {
        assert_eq!(of(false, 1).ecx & bits::VMX, 0);
        assert_eq!(of(false, 0x8000_0001).ecx & bits::SVM, 0);
        assert_eq!(of(false, 0x8000_000a).eax, 0);
    }

    #[test]
    fn virtualization_is_passed_on_when_asked_for() {
        assert_ne!(of(true, 1).ecx & bits::VMX, 0);
        assert_ne!(of(true, 0x8000_0001).ecx & bits::SVM, 0);
        assert_eq!(of(true, 0x8000_000a).eax, 1);
    }

    #[test]
    fn each_vcpu_sees_its_own_apic_id() {
        assert_eq!(of(false, 1).ebx >> 24, 1);
        assert_eq!(of(false, 0xb).edx, 1);
    }

    #[test]
    fn the_hypervisor_bit_is_set() {
        assert_ne!(of(false, 1).ecx & bits::HYPERVISOR, 0);
    }

    #[test]
    fn the_host_topology_does_not_show() {
        assert_eq!(of(false, 0xb).eax, 0);
    }
}
