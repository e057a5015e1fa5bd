//! Which features a processor of ours has, and what each needs.

use ireko_x86::cpuid::{self as f, Feature};

/// What must be there for a feature to be advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The engine does it whatever the host has.
    Engine,
    /// The host executes it.
    Host,
    /// The host executes it and its system keeps the AVX state.
    HostAvx,
    /// And that of AVX-512.
    HostAvx512,
    /// The machine was asked for nesting.
    Nested,
    /// The engine does it, but a processor has it only where it was asked for.
    Asked,
    /// The engine does it, but where the host has it not it costs: a processor without a name has it as the host has.
    HostOrNamed,
    /// More than one processor.
    Many,
}

use Need::{Asked, Engine, Host, HostAvx, HostAvx512, HostOrNamed, Many, Nested};

/// Everything that may be advertised; nothing else ever is.
pub static FEATURES: &[(Feature, Need)] = &[
    // Leaf 1, EDX.
    (f::FPU, Host),
    (f::VME, Engine),
    (f::DE, Engine),
    (f::PSE, Engine),
    (f::TSC, Engine),
    (f::MSR, Engine),
    (f::PAE, Engine),
    (f::MCE, Engine),
    (f::CX8, Host),
    (f::APIC, Engine),
    (f::SEP, Engine),
    (f::MTRR, Engine),
    (f::PGE, Engine),
    (f::MCA, Engine),
    (f::CMOV, Host),
    (f::PAT, Engine),
    (f::PSE36, Engine),
    (f::CLFLUSH, Host),
    (f::MMX, Host),
    (f::FXSR, Host),
    (f::SSE, Host),
    (f::SSE2, Host),
    (f::HTT, Many),
    // Leaf 1, ECX.
    (f::SSE3, Host),
    (f::PCLMULQDQ, Host),
    (f::MONITOR, Engine),
    (f::SSSE3, Host),
    (f::FMA, HostAvx),
    (f::CX16, Host),
    (f::PCID, Engine),
    (f::SSE4_1, Host),
    (f::SSE4_2, Host),
    (f::X2APIC, Engine),
    (f::MOVBE, Host),
    (f::POPCNT, Host),
    (f::TSC_DEADLINE, Engine),
    (f::AES, Host),
    (f::XSAVE, Host),
    (f::AVX, HostAvx),
    (f::F16C, HostAvx),
    (f::RDRAND, Host),
    (f::HYPERVISOR, Engine),
    (f::ARAT, Engine),
    // Leaf 7.
    (f::FSGSBASE, Engine),
    (f::TSC_ADJUST, Engine),
    (f::BMI1, Host),
    (f::AVX2, HostAvx),
    (f::SMEP, Engine),
    (f::BMI2, Host),
    (f::ERMS, Host),
    (f::INVPCID, Engine),
    (f::RDSEED, Host),
    (f::ADX, Host),
    (f::SMAP, Engine),
    (f::CLFLUSHOPT, Host),
    (f::CLWB, Host),
    (f::SHA, Host),
    (f::UMIP, Engine),
    // Systems save PKRU at every switch of tasks; a host without it cannot load such an area in one go.
    (f::PKU, HostOrNamed),
    // Systems that find it use it, and each of their walks costs more.
    (f::LA57, Asked),
    (f::GFNI, Host),
    (f::VAES, HostAvx),
    (f::VPCLMULQDQ, HostAvx),
    (f::RDPID, Engine),
    (f::FSRM, Host),
    // All of AVX-512 but what needs more state, or no more processors have.
    (f::AVX512F, HostAvx512),
    (f::AVX512DQ, HostAvx512),
    (f::AVX512_IFMA, HostAvx512),
    (f::AVX512CD, HostAvx512),
    (f::AVX512BW, HostAvx512),
    (f::AVX512VL, HostAvx512),
    (f::AVX512_VBMI, HostAvx512),
    (f::AVX512_VBMI2, HostAvx512),
    (f::AVX512_VNNI, HostAvx512),
    (f::AVX512_BITALG, HostAvx512),
    (f::AVX512_VPOPCNTDQ, HostAvx512),
    (f::AVX512_FP16, HostAvx512),
    (f::AVX512_BF16, HostAvx512),
    // Leaf 0xd, subleaf 1.
    (f::XSAVEOPT, Host),
    (f::XSAVEC, Host),
    (f::XGETBV1, Host),
    // Without supervisor components: IA32_XSS is 0.
    (f::XSAVES, Host),
    // Leaf 8000_0001h.
    (f::SYSCALL, Engine),
    (f::NX, Engine),
    // AMD's additions to MMX are part of SSE, so every host has them, whether it has this bit or not.
    (f::MMXEXT, Engine),
    (f::FFXSR, Engine),
    (f::PDPE1GB, Engine),
    (f::RDTSCP, Engine),
    (f::LM, Engine),
    (f::LAHF, Host),
    (f::CMP_LEGACY, Many),
    (f::SVM, Nested),
    (f::CR8_LEGACY, Engine),
    (f::ABM, Host),
    (f::SSE4A, Engine),
    (f::MISALIGNED_SSE, Engine),
    // PREFETCHW does nothing on processors without it, in 64-bit mode.
    (f::PREFETCHW, Host),
    // No errata.
    (f::OSVW, Engine),
    (f::TOPOLOGY_EXTENSIONS, Engine),
    (f::PERFCTR_CORE, Engine),
    (f::INVARIANT_TSC, Engine),
    // Leaf 8000_0008h. Speculation controls are taken and do nothing: what they guard against is not there (see below).
    (f::CLZERO, Engine),
    (f::XSAVE_ERROR_POINTERS, Engine),
    (f::WBNOINVD, Engine),
    (f::IBPB, Engine),
    (f::IBRS, Engine),
    (f::STIBP, Engine),
    (f::SSBD, Engine),
    (f::BTC_NO, Engine),
    // Leaf 8000_0021h.
    (f::LFENCE_SERIALIZING, Engine),
    (f::NULL_SELECTOR_CLEARS_BASE, Engine),
    // Its mitigation retrains an AMD core's return predictor, which is not what predicts translated returns.
    (f::SRSO_NO, Engine),
    // Returns and indirect jumps of translated code are predicted at our addresses, not the guest's: what retpolines and
    // VERW guard against is not there to be guarded.
    (f::AUTOMATIC_IBRS, Engine),
    (f::TSA_SQ_NO, Engine),
    (f::TSA_L1_NO, Engine),
];

