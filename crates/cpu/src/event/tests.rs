//! Delivery in every mode, and what happens when it fails.

use super::{ask, deliver, raise};
use crate::cpu::World;
use crate::system::bench::*;
use crate::{Cpu, Fault};
use ireko_nested::{Event, EventKind, Exit, Intercept};
use ireko_x86::Exception;
use ireko_x86::bits::{dr6, dr7, pf, rflags};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

fn external(vector: u8) -> Event {
    Event { kind: EventKind::External, vector, error: None }
}

fn software(vector: u8) -> Event {
    Event { kind: EventKind::SoftwareInterrupt, vector, error: None }
}

fn handler(vector: u8) -> u64 {
    HANDLER + 16 * u64::from(vector)
}

/// Makes the page of `address` not present for the long-mode bench, by leaving the identity map.
fn unmapped() -> u64 {
    0x4000_0000
}

#[test]
fn a_long_mode_interrupt_from_user_code_pushes_five_values_on_rsp0() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    cpu.processor.regs.rflags |= rflags::IF;
    deliver(&mut cpu, external(0x30), 0x4444).unwrap();
    let frame: Vec<u64> = (0..5).map(|n| read64(&mut cpu, INNER - 40 + 8 * n)).collect();
    assert_eq!(frame, [0x4444, USER_CODE.into(), 0x202, STACK, USER_DATA.into()]);
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.cpl, cpu.processor.regs.gpr[gpr::RSP]),
        (handler(0x30), 0, INNER - 40)
    );
    assert_eq!(
        (cpu.processor.regs.seg[seg::CS].selector, cpu.processor.regs.seg[seg::SS].selector),
        (KERNEL_CODE, 0)
    );
    assert_eq!(cpu.processor.regs.rflags & rflags::IF, 0);
}

#[test]
fn a_long_mode_stack_is_aligned_to_16_bytes_before_the_frame() {
    let mut cpu = long();
    cpu.processor.regs.gpr[gpr::RSP] = STACK - 5;
    deliver(&mut cpu, external(0x30), 0).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP], STACK - 16 - 40);
}

#[test]
fn an_interrupt_stack_is_used_at_the_same_privilege_too() {
    let mut cpu = long();
    long_gate(&mut cpu, 8, 0x8e01);
    deliver(&mut cpu, external(8), 0).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP], IST - 40);
    assert_eq!(cpu.processor.regs.seg[seg::SS].selector, KERNEL_DATA);
}

#[test]
fn a_trap_gate_leaves_interrupts_on() {
    let mut cpu = long();
    cpu.processor.regs.rflags |= rflags::IF;
    long_gate(&mut cpu, 0x30, 0x8f00);
    deliver(&mut cpu, external(0x30), 0).unwrap();
    assert_ne!(cpu.processor.regs.rflags & rflags::IF, 0);
}

#[test]
fn a_fault_pushes_its_error_code_and_resume_flag() {
    let mut cpu = long();
    raise(&mut cpu, Exception::gp(0x18)).unwrap();
    let sp = cpu.processor.regs.gpr[gpr::RSP];
    assert_eq!((read64(&mut cpu, sp), read64(&mut cpu, sp + 8)), (0x18, CODE));
    assert_ne!(read64(&mut cpu, sp + 24) & rflags::RF, 0);
}

#[test]
fn a_page_fault_sets_cr2() {
    let mut cpu = long();
    raise(&mut cpu, Exception::page_fault(0x1234, pf::USER)).unwrap();
    assert_eq!((cpu.processor.regs.cr2, cpu.processor.regs.rip), (0x1234, handler(vector::PF)));
}

#[test]
fn a_debug_exception_sets_dr6_and_clears_general_detect() {
    let mut cpu = long();
    cpu.processor.regs.dr7 |= dr7::GD;
    raise(&mut cpu, Exception::debug(dr6::BD | 2)).unwrap();
    assert_eq!((cpu.processor.regs.dr6, cpu.processor.regs.dr7 & dr7::GD), (dr6::FIXED | dr6::BD | 2, 0));
}

