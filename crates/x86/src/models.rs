//! Processors by name: what hypervisors, whose users know these names, say that they have (QEMU's and libvirt's models of the
//! same names; System V ABI, x86-64 psABI 3.1, for the baselines).

use crate::cpuid::*;

/// One processor.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub name: &'static str,
    pub about: &'static str,
    /// EAX of leaf 1 and leaf 8000_0001h.
    pub signature: u32,
    /// What leaves 8000_0002h to 8000_0004h say.
    pub brand: &'static str,
    pub caches: Caches,
    features: &'static [&'static [Feature]],
}

impl Named {
    pub fn features(&self) -> impl Iterator<Item = &'static Feature> {
        self.features.iter().copied().flatten()
    }

    /// Whether this model says that it has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features().any(|own| *own == feature)
    }
}

/// Bytes and ways of a cache whose lines have 64 bytes; 0 bytes: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    pub size: u32,
    pub ways: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    pub data: Cache,
    pub code: Cache,
    pub second: Cache,
    pub third: Cache,
}

const fn cache(kib: u32, ways: u32) -> Cache {
    Cache { size: kib << 10, ways }
}

const K8: Caches =
    Caches { data: cache(64, 2), code: cache(64, 2), second: cache(512, 16), third: cache(0, 0) };
const PILEDRIVER: Caches =
    Caches { data: cache(16, 4), code: cache(64, 2), second: cache(2048, 16), third: cache(8192, 16) };
const ZEN: Caches =
    Caches { data: cache(32, 8), code: cache(64, 4), second: cache(512, 8), third: cache(8192, 16) };
const ZEN2: Caches = Caches { code: cache(32, 8), third: cache(16384, 16), ..ZEN };
const ZEN3: Caches = Caches { third: cache(32768, 16), ..ZEN2 };
const ZEN4: Caches = Caches { second: cache(1024, 8), ..ZEN3 };

/// Family, model and stepping as CPUID packs them (APM vol. 3, Fn0000_0001_EAX).
const fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base, extended) = if family > 15 { (15, family - 15) } else { (family, 0) };
    extended << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4 | stepping
}

/// What every processor with long mode has.
const LONG: &[Feature] = &[
    FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE36, CLFLUSH, MMX, FXSR,
    SSE, SSE2, SYSCALL, NX, LM, SSE3, CX16,
];
const V2: &[Feature] = &[VME, LAHF, POPCNT, SSSE3, SSE4_1, SSE4_2, RDTSCP];
const V3: &[Feature] = &[AVX, AVX2, BMI1, BMI2, F16C, FMA, ABM, MOVBE, XSAVE, XSAVEOPT, XGETBV1];
const V4: &[Feature] = &[AVX512F, AVX512BW, AVX512CD, AVX512DQ, AVX512VL];
const OPTERON: &[Feature] = &[
    VME,
    LAHF,
    POPCNT,
    SSSE3,
    SSE4_1,
    SSE4_2,
    RDTSCP,
    PDPE1GB,
    AVX,
    F16C,
    FMA,
    AES,
    PCLMULQDQ,
    XSAVE,
    ABM,
    SSE4A,
    MISALIGNED_SSE,
    PREFETCHW,
    XOP,
    FMA4,
    TBM,
];
const NAPLES: &[Feature] = &[
    MONITOR,
    AES,
    PCLMULQDQ,
    RDRAND,
    RDSEED,
    ADX,
    SHA,
    CLFLUSHOPT,
    FSGSBASE,
    SMEP,
    SMAP,
    XSAVEC,
    XSAVES,
    MMXEXT,
    FFXSR,
    PDPE1GB,
    CR8_LEGACY,
    SSE4A,
    MISALIGNED_SSE,
    PREFETCHW,
    OSVW,
    TOPOLOGY_EXTENSIONS,
    PERFCTR_CORE,
    CLZERO,
    XSAVE_ERROR_POINTERS,
    IBPB,
];
const ROME: &[Feature] = &[CLWB, RDPID, UMIP, WBNOINVD, IBRS, STIBP, SSBD];
const MILAN: &[Feature] = &[PCID, INVPCID, ERMS, FSRM, PKU, VAES, VPCLMULQDQ];
/// Without 5-level paging, which no named model has.
const GENOA: &[Feature] = &[
    AVX512_IFMA,
    AVX512_VBMI,
    AVX512_VBMI2,
    AVX512_VNNI,
    AVX512_BITALG,
    AVX512_VPOPCNTDQ,
    AVX512_BF16,
    GFNI,
];

