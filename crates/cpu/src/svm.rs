//! AMD-V on this processor: the nested core's [`Core`], the SVM instructions, and where a guest's hypervisor is asked.
//!
//! What VMRUN and #VMEXIT do is in [`ireko_nested::svm`]; here is only who calls it when.

use crate::cpu::World;
use crate::mmu::walk::{self, Kind, Paging, WalkFault};
use crate::{Cpu, Fault, Next, inspect};
use iced_x86::{Code, Instruction, Register};
use ireko_nested::svm::exit::{InstructionBytes, Reason};
use ireko_nested::svm::interrupt::{self, Masks};
use ireko_nested::svm::{self, State, insn, msr as svm_msr, permission};
use ireko_nested::{Control, Core, Event, Exit, Flush, Intercept, IoExit};
use ireko_x86::bits::{cr0, efer, rflags};
use ireko_x86::msr::TSC_RATIO;
use ireko_x86::{Exception, Registers};

impl Core for Cpu {
    fn linear_bits(&self) -> u32 {
        self.model.linear_bits()
    }
    fn regs(&mut self) -> &mut Registers {
        &mut self.processor.regs
    }
    fn read_physical(&mut self, address: u64, data: &mut [u8]) -> bool {
        Self::read_physical(self, address, data);
        true
    }
    fn write_physical(&mut self, address: u64, data: &[u8]) -> bool {
        Self::write_physical(self, address, data);
        true
    }
    fn flush(&mut self, what: Flush) {
        self.flush_asid(what);
    }
    fn shadow(&self) -> bool {
        self.processor.shadow
    }
    fn set_shadow(&mut self, on: bool) {
        self.processor.shadow = on;
    }
    fn nmi_blocked(&self) -> bool {
        self.processor.nmi_blocked
    }
    fn set_nmi_blocked(&mut self, on: bool) {
        self.processor.nmi_blocked = on;
    }
    fn tpr(&mut self) -> u8 {
        self.platform.apic.cr8() as u8
    }
    fn set_tpr(&mut self, tpr: u8) {
        self.platform.apic.set_cr8(tpr.into());
    }
    fn set_gif(&mut self, on: bool) {
        self.processor.gif = on;
    }
}

impl Cpu {
    /// Lets the nested core work on the processor and its AMD-V state together.
    fn with_svm<T>(&mut self, act: impl FnOnce(&mut Self, &mut State) -> T) -> T {
        let mut state = std::mem::take(&mut self.processor.svm);
        let result = act(self, &mut state);
        self.processor.svm = state;
        result
    }

    fn control_mut(&mut self) -> Option<&mut Control> {
        match &mut self.processor.world {
            World::Host => None,
            World::Guest(control) => Some(control),
        }
    }

    /// Reads the hypervisor's memory; what is not memory is left as it is.
    fn memory_reader(&self) -> impl Fn(u64, &mut [u8]) + '_ {
        |address, data| {
            self.mmu.physical.read(address, data);
        }
    }

    /// Bytes of the instruction at RIP. Stops at the first page that is not there or not memory: reading a device here
    /// would be felt.
    pub(crate) fn instruction_bytes(&mut self) -> InstructionBytes {
        let mut got = InstructionBytes::default();
        got.count = self.fetch_address().map_or(0, |start| self.code_bytes(start, &mut got.bytes));
        got
    }

    fn masks(&self) -> Masks {
        let interrupt_flag = self.processor.regs.rflags & rflags::IF != 0;
        Masks { gif: self.processor.gif, interrupt_flag, shadow: self.processor.shadow }
    }
}

// ---- the instructions (APM vol. 3, chapter 4) ----

/// #UD without EFER.SVME or in real and virtual-8086 mode, #GP above CPL 0, then the hypervisor's word.
fn permitted(cpu: &Cpu, what: Intercept) -> Result<(), Fault> {
    if cpu.processor.regs.efer & efer::SVME == 0
        || !cpu.processor.regs.protected()
        || cpu.processor.regs.v86()
    {
        return Err(Fault::ud());
    }
    if cpu.processor.regs.cpl != 0 {
        return Err(Fault::gp(0));
    }
    cpu.intercept(what)
}

/// rAX by address size.
fn rax(cpu: &Cpu, insn: &Instruction) -> u64 {
    let register = match insn.code() {
        Code::Vmrunw | Code::Vmloadw | Code::Vmsavew | Code::Invlpgaw => Register::AX,
        Code::Vmrund | Code::Vmloadd | Code::Vmsaved | Code::Invlpgad => Register::EAX,
        _ => Register::RAX,
    };
    cpu.gpr(register)
}

