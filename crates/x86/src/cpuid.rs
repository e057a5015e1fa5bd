//! CPUID features by name: leaf, subleaf, register and bit (APM vol. 3, appendix E; SDM vol. 2, CPUID).

pub const EAX: usize = 0;
pub const EBX: usize = 1;
pub const ECX: usize = 2;
pub const EDX: usize = 3;

/// One feature bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub leaf: u32,
    pub subleaf: u32,
    /// [`EAX`], [`EBX`], [`ECX`] or [`EDX`].
    pub register: usize,
    pub bit: u32,
    /// As the manuals write it, nearly.
    pub name: &'static str,
}

impl Feature {
    /// Whether the registers of this feature's leaf have it.
    pub const fn is_in(&self, registers: &[u32; 4]) -> bool {
        registers[self.register] >> self.bit & 1 != 0
    }
}

const fn feature(leaf: u32, subleaf: u32, register: usize, bit: u32, name: &'static str) -> Feature {
    Feature { leaf, subleaf, register, bit, name }
}

macro_rules! features {
    ($leaf:literal . $sub:literal $reg:ident { $($name:ident = $bit:literal),* $(,)? }) => {
        $(pub const $name: Feature = feature($leaf, $sub, $reg, $bit, stringify!($name));)*
    };
}

/// Largest standard, hypervisor and extended leaf of the processors we present.
pub const MAX_STANDARD: u32 = 0x10;
pub const MAX_HYPERVISOR: u32 = 0x4000_0010;
pub const MAX_EXTENDED: u32 = 0x8000_0021;

/// Vendor string in EBX, EDX, ECX of leaf 0.
pub const VENDOR_AMD: &[u8; 12] = b"AuthenticAMD";
/// Hypervisor signature in EBX, ECX, EDX of leaf 4000_0000h.
pub const SIGNATURE: &[u8; 12] = b"IrekoIrekoIr";

features!(1 . 0 EDX {
    FPU = 0, VME = 1, DE = 2, PSE = 3, TSC = 4, MSR = 5, PAE = 6, MCE = 7, CX8 = 8, APIC = 9, SEP = 11, MTRR = 12,
    PGE = 13, MCA = 14, CMOV = 15, PAT = 16, PSE36 = 17, CLFLUSH = 19, MMX = 23, FXSR = 24, SSE = 25, SSE2 = 26,
    HTT = 28,
});
features!(1 . 0 ECX {
    SSE3 = 0, PCLMULQDQ = 1, MONITOR = 3, SSSE3 = 9, FMA = 12, CX16 = 13, PCID = 17, SSE4_1 = 19, SSE4_2 = 20, X2APIC = 21,
    MOVBE = 22, POPCNT = 23, TSC_DEADLINE = 24, AES = 25, XSAVE = 26, OSXSAVE = 27, AVX = 28, F16C = 29,
    RDRAND = 30, HYPERVISOR = 31,
});
features!(6 . 0 EAX { ARAT = 2 });
features!(7 . 0 EBX {
    FSGSBASE = 0, TSC_ADJUST = 1, BMI1 = 3, AVX2 = 5, SMEP = 7, BMI2 = 8, ERMS = 9, INVPCID = 10, AVX512F = 16,
    AVX512DQ = 17, RDSEED = 18, ADX = 19, SMAP = 20, AVX512_IFMA = 21, CLFLUSHOPT = 23, CLWB = 24, AVX512CD = 28, SHA = 29,
    AVX512BW = 30, AVX512VL = 31,
});
features!(7 . 0 ECX {
    AVX512_VBMI = 1, UMIP = 2, PKU = 3, OSPKE = 4, AVX512_VBMI2 = 6, GFNI = 8, VAES = 9, VPCLMULQDQ = 10, AVX512_VNNI = 11,
    AVX512_BITALG = 12, AVX512_VPOPCNTDQ = 14, LA57 = 16, RDPID = 22,
});
features!(7 . 0 EDX { FSRM = 4, AVX512_FP16 = 23 });
features!(7 . 1 EAX { AVX512_BF16 = 5 });
features!(0xd . 1 EAX { XSAVEOPT = 0, XSAVEC = 1, XGETBV1 = 2, XSAVES = 3 });
features!(0x8000_0001 . 0 EDX {
    SYSCALL = 11, NX = 20, MMXEXT = 22, FFXSR = 25, PDPE1GB = 26, RDTSCP = 27, LM = 29,
});
features!(0x8000_0001 . 0 ECX {
    LAHF = 0, CMP_LEGACY = 1, SVM = 2, CR8_LEGACY = 4, ABM = 5, SSE4A = 6, MISALIGNED_SSE = 7, PREFETCHW = 8, OSVW = 9,
    XOP = 11, FMA4 = 16, TBM = 21, TOPOLOGY_EXTENSIONS = 22, PERFCTR_CORE = 23,
});
features!(0x8000_0007 . 0 EDX { INVARIANT_TSC = 8 });
features!(0x8000_0008 . 0 EBX {
    CLZERO = 0, XSAVE_ERROR_POINTERS = 2, WBNOINVD = 9, IBPB = 12, IBRS = 14, STIBP = 15, SSBD = 24, BTC_NO = 29,
});
features!(0x8000_0021 . 0 EAX {
    NO_NESTED_DATA_BREAKPOINT = 0, LFENCE_SERIALIZING = 2, NULL_SELECTOR_CLEARS_BASE = 6, AUTOMATIC_IBRS = 8, SRSO_NO = 29,
});
features!(0x8000_0021 . 0 ECX { TSA_SQ_NO = 1, TSA_L1_NO = 2 });
/// SVM's own features (APM vol. 3, Fn8000_000A).
pub const SVM_LEAF: u32 = 0x8000_000a;