#[test]
fn int_n_from_user_code_needs_a_gate_of_its_level() {
    let mut cpu = long();
    set_level(&mut cpu, 3);
    deliver(&mut cpu, software(0x30), 0x4002).unwrap();
    assert_eq!(cpu.processor.regs.rip, handler(vector::GP));
    let sp = cpu.processor.regs.gpr[gpr::RSP];
    assert_eq!((read64(&mut cpu, sp), read64(&mut cpu, sp + 8)), (0x30 * 8 + 2, CODE));
}

#[test]
fn an_external_interrupt_without_a_present_gate_gives_np_with_ext() {
    let mut cpu = long();
    long_gate(&mut cpu, 0x30, 0x0e00);
    deliver(&mut cpu, external(0x30), CODE).unwrap();
    let sp = cpu.processor.regs.gpr[gpr::RSP];
    assert_eq!((cpu.processor.regs.rip, read64(&mut cpu, sp)), (handler(vector::NP), 0x30 * 8 + 3));
}

#[test]
fn two_contributory_exceptions_make_a_double_fault() {
    let mut cpu = long();
    long_gate(&mut cpu, vector::GP, 0x0e00);
    raise(&mut cpu, Exception::gp(0)).unwrap();
    let sp = cpu.processor.regs.gpr[gpr::RSP];
    assert_eq!((cpu.processor.regs.rip, read64(&mut cpu, sp)), (handler(vector::DF), 0));
}

#[test]
fn a_page_fault_in_the_delivery_of_a_general_protection_fault_is_served_alone() {
    let mut cpu = long();
    long_gate(&mut cpu, vector::GP, 0x8e02);
    write64(&mut cpu, TSS + 0x2c, unmapped());
    raise(&mut cpu, Exception::gp(0)).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.cr2), (handler(vector::PF), unmapped() - 48));
}

#[test]
fn a_fault_in_the_delivery_of_a_double_fault_is_a_shutdown() {
    let mut cpu = long();
    cpu.processor.regs.idtr.limit = 0;
    assert_eq!(raise(&mut cpu, Exception::ud()), Err(Fault::Shutdown));
    assert_eq!(cpu.processor.in_flight, None);
}

#[test]
fn a_triple_fault_in_a_guest_is_an_exit_if_asked_for() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Shutdown]);
    cpu.processor.regs.idtr.limit = 0;
    assert_eq!(raise(&mut cpu, Exception::ud()), Err(Fault::Exit(Exit::Plain(Intercept::Shutdown))));
}

fn intercept_exceptions(cpu: &mut Cpu, mask: u32) {
    guest(cpu, &[]);
    if let World::Guest(control) = &mut cpu.processor.world {
        control.exceptions = mask;
    }
}

#[test]
fn an_intercepted_page_fault_leaves_cr2_alone() {
    let mut cpu = long();
    intercept_exceptions(&mut cpu, 1 << vector::PF);
    let exception = Exception::page_fault(0x1234, 0);
    assert_eq!(raise(&mut cpu, exception), Err(Fault::Exit(Exit::exception(exception))));
    assert_eq!((cpu.processor.regs.cr2, cpu.processor.in_flight), (0, None));
}

#[test]
fn an_intercepted_int3_is_told_from_an_exception_of_the_processor() {
    let mut cpu = long();
    intercept_exceptions(&mut cpu, 1 << vector::BP);
    let told = Exit::Exception { exception: Exception::new(vector::BP), kind: EventKind::SoftwareException };
    assert_eq!(ask(&mut cpu, vector::BP, CODE + 1), Err(Fault::Exit(told)));
}

#[test]
fn an_exit_in_delivery_reports_the_event_in_flight_and_commits_nothing() {
    let mut cpu = long();
    intercept_exceptions(&mut cpu, 1 << vector::PF);
    cpu.processor.regs.gpr[gpr::RSP] = unmapped();
    let before = cpu.processor.regs;
    let result = deliver(&mut cpu, external(0x30), CODE);
    assert!(matches!(result, Err(Fault::Exit(Exit::Exception { .. }))));
    assert_eq!((cpu.processor.in_flight, cpu.processor.regs), (Some(external(0x30)), before));
}