/// rAX as the address of a VMCB, else #GP.
fn vmcb_address(cpu: &Cpu, insn: &Instruction) -> Result<u64, Fault> {
    let address = rax(cpu, insn);
    if cpu.processor.svm.caps.vmcb_address(address) { Ok(address) } else { Err(Fault::gp(0)) }
}

/// VMRUN. In a guest without the VMRUN intercept there is none: entry refuses such a guest (15.5.1).
pub fn vmrun(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Vmrun)?;
    let address = vmcb_address(cpu, insn)?;
    let next = cpu.following(insn);
    if let Ok(control) = cpu.with_svm(|cpu, state| svm::enter::enter(cpu, state, address, next)) {
        cpu.counters.entries += 1;
        cpu.processor.world = World::Guest(control);
        inspect::nesting::entered(cpu);
    }
    cpu.world_switched();
    inspect::switched(cpu);
    Ok(Next::Jump)
}

/// Where VMLOAD and VMSAVE go: in a guest to which they are given virtually, through its nested tables (15.33.1).
fn vmcb_place(cpu: &mut Cpu, insn: &Instruction, kind: Kind) -> Result<u64, Fault> {
    let address = vmcb_address(cpu, insn)?;
    if !cpu.control().is_some_and(|control| control.virtual_vmload_vmsave) {
        return Ok(address);
    }
    let paging = Paging::of(&cpu.processor);
    walk::guest_physical(&cpu.mmu.physical, &paging, address, kind).map_err(|fault| match fault {
        WalkFault::Nested { gpa, error } => Fault::Exit(Exit::NestedPage { gpa, error }),
        WalkFault::Page { .. } => Fault::gp(0),
    })
}

pub fn vmload(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Vmload)?;
    let address = vmcb_place(cpu, insn, Kind::Read)?;
    insn::vmload(cpu, address);
    Ok(Next::Resync)
}

pub fn vmsave(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Vmsave)?;
    let address = vmcb_place(cpu, insn, Kind::Write)?;
    insn::vmsave(cpu, address);
    Ok(Next::Resync)
}

/// #UD unless a hypervisor wants it; from any privilege level.
pub fn vmmcall(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Vmmcall)?;
    Err(Fault::ud())
}

pub fn stgi(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Stgi)?;
    set_gif(cpu, true);
    Ok(Next::Resync)
}

pub fn clgi(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Clgi)?;
    set_gif(cpu, false);
    Ok(Next::Resync)
}

/// A guest with a virtual GIF has only that one (15.33.2).
fn set_gif(cpu: &mut Cpu, on: bool) {
    match cpu.control_mut() {
        Some(control) if control.vgif_enabled => control.vgif = on,
        _ => cpu.processor.gif = on,
    }
}

/// Forgets the page at rAX for the ASID in ECX.
pub fn invlpga(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Invlpga)?;
    let address = rax(cpu, insn);
    let asid = cpu.gpr(Register::ECX) as u32;
    cpu.flush_asid(Flush::Page { asid, address });
    Ok(Next::Resync)
}

// ---- entry and exit for the run loop ----

/// The event to inject after VMRUN, once. It is delivered before anything else, whatever masks interrupts. The guest's
/// interrupt shadow begins here: as an instruction of the host's, VMRUN has just ended the host's.
pub fn take_injection(cpu: &mut Cpu) -> Option<Event> {
    let control = cpu.control_mut()?;
    let (event, shadow) = (control.inject.take(), std::mem::take(&mut control.entry_shadow));
    cpu.processor.shadow |= shadow;
    event
}

/// What delivery of an injected event pushes as return address: nRIP for events of instructions, else RIP (15.20).
pub fn injection_rip(cpu: &Cpu, event: &Event) -> u64 {
    let next = cpu.control().and_then(|control| control.inject_return);
    next.filter(|_| svm::event::pushes_next(event)).unwrap_or(cpu.processor.regs.rip)
}

