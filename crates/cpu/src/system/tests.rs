//! Instructions on the bench, by what the manual says of each.

use super::bench::*;
use crate::cpu::Privilege;
use crate::segmentation::descriptor::{fetch, mark_busy};
use crate::{Fault, Next};
use ireko_nested::{CrAccess, Shadow};
use ireko_nested::{Exit, Intercept};
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, cr4, debugctl, dr6, dr7, efer, rflags};
use ireko_x86::descriptor::{ACCESS_BYTE, BUSY};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

fn gp(error: u32) -> Result<Next, Fault> {
    Err(Fault::gp(error))
}

/// Pushes values as 64-bit ones, the first lowest.
fn stack64(cpu: &mut crate::Cpu, values: &[u64]) {
    let sp = STACK - 8 * values.len() as u64;
    cpu.processor.regs.gpr[gpr::RSP] = sp;
    values.iter().enumerate().for_each(|(n, &value)| write64(cpu, sp + 8 * n as u64, value));
}

fn stack32(cpu: &mut crate::Cpu, values: &[u32]) {
    let sp = STACK - 4 * values.len() as u64;
    cpu.processor.regs.gpr[gpr::RSP] = sp;
    values.iter().enumerate().for_each(|(n, &value)| write(cpu, sp + 4 * n as u64, &value.to_le_bytes()));
}

const IRETQ: &[u8] = &[0x48, 0xcf];
const IRETD: &[u8] = &[0xcf];

#[test]
fn iretq_returns_to_user_code() {
    let mut cpu = long();
    stack64(&mut cpu, &[0x7777, USER_CODE.into(), 0x202, 0x6660, USER_DATA.into()]);
    cpu.processor.nmi_blocked = true;
    assert_eq!(run(&mut cpu, IRETQ), Ok(Next::Jump));
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.cpl, cpu.processor.regs.gpr[gpr::RSP]),
        (0x7777, 3, 0x6660)
    );
    assert_eq!((cpu.processor.regs.rflags, cpu.processor.nmi_blocked), (0x202, false));
}

#[test]
fn iretq_pops_the_stack_at_the_same_level_too() {
    let mut cpu = long();
    stack64(&mut cpu, &[0x7777, KERNEL_CODE.into(), 2, 0x6660, 0]);
    run(&mut cpu, IRETQ).unwrap();
    assert_eq!((cpu.processor.regs.gpr[gpr::RSP], cpu.processor.regs.seg[seg::SS].selector), (0x6660, 0));
}

#[test]
fn iretq_to_compatibility_mode_runs_32_bit_code() {
    let mut cpu = long();
    stack64(&mut cpu, &[0x7777, COMPAT_CODE.into(), 2, 0x6660, USER_DATA.into()]);
    run(&mut cpu, IRETQ).unwrap();
    assert!(!cpu.processor.regs.code64() && cpu.processor.regs.seg[seg::CS].big());
}

#[test]
fn iretq_to_an_address_that_is_not_canonical_commits_nothing() {
    let mut cpu = long();
    stack64(&mut cpu, &[1 << 47, USER_CODE.into(), 0x202, 0x6660, USER_DATA.into()]);
    let before = cpu.processor.regs;
    assert_eq!(run(&mut cpu, IRETQ), gp(0));
    assert_eq!(cpu.processor.regs, before);
}

#[test]
fn iretq_with_a_null_stack_segment_to_user_code_is_refused() {
    let mut cpu = long();
    stack64(&mut cpu, &[0x7777, USER_CODE.into(), 2, 0x6660, 3]);
    assert_eq!(run(&mut cpu, IRETQ), gp(0));
}

#[test]
fn iretq_with_a_nested_task_is_refused_in_long_mode() {
    let mut cpu = long();
    cpu.processor.regs.rflags |= rflags::NT;
    assert_eq!(run(&mut cpu, IRETQ), gp(0));
}

#[test]
fn iret_keeps_the_fs_base_of_a_null_selector() {
    let mut cpu = long();
    cpu.processor.regs.seg[seg::FS].base = 0x1234;
    cpu.processor.regs.seg[seg::FS].selector = 0;
    stack64(&mut cpu, &[0x7777, USER_CODE.into(), 2, 0x6660, USER_DATA.into()]);
    run(&mut cpu, IRETQ).unwrap();
    assert_eq!(cpu.processor.regs.seg[seg::FS].base, 0x1234);
    assert_eq!(cpu.processor.regs.seg[seg::DS].selector, 0, "level-0 data is dropped");
}

