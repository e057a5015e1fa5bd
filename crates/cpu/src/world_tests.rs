//! What ends a guest's run besides its instructions, by controls that only one vendor has.

use super::{entered, exit};
use crate::Cpu;
use crate::fault::Fault;
use crate::system::bench::{guest, long, write};
use ireko_nested::msr_list::{MsrList, MsrLists};
use ireko_nested::{Control, Exit, Intercept};
use ireko_x86::bits::rflags;
use ireko_x86::msr;

/// Physical address of the lists of MSRs.
const LISTS: u64 = 0x4000;

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

/// One MSR at an address, as a list of its own.
fn list(cpu: &mut Cpu, address: u64, number: u32, value: u64) -> MsrList {
    cpu.write_physical(address, &[u64::from(number).to_le_bytes(), value.to_le_bytes()].concat());
    MsrList { address, count: 1 }
}

/// SDM vol. 3, 27.4, 28.4 and 28.6: the guest's value comes with the entry; at the exit it is stored, and the hypervisor's comes back.
#[test]
fn msrs_change_with_the_world_as_the_lists_say() {
    let mut cpu = long();
    let [guests, own] = [0x0006_0406_0007_0406, 0x0007_0406_0007_0406];
    let mut lists = MsrLists {
        entry_load: list(&mut cpu, LISTS, msr::PAT, guests),
        exit_store: list(&mut cpu, LISTS + 0x10, msr::PAT, 0),
        exit_load: list(&mut cpu, LISTS + 0x20, msr::PAT, own),
    };
    let control = |msr_lists| Some(Control { msr_lists, ..Control::default() });
    assert_eq!(entered(&mut cpu, control(lists)), Ok(()));
    assert_eq!(crate::msr::read(&mut cpu, msr::PAT), Ok(guests));
    assert_eq!(exit(&mut cpu, Exit::Plain(Intercept::Hlt), None), Ok(()));
    let mut stored = [0; 8];
    cpu.read_physical(LISTS + 0x18, &mut stored);
    assert_eq!((crate::msr::read(&mut cpu, msr::PAT), u64::from_le_bytes(stored)), (Ok(own), guests));
    lists.entry_load = list(&mut cpu, LISTS, msr::PAT, u64::MAX);
    let refused = Fault::Exit(Exit::MsrLoad { entry: 1 });
    assert_eq!(entered(&mut cpu, control(lists)), Err(refused));
}
