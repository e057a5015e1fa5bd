//! RDMSR and WRMSR on a whole processor, one fact each.

use super::*;
use crate::construct::CpuSpec;
use crate::cpuid::{Model, ModelSpec};
use ireko_vmcore::Changes;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::cpuid::PKU;
use ireko_x86::msr as m;
use ireko_x86::regs::seg;
use std::sync::Arc;

fn cpu(nested: bool) -> Cpu {
    with(nested, Changes::default())
}

fn with(nested: bool, changes: Changes) -> Cpu {
    let mut spec = CpuSpec::uniprocessor(&[(0, 0x10000)]).unwrap();
    spec.model = Arc::new(Model::amd(&ModelSpec {
        named: None,
        nested,
        vcpus: 1,
        tsc_khz: spec.counter.khz(),
        changes,
    }));
    Cpu::new(&spec).unwrap()
}

fn refused(cpu: &mut Cpu, number: u32, value: u64) -> bool {
    write(cpu, number, value) == Err(Fault::gp(0))
}

#[test]
fn edx_and_eax_are_the_halves() {
    let mut cpu = cpu(false);
    cpu.processor.regs.gpr[gpr::RCX] = 0xffff_ffff_0000_0000 | u64::from(m::STAR);
    cpu.processor.regs.gpr[gpr::RAX] = 0xdead_0000_1111_1111;
    cpu.processor.regs.gpr[gpr::RDX] = 0xdead_0000_2222_2222;
    let insn = Instruction::default();
    wrmsr(&mut cpu, &insn).unwrap();
    assert_eq!(cpu.processor.regs.star, 0x2222_2222_1111_1111);
    rdmsr(&mut cpu, &insn).unwrap();
    assert_eq!(
        [cpu.processor.regs.gpr[gpr::RAX], cpu.processor.regs.gpr[gpr::RDX]],
        [0x1111_1111, 0x2222_2222]
    );
}

#[test]
fn only_the_supervisor_may() {
    let mut cpu = cpu(false);
    cpu.processor.regs.cpl = 3;
    cpu.processor.regs.gpr[gpr::RCX] = m::STAR.into();
    let insn = Instruction::default();
    assert_eq!([rdmsr(&mut cpu, &insn), wrmsr(&mut cpu, &insn)], [Err(Fault::gp(0)), Err(Fault::gp(0))]);
}

#[test]
fn an_msr_that_is_not_there_is_a_fault_and_counted() {
    let mut cpu = cpu(false);
    assert_eq!(read(&mut cpu, 0x1234_5678), Err(Fault::gp(0)));
    assert_eq!((cpu.processor.msrs.unknown, cpu.processor.msrs.last_unknown), (1, 0x1234_5678));
}

#[test]
fn base_addresses_must_be_canonical() {
    let mut cpu = cpu(false);
    let wrong = 0x8000_0000_0000;
    let all = [m::FS_BASE, m::GS_BASE, m::KERNEL_GS_BASE, m::LSTAR, m::CSTAR];
    assert!(all.iter().all(|&number| refused(&mut cpu, number, wrong)));
    write(&mut cpu, m::FS_BASE, 0xffff_8000_0000_0000).unwrap();
    assert_eq!(cpu.processor.regs.seg[seg::FS].base, 0xffff_8000_0000_0000);
}

#[test]
fn constants_cannot_be_written() {
    let mut cpu = cpu(false);
    assert!(refused(&mut cpu, m::MTRR_CAP, 0) && refused(&mut cpu, m::MCG_CAP, 0));
}

#[test]
fn inert_msrs_keep_their_value() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::PATCH_LEVEL, 7).unwrap();
    assert_eq!(read(&mut cpu, m::PATCH_LEVEL), Ok(0x0100_0065));
}

#[test]
fn the_tsc_counts_at_the_p0_frequency() {
    assert_ne!(read(&mut cpu(false), m::HWCR).unwrap() & m::HWCR_TSC_FREQ_SEL, 0);
}

/// One P-state, the first, which is on and has some frequency.
#[test]
fn there_is_one_pstate() {
    let mut cpu = cpu(false);
    assert_eq!((read(&mut cpu, m::PSTATE_LIMIT), read(&mut cpu, m::PSTATE_STATUS)), (Ok(0), Ok(0)));
    let first = read(&mut cpu, m::PSTATE_0).unwrap();
    assert!(first >> 63 == 1 && first & 0xff != 0 && first >> 8 & 0x3f == 8);
    assert!(refused(&mut cpu, m::PSTATE_0 + 1, 0));
}