#[test]
fn user_code_cannot_set_if_by_iret() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    stack32(&mut cpu, &[0x7777, USER_CODE.into(), 0x3246]);
    run(&mut cpu, IRETD).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.rflags & (rflags::IF | rflags::IOPL)),
        (0x7777, 0)
    );
}

#[test]
fn iretd_enters_virtual_8086_mode() {
    let mut cpu = protected();
    let flags = (rflags::VM | 2) as u32;
    stack32(&mut cpu, &[0x10, 0x400, flags, 0x20, 0x700, 1, 2, 3, 4]);
    run(&mut cpu, IRETD).unwrap();
    assert_eq!(
        (cpu.processor.regs.v86(), cpu.processor.regs.cpl, cpu.processor.regs.seg[seg::CS].base),
        (true, 3, 0x4000)
    );
    assert_eq!((cpu.processor.regs.seg[seg::ES].selector, cpu.processor.regs.seg[seg::GS].selector), (1, 4));
}

#[test]
fn a_real_mode_iret_restores_ip_cs_and_flags() {
    let mut cpu = real();
    write(&mut cpu, 0x8100, &[0x34, 0x12, 0, 0x20, 0x46, 0x32]);
    run(&mut cpu, IRETD).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.seg[seg::CS].base, cpu.processor.regs.rflags),
        (0x1234, 0x20000, 0x3246)
    );
}

#[test]
fn int_n_in_a_guest_is_an_exit_with_its_vector() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::SoftwareInterrupt]);
    assert_eq!(run(&mut cpu, &[0xcd, 0x80]), Err(Fault::Exit(Exit::SoftwareInterrupt { vector: 0x80 })));
}

#[test]
fn int3_returns_behind_itself() {
    let mut cpu = long();
    run(&mut cpu, &[0xcc]).unwrap();
    let sp = cpu.processor.regs.gpr[gpr::RSP];
    assert_eq!((read64(&mut cpu, sp), cpu.processor.regs.rip), (CODE + 1, HANDLER + 16 * 3));
}

#[test]
fn a_far_jump_through_memory_changes_to_compatibility_mode() {
    let mut cpu = long();
    write(&mut cpu, 0x6000, &[0x78, 0x56, 0, 0, 0x38, 0]);
    write64(&mut cpu, GDT + 0x38, 0x00cf_9b00_0000_ffff);
    run(&mut cpu, &[0xff, 0x2c, 0x25, 0, 0x60, 0, 0]).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.seg[seg::CS].selector, cpu.processor.regs.code64()),
        (0x5678, 0x38, false)
    );
}

#[test]
fn a_far_call_and_a_far_return_are_a_round_trip() {
    let mut cpu = protected();
    run(&mut cpu, &[0x9a, 0, 0x60, 0, 0, 0x08, 0]).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]), (0x6000, STACK - 8));
    run(&mut cpu, &[0xcb]).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]), (CODE + 7, STACK));
}

#[test]
fn a_call_gate_to_level_0_copies_parameters_to_the_inner_stack() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    write64(&mut cpu, GDT + u64::from(GATE), 0xec02_0008_6000);
    stack32(&mut cpu, &[0x11, 0x22]);
    run(&mut cpu, &[0x9a, 0, 0, 0, 0, GATE as u8, 0]).unwrap();
    let frame: Vec<u32> = (0..6).map(|n| read32(&mut cpu, INNER - 24 + 4 * n)).collect();
    assert_eq!(frame, [CODE as u32 + 7, USER_CODE.into(), 0x11, 0x22, STACK as u32 - 8, USER_DATA.into()]);
    assert_eq!((cpu.processor.regs.cpl, cpu.processor.regs.rip), (0, 0x6000));
    // RETF 8 goes back and releases the parameters on both stacks.
    run(&mut cpu, &[0xca, 8, 0]).unwrap();
    assert_eq!(
        (cpu.processor.regs.cpl, cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]),
        (3, CODE + 7, STACK)
    );
}

