//! Which instruction sets translated code may contain.

use crate::cpuid::Model;
use crate::cpuid::host::Host;
use iced_x86::CpuidFeature;
use ireko_translate::Lacking;
use ireko_translate::classify::Env;
use ireko_x86::cpuid::{self as f, Feature};
use std::arch::is_x86_feature_detected as host;
use std::sync::OnceLock;

/// The parts of AVX-512.
const AVX512: [(CpuidFeature, Feature); 13] = {
    use CpuidFeature::*;
    [
        (AVX512F, f::AVX512F),
        (AVX512DQ, f::AVX512DQ),
        (AVX512_IFMA, f::AVX512_IFMA),
        (AVX512CD, f::AVX512CD),
        (AVX512BW, f::AVX512BW),
        (AVX512VL, f::AVX512VL),
        (AVX512_VBMI, f::AVX512_VBMI),
        (AVX512_VBMI2, f::AVX512_VBMI2),
        (AVX512_VNNI, f::AVX512_VNNI),
        (AVX512_BITALG, f::AVX512_BITALG),
        (AVX512_VPOPCNTDQ, f::AVX512_VPOPCNTDQ),
        (AVX512_FP16, f::AVX512_FP16),
        (AVX512_BF16, f::AVX512_BF16),
    ]
};

/// Whether the host's processor has a part of AVX-512, and its system keeps the state. Asked for once.
fn host_has_part(feature: CpuidFeature) -> bool {
    static PARTS: OnceLock<u32> = OnceLock::new();
    let parts = *PARTS.get_or_init(|| {
        let host = Host::native();
        let there = AVX512.iter().map(|(_, part)| host.avx512() && host.has(f::AVX512F) && host.has(*part));
        there.enumerate().fold(0, |bits, (n, on)| bits | u32::from(on) << n)
    });
    AVX512.iter().position(|(part, _)| *part == feature).is_some_and(|n| parts >> n & 1 != 0)
}

/// Whether guests have a CPUID feature on hosts that have all of AVX-512.
pub fn engine_could(feature: CpuidFeature) -> bool {
    AVX512.iter().any(|(part, _)| *part == feature) || engine_has(feature)
}

/// Whether guest and host have a CPUID feature. What is not listed raises #UD.
pub fn engine_has(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    match feature {
        INTEL8086 | INTEL186 | INTEL286 | INTEL386 | INTEL486 | X64 | CPUID | MSR | TSC | RDPMC | CMOV
        | PAUSE | MULTIBYTENOP | FPU | FPU287 | FPU387 | CX8 | CMPXCHG16B | MMX | SSE | SSE2 | SSE3
        | SSSE3 | SSE4_1 | SSE4_2 | POPCNT | FXSR | SYSCALL | SEP | SVM | SMM | CLFSH | PREFETCHW
        | INVPCID | PKU | MONITOR | FSGSBASE | RDTSCP | RDPID | SMAP | SKINIT_or_SVM => true,
        AVX | AVX2 | FMA | F16C | BMI1 | BMI2 | LZCNT | MOVBE => true,
        AES => host!("aes"),
        PCLMULQDQ => host!("pclmulqdq"),
        SHA => host!("sha"),
        ADX => host!("adx"),
        RDRAND => host!("rdrand"),
        RDSEED => host!("rdseed"),
        VAES => host!("vaes"),
        VPCLMULQDQ => host!("vpclmulqdq"),
        GFNI => host!("gfni"),
        XSAVE | XSAVEC | XSAVEOPT | XSAVES => host!("xsave"),
        CLFLUSHOPT | CLWB | WBNOINVD | CLZERO => true,
        SSE4A => true,
        CET_IBT => true, // ENDBR is a NOP
        part => host_has_part(part),
    }
}

