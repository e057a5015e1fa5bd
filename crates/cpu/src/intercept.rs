//! Where a guest's hypervisor is asked, whichever vendor's it is: events, and instructions with an operand that it is told of.

use crate::{Cpu, Fault};
use ireko_nested::interrupt::{self, Masks};
use ireko_nested::{Control, CrAccess, Event, EventKind, Exit, Intercept, IoExit, permission};
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, rflags};

impl Cpu {
    fn masks(&self) -> Masks {
        Masks {
            gif: self.processor.gif,
            interrupt_flag: self.processor.regs.rflags & rflags::IF != 0,
            shadow: self.processor.shadow,
            nmi_blocked: self.processor.nmi_blocked,
        }
    }

    /// Reads the hypervisor's memory; what is not memory is left as it is.
    fn memory_reader(&self) -> impl Fn(u64, &mut [u8]) + '_ {
        |address, data| {
            self.mmu.physical.read(address, data);
        }
    }
}

// ---- what a guest begins with ----

/// The event to inject after VMRUN, once. It is delivered before anything else, whatever masks interrupts. The guest's
/// interrupt shadow begins here: as an instruction of the host's, VMRUN has just ended the host's.
pub fn take_injection(cpu: &mut Cpu) -> Option<Event> {
    let control = cpu.processor.control_mut()?;
    let (event, shadow) = (control.inject.take(), std::mem::take(&mut control.entry_shadow));
    if shadow.is_on() {
        cpu.processor.shadow = shadow;
    }
    event
}

/// What delivery of an injected event pushes as return address: nRIP for events of instructions, else RIP (15.20).
pub fn injection_rip(cpu: &Cpu, event: &Event) -> u64 {
    let next = cpu.control().and_then(|control| control.inject_return);
    next.filter(|_| event.is_software()).unwrap_or(cpu.processor.regs.rip)
}

// ---- interrupts ----

/// Whether the run loop may take a physical interrupt (or give it to the hypervisor) now.
pub fn physical_interrupt_allowed(cpu: &Cpu) -> bool {
    interrupt::physical_allowed(cpu.control(), cpu.masks())
}

/// The same for an NMI.
pub fn nmi_allowed(cpu: &Cpu) -> bool {
    interrupt::nmi_allowed(cpu.control(), cpu.masks())
}

/// The exit of a hypervisor that waits for time to pass.
pub fn timer_exit(cpu: &Cpu) -> Option<Exit> {
    let at = cpu.control()?.preempt_at?;
    (cpu.own_tsc().read() >= at).then_some(Exit::PreemptionTimer)
}

/// The exit of a hypervisor that waits for the guest to be able to take an NMI, or an interrupt.
pub fn window_exit(cpu: &Cpu) -> Option<Exit> {
    let (control, masks) = (cpu.control()?, cpu.masks());
    if interrupt::nmi_window(control, masks) {
        return Some(Exit::NmiWindow);
    }
    interrupt::interrupt_window(control, masks).then_some(Exit::InterruptWindow)
}

/// What a virtual interrupt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtual {
    /// The hypervisor waits for the moment at which the guest would take it.
    Exit(Exit),
    /// The guest takes this vector.
    Deliver(u8),
}

/// The virtual interrupt that is due now; if it is to be delivered, V_IRQ is already clear.
pub fn virtual_interrupt(cpu: &mut Cpu) -> Option<Virtual> {
    if !wakes(cpu) {
        return None;
    }
    let control = cpu.processor.control_mut()?;
    if control.has(Intercept::Vintr) {
        return Some(Virtual::Exit(Exit::Plain(Intercept::Vintr)));
    }
    control.v_irq = false;
    Some(Virtual::Deliver(control.v_intr_vector))
}

/// Whether a halted guest has a virtual interrupt to wake for.
pub fn wakes(cpu: &Cpu) -> bool {
    cpu.control().is_some_and(|control| interrupt::virtual_ready(control, cpu.masks()))
}

fn event_exit(cpu: &Cpu, what: Intercept) -> Option<Exit> {
    cpu.control().filter(|control| control.has(what)).map(|_| Exit::Plain(what))
}

/// A physical interrupt is taken: to the hypervisor? It stays pending then.
pub fn intr_exit(cpu: &Cpu) -> Option<Exit> {
    event_exit(cpu, Intercept::Intr)
}
/// As [`intr_exit`], for an NMI.
pub fn nmi_exit(cpu: &Cpu) -> Option<Exit> {
    event_exit(cpu, Intercept::Nmi)
}
/// As [`intr_exit`], for an SMI.
pub fn smi_exit(cpu: &Cpu) -> Option<Exit> {
    event_exit(cpu, Intercept::Smi)
}
/// As [`intr_exit`], for INIT.
pub fn init_exit(cpu: &Cpu) -> Option<Exit> {
    event_exit(cpu, Intercept::Init)
}
/// A triple fault: to the hypervisor?
pub fn shutdown_intercept(cpu: &Cpu) -> Option<Exit> {
    event_exit(cpu, Intercept::Shutdown)
}
/// An exception is about to be delivered: to the hypervisor?
pub fn exception_intercept(cpu: &Cpu, exception: &Exception, kind: EventKind) -> Option<Exit> {
    let intercepted = |control: &&Control| control.takes(exception);
    cpu.control().filter(intercepted).map(|_| Exit::Exception { exception: *exception, kind })
}