#[test]
fn a_long_mode_call_gate_pushes_the_old_stack() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    write64(&mut cpu, GDT + u64::from(GATE), 0xec00_0008_6000);
    write(&mut cpu, 0x6100, &[0, 0, 0, 0, GATE as u8, 0]);
    run(&mut cpu, &[0xff, 0x1c, 0x25, 0, 0x61, 0, 0]).unwrap();
    let frame: Vec<u64> = (0..4).map(|n| read64(&mut cpu, INNER - 32 + 8 * n)).collect();
    assert_eq!(frame, [CODE + 7, USER_CODE.into(), STACK, USER_DATA.into()]);
}

#[test]
fn a_far_jump_to_a_16_bit_segment_beyond_its_limit_is_refused() {
    let mut cpu = protected();
    assert_eq!(run(&mut cpu, &[0xea, 0, 0, 1, 0, CODE16 as u8, 0]), gp(0));
    run(&mut cpu, &[0xea, 0, 0x60, 0, 0, CODE16 as u8, 0]).unwrap();
    assert!(!cpu.processor.regs.seg[seg::CS].big());
}

#[test]
fn a_return_to_an_outer_level_leaves_no_rpl_in_null_selectors() {
    let mut cpu = long();
    cpu.processor.regs.seg[seg::FS].selector = 3;
    cpu.processor.regs.seg[seg::FS].base = 0x1234;
    stack64(&mut cpu, &[0x7777, USER_CODE.into(), 0x202, 0x6660, USER_DATA.into()]);
    run(&mut cpu, IRETQ).unwrap();
    assert_eq!((cpu.processor.regs.seg[seg::FS].selector, cpu.processor.regs.seg[seg::FS].base), (0, 0x1234));
}

/// Virtual-8086 mode with CR4.VME, IOPL 0, at 600:0, stack at 800:100.
fn extended_v86() -> crate::Cpu {
    let mut cpu = protected();
    cpu.processor.regs.cr4 |= cr4::VME;
    cpu.processor.regs.rflags |= rflags::VM;
    cpu.processor.regs.cpl = 3;
    for (index, selector) in [0, 0x600, 0x800, 0, 0, 0].into_iter().enumerate() {
        cpu.processor.regs.seg[index] = crate::segmentation::descriptor::v86_segment(selector);
    }
    (cpu.processor.regs.gpr[gpr::RSP], cpu.processor.regs.rip) = (0x100, 0);
    // The bitmap of interrupts, and the I/O map behind it.
    write(&mut cpu, TSS + 0x66, &0x88u16.to_le_bytes());
    cpu.processor.regs.tr.limit = 0x100;
    cpu
}

/// APM vol. 2, 8.10.1: CLI and STI are for VIF.
#[test]
fn virtual_8086_programs_mask_interrupts_virtually() {
    let mut cpu = extended_v86();
    run(&mut cpu, &[0xfb]).unwrap();
    assert_eq!(cpu.processor.regs.rflags & (rflags::VIF | rflags::IF), rflags::VIF);
    run(&mut cpu, &[0xfa]).unwrap();
    assert_eq!(cpu.processor.regs.rflags & rflags::VIF, 0);
    cpu.processor.regs.rflags |= rflags::VIP;
    assert_eq!(run(&mut cpu, &[0xfb]), gp(0), "one is pending");
}

#[test]
fn virtual_8086_programs_see_vif_as_their_interrupt_flag() {
    let mut cpu = extended_v86();
    cpu.processor.regs.rflags |= rflags::VIF;
    run(&mut cpu, &[0x9c]).unwrap();
    assert_eq!(u64::from(read16(&mut cpu, 0x80fe)), rflags::IF | rflags::IOPL | 2);
    write(&mut cpu, 0x80fe, &[0x03, 0]);
    run(&mut cpu, &[0x9d]).unwrap();
    assert_eq!(cpu.processor.regs.rflags, rflags::VM | 3);
    assert_eq!(run(&mut cpu, &[0x66, 0x9c]), gp(0), "only with 16 bits");
}

/// What the system has to see: a trap flag, and interrupts on while one is pending.
#[test]
fn popf_of_a_virtual_8086_program_faults_and_moves_nothing() {
    let mut cpu = extended_v86();
    write(&mut cpu, 0x8100, &[0x02, 1]);
    assert_eq!((run(&mut cpu, &[0x9d]), cpu.processor.regs.gpr[gpr::RSP]), (gp(0), 0x100));
    write(&mut cpu, 0x8100, &[0x02, 2]);
    cpu.processor.regs.rflags |= rflags::VIP;
    assert_eq!(run(&mut cpu, &[0x9d]), gp(0));
}

