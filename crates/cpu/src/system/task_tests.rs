//! Task switches on the bench.

use crate::event::deliver;
use crate::system::bench::*;
use crate::{Cpu, Fault};
use ireko_nested::{Event, EventKind, Exit, Intercept};
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, dr6, rflags};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// A second task and a gate to it; a 16-bit one.
const OTHER: u16 = 0x68;
const TO_OTHER: u16 = 0x70;
const OTHER16: u16 = 0x78;
const OTHER_TSS: u64 = 0x3100;
const OTHER16_TSS: u64 = 0x3200;
const OTHER_STACK: u64 = 0xb000;
const OTHER_CODE: u64 = 0x6000;

/// Protected mode with the tasks.
fn tasks() -> Cpu {
    let mut cpu = protected();
    write64(&mut cpu, GDT + u64::from(OTHER), 0x67 | OTHER_TSS << 16 | 0x8900 << 32);
    write64(&mut cpu, GDT + u64::from(TO_OTHER), u64::from(OTHER) << 16 | 0x8500 << 32);
    write64(&mut cpu, GDT + u64::from(OTHER16), 0x2b | OTHER16_TSS << 16 | 0x8100 << 32);
    // The first task's own descriptor is busy, as its register says.
    let own = read64(&mut cpu, GDT + u64::from(TASK));
    write64(&mut cpu, GDT + u64::from(TASK), own | 2 << 40);
    let mut put = |n: u64, value: u64| write(&mut cpu, OTHER_TSS + n, &(value as u32).to_le_bytes());
    put(0x20, OTHER_CODE);
    put(0x24, 0x202);
    (0..8).for_each(|n| put(0x28 + 4 * n, 0x1111_1111 * n));
    put(0x38, OTHER_STACK);
    for (n, selector) in [KERNEL_DATA, KERNEL_CODE, KERNEL_DATA, KERNEL_DATA, 0, 0].into_iter().enumerate() {
        put(0x48 + 4 * n as u64, selector.into());
    }
    cpu
}

fn jump(selector: u16) -> [u8; 7] {
    [0xea, 0, 0, 0, 0, selector as u8, 0]
}

fn call(selector: u16) -> [u8; 7] {
    [0x9a, 0, 0, 0, 0, selector as u8, 0]
}

fn busy(cpu: &mut Cpu, selector: u16) -> bool {
    read64(cpu, GDT + u64::from(selector)) >> 41 & 1 != 0
}

#[test]
fn a_jump_saves_the_old_task_and_loads_the_new_one() {
    let mut cpu = tasks();
    (cpu.processor.regs.gpr[gpr::RDX], cpu.processor.regs.dr7) = (0x1234, 0x5ff);
    run(&mut cpu, &jump(OTHER)).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]), (OTHER_CODE, OTHER_STACK));
    assert_eq!((cpu.processor.regs.gpr[gpr::RDI], cpu.processor.regs.rflags), (0x7777_7777, 0x202));
    assert_eq!((cpu.processor.regs.tr.selector, cpu.processor.regs.tr.base), (OTHER, OTHER_TSS));
    assert_eq!((cpu.processor.regs.cr0 & cr0::TS, cpu.processor.regs.dr7), (cr0::TS, 0x4aa));
    assert_eq!((read32(&mut cpu, TSS + 0x20), read32(&mut cpu, TSS + 0x30)), (CODE as u32 + 7, 0x1234));
    assert_eq!(read16(&mut cpu, TSS + 0x4c), KERNEL_CODE);
    assert_eq!((busy(&mut cpu, TASK), busy(&mut cpu, OTHER)), (false, true));
}

#[test]
fn a_call_links_the_new_task_and_iret_goes_back() {
    let mut cpu = tasks();
    run(&mut cpu, &call(TO_OTHER)).unwrap();
    assert_eq!(cpu.processor.regs.rflags & rflags::NT, rflags::NT);
    assert_eq!(read16(&mut cpu, OTHER_TSS), TASK);
    assert_eq!((busy(&mut cpu, TASK), busy(&mut cpu, OTHER)), (true, true));
    run(&mut cpu, &[0xcf]).unwrap();
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP], cpu.processor.regs.tr.selector),
        (CODE + 7, STACK, TASK)
    );
    assert_eq!((busy(&mut cpu, TASK), busy(&mut cpu, OTHER)), (true, false));
    assert_eq!(read32(&mut cpu, OTHER_TSS + 0x24) as u64 & rflags::NT, 0);
    assert_eq!(read32(&mut cpu, OTHER_TSS + 0x20), OTHER_CODE as u32 + 1);
}

#[test]
fn a_16_bit_task_has_words() {
    let mut cpu = tasks();
    write(&mut cpu, OTHER16_TSS + 0x0e, &[0x00, 0x60, 0x02, 0x00]);
    write(&mut cpu, OTHER16_TSS + 0x1a, &[0x00, 0xb0]);
    for (n, selector) in [KERNEL_DATA, KERNEL_CODE, KERNEL_DATA, KERNEL_DATA].into_iter().enumerate() {
        write(&mut cpu, OTHER16_TSS + 0x22 + 2 * n as u64, &selector.to_le_bytes());
    }
    run(&mut cpu, &jump(OTHER16)).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]), (OTHER_CODE, OTHER_STACK));
    run(&mut cpu, &jump(OTHER)).unwrap();
    assert_eq!(read16(&mut cpu, OTHER16_TSS + 0x0e), OTHER_CODE as u16 + 7);
}