#[test]
fn a_levelling_msr_hides_features_and_shows_none_that_are_not_there() {
    let mut cpu = cpu(false);
    let shown = |cpu: &Cpu| crate::cpuid::cpuid(cpu, 1, 0);
    let (before, all) = (shown(&cpu), read(&mut cpu, m::CPUID_7 + 2).unwrap());
    assert_eq!(all as u32, before[3]);
    // SSE3 is ECX's first bit.
    write(&mut cpu, m::CPUID_7 + 2, all & !(1 << 32)).unwrap();
    assert_eq!((shown(&cpu)[2], shown(&cpu)[3]), (before[2] & !1, before[3]));
    write(&mut cpu, m::CPUID_7 + 2, u64::MAX).unwrap();
    assert_eq!(shown(&cpu), before);
}

#[test]
fn efer_refuses_what_the_model_lacks() {
    let mut cpu = cpu(false);
    assert!(refused(&mut cpu, m::EFER, 1 << 1) && refused(&mut cpu, m::EFER, efer::SVME));
}

#[test]
fn lma_cannot_be_written() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::EFER, efer::LMA | efer::LME).unwrap();
    assert_eq!(cpu.processor.regs.efer, efer::LME);
}

#[test]
fn lme_cannot_change_while_paging() {
    let mut cpu = cpu(false);
    cpu.processor.regs.cr0 |= cr0::PG | cr0::PE;
    assert!(refused(&mut cpu, m::EFER, efer::LME));
}

#[test]
fn svme_needs_nesting_and_heeds_svmdis() {
    let mut cpu = cpu(true);
    write(&mut cpu, m::VM_CR, 1 << 4).unwrap();
    assert!(refused(&mut cpu, m::EFER, efer::SVME));
    write(&mut cpu, m::VM_CR, 0).unwrap();
    assert_eq!(write(&mut cpu, m::EFER, efer::SVME), Ok(Next::Resync));
}

#[test]
fn amd_vs_msrs_need_nesting() {
    let mut cpu = cpu(false);
    let all = [m::VM_CR, m::VM_HSAVE_PA, m::TSC_RATIO, m::SVM_KEY];
    assert!(all.iter().all(|&number| read(&mut cpu, number) == Err(Fault::gp(0))));
}

#[test]
fn the_host_save_area_is_a_page() {
    let mut cpu = cpu(true);
    assert!(refused(&mut cpu, m::VM_HSAVE_PA, 0x1800));
    write(&mut cpu, m::VM_HSAVE_PA, 0x1000).unwrap();
    assert_eq!(read(&mut cpu, m::VM_HSAVE_PA), Ok(0x1000));
}

#[test]
fn writing_the_tsc_shows_in_tsc_adjust_and_back() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::TSC, 1 << 50).unwrap();
    assert!(read(&mut cpu, m::TSC).unwrap() >= 1 << 50);
    let adjust = read(&mut cpu, m::TSC_ADJUST).unwrap();
    assert!(adjust > 1 << 49);
    write(&mut cpu, m::TSC_ADJUST, 0).unwrap();
    assert!(read(&mut cpu, m::TSC).unwrap() < 1 << 49);
}

#[test]
fn a_deadline_reaches_the_apics_timer() {
    let mut cpu = cpu(false);
    cpu.apic().write(0xf0, 0x1ff);
    cpu.apic().write(0x320, 2 << 17 | 0xec);
    write(&mut cpu, m::TSC_DEADLINE, 1).unwrap();
    assert_eq!(cpu.apic().pending(), Some(0xec));
}

#[test]
fn x2apic_msrs_reach_the_apic_in_that_mode() {
    let mut cpu = cpu(false);
    assert!(refused(&mut cpu, 0x808, 0x20));
    let base = read(&mut cpu, m::APIC_BASE).unwrap();
    write(&mut cpu, m::APIC_BASE, base | 1 << 10).unwrap();
    write(&mut cpu, 0x808, 0x20).unwrap();
    assert_eq!((cpu.processor.apic.tpr(), read(&mut cpu, 0x808)), (0x20, Ok(0x20)));
}

#[test]
fn the_core_counters_numbers_reach_the_same_counters() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::PERF_CORE_FIRST + 3, 77).unwrap();
    assert_eq!(read(&mut cpu, m::PERF_CTR_FIRST + 1), Ok(77));
    write(&mut cpu, m::PERF_EVENT_FIRST + 2, 1 << 16).unwrap();
    assert_eq!(read(&mut cpu, m::PERF_CORE_FIRST + 4), Ok(1 << 16));
    write(&mut cpu, m::PERF_CORE_LAST, 5).unwrap();
    assert_eq!(read(&mut cpu, m::PERF_CORE_LAST), Ok(5));
}