#[test]
fn iret_of_a_virtual_8086_program_sets_vif() {
    let mut cpu = extended_v86();
    write(&mut cpu, 0x8100, &[0x34, 0x12, 0x00, 0x07, 0x03, 0x02]);
    run(&mut cpu, &[0xcf]).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.seg[seg::CS].base), (0x1234, 0x7000));
    assert_eq!(cpu.processor.regs.rflags, rflags::VM | rflags::VIF | 3);
}

/// APM vol. 2, 8.10.2: a clear bit leaves the interrupt to the program.
#[test]
fn int_of_a_virtual_8086_program_stays_there_by_a_bit() {
    let mut cpu = extended_v86();
    write(&mut cpu, 0x21 * 4, &[0x45, 0x23, 0x00, 0x07]);
    cpu.processor.regs.rflags |= rflags::VIF;
    run(&mut cpu, &[0xcd, 0x21]).unwrap();
    assert!(cpu.processor.regs.v86());
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.seg[seg::CS].base, cpu.processor.regs.gpr[gpr::RSP]),
        (0x2345, 0x7000, 0xfa)
    );
    assert_eq!((read16(&mut cpu, 0x80fa), read16(&mut cpu, 0x80fc)), (2, 0x600));
    assert_eq!(u64::from(read16(&mut cpu, 0x80fe)), rflags::IF | rflags::IOPL | 2);
    assert_eq!(cpu.processor.regs.rflags & rflags::VIF, 0);
    write(&mut cpu, TSS + 0x68 + 4, &[2]);
    run(&mut cpu, &[0xcd, 0x21]).unwrap();
    assert_eq!(cpu.processor.regs.rip, HANDLER + 16 * u64::from(vector::GP), "the system's, and IOPL is 0");
}

/// APM vol. 2, 8.10.3: CLI and STI of programs in protected mode.
#[test]
fn protected_programs_mask_interrupts_virtually() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    assert_eq!(run(&mut cpu, &[0xfb]), gp(0));
    cpu.processor.regs.cr4 |= cr4::PVI;
    run(&mut cpu, &[0xfb]).unwrap();
    assert_eq!(cpu.processor.regs.rflags & (rflags::VIF | rflags::IF), rflags::VIF);
}

/// APM vol. 2, 13.1.1: with DEBUGCTL.BTF the trap flag traps after branches that were taken.
#[test]
fn single_steps_may_be_from_branch_to_branch() {
    let mut cpu = long();
    cpu.processor.regs.debugctl = debugctl::BTF;
    let step = |cpu: &crate::Cpu, bytes: &[u8], to: u64| {
        let insn = decode(cpu, bytes);
        let mut regs = cpu.processor.regs;
        regs.rip = to;
        (insn, regs)
    };
    for (bytes, to, bits) in [
        (&[0x90][..], CODE + 1, 0),
        (&[0x75, 0x10], CODE + 2, 0),
        (&[0x75, 0x10], CODE + 0x12, dr6::BS),
        (&[0xeb, 0x00], CODE + 2, dr6::BS),
    ] {
        cpu.processor.regs.rip = CODE;
        let (insn, after) = step(&cpu, bytes, to);
        cpu.processor.regs = after;
        assert_eq!(super::debug::step(&cpu, rflags::TF, CODE, &insn), bits, "{bytes:x?}");
    }
}

#[test]
fn iretd_to_user_code_pops_its_stack() {
    let mut cpu = protected();
    stack32(&mut cpu, &[0x7777, USER_CODE.into(), 0x3202, 0x6660, USER_DATA.into()]);
    run(&mut cpu, IRETD).unwrap();
    assert_eq!(
        (cpu.processor.regs.cpl, cpu.processor.regs.gpr[gpr::RSP], cpu.processor.regs.rflags),
        (3, 0x6660, 0x3202)
    );
}

#[test]
fn pushf_and_popf_in_virtual_8086_mode_need_iopl_3() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    cpu.processor.regs.rflags |= rflags::VM;
    assert_eq!((run(&mut cpu, &[0x9c]), run(&mut cpu, &[0x9d])), (gp(0), gp(0)));
    cpu.processor.regs.rflags |= rflags::IOPL;
    assert_eq!(run(&mut cpu, &[0x9c]), Ok(Next::Advance));
}