#[test]
fn an_exception_through_a_task_gate_pushes_its_error_code_in_the_new_task() {
    let mut cpu = tasks();
    write64(&mut cpu, IDT + 8 * u64::from(vector::GP), u64::from(OTHER) << 16 | 0x8500 << 32);
    let event = Event { kind: EventKind::Exception, vector: vector::GP, error: Some(0x18) };
    deliver(&mut cpu, event, CODE).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]), (OTHER_CODE, OTHER_STACK - 4));
    assert_eq!(read32(&mut cpu, OTHER_STACK - 4), 0x18);
    let flags = u64::from(read32(&mut cpu, TSS + 0x24));
    assert_eq!((read32(&mut cpu, TSS + 0x20), flags & rflags::RF), (CODE as u32, rflags::RF));
}

#[test]
fn a_task_that_is_busy_is_not_entered() {
    let mut cpu = tasks();
    assert_eq!(run(&mut cpu, &jump(TASK)), Err(Fault::gp(TASK.into())));
}

#[test]
fn iret_from_a_task_that_was_not_linked_names_the_link() {
    let mut cpu = tasks();
    cpu.processor.regs.rflags |= rflags::NT;
    write(&mut cpu, TSS, &OTHER.to_le_bytes());
    let refused = Exception::with_error(vector::TS, OTHER.into());
    assert_eq!(run(&mut cpu, &[0xcf]), Err(refused.into()));
    assert_eq!(cpu.processor.regs.tr.selector, TASK);
}

#[test]
fn a_task_state_segment_that_is_too_small_is_named() {
    let mut cpu = tasks();
    write(&mut cpu, GDT + u64::from(OTHER), &[0x66]);
    let refused = Exception::with_error(vector::TS, OTHER.into());
    assert_eq!(run(&mut cpu, &jump(OTHER)), Err(refused.into()));
}

/// APM vol. 2, 12.4: what is wrong with the new task's segments is found in the new task.
#[test]
fn a_bad_stack_segment_faults_in_the_new_task() {
    let mut cpu = tasks();
    write(&mut cpu, OTHER_TSS + 0x50, &USER_DATA.to_le_bytes());
    let refused = Exception::with_error(vector::TS, u32::from(USER_DATA & !3));
    assert_eq!(run(&mut cpu, &jump(OTHER)), Err(refused.into()));
    assert_eq!((cpu.processor.regs.tr.selector, cpu.processor.regs.rip), (OTHER, OTHER_CODE));
    assert_eq!(cpu.processor.regs.seg[seg::CS].selector, KERNEL_CODE);
}

#[test]
fn the_debug_bit_of_a_task_traps_after_the_switch() {
    let mut cpu = tasks();
    write(&mut cpu, OTHER_TSS + 0x64, &[1]);
    assert_eq!(run(&mut cpu, &jump(OTHER)), Err(Exception::debug(dr6::BT).into()));
    assert_eq!(cpu.processor.regs.rip, OTHER_CODE);
}

#[test]
fn a_task_may_be_of_virtual_8086_mode() {
    let mut cpu = tasks();
    write(&mut cpu, OTHER_TSS + 0x24, &0x2_0202u32.to_le_bytes());
    write(&mut cpu, OTHER_TSS + 0x4c, &0x600u16.to_le_bytes());
    write(&mut cpu, OTHER_TSS + 0x20, &0x12u32.to_le_bytes());
    run(&mut cpu, &jump(OTHER)).unwrap();
    assert!(cpu.processor.regs.v86());
    assert_eq!(
        (cpu.processor.regs.cpl, cpu.processor.regs.seg[seg::CS].base, cpu.processor.regs.rip),
        (3, 0x6000, 0x12)
    );
}

/// APM vol. 2, 15.14.1: the intercept comes before any of the switch, and says which task and how.
#[test]
fn a_hypervisor_hears_of_a_task_switch_before_it() {
    let mut cpu = tasks();
    guest(&mut cpu, &[Intercept::TaskSwitch]);
    let before = cpu.processor.regs;
    let exit = |error, iret, jump| Err(Fault::Exit(Exit::TaskSwitch { selector: OTHER, error, iret, jump }));
    assert_eq!(run(&mut cpu, &jump(OTHER)), exit(None, false, true));
    assert_eq!(run(&mut cpu, &call(TO_OTHER)), exit(None, false, false));
    assert_eq!(cpu.processor.regs, before);
    assert!(!busy(&mut cpu, OTHER));
    write64(&mut cpu, IDT + 8 * u64::from(vector::GP), u64::from(OTHER) << 16 | 0x8500 << 32);
    let event = Event { kind: EventKind::Exception, vector: vector::GP, error: Some(8) };
    assert_eq!(deliver(&mut cpu, event, CODE), exit(Some(8), false, false).map(|_: crate::Next| ()));
    assert_eq!(cpu.processor.in_flight, Some(event));
}
