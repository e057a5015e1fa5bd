//! What VMRUN loads.

use crate::svm::testing::Mock;
use crate::{Flush, Intercept, Stage2};
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, cr4, efer, rflags};
use ireko_x86::regs::{gpr, seg};
use ireko_x86::vmcb::{control, save};

#[test]
fn vmrun_loads_the_guest_and_leaves_the_rest() {
    let mut mock = Mock::new();
    let fs = mock.regs.seg[seg::FS];
    mock.vmrun().unwrap();
    let regs = &mock.regs;
    assert_eq!((regs.rip, regs.gpr[gpr::RSP], regs.gpr[gpr::RAX]), (0x40_0000, 0x7fff_0000, 0xaaaa));
    assert_eq!((regs.cr2, regs.cr3, regs.cr4, regs.cpl), (0x1234, 0x5000, cr4::PAE, 3));
    assert_eq!(regs.seg[seg::CS].selector, 0x33);
    assert_eq!(regs.gpr[gpr::RBX], 0xb);
    assert_eq!(regs.seg[seg::FS], fs);
}

#[test]
fn vmrun_sets_gif_and_takes_the_guests_shadow() {
    for shadow in [false, true] {
        let mut mock = Mock::new();
        mock.put(control::INTERRUPT_SHADOW, shadow.into());
        mock.vmrun().unwrap();
        assert_eq!((mock.gif, mock.shadow.is_on()), (true, shadow));
    }
}

#[test]
fn lma_follows_from_lme_and_paging() {
    for (value, paging, lma) in [(efer::LME, cr0::PG, true), (efer::LME, 0, false), (0, cr0::PG, false)] {
        let mut mock = Mock::new();
        mock.put(save::EFER, efer::SVME | value);
        mock.put(save::CR0, cr0::PE | paging);
        mock.vmrun().unwrap();
        assert_eq!(mock.regs.long_mode(), lma);
    }
}

#[test]
fn bases_are_made_canonical() {
    let mut mock = Mock::new();
    mock.put(save::CS + 8, 0x1234_8000_0000_0000);
    mock.put(save::GDTR + 8, 0xffff_7000_0000_0000);
    mock.vmrun().unwrap();
    assert_eq!(mock.regs.seg[seg::CS].base, 0xffff_8000_0000_0000);
    assert_eq!(mock.regs.gdtr.base, 0x7000_0000_0000);
}

#[test]
fn real_mode_is_cpl_0_and_virtual_8086_mode_cpl_3() {
    for (cr0, flags, cpl) in [(0, 0, 0), (cr0::PE, rflags::VM, 3), (cr0::PE, 0, 1)] {
        let mut mock = Mock::new();
        mock.put(save::CR0, cr0);
        mock.put(save::RFLAGS, flags | 2);
        mock.put8(save::CPL, 1);
        mock.vmrun().unwrap();
        assert_eq!(mock.regs.cpl, cpl);
    }
}

#[test]
fn nested_paging_takes_the_hosts_view_of_the_format() {
    let mut mock = Mock::new();
    let (cr4, efer) = (mock.regs.cr4, mock.regs.efer);
    let made = mock.vmrun().unwrap();
    assert_eq!(made.stage2, Some(Stage2 { root: 0xa000, tables: crate::Stage2Tables::Own { cr4, efer } }));
}

#[test]
fn only_nested_paging_has_a_pat_of_its_own() {
    for (nested, pat) in [(1, 0x0606_0606_0606_0606), (0, 0x0007_0406_0007_0406)] {
        let mut mock = Mock::new();
        mock.put(control::NESTED, nested);
        mock.put(save::G_PAT, 0x0606_0606_0606_0606);
        mock.vmrun().unwrap();
        assert_eq!(mock.regs.pat, pat);
    }
}

#[test]
fn pae_without_nested_paging_loads_the_pointer_entries() {
    let mut mock = Mock::new();
    mock.put(control::NESTED, 0);
    mock.put(save::EFER, efer::SVME);
    mock.memory[0x5008..0x5010].copy_from_slice(&0x7001u64.to_le_bytes());
    mock.vmrun().unwrap();
    assert_eq!(mock.regs.pdpte, [0, 0x7001, 0, 0]);
}

#[test]
fn tlb_control_says_what_is_flushed() {
    let cases = [
        (0, vec![]),
        (1, vec![Flush::All]),
        (3, vec![Flush::Asid { asid: 7, keep_global: false }]),
        (7, vec![Flush::Asid { asid: 7, keep_global: true }]),
    ];
    for (value, flushes) in cases {
        let mut mock = Mock::new();
        mock.put8(control::TLB_CONTROL, value);
        mock.vmrun().unwrap();
        assert_eq!(mock.flushes, flushes);
    }
}

#[test]
fn the_control_is_the_vmcbs() {
    let mut mock = Mock::new();
    mock.put32(control::CR_INTERCEPTS, 0x0100_0008);
    mock.put32(control::DR_INTERCEPTS, 0x00ff_0010);
    mock.put32(control::EXCEPTION_INTERCEPTS, 1 << 14);
    mock.put32(control::INTERCEPTS_3, 1 << 24);
    mock.put(control::MSRPM_BASE, 0x6abc);
    mock.put(control::TSC_OFFSET, 9);
    mock.put(control::VIRTUAL_INTERRUPT, 0x20_0311_0103 | 0x55 << 32);
    mock.put(control::LBR, 2);
    mock.state.tsc_ratio = 3 << 31;
    let made = mock.vmrun().unwrap();
    assert_eq!((made.cr_read, made.cr_write, made.dr_read, made.dr_write), (8, 0x100, 0x10, 0xff));
    assert!(made.takes(&Exception::page_fault(0, 0)) && !made.takes(&Exception::gp(0)));
    assert!(made.has(Intercept::Hlt) && made.has(Intercept::Vmrun) && !made.has(Intercept::Cpuid));
    assert_eq!(
        (made.msr_map, made.tsc_offset, made.tsc_scale.multiplier, made.asid),
        (0x6000, 9, 3 << 31, 7)
    );
    assert_eq!((made.v_tpr, made.v_irq, made.v_ignore_tpr), (3, true, true));
    assert_eq!((made.virtual_interrupts, made.vgif_enabled, made.vgif), (true, true, false));
    assert!(made.virtual_vmload_vmsave && made.host_if);
}

#[test]
fn virtual_vmload_needs_nested_paging() {
    let mut mock = Mock::new();
    mock.put(control::LBR, 2);
    mock.put(control::NESTED, 0);
    assert!(!mock.vmrun().unwrap().virtual_vmload_vmsave);
}
