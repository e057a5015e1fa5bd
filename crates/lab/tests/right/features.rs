//! Without its CPUID bit an instruction is undefined (APM vol. 3, "Instruction Subsets and CPUID Feature Flags").

use super::*;
use ireko_cpu::cpuid::features::FEATURES;
use ireko_cpu::cpuid::host::Host;
use ireko_cpu::cpuid::{Model, ModelSpec};
use ireko_x86::bits::{cr4, efer};
use ireko_x86::cpuid::*;

/// One instruction of each feature that has any; with [RDI] where it wants memory.
const INSTRUCTIONS: &[(Feature, &[u8])] = &[
    (CX8, &[0x0f, 0xc7, 0x0f]),
    (CMOV, &[0x0f, 0x44, 0xc1]),
    (CLFLUSH, &[0x0f, 0xae, 0x3f]),
    (MMX, &[0x0f, 0xef, 0xc0]),
    (FXSR, &[0x0f, 0xae, 0x07]),
    (SSE, &[0x0f, 0x58, 0xc1]),
    (SSE2, &[0x66, 0x0f, 0x58, 0xc1]),
    (SSE3, &[0xf2, 0x0f, 0x7c, 0xc1]),
    (PCLMULQDQ, &[0x66, 0x0f, 0x3a, 0x44, 0xc1, 0]),
    (MONITOR, &[0x0f, 0x01, 0xc8]),
    (SSSE3, &[0x66, 0x0f, 0x38, 0x00, 0xc1]),
    (FMA, &[0xc4, 0xe2, 0x71, 0x98, 0xc2]),
    (CX16, &[0x48, 0x0f, 0xc7, 0x0f]),
    (SSE4_1, &[0x66, 0x0f, 0x38, 0x17, 0xc1]),
    (SSE4_2, &[0xf2, 0x0f, 0x38, 0xf1, 0xc1]),
    (MOVBE, &[0x0f, 0x38, 0xf0, 0x07]),
    (POPCNT, &[0xf3, 0x0f, 0xb8, 0xc1]),
    (AES, &[0x66, 0x0f, 0x38, 0xdc, 0xc1]),
    (XSAVE, &[0x0f, 0xae, 0x27]),
    (AVX, &[0xc5, 0xf4, 0x58, 0xc2]),
    (F16C, &[0xc4, 0xe2, 0x79, 0x13, 0xc1]),
    (RDRAND, &[0x0f, 0xc7, 0xf0]),
    (FSGSBASE, &[0xf3, 0x48, 0x0f, 0xae, 0xc0]),
    (BMI1, &[0xc4, 0xe2, 0x70, 0xf2, 0xc2]),
    (AVX2, &[0xc5, 0xf5, 0xfe, 0xc2]),
    (BMI2, &[0xc4, 0xe2, 0x73, 0xf5, 0xc2]),
    (INVPCID, &[0x66, 0x0f, 0x38, 0x82, 0x0f]),
    (RDSEED, &[0x0f, 0xc7, 0xf8]),
    (ADX, &[0x66, 0x0f, 0x38, 0xf6, 0xc1]),
    (SMAP, &[0x0f, 0x01, 0xca]),
    (CLFLUSHOPT, &[0x66, 0x0f, 0xae, 0x3f]),
    (CLWB, &[0x66, 0x0f, 0xae, 0x37]),
    (SHA, &[0x0f, 0x38, 0xc8, 0xc1]),
    (PKU, &[0x0f, 0x01, 0xee]),
    (GFNI, &[0x66, 0x0f, 0x38, 0xcf, 0xc1]),
    (VAES, &[0xc4, 0xe2, 0x75, 0xdc, 0xc2]),
    (VPCLMULQDQ, &[0xc4, 0xe3, 0x75, 0x44, 0xc2, 0]),
    (RDPID, &[0xf3, 0x0f, 0xc7, 0xf8]),
    (XSAVEOPT, &[0x0f, 0xae, 0x37]),
    (XSAVEC, &[0x0f, 0xc7, 0x27]),
    (XSAVES, &[0x0f, 0xc7, 0x2f]),
    (RDTSCP, &[0x0f, 0x01, 0xf9]),
    (LAHF, &[0x9f]),
    (SVM, &[0x0f, 0x01, 0xdd]),
    (SSE4A, &[0x66, 0x0f, 0x79, 0xc1]),
    (CLZERO, &[0x0f, 0x01, 0xfc]),
    (AVX512F, &[0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1]),
    (AVX512DQ, &[0x62, 0xf1, 0x7c, 0x48, 0x54, 0xc1]),
    (AVX512_IFMA, &[0x62, 0xf2, 0xfd, 0x48, 0xb4, 0xc1]),
    (AVX512CD, &[0x62, 0xf2, 0x7d, 0x48, 0x44, 0xc1]),
    (AVX512BW, &[0x62, 0xf1, 0x7d, 0x48, 0xfc, 0xc1]),
    (AVX512VL, &[0x62, 0xf1, 0x7c, 0x08, 0x58, 0xc1]),
    (AVX512_VBMI, &[0x62, 0xf2, 0x7d, 0x48, 0x8d, 0xc1]),
    (AVX512_VBMI2, &[0x62, 0xf3, 0x7d, 0x48, 0x71, 0xc1, 0]),
    (AVX512_VNNI, &[0x62, 0xf2, 0x7d, 0x48, 0x50, 0xc1]),
    (AVX512_BITALG, &[0x62, 0xf2, 0x7d, 0x48, 0x54, 0xc1]),
    (AVX512_VPOPCNTDQ, &[0x62, 0xf2, 0x7d, 0x48, 0x55, 0xc1]),
    (AVX512_FP16, &[0x62, 0xf5, 0x7c, 0x48, 0x58, 0xc1]),
    (AVX512_BF16, &[0x62, 0xf2, 0x7e, 0x48, 0x52, 0xc1]),
];

