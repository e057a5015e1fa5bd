//! The processor that a machine's guests see: its CPUID leaves, built once per partition.

use crate::cpuid::features::{FEATURES, Need, REQUIRES};
use crate::cpuid::host::Host;
use crate::processor::model::{Leaf, Model};
use crate::xstate::{self as area, AVX, AVX512, EXTENDED, PKRU};
use ireko_nested::svm;
use ireko_vmcore::Changes;
use ireko_x86::bits::{cr4, efer};
use ireko_x86::cpuid::{self as f, EAX, Feature};
use ireko_x86::models::{self, Cache, Caches, Named};
use ireko_x86::paging::PHYSICAL_BITS;

/// What a model is made from.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// `None`: everything that can be had.
    pub named: Option<&'static Named>,
    pub nested: bool,
    pub vcpus: u32,
    pub tsc_khz: u64,
    pub changes: Changes,
}

/// Family 19h, model 1, stepping 1.
const SIGNATURE: u32 = 0x00a0_0f11;
/// What those have.
const OURS: Caches = Caches {
    data: Cache { size: 32 << 10, ways: 8 },
    code: Cache { size: 32 << 10, ways: 8 },
    second: Cache { size: 512 << 10, ways: 8 },
    third: Cache { size: 16 << 20, ways: 16 },
};
pub const NAME: &[u8; 48] = b"Ireko Processor with AMD-V\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

impl Model {
    /// The AMD personality on this host.
    pub fn amd(spec: &ModelSpec) -> Self {
        Self::amd_on(&Host::native(), spec)
    }

    /// The model that was asked for on this host; a sentence if it cannot be had.
    pub fn here(spec: &ModelSpec) -> Result<Self, String> {
        Self::on(&Host::native(), spec)
    }

    pub fn on(host: &Host, spec: &ModelSpec) -> Result<Self, String> {
        let (name, lacks) = match spec.named {
            Some(named) => (named.name, lacking(host, named, &spec.changes)),
            None => ("with that", not_to_be_had(host, spec.changes.more.iter().copied())),
        };
        if lacks.is_empty() {
            let model = Self::amd_on(host, spec);
            return match spec.changes.more.iter().find(|&&feature| !model.has(feature)) {
                Some(&feature) => Err(model.why_not(feature, spec)),
                None => Ok(model),
            };
        }
        let without: String = lacks.iter().map(|lack| format!(",-{}", lack.to_lowercase())).collect();
        Err(format!(
            "the processor {name} cannot be had here: it has {}, which this machine cannot give; `ireko cpus` lists those that can be had, and `{without}` behind the name leaves that out",
            lacks.join(", ")
        ))
    }

    /// Why a feature that was asked for is not there, though the host has it.
    fn why_not(&self, feature: Feature, spec: &ModelSpec) -> String {
        let name = feature.name.to_lowercase();
        if spec.changes.less.contains(&feature) {
            return format!("`+{name}` and `-{name}` of a processor cannot go together; leave one out");
        }
        match REQUIRES.iter().find(|(one, ground)| *one == feature && !self.has(*ground)) {
            Some((_, ground)) => {
                let ground = ground.name.to_lowercase();
                format!(
                    "`+{name}` of a processor wants {ground}, which it has not; add `+{ground}`, or leave `+{name}` out"
                )
            }
            None => {
                format!("`+{name}` of a processor wants several processors; ask for more, or leave it out")
            }
        }
    }

    /// What can be had of the model that was asked for.
    pub fn amd_on(host: &Host, spec: &ModelSpec) -> Self {
        let mut leaves = fixed(spec);
        leaves.sort_unstable_by_key(|(key, _)| *key);
        for &(feature, need) in FEATURES {
            if wanted(feature, spec) && met(need, feature, host, spec) {
                slot(&mut leaves, feature.leaf, feature.subleaf)[feature.register] |= 1 << feature.bit;
            }
        }
        let mut model = Self { leaves, vcpus: spec.vcpus, cr4: 0, efer: 0, xcr0: 0 };
        model.drop_what_lacks_its_ground();
        model.count_subleaves();
        let component = |feature, bits| if model.has(feature) { bits } else { 0 };
        model.xcr0 = 3 | component(f::AVX, AVX) | component(f::AVX512F, AVX512) | component(f::PKU, PKRU);
        model.state_leaves();
        model.monitor_leaf();
        model.drop_leaves_without_feature();
        model.cr4 = implied(&model, cr4::TSD | cr4::PCE, CR4);
        model.efer = implied(&model, 0, EFER);
        slot(&mut model.leaves, 0x8000_0008, 0)[EAX] = model.linear_bits() << 8 | PHYSICAL_BITS;
        model
    }