#[test]
fn an_iret_fault_leaves_nmis_blocked() {
    let mut cpu = long();
    cpu.processor.nmi_blocked = true;
    stack64(&mut cpu, &[0x7777, 0, 2, 0x6660, 0]);
    assert_eq!((run(&mut cpu, IRETQ), cpu.processor.nmi_blocked), (gp(0), true));
}

#[test]
fn verw_refuses_code() {
    let mut cpu = protected();
    cpu.processor.regs.gpr[gpr::RAX] = KERNEL_CODE.into();
    cpu.processor.regs.rflags |= rflags::ZF;
    run(&mut cpu, &[0x0f, 0x00, 0xe8]).unwrap();
    assert_eq!(cpu.processor.regs.rflags & rflags::ZF, 0);
}

#[test]
fn a_control_register_intercept_names_the_register_and_its_source() {
    let mut cpu = long();
    guest(&mut cpu, &[]);
    if let crate::cpu::World::Guest(control) = &mut cpu.processor.world {
        control.cr_write = 1 << 3;
    }
    let exit = Exit::Cr { number: 3, access: CrAccess::To(0) };
    assert_eq!(run(&mut cpu, &mov_cr(3)), Err(Fault::Exit(exit)));
}

#[test]
fn a_conforming_segment_keeps_the_callers_level() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    run(&mut cpu, &[0xea, 0, 0x60, 0, 0, CONFORMING as u8, 0]).unwrap();
    assert_eq!((cpu.processor.regs.cpl, cpu.processor.regs.seg[seg::CS].selector), (3, CONFORMING | 3));
}

#[test]
fn loading_a_segment_sets_its_accessed_bit() {
    let mut cpu = protected();
    write64(&mut cpu, GDT + 0x70, 0x00cf_9200_0000_ffff);
    cpu.processor.regs.gpr[gpr::RAX] = 0x70;
    run(&mut cpu, &[0x8e, 0xd8]).unwrap();
    assert_eq!(
        (read64(&mut cpu, GDT + 0x70) >> 40 & 0xff, cpu.processor.regs.seg[seg::DS].attr),
        (0x93, 0xc93)
    );
}

#[test]
fn a_selector_beyond_the_table_is_named_in_the_error_code() {
    let mut cpu = protected();
    cpu.processor.regs.gpr[gpr::RAX] = 0x83;
    assert_eq!(run(&mut cpu, &[0x8e, 0xd8]), gp(0x80));
}

#[test]
fn a_stack_segment_that_is_not_present_is_a_stack_fault() {
    let mut cpu = protected();
    write64(&mut cpu, GDT + 0x70, 0x00cf_1300_0000_ffff);
    cpu.processor.regs.gpr[gpr::RAX] = 0x70;
    let expected = Exception::with_error(vector::SS, 0x70);
    assert_eq!(run(&mut cpu, &[0x8e, 0xd0]), Err(expected.into()));
}

#[test]
fn mov_ss_holds_interrupts_off() {
    let mut cpu = protected();
    cpu.processor.regs.gpr[gpr::RAX] = KERNEL_DATA.into();
    run(&mut cpu, &[0x8e, 0xd0]).unwrap();
    assert_eq!(cpu.processor.shadow, Shadow::MovSs);
}

#[test]
fn a_real_mode_segment_load_keeps_limit_and_rights() {
    let mut cpu = real();
    cpu.processor.regs.seg[seg::DS].limit = u32::MAX;
    cpu.processor.regs.gpr[gpr::RAX] = 0x1234;
    run(&mut cpu, &[0x8e, 0xd8]).unwrap();
    assert_eq!(
        (cpu.processor.regs.seg[seg::DS].base, cpu.processor.regs.seg[seg::DS].limit),
        (0x12340, u32::MAX)
    );
}

#[test]
fn ltr_marks_the_task_busy_and_takes_its_64_bit_base() {
    let mut cpu = long();
    write64(&mut cpu, GDT + u64::from(TASK) + 8, 0xffff_8000);
    cpu.processor.regs.gpr[gpr::RAX] = TASK.into();
    run(&mut cpu, &[0x0f, 0x00, 0xd8]).unwrap();
    assert_eq!((cpu.processor.regs.tr.base, cpu.processor.regs.tr.kind()), (0xffff_8000_0000_3000, 11));
    assert_eq!(run(&mut cpu, &[0x0f, 0x00, 0xd8]), gp(TASK.into()), "busy now");
}