/// APM vol. 2, 3.2.9.
#[test]
fn speculation_control_takes_the_bits_that_cpuid_has() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::SPEC_CTRL, 7).unwrap();
    assert_eq!(read(&mut cpu, m::SPEC_CTRL), Ok(7));
    assert!(refused(&mut cpu, m::SPEC_CTRL, 8) && refused(&mut cpu, m::SPEC_CTRL, 1 << 63));
}

#[test]
fn the_prediction_command_is_for_writing_a_barrier() {
    let mut cpu = cpu(false);
    assert_eq!(write(&mut cpu, m::PRED_CMD, 1), Ok(Next::Advance));
    assert_eq!(read(&mut cpu, m::PRED_CMD), Err(Fault::gp(0)));
    assert!(refused(&mut cpu, m::PRED_CMD, 2));
}

#[test]
fn there_is_no_supervisor_state_to_turn_on() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::XSS, 0).unwrap();
    assert!(refused(&mut cpu, m::XSS, 1 << 11));
}

#[test]
fn ffxsr_can_be_turned_on() {
    let mut cpu = cpu(false);
    write(&mut cpu, m::EFER, efer::FFXSR).unwrap();
    assert_eq!(read(&mut cpu, m::EFER), Ok(efer::FFXSR));
}

#[test]
fn no_msr_and_no_value_panics() {
    let mut cpu = cpu(true);
    let ranges = [0..0x1000, 0x4000_0000..0x4000_0100, 0xc000_0000..0xc000_2000, 0xc001_0000..0xc001_2000];
    for number in ranges.into_iter().flatten() {
        for value in [0, 1, 0xff, u64::MAX, 1 << 47, 0x0007_0406_0007_0406, 0xfee0_0900, u64::MAX >> 16] {
            let _ = (read(&mut cpu, number), write(&mut cpu, number, value), cpu.apic().pending());
        }
    }
}

fn of_model(name: &str, nested: bool) -> Cpu {
    let mut spec = CpuSpec::uniprocessor(&[(0, 0x10000)]).unwrap();
    let named = ireko_x86::models::named(name);
    spec.model = Arc::new(Model::amd(&ModelSpec {
        named,
        nested,
        vcpus: 1,
        tsc_khz: spec.counter.khz(),
        changes: Changes::default(),
    }));
    Cpu::new(&spec).unwrap()
}

/// APM vol. 2, appendix A: what comes with a feature is not there without it.
#[test]
fn msrs_of_features_that_a_model_lacks_are_not_there() {
    const FEATURED: [u32; 9] = [
        m::SPEC_CTRL,
        m::PRED_CMD,
        m::XSS,
        m::TSC_AUX,
        m::TSC_RATIO,
        m::VM_CR,
        m::VM_HSAVE_PA,
        m::OSVW_FIRST,
        m::PERF_CORE_FIRST,
    ];
    let refused = |cpu: &mut Cpu, number| {
        read(cpu, number) == Err(Fault::gp(0)) && write(cpu, number, 0) == Err(Fault::gp(0))
    };
    let mut least = of_model("kvm64", false);
    assert_eq!(FEATURED.map(|number| refused(&mut least, number)), [true; FEATURED.len()]);
    let mut most = cpu(true);
    assert_eq!(FEATURED.map(|number| refused(&mut most, number)), [false; FEATURED.len()]);
}

/// EFER's, CR4's and XCR0's bits (APM vol. 2, 3.1.3, 3.1.7 and 11.5.2).
#[test]
fn so_are_bits_of_efer_cr4_and_xcr0() {
    const EFER: u64 = efer::SVME | efer::FFXSR;
    const CR4: u64 = cr4::PCIDE | cr4::OSXSAVE | cr4::SMEP | cr4::SMAP | cr4::PKE | cr4::UMIP | cr4::FSGSBASE;
    const PKRU: u64 = 1 << 9;
    let (least, most) = (of_model("kvm64", false), with(true, Changes { more: vec![PKU], less: Vec::new() }));
    let bits = |cpu: &Cpu| {
        let model = &cpu.processor.model;
        [model.efer() & EFER, model.cr4() & CR4, model.xcr0() & PKRU]
    };
    assert_eq!((bits(&least), bits(&most)), ([0; 3], [EFER, CR4, PKRU]));
}
