//! VMLOAD and VMSAVE, the MSRs, and CPUID.

use crate::svm::testing::{Mock, VMCB};
use crate::svm::{Caps, State, caps, insn, msr};
use ireko_x86::Segment;
use ireko_x86::msr::{TSC_RATIO, VM_CR, VM_HSAVE_PA};
use ireko_x86::regs::seg;
use ireko_x86::vmcb::{MSR_SVM_KEY, feature, save, vm_cr};

#[test]
fn vmsave_and_vmload_carry_what_vmrun_does_not() {
    let mut mock = Mock::new();
    let regs = &mut mock.regs;
    regs.seg[seg::FS] = Segment { base: 0x1000, limit: 1, attr: 0x93, selector: 0x20 };
    regs.seg[seg::GS].base = 0xffff_8880_0000_0000;
    regs.tr = Segment { base: 0x2000, limit: 0x67, attr: 0x8b, selector: 0x40 };
    (regs.star, regs.lstar, regs.sfmask) = (1, 2, 3);
    (regs.kernel_gs_base, regs.sysenter_eip) = (0xffff_ffff_8000_0000, 5);
    let saved = mock.regs;
    insn::vmsave(&mut mock, VMCB);
    let regs = &mut mock.regs;
    regs.seg[seg::FS] = Segment::default();
    regs.seg[seg::GS] = Segment::default();
    (regs.tr, regs.ldtr) = (Segment::default(), Segment::default());
    (regs.star, regs.lstar, regs.sfmask, regs.kernel_gs_base, regs.sysenter_eip) = (0, 0, 0, 0, 0);
    insn::vmload(&mut mock, VMCB);
    assert_eq!(mock.regs, saved);
}

#[test]
fn vmsave_leaves_what_vmrun_carries() {
    let mut mock = Mock::new();
    let before = mock.memory.clone();
    insn::vmsave(&mut mock, VMCB);
    assert_eq!(mock.memory[0x3000..0x3440], before[0x3000..0x3440]);
    assert_eq!(mock.memory[0x34a0..0x3600], before[0x34a0..0x3600]);
    assert_eq!(mock.memory[0x3640..0x4000], before[0x3640..0x4000]);
}

#[test]
fn vmload_makes_bases_canonical() {
    let mut mock = Mock::new();
    mock.put(save::FS + 8, 0x1234_8000_0000_0000);
    mock.put(save::KERNEL_GS_BASE, 0xabcd_0000_0000_1000);
    insn::vmload(&mut mock, VMCB);
    assert_eq!((mock.regs.seg[seg::FS].base, mock.regs.kernel_gs_base), (0xffff_8000_0000_0000, 0x1000));
}

#[test]
fn a_vmcb_is_page_aligned_and_within_physical_memory() {
    let caps = Caps::default();
    assert!(caps.vmcb_address(0) && caps.vmcb_address((1 << 48) - 0x1000));
    assert!(!caps.vmcb_address(0x800) && !caps.vmcb_address(1 << 48));
}

fn write(state: &mut State, number: u32, value: u64) -> bool {
    msr::write(state, number, value, false).unwrap().is_ok()
}

#[test]
fn vm_hsave_pa_wants_a_page() {
    let mut state = State::default();
    assert!(write(&mut state, VM_HSAVE_PA, 0x5000));
    assert!(!write(&mut state, VM_HSAVE_PA, 0x5001));
    assert_eq!(msr::read(&state, VM_HSAVE_PA), Some(0x5000));
}

#[test]
fn tsc_ratio_is_one_at_reset_and_refuses_reserved_bits() {
    let mut state = State::default();
    assert_eq!(msr::read(&state, TSC_RATIO), Some(1 << 32));
    assert!(!write(&mut state, TSC_RATIO, 1 << 40));
    assert!(write(&mut state, TSC_RATIO, (1 << 40) - 1));
}

#[test]
fn svmdis_forbids_svme_and_wants_it_clear() {
    let mut state = State::default();
    assert!(msr::write(&mut state, VM_CR, vm_cr::SVMDIS, true).unwrap().is_err());
    assert!(state.svme_allowed());
    assert!(write(&mut state, VM_CR, vm_cr::SVMDIS));
    assert!(!state.svme_allowed());
}

#[test]
fn reserved_bits_of_vm_cr_are_refused() {
    assert!(!write(&mut State::default(), VM_CR, 0x20));
}

#[test]
fn a_locked_vm_cr_opens_with_its_key_only() {
    let mut state = State::default();
    write(&mut state, MSR_SVM_KEY, 0x1234);
    write(&mut state, VM_CR, vm_cr::LOCK | vm_cr::SVMDIS);
    write(&mut state, VM_CR, 0);
    assert_eq!(state.vm_cr, vm_cr::LOCK | vm_cr::SVMDIS);
    write(&mut state, MSR_SVM_KEY, 0x4321);
    assert!(state.vm_cr & vm_cr::LOCK != 0);
    write(&mut state, MSR_SVM_KEY, 0x1234);
    assert_eq!(state.vm_cr, vm_cr::SVMDIS);
    assert_eq!(msr::read(&state, MSR_SVM_KEY), Some(0));
}

#[test]
fn without_a_key_a_lock_is_for_good() {
    let mut state = State::default();
    write(&mut state, VM_CR, vm_cr::LOCK);
    write(&mut state, MSR_SVM_KEY, 0);
    assert!(state.vm_cr & vm_cr::LOCK != 0);
}

#[test]
fn other_msrs_are_not_ours() {
    assert_eq!(msr::read(&State::default(), 0x10), None);
    assert_eq!(msr::write(&mut State::default(), 0x10, 0, false), None);
}

#[test]
fn cpuid_offers_the_assists() {
    let [revision, asids, _, features] = caps::leaf(&Caps::default());
    assert_eq!((revision, asids), (1, 0x8000));
    assert_eq!(features & (feature::NP | feature::NRIPS | feature::DECODE_ASSISTS), 0x89);
}