#[test]
fn a_task_that_another_processor_took_meanwhile_is_busy() {
    let mut cpu = long();
    let mut entry = fetch(&mut cpu, TASK, vector::GP).unwrap();
    let access = GDT + u64::from(TASK) + ACCESS_BYTE;
    let other = cpu.load(access, 1, Privilege::System).unwrap() | u64::from(BUSY);
    write(&mut cpu, access, &[other as u8]);
    assert_eq!(mark_busy(&mut cpu, &mut entry, vector::GP), Err(Fault::gp(TASK.into())));
}

#[test]
fn lar_and_lsl_tell_rights_and_limit() {
    let mut cpu = protected();
    cpu.processor.regs.gpr[gpr::RAX] = USER_DATA.into();
    run(&mut cpu, &[0x0f, 0x02, 0xd8]).unwrap();
    assert_eq!(
        (cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.rflags & rflags::ZF),
        (0xcf_f300, rflags::ZF)
    );
    run(&mut cpu, &[0x0f, 0x03, 0xd8]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RBX], 0xffff_ffff);
}

#[test]
fn lar_of_a_bad_selector_clears_zf_and_leaves_the_register() {
    let mut cpu = protected();
    cpu.processor.regs.gpr[gpr::RBX] = 5;
    run(&mut cpu, &[0x0f, 0x02, 0xd8]).unwrap();
    assert_eq!((cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.rflags & rflags::ZF), (5, 0));
}

#[test]
fn umip_keeps_user_code_from_sgdt() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    let sgdt = [0x0f, 0x01, 0x04, 0x25, 0, 0x60, 0, 0];
    run(&mut cpu, &sgdt).unwrap();
    assert_eq!((read16(&mut cpu, 0x6000), read64(&mut cpu, 0x6002)), (0x7f, GDT));
    cpu.processor.regs.cr4 |= cr4::UMIP;
    assert_eq!(run(&mut cpu, &sgdt), gp(0));
}

#[test]
fn lgdt_in_64_bit_mode_loads_ten_bytes() {
    let mut cpu = long();
    write(&mut cpu, 0x6000, &[0x37, 0, 0, 0x10, 0, 0, 0, 0x80, 0xff, 0xff]);
    run(&mut cpu, &[0x0f, 0x01, 0x14, 0x25, 0, 0x60, 0, 0]).unwrap();
    assert_eq!((cpu.processor.regs.gdtr.limit, cpu.processor.regs.gdtr.base), (0x37, 0xffff_8000_0000_1000));
}

/// MOV CRn, RAX.
fn mov_cr(n: u8) -> [u8; 3] {
    [0x0f, 0x22, 0xc0 | n << 3]
}

#[test]
fn paging_without_protection_is_refused() {
    let mut cpu = real();
    cpu.processor.regs.gpr[gpr::RAX] = cr0::PG;
    assert_eq!(run(&mut cpu, &mov_cr(0)), gp(0));
}

#[test]
fn long_mode_becomes_active_with_paging() {
    let mut cpu = protected();
    cpu.processor.regs.efer = efer::LME;
    cpu.processor.regs.gpr[gpr::RAX] = cr0::PG | cr0::PE;
    assert_eq!(run(&mut cpu, &mov_cr(0)), gp(0), "CR4.PAE is off");
    cpu.processor.regs.cr4 = cr4::PAE;
    run(&mut cpu, &mov_cr(0)).unwrap();
    assert_ne!(cpu.processor.regs.efer & efer::LMA, 0);
}

#[test]
fn long_mode_cannot_lose_pae() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RAX] = 0;
    assert_eq!(run(&mut cpu, &mov_cr(4)), gp(0));
}

#[test]
fn pcids_need_a_cr3_without_one() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RAX] = cr4::PAE | cr4::PCIDE;
    cpu.processor.regs.cr3 |= 0x18;
    assert_eq!(run(&mut cpu, &mov_cr(4)), gp(0));
}

#[test]
fn bit_63_of_cr3_is_not_kept() {
    let mut cpu = long();
    cpu.processor.regs.cr4 |= cr4::PCIDE;
    cpu.processor.regs.gpr[gpr::RAX] = 1 << 63 | cpu.processor.regs.cr3 | 5;
    let expected = cpu.processor.regs.cr3 | 5;
    run(&mut cpu, &mov_cr(3)).unwrap();
    assert_eq!(cpu.processor.regs.cr3, expected);
}