/// What is without has another meaning, tested below.
const OTHERWISE: &[Feature] = &[ABM, WBNOINVD];

/// Control bits, MSRs, leaves, ways of working: nothing that would be undefined. (SYSENTER is undefined in long mode anyway;
/// AMD's additions to MMX are SSE's, too; PREFETCHW does nothing where it is not known.)
const WITHOUT: &[Feature] = &[
    FPU,
    VME,
    DE,
    PSE,
    TSC,
    MSR,
    PAE,
    MCE,
    APIC,
    SEP,
    MTRR,
    PGE,
    MCA,
    PAT,
    PSE36,
    HTT,
    PCID,
    X2APIC,
    TSC_DEADLINE,
    HYPERVISOR,
    ARAT,
    TSC_ADJUST,
    SMEP,
    ERMS,
    UMIP,
    LA57,
    FSRM,
    XGETBV1,
    SYSCALL,
    NX,
    MMXEXT,
    FFXSR,
    PDPE1GB,
    LM,
    CMP_LEGACY,
    CR8_LEGACY,
    MISALIGNED_SSE,
    PREFETCHW,
    OSVW,
    TOPOLOGY_EXTENSIONS,
    PERFCTR_CORE,
    INVARIANT_TSC,
    XSAVE_ERROR_POINTERS,
    IBPB,
    IBRS,
    STIBP,
    SSBD,
    BTC_NO,
    LFENCE_SERIALIZING,
    NULL_SELECTOR_CLEARS_BASE,
    SRSO_NO,
    AUTOMATIC_IBRS,
    TSA_SQ_NO,
    TSA_L1_NO,
];

/// Where `code` at CPL 0 ends, always by an exception: at itself, or at the UD2 behind it.
fn ends(board: &mut Board, code: &[u8]) -> (u64, u64) {
    let (caught, _) = run_on(board, 0, code, |_, regs| {
        (regs.gpr[7], regs.gpr[0], regs.gpr[1], regs.gpr[2]) = (DATA, DATA, 0, 0);
        (regs.cr4, regs.efer) = (regs.cr4 | cr4::PKE, regs.efer | efer::SVME);
    });
    (caught.vector, caught.rip - CODE)
}

