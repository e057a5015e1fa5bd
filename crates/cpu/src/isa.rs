//! Which instruction sets translated code may contain.

use iced_x86::CpuidFeature;
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