/// Instructions that are there only with a CPUID bit. Not listed are hints (PREFETCHW), and those of every processor.
pub static SETS: &[(CpuidFeature, Feature)] = &[
    (CpuidFeature::CX8, f::CX8),
    (CpuidFeature::CMPXCHG16B, f::CX16),
    (CpuidFeature::CMOV, f::CMOV),
    (CpuidFeature::SEP, f::SEP),
    (CpuidFeature::MMX, f::MMX),
    (CpuidFeature::FXSR, f::FXSR),
    (CpuidFeature::SSE, f::SSE),
    (CpuidFeature::SSE2, f::SSE2),
    (CpuidFeature::SSE3, f::SSE3),
    (CpuidFeature::SSSE3, f::SSSE3),
    (CpuidFeature::SSE4_1, f::SSE4_1),
    (CpuidFeature::SSE4_2, f::SSE4_2),
    (CpuidFeature::SSE4A, f::SSE4A),
    (CpuidFeature::POPCNT, f::POPCNT),
    (CpuidFeature::LZCNT, f::ABM),
    (CpuidFeature::BMI1, f::BMI1),
    (CpuidFeature::BMI2, f::BMI2),
    (CpuidFeature::MOVBE, f::MOVBE),
    (CpuidFeature::ADX, f::ADX),
    (CpuidFeature::AES, f::AES),
    (CpuidFeature::PCLMULQDQ, f::PCLMULQDQ),
    (CpuidFeature::SHA, f::SHA),
    (CpuidFeature::GFNI, f::GFNI),
    (CpuidFeature::RDRAND, f::RDRAND),
    (CpuidFeature::RDSEED, f::RDSEED),
    (CpuidFeature::XSAVE, f::XSAVE),
    (CpuidFeature::XSAVEOPT, f::XSAVEOPT),
    (CpuidFeature::XSAVEC, f::XSAVEC),
    (CpuidFeature::XSAVES, f::XSAVES),
    (CpuidFeature::AVX, f::AVX),
    (CpuidFeature::AVX2, f::AVX2),
    (CpuidFeature::FMA, f::FMA),
    (CpuidFeature::F16C, f::F16C),
    (CpuidFeature::VAES, f::VAES),
    (CpuidFeature::VPCLMULQDQ, f::VPCLMULQDQ),
    (CpuidFeature::CLFSH, f::CLFLUSH),
    (CpuidFeature::CLFLUSHOPT, f::CLFLUSHOPT),
    (CpuidFeature::CLWB, f::CLWB),
    (CpuidFeature::CLZERO, f::CLZERO),
    (CpuidFeature::WBNOINVD, f::WBNOINVD),
    (CpuidFeature::MONITOR, f::MONITOR),
    (CpuidFeature::RDTSCP, f::RDTSCP),
    (CpuidFeature::RDPID, f::RDPID),
    (CpuidFeature::INVPCID, f::INVPCID),
    (CpuidFeature::SMAP, f::SMAP),
    (CpuidFeature::PKU, f::PKU),
    (CpuidFeature::FSGSBASE, f::FSGSBASE),
    (CpuidFeature::SVM, f::SVM),
];

/// What a model lacks of what the engine executes.
pub fn lacking(model: &Model) -> Lacking {
    let mut lacking = Lacking::default();
    let sets = SETS.iter().chain(&AVX512).filter(|(_, feature)| !model.has(*feature));
    sets.for_each(|(set, _)| lacking.add(*set));
    if !model.has(f::LAHF) {
        lacking.add_flags_to_ah();
    }
    lacking
}

/// What the translator is told of this engine.
pub(crate) const ENV: Env = Env { routine: has_routine, feature: engine_has };

/// Whether a routine does an instruction.
pub fn has_routine(code: iced_x86::Code) -> bool {
    crate::routines::routine(code).is_some()
}

/// With those that keep MXCSR.MM by software.
pub(crate) fn has_routine_or_mxcsr(code: iced_x86::Code) -> bool {
    has_routine(code) || crate::data::mxcsr::routine(code).is_some()
}