/// What belongs to the machine and not to the processor's make, so that every model has it where it can be had: timers, the
/// APIC, the topology of several processors, AMD-V if it was asked for, and which weaknesses are not there.
pub static ALWAYS: &[Feature] = &[
    HYPERVISOR,
    X2APIC,
    TSC_DEADLINE,
    TSC_ADJUST,
    ARAT,
    HTT,
    CMP_LEGACY,
    SVM,
    INVARIANT_TSC,
    LFENCE_SERIALIZING,
    NULL_SELECTOR_CLEARS_BASE,
    AUTOMATIC_IBRS,
    SRSO_NO,
    BTC_NO,
    TSA_SQ_NO,
    TSA_L1_NO,
];

/// All of them, the lesser first.
pub static NAMED: &[Named] = &[
    Named {
        name: "kvm64",
        about: "the least that has long mode",
        signature: signature(15, 6, 1),
        brand: "Common KVM processor",
        caches: K8,
        features: &[LONG],
    },
    Named {
        name: "x86-64-v2",
        about: "baseline: what nearly every machine has",
        signature: signature(15, 107, 1),
        brand: "Ireko x86-64-v2 Processor",
        caches: K8,
        features: &[LONG, V2],
    },
    Named {
        name: "x86-64-v3",
        about: "baseline: AVX2 and what came with it",
        signature: signature(23, 1, 2),
        brand: "Ireko x86-64-v3 Processor",
        caches: ZEN,
        features: &[LONG, V2, V3],
    },
    Named {
        name: "x86-64-v4",
        about: "baseline: AVX-512, where the host has it",
        signature: signature(25, 17, 0),
        brand: "Ireko x86-64-v4 Processor",
        caches: ZEN4,
        features: &[LONG, V2, V3, V4],
    },
    Named {
        name: "Opteron_G5",
        about: "AMD Opteron 6300 (Piledriver), 2012",
        signature: signature(21, 2, 0),
        brand: "AMD Opteron 63xx class CPU",
        caches: PILEDRIVER,
        features: &[LONG, OPTERON],
    },
    Named {
        name: "EPYC",
        about: "AMD EPYC 7001 (Zen), 2017",
        signature: signature(23, 1, 2),
        brand: "AMD EPYC Processor",
        caches: ZEN,
        features: &[LONG, V2, V3, NAPLES],
    },
    Named {
        name: "EPYC-Rome",
        about: "AMD EPYC 7002 (Zen 2), 2019",
        signature: signature(23, 49, 0),
        brand: "AMD EPYC-Rome Processor",
        caches: ZEN2,
        features: &[LONG, V2, V3, NAPLES, ROME],
    },
    Named {
        name: "EPYC-Milan",
        about: "AMD EPYC 7003 (Zen 3), 2021",
        signature: signature(25, 1, 1),
        brand: "AMD EPYC-Milan Processor",
        caches: ZEN3,
        features: &[LONG, V2, V3, NAPLES, ROME, MILAN],
    },
    Named {
        name: "EPYC-Genoa",
        about: "AMD EPYC 9004 (Zen 4), 2022",
        signature: signature(25, 17, 0),
        brand: "AMD EPYC-Genoa Processor",
        caches: ZEN4,
        features: &[LONG, V2, V3, V4, NAPLES, ROME, MILAN, GENOA],
    },
];

/// A model by its name, whose case does not matter.
pub fn named(name: &str) -> Option<&'static Named> {
    NAMED.iter().find(|model| model.name.eq_ignore_ascii_case(name))
}