#[test]
fn bit_63_of_cr3_is_reserved_without_pcids() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RAX] = 1 << 63;
    assert_eq!(run(&mut cpu, &mov_cr(3)), gp(0));
}

#[test]
fn cr8_holds_a_priority_of_four_bits() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RAX] = 9;
    run(&mut cpu, &[0x44, 0x0f, 0x22, 0xc0]).unwrap();
    run(&mut cpu, &[0x44, 0x0f, 0x20, 0xc3]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RBX], 9);
    cpu.processor.regs.gpr[gpr::RAX] = 16;
    assert_eq!(run(&mut cpu, &[0x44, 0x0f, 0x22, 0xc0]), gp(0));
}

#[test]
fn lmsw_cannot_leave_protected_mode() {
    let mut cpu = protected();
    cpu.processor.regs.gpr[gpr::RAX] = cr0::TS;
    run(&mut cpu, &[0x0f, 0x01, 0xf0]).unwrap();
    assert_eq!(cpu.processor.regs.cr0 & (cr0::PE | cr0::TS), cr0::PE | cr0::TS);
}

#[test]
fn user_code_may_not_touch_control_registers() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    assert_eq!(run(&mut cpu, &[0x0f, 0x20, 0xc0]), gp(0));
}

#[test]
fn dr4_is_dr6_unless_debugging_extensions_are_on() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RAX] = 1;
    run(&mut cpu, &[0x0f, 0x23, 0xe0]).unwrap();
    assert_eq!(cpu.processor.regs.dr6, dr6::FIXED | 1);
    cpu.processor.regs.cr4 |= cr4::DE;
    assert_eq!(run(&mut cpu, &[0x0f, 0x23, 0xe0]), Err(Fault::ud()));
}

#[test]
fn general_detect_catches_a_debug_register_access() {
    let mut cpu = long();
    cpu.processor.regs.dr7 |= dr7::GD;
    assert_eq!(run(&mut cpu, &[0x0f, 0x21, 0xf8]), Err(Exception::debug(dr6::BD).into()));
}

#[test]
fn an_instruction_breakpoint_matches_its_address_unless_resuming() {
    let mut cpu = long();
    cpu.processor.regs.dr[1] = CODE;
    cpu.processor.regs.dr7 = dr7::FIXED | 1 << 3;
    assert!(crate::breakpoints::armed(&cpu));
    assert_eq!(super::debug::instruction_breakpoint(&cpu, CODE), Some(Exception::debug(2)));
    cpu.processor.regs.rflags |= rflags::RF;
    assert_eq!(super::debug::instruction_breakpoint(&cpu, CODE), None);
}

#[test]
fn single_step_traps_after_an_instruction_but_not_after_mov_ss() {
    let cpu = protected();
    let nop = decode(&cpu, &[0x90]);
    let mov_ss = decode(&cpu, &[0x8e, 0xd0]);
    assert_eq!(super::debug::step(&cpu, rflags::TF, CODE, &nop), dr6::BS);
    assert_eq!(super::debug::step(&cpu, rflags::TF, CODE, &mov_ss), 0);
}

#[test]
fn xsetbv_refuses_avx_without_sse() {
    let mut cpu = long();
    cpu.processor.regs.cr4 |= cr4::OSXSAVE;
    let xsetbv = [0x0f, 0x01, 0xd1];
    cpu.processor.regs.gpr[gpr::RAX] = 5;
    assert_eq!(run(&mut cpu, &xsetbv), gp(0));
    cpu.processor.regs.gpr[gpr::RAX] = 3;
    run(&mut cpu, &xsetbv).unwrap();
    assert_eq!(cpu.processor.regs.xcr0, 3);
}

#[test]
fn sti_shadows_only_if_interrupts_were_off() {
    let mut cpu = long();
    run(&mut cpu, &[0xfb]).unwrap();
    assert_eq!(cpu.processor.shadow, Shadow::Sti);
    cpu.processor.shadow = Shadow::None;
    run(&mut cpu, &[0xfb]).unwrap();
    assert_eq!(cpu.processor.shadow, Shadow::None);
}

#[test]
fn user_code_may_not_clear_if() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    assert_eq!(run(&mut cpu, &[0xfa]), gp(0));
}