#[test]
fn a_protected_mode_interrupt_from_user_code_takes_the_stack_of_the_tss() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    raise(&mut cpu, Exception::gp(0x77)).unwrap();
    let frame: Vec<u32> = (0..6).map(|n| read32(&mut cpu, INNER - 24 + 4 * n)).collect();
    let stack = [STACK as u32, USER_DATA.into()];
    assert_eq!(frame, [0x77, CODE as u32, USER_CODE.into(), 0x1_0002, stack[0], stack[1]]);
    assert_eq!((cpu.processor.regs.cpl, cpu.processor.regs.seg[seg::SS].selector), (0, KERNEL_DATA));
}

#[test]
fn a_protected_mode_interrupt_at_the_same_level_pushes_three_values() {
    let mut cpu = protected();
    deliver(&mut cpu, external(0x20), 0x4444).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP], STACK - 12);
    assert_eq!(read32(&mut cpu, STACK - 12), 0x4444);
}

#[test]
fn a_16_bit_gate_pushes_words() {
    let mut cpu = protected();
    gate(&mut cpu, 0x20, 0x8600);
    deliver(&mut cpu, external(0x20), 0x4444).unwrap();
    assert_eq!((cpu.processor.regs.gpr[gpr::RSP], read16(&mut cpu, STACK - 6)), (STACK - 6, 0x4444));
}

#[test]
fn an_interrupt_in_virtual_8086_mode_saves_and_clears_the_data_segments() {
    let mut cpu = protected();
    set_level(&mut cpu, 3);
    cpu.processor.regs.rflags |= rflags::VM;
    for (index, selector) in [0xe, 0x400, 0x700, 0xd, 0xf, 0x6].into_iter().enumerate() {
        cpu.processor.regs.seg[index] = crate::segmentation::descriptor::v86_segment(selector);
    }
    deliver(&mut cpu, external(0x20), 0x12).unwrap();
    let frame: Vec<u32> = (0..9).map(|n| read32(&mut cpu, INNER - 36 + 4 * n)).collect();
    assert_eq!(frame, [0x12, 0x400, 0x2_0002, STACK as u32, 0x700, 0xe, 0xd, 0xf, 0x6]);
    assert_eq!((cpu.processor.regs.v86(), cpu.processor.regs.seg[seg::GS].selector), (false, 0));
}

#[test]
fn int_n_in_virtual_8086_mode_without_iopl_3_is_a_general_protection_fault() {
    let mut cpu = protected();
    gate(&mut cpu, 0x20, 0xee00);
    set_level(&mut cpu, 3);
    cpu.processor.regs.rflags |= rflags::VM;
    deliver(&mut cpu, software(0x20), 0x12).unwrap();
    assert_eq!(cpu.processor.regs.rip, handler(vector::GP));
}

#[test]
fn a_real_mode_interrupt_pushes_three_words_and_masks_interrupts() {
    let mut cpu = real();
    cpu.processor.regs.rflags |= rflags::IF;
    deliver(&mut cpu, software(0x10), 0x22).unwrap();
    let frame: Vec<u16> = (0..3).map(|n| read16(&mut cpu, 0x80fa + 2 * n)).collect();
    assert_eq!(frame, [0x22, 0x400, 0x202]);
    assert_eq!((cpu.processor.regs.seg[seg::CS].selector, cpu.processor.regs.rip), (0x500, 0x100));
    assert_eq!(cpu.processor.regs.rflags & rflags::IF, 0);
}

#[test]
fn a_real_mode_frame_wraps_around_the_end_of_the_stack_segment() {
    let mut cpu = real();
    cpu.processor.regs.gpr[gpr::RSP] = 2;
    deliver(&mut cpu, software(0x10), 0x22).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP], 0xfffc);
    assert_eq!((read16(&mut cpu, 0x8000), read16(&mut cpu, 0x17ffc)), (2, 0x22));
}

#[test]
fn an_nmi_blocks_nmis() {
    let mut cpu = long();
    deliver(&mut cpu, Event { kind: EventKind::Nmi, vector: vector::NMI, error: None }, CODE).unwrap();
    assert!(cpu.processor.nmi_blocked);
}