    /// Bytes of an XSAVE area with these components in standard form: to the end of the last.
    pub fn xsave_size(components: u64) -> u32 {
        area::size(components, 0) as u32
    }

    /// The same in compacted form: one behind the other.
    pub fn compacted_size(components: u64) -> u32 {
        area::size(components, area::COMPACTED | components) as u32
    }

    /// Leaf 7 says whether it has a subleaf.
    fn count_subleaves(&mut self) {
        if self.leaf(7, 1) == [0; 4] {
            return self.leaves.retain(|(key, _)| *key != (7, 1));
        }
        slot(&mut self.leaves, 7, 0)[EAX] = 1;
    }

    fn drop_what_lacks_its_ground(&mut self) {
        while let Some((feature, _)) =
            REQUIRES.iter().find(|(feature, ground)| self.has(*feature) && !self.has(*ground))
        {
            slot(&mut self.leaves, feature.leaf, feature.subleaf)[feature.register] &= !(1 << feature.bit);
        }
    }

    /// 8000_001Dh and 8000_001Eh belong to the topology extensions (APM vol. 3, Fn8000_001D).
    fn drop_leaves_without_feature(&mut self) {
        if !self.has(f::TOPOLOGY_EXTENSIONS) {
            self.leaves.retain(|((leaf, _), _)| *leaf != 0x8000_001d);
        }
    }

    /// Leaf 5: lines of 64 bytes, that interrupts may end a wait though they are masked, one C0 and one C1 state (APM vol. 3,
    /// Fn0000_0005).
    fn monitor_leaf(&mut self) {
        if self.has(f::MONITOR) {
            *slot(&mut self.leaves, 5, 0) = [64, 64, 3, 0x11];
        }
    }

    /// Leaf 0xd: components 0..=2, 5..=7 and 9 (APM vol. 3, Fn0000_000D).
    fn state_leaves(&mut self) {
        if !self.has(f::XSAVE) {
            return;
        }
        let size = Self::xsave_size(self.xcr0);
        *slot(&mut self.leaves, 0xd, 0) = [self.xcr0 as u32, 0, size, 0];
        for extended in EXTENDED.iter().filter(|e| self.xcr0 & e.component != 0) {
            let number = extended.component.trailing_zeros();
            *slot(&mut self.leaves, 0xd, number) = [extended.size as u32, extended.standard as u32, 0, 0];
        }
    }
}

/// A bit of a control register is there if its feature is.
const CR4: &[(u64, Feature)] = &[
    (cr4::VME | cr4::PVI, f::VME),
    (cr4::DE, f::DE),
    (cr4::PSE, f::PSE),
    (cr4::PAE, f::PAE),
    (cr4::MCE, f::MCE),
    (cr4::PGE, f::PGE),
    (cr4::OSFXSR, f::FXSR),
    (cr4::OSXMMEXCPT, f::SSE),
    (cr4::UMIP, f::UMIP),
    (cr4::FSGSBASE, f::FSGSBASE),
    (cr4::PCIDE, f::PCID),
    (cr4::OSXSAVE, f::XSAVE),
    (cr4::SMEP, f::SMEP),
    (cr4::SMAP, f::SMAP),
    (cr4::PKE, f::PKU),
    (cr4::LA57, f::LA57),
];

const EFER: &[(u64, Feature)] = &[
    (efer::SCE, f::SYSCALL),
    (efer::LME | efer::LMA, f::LM),
    (efer::NXE, f::NX),
    (efer::SVME, f::SVM),
    (efer::FFXSR, f::FFXSR),
    (efer::AIBRSE, f::AUTOMATIC_IBRS),
];

fn implied(model: &Model, always: u64, table: &[(u64, Feature)]) -> u64 {
    table.iter().filter(|(_, feature)| model.has(*feature)).fold(always, |bits, (bit, _)| bits | bit)
}

/// What of a model with these changes cannot be had on a host, by name.
pub fn lacking(host: &Host, named: &Named, changes: &Changes) -> Vec<&'static str> {
    let own = named.features().copied().filter(|feature| !changes.less.contains(feature));
    not_to_be_had(host, own.chain(changes.more.iter().copied()))
}

/// Whether a processor can have a feature on a host, if it is asked for.
pub fn can_have(host: &Host, feature: Feature) -> bool {
    not_to_be_had(host, std::iter::once(feature)).is_empty()
}