#[test]
fn popf_of_user_code_leaves_if_and_iopl() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    cpu.processor.regs.rflags |= rflags::IF;
    stack64(&mut cpu, &[rflags::IOPL | rflags::AC | 2]);
    run(&mut cpu, &[0x9d]).unwrap();
    assert_eq!(cpu.processor.regs.rflags, rflags::IF | rflags::AC | 2);
}

#[test]
fn pushf_hides_resume_and_virtual_8086_flags() {
    let mut cpu = long();
    cpu.processor.regs.rflags |= rflags::RF | rflags::IF;
    run(&mut cpu, &[0x9c]).unwrap();
    assert_eq!(read64(&mut cpu, STACK - 8), rflags::IF | 2);
}

#[test]
fn syscall_and_sysret_are_a_round_trip() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    cpu.processor.regs.star = 0x0013_0008 << 32;
    cpu.processor.regs.lstar = 0xffff_8000_0000_1000;
    cpu.processor.regs.sfmask = rflags::IF;
    cpu.processor.regs.rflags |= rflags::IF;
    run(&mut cpu, &[0x0f, 0x05]).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.cpl, cpu.processor.regs.rflags),
        (0xffff_8000_0000_1000, 0, 2)
    );
    assert_eq!(
        (cpu.processor.regs.seg[seg::CS].selector, cpu.processor.regs.seg[seg::SS].selector),
        (8, 0x10)
    );
    run(&mut cpu, &[0x48, 0x0f, 0x07]).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.cpl, cpu.processor.regs.rflags),
        (CODE + 2, 3, 0x202)
    );
    assert_eq!(
        (cpu.processor.regs.seg[seg::CS].selector, cpu.processor.regs.seg[seg::SS].selector),
        (0x23, 0x1b)
    );
}

#[test]
fn syscall_is_undefined_without_sce() {
    let mut cpu = long();
    cpu.processor.regs.efer &= !efer::SCE;
    assert_eq!(run(&mut cpu, &[0x0f, 0x05]), Err(Fault::ud()));
}

#[test]
fn sysenter_is_undefined_in_long_mode() {
    let mut cpu = long();
    assert_eq!(run(&mut cpu, &[0x0f, 0x34]), Err(Fault::ud()));
}

#[test]
fn sysenter_and_sysexit_are_a_round_trip_in_protected_mode() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    (cpu.processor.regs.sysenter_cs, cpu.processor.regs.sysenter_esp, cpu.processor.regs.sysenter_eip) =
        (8, 0x7000, 0x6000);
    run(&mut cpu, &[0x0f, 0x34]).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.cpl, cpu.processor.regs.gpr[gpr::RSP]),
        (0x6000, 0, 0x7000)
    );
    (cpu.processor.regs.gpr[gpr::RCX], cpu.processor.regs.gpr[gpr::RDX]) = (STACK, CODE);
    run(&mut cpu, &[0x0f, 0x35]).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.cpl, cpu.processor.regs.gpr[gpr::RSP]),
        (CODE, 3, STACK)
    );
}

#[test]
fn swapgs_exchanges_the_bases() {
    let mut cpu = long();
    cpu.processor.regs.seg[seg::GS].base = 1;
    cpu.processor.regs.kernel_gs_base = 2;
    run(&mut cpu, &[0x0f, 0x01, 0xf8]).unwrap();
    assert_eq!((cpu.processor.regs.seg[seg::GS].base, cpu.processor.regs.kernel_gs_base), (2, 1));
}

#[test]
fn wrfsbase_needs_cr4_and_a_canonical_base() {
    let mut cpu = long();
    let wrfsbase = [0xf3, 0x48, 0x0f, 0xae, 0xd0];
    cpu.processor.regs.gpr[gpr::RAX] = 1 << 63;
    assert_eq!(run(&mut cpu, &wrfsbase), Err(Fault::ud()));
    cpu.processor.regs.cr4 |= cr4::FSGSBASE;
    assert_eq!(run(&mut cpu, &wrfsbase), gp(0));
}

#[test]
fn rdtsc_obeys_tsd() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    run(&mut cpu, &[0x0f, 0x31]).unwrap();
    cpu.processor.regs.cr4 |= cr4::TSD;
    assert_eq!(run(&mut cpu, &[0x0f, 0x31]), gp(0));
}