#[test]
fn every_feature_is_in_one_of_these_lists() {
    let listed = |feature: &Feature| {
        usize::from(INSTRUCTIONS.iter().any(|(own, _)| own == feature))
            + usize::from(OTHERWISE.contains(feature))
            + usize::from(WITHOUT.contains(feature))
    };
    let wrong: Vec<_> = FEATURES.iter().filter(|(f, _)| listed(f) != 1).map(|(f, _)| f.name).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn an_instruction_without_its_feature_is_undefined() {
    let host = Host::native();
    let has = |feature| {
        let model =
            ModelSpec { named: None, nested: true, vcpus: 1, tsc_khz: 0, changes: Changes::default() };
        Model::amd_on(&host, &model).has(feature)
    };
    let mut wrong = Vec::new();
    for (feature, code) in INSTRUCTIONS {
        let without = ends(&mut board_of(changed(&[], &[*feature])), code);
        let with = ends(&mut board(), code);
        let behind = if has(*feature) { code.len() as u64 } else { 0 };
        if (without, with) != ((UD, 0), (UD, behind)) {
            wrong.push((feature.name, without, with));
        }
    }
    assert_eq!(wrong, vec![]);
}

/// EAX after `code` with ECX = 40h.
fn eax(cpu: CpuModel, code: &[u8]) -> u64 {
    let (caught, regs) = run_on(&mut board_of(cpu), 3, code, |_, regs| regs.gpr[1] = 0x40);
    assert_eq!((caught.vector, caught.rip - CODE), (UD, code.len() as u64));
    regs.gpr[0]
}

/// APM vol. 3, "LZCNT" and "TZCNT": without it the prefix means nothing, and the opcode is BSR's and BSF's.
#[test]
fn counts_of_zeros_are_scans_without_them() {
    let (lzcnt, tzcnt) = ([0xf3, 0x0f, 0xbd, 0xc1], [0xf3, 0x0f, 0xbc, 0xc1]);
    assert_eq!([eax(CpuModel::Amd, &lzcnt), eax(changed(&[], &[ABM]), &lzcnt)], [25, 6]);
    // Of 0 there is no bit, and AMD's BSF leaves the register as it was.
    let of_zero = [&[0xb8, 7, 0, 0, 0, 0x31, 0xc9][..], &tzcnt].concat();
    assert_eq!([eax(CpuModel::Amd, &of_zero), eax(changed(&[], &[BMI1]), &of_zero)], [32, 7]);
}

/// APM vol. 3, "WBNOINVD": WBINVD where it is not known, which does no less.
#[test]
fn wbnoinvd_is_wbinvd_without_it() {
    let code = [0xf3, 0x0f, 0x09];
    assert_eq!(ends(&mut board_of(changed(&[], &[WBNOINVD])), &code), (UD, 3));
}

/// APM vol. 3, "XGETBV": ECX = 1 is #GP without its bit.
#[test]
fn the_components_in_use_are_told_with_their_feature_only() {
    let code = [0xb9, 1, 0, 0, 0, 0x0f, 0x01, 0xd0];
    assert_eq!(ends(&mut board_of(changed(&[], &[XGETBV1])), &code), (GP, 5));
    assert_eq!(ends(&mut board(), &code), (UD, 8));
}

/// APM vol. 3, SKINIT: its own bit, which no processor of ours has; then no intercept comes before the exception.
#[test]
fn skinit_is_undefined() {
    assert_eq!(ends(&mut board(), &[0x0f, 0x01, 0xde]), (UD, 0));
}

/// A named model's processor is as its silicon was: no LAHF, POPCNT or RDTSCP in kvm64.
#[test]
fn a_named_model_has_no_more_instructions_than_it_shows() {
    let kvm64 = || CpuModel::Named(ireko_x86::models::named("kvm64").expect("a model"));
    for code in [&[0x9f][..], &[0xf3, 0x0f, 0xb8, 0xc1], &[0x0f, 0x01, 0xf9], &[0xc5, 0xf4, 0x58, 0xc2]] {
        assert_eq!(ends(&mut board_of(kvm64()), code), (UD, 0), "{code:x?}");
    }
}
