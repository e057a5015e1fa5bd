//! MONITOR and MWAIT by their routines (APM vol. 3), and what ends a wait.

use crate::system::bench::{self, run, set_level, write};
use crate::{Cpu, Fault};
use ireko_nested::{Exit, Intercept};
use ireko_x86::bits::rflags;
use ireko_x86::msr::{HWCR_MONITOR_OFF, HWCR_MONITOR_USER};
use ireko_x86::regs::gpr;

const MONITOR: [u8; 3] = [0x0f, 0x01, 0xc8];
const MWAIT: [u8; 3] = [0x0f, 0x01, 0xc9];
const DATA: u64 = 0x6000;

fn cpu() -> Cpu {
    let mut cpu = bench::long();
    (cpu.processor.regs.gpr[gpr::RAX], cpu.processor.regs.gpr[gpr::RCX]) = (DATA + 5, 0);
    cpu
}

/// After MONITOR, waiting with this ECX.
fn waiting(ecx: u64) -> Cpu {
    let mut cpu = cpu();
    run(&mut cpu, &MONITOR).unwrap();
    cpu.processor.regs.gpr[gpr::RCX] = ecx;
    run(&mut cpu, &MWAIT).unwrap();
    assert!(cpu.processor.halted);
    cpu
}

fn still_waits(mut cpu: Cpu) -> bool {
    cpu.heed_monitor();
    cpu.processor.halted
}

#[test]
fn mwait_after_monitor_waits_and_one_without_does_not() {
    let mut cpu = waiting(0);
    cpu.processor.halted = false;
    run(&mut cpu, &MWAIT).unwrap();
    assert!(!cpu.processor.halted);
}

#[test]
fn nothing_new_ends_no_wait() {
    assert!(still_waits(waiting(0)));
}

#[test]
fn a_write_to_the_line_ends_the_wait_and_one_beside_it_does_not() {
    let after = |address| {
        let cpu = waiting(0);
        cpu.mmu.physical.write(address, &[1]);
        still_waits(cpu)
    };
    assert_eq!([DATA - 1, DATA, DATA + 63, DATA + 64].map(after), [true, false, false, true]);
}

#[test]
fn a_write_between_the_two_is_not_waited_for() {
    let mut cpu = cpu();
    run(&mut cpu, &MONITOR).unwrap();
    write(&mut cpu, DATA, &[1]);
    run(&mut cpu, &MWAIT).unwrap();
    assert!(!cpu.processor.halted);
}

/// Bit 0 of ECX: interrupts that RFLAGS.IF masks.
#[test]
fn a_masked_interrupt_ends_the_wait_if_it_was_asked_to() {
    let after = |ecx| {
        let mut cpu = waiting(ecx);
        cpu.processor.regs.rflags &= !rflags::IF;
        cpu.apic().write(0xf0, 0x1ff);
        cpu.apic().write(0x300, 1 << 18 | 0x60);
        still_waits(cpu)
    };
    assert_eq!([0, 1].map(after), [true, false]);
}

#[test]
fn unknown_extensions_are_a_general_protection_fault() {
    let mut cpu = cpu();
    cpu.processor.regs.gpr[gpr::RCX] = 1;
    assert_eq!(run(&mut cpu, &MONITOR), Err(Fault::gp(0)));
    cpu.processor.regs.gpr[gpr::RCX] = 2;
    assert_eq!(run(&mut cpu, &MWAIT), Err(Fault::gp(0)));
}

#[test]
fn programs_may_if_hwcr_says_so_and_nobody_if_it_says_so() {
    let with = |cpl, hwcr| {
        let mut cpu = cpu();
        set_level(&mut cpu, cpl);
        cpu.processor.msrs.hwcr |= hwcr;
        [&MONITOR, &MWAIT].map(|code| run(&mut cpu, code) == Err(Fault::ud()))
    };
    assert_eq!((with(3, 0), with(3, HWCR_MONITOR_USER)), ([true; 2], [false; 2]));
    assert_eq!((with(0, HWCR_MONITOR_OFF), with(0, 0)), ([true; 2], [false; 2]));
}

/// APM vol. 2, table 15-7: after all exceptions. MWAIT has an intercept of its own for when it would wait.
#[test]
fn a_hypervisor_may_intercept_either() {
    let exit = |what, armed: bool, code| {
        let mut cpu = cpu();
        bench::guest(&mut cpu, &[what]);
        if armed {
            run(&mut cpu, &MONITOR).unwrap();
        }
        run(&mut cpu, code) == Err(Fault::Exit(Exit::Plain(what)))
    };
    assert!(exit(Intercept::Monitor, false, &MONITOR));
    assert!(exit(Intercept::Mwait, false, &MWAIT));
    assert!(exit(Intercept::MwaitArmed, true, &MWAIT));
    assert!(!exit(Intercept::MwaitArmed, false, &MWAIT));
}