fn not_to_be_had(host: &Host, features: impl Iterator<Item = Feature>) -> Vec<&'static str> {
    let there = |feature: &Feature| {
        let changes = Changes { more: vec![*feature], less: Vec::new() };
        let spec = ModelSpec { named: None, nested: true, vcpus: 2, tsc_khz: 0, changes };
        FEATURES.iter().any(|(f, need)| f == feature && met(*need, *f, host, &spec))
    };
    features.filter(|feature| !there(feature)).map(|feature| feature.name).collect()
}

/// Whether a processor should have a feature, if it can be had.
fn wanted(feature: Feature, spec: &ModelSpec) -> bool {
    let own = spec.named.is_none_or(|named| named.has(feature) || models::ALWAYS.contains(&feature));
    (own || spec.changes.more.contains(&feature)) && !spec.changes.less.contains(&feature)
}

fn met(need: Need, feature: Feature, host: &Host, spec: &ModelSpec) -> bool {
    match need {
        Need::Engine => true,
        Need::Host => host.has(feature),
        Need::HostAvx => host.has(feature) && host.avx(),
        Need::HostAvx512 => host.has(feature) && host.avx512(),
        Need::Nested => spec.nested,
        Need::Asked => spec.changes.more.contains(&feature),
        Need::HostOrNamed => {
            host.has(feature) || spec.named.is_some() || spec.changes.more.contains(&feature)
        }
        Need::Many => spec.vcpus > 1,
    }
}

/// A leaf among others that ascend; zeros if it was not there.
fn slot(leaves: &mut Vec<Leaf>, leaf: u32, subleaf: u32) -> &mut [u32; 4] {
    let n = leaves.binary_search_by_key(&(leaf, subleaf), |(key, _)| *key).unwrap_or_else(|n| {
        leaves.insert(n, ((leaf, subleaf), [0; 4]));
        n
    });
    &mut leaves[n].1
}

/// Four bytes of a name, as CPUID gives them.
fn word(text: &[u8], n: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&text[4 * n..4 * n + 4]);
    u32::from_le_bytes(bytes)
}

/// The leaves that are numbers and names and not features (APM vol. 3, appendix E).
fn fixed(spec: &ModelSpec) -> Vec<Leaf> {
    let vendor = |max| [max, word(f::VENDOR_AMD, 0), word(f::VENDOR_AMD, 2), word(f::VENDOR_AMD, 1)];
    let mut brand = *NAME;
    if let Some(named) = spec.named {
        brand = [0; 48];
        brand[..named.brand.len()].copy_from_slice(named.brand.as_bytes());
    }
    let (family, caches) = spec.named.map_or((SIGNATURE, OURS), |named| (named.signature, named.caches));
    let name = |part: usize| std::array::from_fn(|n| word(&brand, 4 * part + n));
    let signature = f::SIGNATURE;
    let last = spec.vcpus.saturating_sub(1);
    let id_bits = core_bits(spec.vcpus);
    let khz = u32::try_from(spec.tsc_khz).unwrap_or(u32::MAX);
    let mut leaves = vec![
        ((0, 0), vendor(f::MAX_STANDARD)),
        // CLFLUSH line of 8 quadwords; EBX's other fields are the processor's own.
        ((1, 0), [family, 8 << 8 | spec.vcpus.min(255) << 16, 0, 0]),
        ((0x4000_0000, 0), [f::MAX_HYPERVISOR, word(signature, 0), word(signature, 1), word(signature, 2)]),
        ((f::MAX_HYPERVISOR, 0), [khz, crate::apic::BUS_KHZ, 0, 0]),
        ((0x8000_0000, 0), vendor(f::MAX_EXTENDED)),
        ((0x8000_0001, 0), [family, 0, 0, 0]),
        ((0x8000_0002, 0), name(0)),
        ((0x8000_0003, 0), name(1)),
        ((0x8000_0004, 0), name(2)),
        ((0x8000_0008, 0), [0, 0, id_bits << 12 | last.min(255), 0]),
        // 256-bit SSE data paths, MOVU as fast as MOVA.
        ((0x8000_001a, 0), [6, 0, 0, 0]),
    ];
    leaves.extend(super::caches::leaves(&caches, last));
    if spec.nested {
        leaves.push(((f::SVM_LEAF, 0), svm::caps::leaf(&svm::Caps::default())));
    }
    leaves
}

/// Bits of an APIC ID that number the processors.
pub(super) fn core_bits(vcpus: u32) -> u32 {
    vcpus.max(1).next_power_of_two().trailing_zeros()
}