// ---- instructions with an operand that the hypervisor is told of ----

fn exit_if(exits: bool, exit: Exit) -> Result<(), Fault> {
    if exits { Err(Fault::Exit(exit)) } else { Ok(()) }
}

/// IN, OUT, INS, OUTS: after the guest's own permission check, before the access.
pub fn io_intercept(cpu: &Cpu, access: &IoExit) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    exit_if(permission::io_exits(control, access, cpu.memory_reader()), Exit::Io(*access))
}

/// RDMSR and WRMSR: after the privilege check, before the MSR is looked at.
pub fn msr_intercept(cpu: &Cpu, msr: u32, write: bool) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    exit_if(permission::msr_exits(control, msr, write, cpu.memory_reader()), Exit::Msr { write })
}

/// Any access to CRn, before its value is looked at.
pub fn cr_intercept(cpu: &Cpu, number: u8, access: CrAccess) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let mask = if access.writes() { control.cr_write } else { control.cr_read };
    exit_if(mask >> (number & 15) & 1 != 0, Exit::Cr { number, access })
}

/// A write of CR3, unless the value is one that the hypervisor lets through.
pub fn cr3_intercept(cpu: &Cpu, value: u64, access: CrAccess) -> Result<(), Fault> {
    match cpu.control() {
        Some(control) if control.cr3_targets.contains(&Some(value)) => Ok(()),
        _ => cr_intercept(cpu, 3, access),
    }
}

/// After [`cr_intercept`]: a write of CR0 or CR4 that would change the hypervisor's bits.
pub fn owned_bits_intercept(cpu: &Cpu, number: u8, value: u64, access: CrAccess) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let owned = if number == 0 { control.cr0 } else { control.cr4 };
    exit_if(owned.refuses(value), Exit::Cr { number, access })
}

/// After [`cr_intercept`]: a write of CR0 that changes more than TS and MP (15.9).
pub fn cr0_selective_intercept(cpu: &Cpu, new: u64, gpr: u8) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let changed = (cpu.processor.regs.cr0 ^ new) & !(cr0::TS | cr0::MP) != 0;
    let exits = changed && control.has(Intercept::Cr0SelWrite);
    exit_if(exits, Exit::Cr { number: 0, access: CrAccess::To(gpr) })
}

/// LMSW exits under the selective intercept whatever it changes (APM vol. 2, 15.9).
pub fn lmsw_intercept(cpu: &Cpu) -> Result<(), Fault> {
    let exits = event_exit(cpu, Intercept::Cr0SelWrite).is_some();
    exit_if(exits, Exit::Cr { number: 0, access: CrAccess::Lmsw(0) })
}

pub fn dr_intercept(cpu: &Cpu, number: u8, write: bool, gpr: u8) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let mask = if write { control.dr_write } else { control.dr_read };
    exit_if(mask >> (number & 15) & 1 != 0, Exit::Dr { number, write, gpr })
}

/// What INVPCID is about: the linear address of its descriptor, and its type (APM vol. 2, 15.8.5).
pub fn invpcid_intercept(cpu: &Cpu, address: u64, kind: u64) -> Result<(), Fault> {
    exit_if(event_exit(cpu, Intercept::Invpcid).is_some(), Exit::Invpcid { address, kind })
}

pub fn invlpg_intercept(cpu: &Cpu, address: u64) -> Result<(), Fault> {
    exit_if(event_exit(cpu, Intercept::Invlpg).is_some(), Exit::Invlpg { address })
}

/// INT n; not INT3, INTO and INT1.
pub fn software_interrupt_intercept(cpu: &Cpu, vector: u8) -> Result<(), Fault> {
    let exits = event_exit(cpu, Intercept::SoftwareInterrupt).is_some();
    exit_if(exits, Exit::SoftwareInterrupt { vector })
}

pub fn task_switch_intercept(
    cpu: &Cpu,
    selector: u16,
    error: Option<u32>,
    iret: bool,
    jump: bool,
) -> Result<(), Fault> {
    let exits = event_exit(cpu, Intercept::TaskSwitch).is_some();
    exit_if(exits, Exit::TaskSwitch { selector, error, iret, jump })
}

/// PAUSE, with filter and threshold: cycles (APM vol. 2, 15.14.4), whatever a guest takes for its time.
pub fn pause_intercept(cpu: &mut Cpu) -> Result<(), Fault> {
    let now = cpu.own_tsc().read();
    let Some(control) = cpu.processor.control_mut() else { return Ok(()) };
    exit_if(interrupt::pause_exits(control, now), Exit::Plain(Intercept::Pause))
}

// ---- the task priority ----

/// MOV from CR8: V_TPR with V_INTR_MASKING (15.21.2).
pub fn read_cr8(cpu: &Cpu) -> u8 {
    match cpu.control() {
        Some(control) if control.virtual_interrupts => control.v_tpr,
        _ => cpu.processor.apic.cr8() as u8,
    }
}

/// MOV to CR8: V_TPR, and the processor's own priority too unless V_INTR_MASKING keeps it apart.
pub fn write_cr8(cpu: &mut Cpu, value: u8) {
    let value = value & 0xf;
    if let Some(control) = cpu.processor.control_mut() {
        control.v_tpr = value;
        if control.virtual_interrupts {
            return;
        }
    }
    cpu.processor.apic.set_cr8(value.into());
}