/// A feature by its name, in which case, `-`, `_` and `.` do not matter.
pub fn named(name: &str) -> Option<Feature> {
    let plain = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '-' | '_' | '.'))
            .map(|c| c.to_ascii_lowercase())
            .collect::<String>()
    };
    let known = FEATURES.iter().map(|(feature, _)| *feature).chain(ONLY_ELSEWHERE);
    known.into_iter().find(|feature| plain(feature.name) == plain(name))
}

/// Features of named models that no processor of ours has.
const ONLY_ELSEWHERE: [Feature; 3] = [f::XOP, f::FMA4, f::TBM];

/// A feature is there only where what it is an addition to is there.
pub static REQUIRES: &[(Feature, Feature)] = &[
    (f::AVX, f::XSAVE),
    (f::XSAVEOPT, f::XSAVE),
    (f::XSAVEC, f::XSAVE),
    (f::XGETBV1, f::XSAVE),
    // The area's form is the compacted one, and its size is XSAVEC's to tell.
    (f::XSAVES, f::XSAVEC),
    (f::XSAVE, f::FXSR),
    (f::FXSR, f::FPU),
    (f::FFXSR, f::FXSR),
    (f::XSAVE_ERROR_POINTERS, f::FXSR),
    (f::MMX, f::FPU),
    (f::MMXEXT, f::MMX),
    (f::SSE, f::FXSR),
    (f::SSE, f::MMX),
    (f::MISALIGNED_SSE, f::SSE),
    (f::PCLMULQDQ, f::SSE2),
    (f::AES, f::SSE2),
    (f::SHA, f::SSE2),
    (f::AVX2, f::AVX),
    (f::FMA, f::AVX),
    (f::F16C, f::AVX),
    (f::VAES, f::AVX),
    (f::VPCLMULQDQ, f::AVX),
    (f::GFNI, f::SSE2),
    (f::SSE2, f::SSE),
    (f::SSE3, f::SSE2),
    (f::SSSE3, f::SSE3),
    (f::SSE4_1, f::SSSE3),
    (f::SSE4_2, f::SSE4_1),
    (f::SSE4A, f::SSE3),
    (f::AVX, f::SSE4_2),
    (f::AVX512F, f::AVX2),
    (f::AVX512DQ, f::AVX512F),
    (f::AVX512_IFMA, f::AVX512F),
    (f::AVX512CD, f::AVX512F),
    (f::AVX512BW, f::AVX512F),
    (f::AVX512VL, f::AVX512F),
    (f::AVX512_VBMI, f::AVX512BW),
    (f::AVX512_VBMI2, f::AVX512BW),
    (f::AVX512_VNNI, f::AVX512F),
    (f::AVX512_BITALG, f::AVX512BW),
    (f::AVX512_VPOPCNTDQ, f::AVX512F),
    (f::AVX512_FP16, f::AVX512BW),
    (f::AVX512_BF16, f::AVX512BW),
];

/// What x86-64-v3 has (System V ABI, x86-64 psABI 3.1), less what every x86-64 processor has: the least host.
pub static BASELINE: &[(Feature, &str)] = &[
    (f::CX16, "cmpxchg16b"),
    (f::LAHF, "lahf"),
    (f::POPCNT, "popcnt"),
    (f::SSE3, "sse3"),
    (f::SSSE3, "ssse3"),
    (f::SSE4_1, "sse4.1"),
    (f::SSE4_2, "sse4.2"),
    (f::AVX, "avx"),
    (f::AVX2, "avx2"),
    (f::BMI1, "bmi1"),
    (f::BMI2, "bmi2"),
    (f::F16C, "f16c"),
    (f::FMA, "fma"),
    (f::ABM, "lzcnt"),
    (f::MOVBE, "movbe"),
    (f::XSAVE, "xsave"),
    (f::OSXSAVE, "xsave turned on by the system"),
];
