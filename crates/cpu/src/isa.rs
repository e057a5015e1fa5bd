//! Which instruction sets translated code may contain.

use crate::cpuid::Model;
use iced_x86::CpuidFeature;
use ireko_translate::Lacking;
use ireko_x86::cpuid::{self as f, Feature};
use std::arch::is_x86_feature_detected as host;

/// Whether guest and host have a CPUID feature. What is not listed raises #UD.
pub fn engine_has(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    match feature {
        INTEL8086 | INTEL186 | INTEL286 | INTEL386 | INTEL486 | X64 | CPUID | MSR | TSC | RDPMC | CMOV
        | PAUSE | MULTIBYTENOP | FPU | FPU287 | FPU387 | CX8 | CMPXCHG16B | MMX | SSE | SSE2 | SSE3
        | SSSE3 | SSE4_1 | SSE4_2 | POPCNT | FXSR | SYSCALL | SEP | SVM | SMM | CLFSH | PREFETCHW
        | INVPCID | PKU | MONITOR | FSGSBASE | RDTSCP | RDPID | SMAP | SKINIT | SKINIT_or_SVM => true,
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
        _ => false,
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
    SETS.iter().filter(|(_, feature)| !model.has(*feature)).for_each(|(set, _)| lacking.add(*set));
    if !model.has(f::LAHF) {
        lacking.add_flags_to_ah();
    }
    lacking
}