/// #VMEXIT. `in_flight` is the event whose delivery the exit cut short. Nothing happens outside a guest.
pub fn exit(cpu: &mut Cpu, exit: Exit, in_flight: Option<Event>) {
    let Some(control) = cpu.control() else { return };
    let record = cpu.processor.vendor().record(&exit, control, &cpu.processor.regs);
    inspect::exit(cpu, &record, in_flight.as_ref());
    inspect::nesting::left(cpu, &exit, record.code);
    let mut reason = Reason { in_flight, ..Reason::of(&exit) };
    if svm::encode::gives_bytes(&exit) {
        reason.instruction = cpu.instruction_bytes();
    }
    let World::Guest(control) = std::mem::replace(&mut cpu.processor.world, World::Host) else { return };
    cpu.with_svm(|cpu, state| svm::exit::exit(cpu, state, &control, &reason));
    cpu.processor.halted = false;
    cpu.world_switched();
    inspect::switched(cpu);
}

// ---- interrupts ----

/// Whether the run loop may take a physical interrupt (or give it to the hypervisor) now.
pub fn physical_interrupt_allowed(cpu: &Cpu) -> bool {
    interrupt::physical_allowed(cpu.control(), cpu.masks())
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
    let control = cpu.control_mut()?;
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
pub fn exception_intercept(cpu: &Cpu, exception: &Exception) -> Option<Exit> {
    let intercepted = |control: &&Control| control.exception(exception.vector);
    cpu.control().filter(intercepted).map(|_| Exit::Exception(*exception))
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

/// MOV from and to CRn; CLTS, LMSW and SMSW (CR0) with no `gpr`.
pub fn cr_intercept(cpu: &Cpu, number: u8, write: bool, gpr: Option<u8>) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let mask = if write { control.cr_write } else { control.cr_read };
    exit_if(mask >> (number & 15) & 1 != 0, Exit::Cr { number, write, gpr })
}

/// After [`cr_intercept`]: a write of CR0 that changes more than TS and MP (15.9).
pub fn cr0_selective_intercept(cpu: &Cpu, new: u64, gpr: u8) -> Result<(), Fault> {
    let Some(control) = cpu.control() else { return Ok(()) };
    let changed = (cpu.processor.regs.cr0 ^ new) & !(cr0::TS | cr0::MP) != 0;
    let exits = changed && control.has(Intercept::Cr0SelWrite);
    exit_if(exits, Exit::Cr { number: 0, write: true, gpr: Some(gpr) })
}

/// LMSW exits under the selective intercept whatever it changes (APM vol. 2, 15.9).
pub fn lmsw_intercept(cpu: &Cpu) -> Result<(), Fault> {
    let exits = event_exit(cpu, Intercept::Cr0SelWrite).is_some();
    exit_if(exits, Exit::Cr { number: 0, write: true, gpr: None })
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
    let now = cpu.platform.tsc.read();
    let World::Guest(control) = &cpu.processor.world else { return Ok(()) };
    exit_if(interrupt::pause_exits(control, &mut cpu.processor.svm.pause, now), Exit::Plain(Intercept::Pause))
}

// ---- MSRs and CR8 ----

/// `None`: not an MSR of AMD-V.
pub fn read_msr(cpu: &Cpu, msr: u32) -> Option<u64> {
    svm_msr::read(&cpu.processor.svm, msr)
}

/// `None`: not an MSR of AMD-V. A guest that may write TSC_RATIO changes its own time at once.
pub fn write_msr(cpu: &mut Cpu, msr: u32, value: u64) -> Option<Result<(), Fault>> {
    let svme = cpu.processor.regs.efer & efer::SVME != 0;
    let done = svm_msr::write(&mut cpu.processor.svm, msr, value, svme)?;
    if msr == TSC_RATIO
        && done.is_ok()
        && let Some(control) = cpu.control_mut()
    {
        control.tsc_scale = svm_msr::tsc_scale(value);
    }
    Some(done.map_err(|_| Fault::gp(0)))
}

/// MOV from CR8: V_TPR with V_INTR_MASKING (15.21.2).
pub fn read_cr8(cpu: &Cpu) -> u8 {
    match cpu.control() {
        Some(control) if control.virtual_interrupts => control.v_tpr,
        _ => cpu.platform.apic.cr8() as u8,
    }
}

/// MOV to CR8: V_TPR, and the processor's own priority too unless V_INTR_MASKING keeps it apart.
pub fn write_cr8(cpu: &mut Cpu, value: u8) {
    let value = value & 0xf;
    if let Some(control) = cpu.control_mut() {
        control.v_tpr = value;
        if control.virtual_interrupts {
            return;
        }
    }
    cpu.platform.apic.set_cr8(value.into());
}
