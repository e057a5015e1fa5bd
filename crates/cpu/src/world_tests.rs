//! What ends a guest's run besides its instructions, by controls that only one vendor has.

use crate::Cpu;
use crate::fault::Fault;
use crate::system::bench::{guest, long, write};
use ireko_nested::{Control, Exit};
use ireko_x86::bits::rflags;

/// A guest under these controls, before two NOPs and a HLT.
fn guest_with(flags: u64, change: impl FnOnce(&mut Cpu, &mut Control)) -> Cpu {
    let mut cpu = long();
    guest(&mut cpu, &[]);
    let rip = cpu.processor.regs.rip;
    write(&mut cpu, rip, &[0x90, 0x90, 0xf4]);
    cpu.processor.regs.rflags |= flags;
    let mut control = cpu.control().expect("a guest").clone();
    change(&mut cpu, &mut control);
    *cpu.processor.control_mut().expect("a guest") = control;
    cpu
}

/// SDM vol. 3, 26.5.2.
#[test]
fn a_monitor_trap_comes_after_each_instruction() {
    let mut cpu = guest_with(0, |_, control| control.monitor_trap = true);
    let rip = cpu.processor.regs.rip;
    for n in 1..=2 {
        assert_eq!(cpu.round(), Ok(()));
        assert_eq!(cpu.processor.regs.rip, rip + n);
        assert_eq!(cpu.round(), Err(Fault::Exit(Exit::MonitorTrap)));
    }
}

/// SDM vol. 3, 26.5.1.
#[test]
fn a_guest_is_preempted_when_its_time_has_come() {
    let mut cpu = guest_with(0, |cpu, control| control.preempt_at = Some(cpu.own_tsc().read()));
    assert_eq!(cpu.round(), Err(Fault::Exit(Exit::PreemptionTimer)));
    let mut cpu = guest_with(0, |_, control| control.preempt_at = Some(u64::MAX));
    assert_eq!(cpu.round(), Ok(()));
}

#[test]
fn a_window_opens_with_the_interrupt_flag() {
    let mut cpu = guest_with(rflags::IF, |_, control| control.interrupt_window = true);
    assert_eq!(cpu.round(), Err(Fault::Exit(Exit::InterruptWindow)));
    let mut cpu = guest_with(0, |_, control| control.interrupt_window = true);
    assert_eq!(cpu.round(), Ok(()));
}

#[test]
fn a_window_for_nmis_opens_when_they_are_not_blocked() {
    let mut cpu = guest_with(0, |_, control| control.nmi_window = true);
    assert_eq!(cpu.round(), Err(Fault::Exit(Exit::NmiWindow)));
    let mut cpu = guest_with(0, |cpu, control| {
        control.nmi_window = true;
        cpu.processor.nmi_blocked = true;
    });
    assert_eq!(cpu.round(), Ok(()));
}
