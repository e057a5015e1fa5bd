//! The run loop: events, then translated code until something needs Rust.

// UNSAFETY: enters translated code, which works on this processor through raw pointers.
#![allow(unsafe_code)]

use crate::cpu::Cpu;
use crate::fault::Fault;
use crate::intercept::Virtual;
use crate::platform::BusRef;
use crate::processor::World;
use crate::processor::counters::Retired;
use crate::signal::guard;
use crate::{event, hooks, intercept, signal, world};
use iced_x86::{Decoder, FlowControl};
use ireko_nested::core::InstructionBytes;
use ireko_nested::{Event, EventKind, Exit, Shadow};
use ireko_translate::Key;
use ireko_translate::block::DECODER_OPTIONS;
use ireko_translate::thunk::Reason;
use ireko_vmcore::{Bus, Halt, Stop};
use ireko_x86::bits::{cr0, debugctl, dr6, rflags};
use ireko_x86::exception::{Exception, vector};
use ireko_x86::regs::{gpr, seg};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Cpu {
    /// Runs until there is a reason to stop.
    pub fn run(&mut self, bus: &dyn Bus, stop: &Stop) -> Halt {
        signal::prepare_thread();
        // SAFETY: the reference is dropped below, before `bus` can go.
        self.platform.bus = Some(unsafe { BusRef::new(bus) });
        self.platform.seat.enter();
        // Nobody is to wait for a processor that has come to its end by our mistake.
        let halt = catch_unwind(AssertUnwindSafe(|| self.run_until(stop))).unwrap_or_else(|panic| {
            self.disarm();
            resume_unwind(panic)
        });
        self.platform.seat.leave();
        self.fpu_normalise();
        hooks::nesting::show(self);
        self.report();
        self.disarm();
        halt
    }

    /// Nobody reaches into the banks any more, and the bus goes back.
    fn disarm(&mut self) {
        self.platform.bus = None;
        self.platform.seat.let_run();
        self.platform.seat.leave();
        self.platform.wake.attach(std::ptr::null());
        self.platform.armed = std::ptr::null_mut();
        signal::arm(std::ptr::null_mut());
    }

    /// As [`Cpu::run`], behind the fault boundary: a host fault is the end of the VM, with a report.
    pub fn run_guarded(&mut self, bus: &dyn Bus, stop: &Stop) -> Halt {
        guard(|| self.run(bus, stop)).unwrap_or_else(|fault| {
            self.disarm();
            // The state may be torn: what cannot be told without another fault is left out.
            let state = guard(|| self.describe()).unwrap_or_default();
            Halt::Failed(format!("{fault}\n{state}"))
        })
    }

    fn run_until(&mut self, stop: &Stop) -> Halt {
        loop {
            if self.instruments.ledger.window.wanted() {
                hooks::nesting::show(self);
            }
            // Who asks says so first and wakes then: what wakes from here on is not forgotten.
            self.platform.wake.clear();
            if stop.asked() {
                return Halt::Stopped;
            }
            if let Err(fault) = self.look_and_run() {
                if let Err(halt) = self.handle(fault) {
                    return halt;
                }
            } else if self.processor.halted && !stop.asked() && self.for_good() {
                return Halt::Idle;
            }
        }
    }

    /// Runs whoever has woken it before.
    #[cfg(test)]
    pub(crate) fn round(&mut self) -> Result<(), Fault> {
        self.platform.wake.clear();
        self.look_and_run()
    }

    /// Looks around once, then runs until somebody wants attention.
    fn look_and_run(&mut self) -> Result<(), Fault> {
        if self.mmu.physical.memory().watch().any() {
            self.take_device_writes();
        }
        if self.platform.seat.is_asked() || !self.mmu.unwatched.is_empty() {
            self.heed_siblings();
        }
        self.mmu.drop_unplugged();
        if self.processor.parked {
            return self.start_up();
        }
        if std::mem::take(&mut self.processor.monitor_trap) && self.control().is_some() {
            return Err(Fault::Exit(Exit::MonitorTrap));
        }
        let traps = self.control().is_some_and(|control| control.monitor_trap);
        let delivered = self.events()?;
        // After INIT it waits. And what was written before an interrupt was sent may be its handler.
        let written = |cpu: &Self| cpu.platform.seat.is_asked() || cpu.mmu.physical.memory().watch().any();
        if delivered && (self.processor.parked || written(self)) {
            return Ok(());
        }
        if traps && (delivered || !self.processor.halted) {
            self.processor.monitor_trap = true;
            if delivered {
                return Ok(());
            }
        }
        if self.processor.halted {
            self.heed_monitor();
        }
        if self.processor.halted {
            self.rest();
            return Ok(());
        }
        self.handoff.waits = self.apic().extint_pending()
            || self.apic().pending().is_some()
            || self.apic().nmi_pending()
            || self.apic().smi_pending()
            || self.control().is_some_and(|c| c.v_irq || c.interrupt_window || c.nmi_window);
        if self.single() {
            self.step()
        } else if hooks::lockstep_on(self) {
            self.run_in_lockstep()
        } else {
            self.run_blocks()
        }
    }

    /// Nothing to do: sleeps until somebody wakes it, at most for a while.
    fn rest(&mut self) {
        self.fpu_sync();
        self.platform.seat.leave();
        // What another processor writes wakes nobody who waits for a line of memory.
        let many = self.platform.seat.is_one_of_many();
        let most = if many && self.processor.wait.is_some() { 1 } else { 50 };
        hooks::sleep(self, Duration::from_millis(most));
        self.platform.seat.enter();
    }

    /// Takes what is pending, in the order of APM vol. 2, 8.5. Gives whether something was delivered.
    fn events(&mut self) -> Result<bool, Fault> {
        if let Some(event) = intercept::take_injection(self) {
            let rip = intercept::injection_rip(self, &event);
            return self.deliver(event, rip).map(|()| true);
        }
        if self.processor.gif && self.processor.smm.is_none() && self.apic().init_pending() {
            return self.init().map(|()| true);
        }
        if self.processor.gif && self.processor.smm.is_none() && self.apic().smi_pending() {
            return self.smi().map(|()| true);
        }
        if let Some(exit) = intercept::timer_exit(self) {
            return Err(Fault::Exit(exit));
        }
        if self.apic().nmi_pending() && intercept::nmi_allowed(self) {
            return self.nmi().map(|()| true);
        }
        if let Some(exit) = intercept::window_exit(self) {
            return Err(Fault::Exit(exit));
        }
        if intercept::physical_interrupt_allowed(self)
            && let Some(vector) = self.external_interrupt()?
        {
            self.instruments.counters.interrupts += 1;
            self.processor.halted = false;
            let rip = self.processor.regs.rip;
            let event = Event { kind: EventKind::External, vector, error: None };
            return self.deliver(event, rip).map(|()| true);
        }
        match intercept::virtual_interrupt(self) {
            Some(Virtual::Exit(exit)) => Err(Fault::Exit(exit)),
            Some(Virtual::Deliver(vector)) => {
                self.processor.halted = false;
                let rip = self.processor.regs.rip;
                let event = Event { kind: EventKind::External, vector, error: None };
                self.deliver(event, rip).map(|()| true)
            }
            None => Ok(false),
        }
    }

    /// Delivers an event between instructions.
    fn deliver(&mut self, event: Event, rip: u64) -> Result<(), Fault> {
        hooks::interrupt(self, &event);
        event::deliver(self, event, rip)
    }

    /// INIT: the guest's hypervisor hears of it, or the processor starts anew (APM vol. 2, 14.1.3 and 15.13.3).
    fn init(&mut self) -> Result<(), Fault> {
        if let Some(exit) = intercept::init_exit(self) {
            return Err(Fault::Exit(exit));
        }
        self.apic().init_take();
        self.apic().init();
        let kept = self.processor.regs.cr0 & (cr0::CD | cr0::NW);
        let before = self.processor.regs;
        self.processor.regs = ireko_x86::Registers::reset();
        self.processor.regs.keep_over_init(&before);
        if self.control().is_some() {
            self.processor.world = World::Host;
            self.world_switched();
        }
        self.processor.regs.cr0 = self.processor.regs.cr0 & !(cr0::CD | cr0::NW) | kept;
        self.forget_run();
        self.processor.parked = self.processor.apic.id() != 0;
        self.flush_tlb(false);
        Ok(())
    }

    /// Waits for a STARTUP message, and begins where it says. Until then only INIT is heard of (SDM vol. 3, "Mechanism to Place an AP in
    /// Wait-for-SIPI State").
    fn start_up(&mut self) -> Result<(), Fault> {
        if self.apic().init_pending() {
            return self.init();
        }
        let Some(page) = self.apic().sipi_take() else {
            self.rest();
            return Ok(());
        };
        self.processor.parked = false;
        let cs = &mut self.processor.regs.seg[seg::CS];
        (cs.selector, cs.base) = (u16::from(page) << 8, u64::from(page) << 12);
        self.processor.regs.rip = 0;
        Ok(())
    }

    fn nmi(&mut self) -> Result<(), Fault> {
        if let Some(exit) = intercept::nmi_exit(self) {
            return Err(Fault::Exit(exit));
        }
        self.apic().nmi_take();
        self.processor.halted = false;
        let rip = self.processor.regs.rip;
        self.deliver(Event { kind: EventKind::Nmi, vector: vector::NMI, error: None }, rip)
    }

    /// The vector of a physical interrupt, acknowledged; or the exit that it causes instead.
    fn external_interrupt(&mut self) -> Result<Option<u8>, Fault> {
        let external = self.apic().extint_pending();
        if !external && self.apic().pending().is_none() {
            return Ok(None);
        }
        if let Some(exit) = intercept::intr_exit(self) {
            return Err(Fault::Exit(exit));
        }
        Ok(if external { Some(self.apic().extint_acknowledge()) } else { self.apic().acknowledge() })
    }

    /// Halted with nothing left that could wake this processor, which is alone: interrupts are off, no NMI waits.
    fn for_good(&mut self) -> bool {
        !self.platform.seat.is_one_of_many()
            && self.processor.wait.is_none()
            && !intercept::physical_interrupt_allowed(self)
            && !intercept::wakes(self)
            && !self.apic().nmi_pending()
            && !self.apic().smi_pending()
    }

    /// Deals with what ended an instruction.
    fn handle(&mut self, fault: Fault) -> Result<(), Halt> {
        let again = match fault {
            Fault::Exception(exception) => self.raise(exception),
            Fault::Exit(exit) => {
                self.instruments.counters.exits += 1;
                let in_flight = self.processor.in_flight.take();
                world::exit(self, exit, in_flight).and_then(|()| self.trap_behind_exit())
            }
            Fault::Together => {
                self.platform.seat.run_alone();
                self.heed_siblings();
                let done = self.step();
                self.platform.seat.let_run();
                done
            }
            Fault::Shutdown => return Err(Halt::Shutdown(self.describe())),
            Fault::Unsupported(what) => {
                return Err(Halt::Unsupported(format!("{what}\n{}", self.describe())));
            }
            Fault::Engine(what) => return Err(Halt::Failed(format!("{what}\n{}", self.describe()))),
        };
        again.or_else(|next| self.handle(next))
    }

    /// The instruction that entered the guest traps once it has been left, if its own world is under RFLAGS.TF.
    fn trap_behind_exit(&mut self) -> Result<(), Fault> {
        if self.processor.regs.rflags & rflags::TF != 0 {
            self.raise(Exception::debug(dr6::BS))
        } else {
            Ok(())
        }
    }

    fn raise(&mut self, exception: Exception) -> Result<(), Fault> {
        if exception.vector == vector::MF && self.processor.regs.cr0 & cr0::NE == 0 {
            return self.x87_error();
        }
        self.instruments.counters.exceptions += 1;
        hooks::exception(self, &exception);
        event::raise(self, exception)
    }

    /// Forgets what an earlier run left: the state is about to be another.
    pub(crate) fn forget_run(&mut self) {
        self.processor.halted = false;
        (self.processor.wait, self.processor.monitored) = (None, None);
        self.processor.shadow = Shadow::None;
        self.processor.nmi_blocked = false;
        self.processor.monitor_trap = false;
        self.processor.in_flight = None;
        self.handoff.outcome = None;
        (self.processor.touched, self.processor.held_traps) = (0, 0);
        self.processor.smm = None;
        self.see_smram();
        self.forget_pending();
    }

    /// Translated code, block after block, until there is something to look at.
    pub(crate) fn run_blocks(&mut self) -> Result<(), Fault> {
        if self.goes_direct() {
            return self.run_direct();
        }
        let mut code = self.find()?;
        let mut hot = self.arm();
        loop {
            self.instruments.counters.leaves += 1;
            self.code.synchronize();
            // SAFETY: the bank is armed and the block is for the current key.
            let reason = unsafe { self.enter(hot, code) };
            // SAFETY: code has left; the bank is ours again.
            let (rip, site, attention) =
                unsafe { ((*hot).rip, (*hot).site, (*hot).attention.load(Ordering::Relaxed)) };
            // SAFETY: as above.
            let back = unsafe { (*hot).back };
            let rip = self.goes_on_at(reason, rip, site);
            hooks::left(self, reason, rip);
            match reason {
                // Code that runs straight on through fresh blocks has no check of its own.
                Reason::Link | Reason::Ungrouped if attention == 0 => {
                    self.processor.regs.rip = rip;
                    return Ok(());
                }
                Reason::Link => {
                    let generation = self.code.generation;
                    self.processor.regs.rip = rip;
                    if self.goes_direct() {
                        return Ok(());
                    }
                    let key = self.key();
                    let block = self.block(key)?;
                    if generation == self.code.generation {
                        self.link(site as u32, block);
                    }
                    code = self.code.entry(block);
                }
                Reason::Ungrouped => {
                    let generation = self.code.generation;
                    self.processor.regs.rip = rip;
                    let block = self.block(Key(self.key().0 | Key::UNGROUPED))?;
                    if generation == self.code.generation {
                        self.code.link_in_page(site as u32, block);
                    }
                    code = self.code.entry(block);
                }
                Reason::Lookup => {
                    self.arrive(rip, back)?;
                    if attention == 0 || self.goes_direct() {
                        return Ok(());
                    }
                    code = self.find()?;
                }
                Reason::IndirectAttention => {
                    self.found_program();
                    return self.arrive(rip, back);
                }
                Reason::LinkAttention => {
                    self.found_program();
                    self.processor.regs.rip = rip;
                    if let Some(block) = self.code.found_running(site as u32) {
                        self.undo(&[block], None);
                    }
                    return Ok(());
                }
                Reason::Attention => {
                    self.found_program();
                    self.processor.regs.rip = rip;
                    return Ok(());
                }
                Reason::Routine => {
                    match self.handoff.outcome.take() {
                        // On into the handler, without a look around if nobody asks for one.
                        Some(Fault::Exception(exception)) if self.platform.tuning.direct_exceptions => {
                            self.raise(exception)?
                        }
                        Some(fault) => return Err(fault),
                        None => {}
                    }
                    if attention == 0 || self.must_look() || self.goes_direct() {
                        return Ok(());
                    }
                    code = self.find()?;
                    hot = self.arm();
                }
                Reason::Signal if self.was_unplugged(rip, site) => return Ok(()),
                Reason::Signal => return Err(self.signalled(rip, site)),
            }
        }
    }

    /// Whether a host fault came from a block of memory that went while a translation led there. It leads there no more, and
    /// the instruction is done again.
    fn was_unplugged(&mut self, host: u64, trap: u64) -> bool {
        let address = self.mmu.banks.current().hot_mut().temp[0] as *const u8;
        let gone = self.mmu.physical.guest(address).is_some() && !self.mmu.physical.holds(address);
        let found = self.locate(host).filter(|_| gone && trap == u64::from(vector::PF));
        let Some(rip) = found else { return false };
        self.forget_pending();
        self.processor.regs.rip = rip;
        self.mmu.drop_unplugged();
        true
    }

    /// A jump from before host address `back` has led to `rip`. If that is not canonical, the fault is the jump's, nothing of which
    /// has happened (APM vol. 3, "JMP (Near)", "CALL (Near)", "RET (Near)": #GP).
    fn arrive(&mut self, rip: u64, back: u64) -> Result<(), Fault> {
        self.processor.regs.rip = rip;
        if !self.processor.regs.code64() || self.processor.regs.canonical(rip) {
            return Ok(());
        }
        let Some(from) = self.locate(back.wrapping_sub(1)) else { return Ok(()) };
        let mut bytes = [0; 15];
        let count = self.code_bytes(from, &mut bytes);
        let insn = Decoder::with_ip(64, &bytes[..count], from, DECODER_OPTIONS).decode();
        let moved = match insn.flow_control() {
            FlowControl::Return if insn.op_count() > 0 => -8 - i64::from(insn.immediate16()),
            FlowControl::Return => -8,
            FlowControl::IndirectCall => 8,
            FlowControl::IndirectBranch => 0,
            _ => return Ok(()),
        };
        self.processor.regs.gpr[gpr::RSP] = self.processor.regs.gpr[gpr::RSP].wrapping_add_signed(moved);
        self.processor.regs.rip = from;
        Err(Fault::gp(0))
    }

    /// Entry of the code at RIP for the current key, which the jump table knows afterwards.
    fn find(&mut self) -> Result<*const u8, Fault> {
        let key = self.key();
        let (slot, rip) = (key.slot(), self.processor.regs.rip);
        let owner = self.slot_owner(key);
        self.join_family(key);
        if let Some(code) = self.mmu.banks.current().jump(slot, owner, rip) {
            return Ok(code);
        }
        let block = self.block(key)?;
        let code = self.code.entry(block);
        // Whose program runs as it stands comes here with each jump, to be asked whether it may again.
        if self.processor.regs.cpl == 3 && self.mmu.banks.current().direct.on {
            return Ok(code);
        }
        self.mmu.banks.current().set_jump(slot, owner, rip, code as u64);
        self.remember_jump(slot, rip, block);
        Ok(code)
    }

    /// Whose a slot of the jump table is: code of one key, in one code segment.
    fn slot_owner(&self, key: Key) -> u64 {
        if key.has(Key::CODE64) {
            // Relative code and other is entered alike.
            return (key.0 & !Key::RELATIVE).into();
        }
        u64::from(key.0) | self.processor.regs.seg[seg::CS].base << 32
    }

    /// One instruction alone: after STI, under TF, RF or breakpoints.
    pub(crate) fn step(&mut self) -> Result<(), Fault> {
        let before = self.processor.regs.rflags;
        let (shadow, start) = (self.processor.shadow, self.processor.regs.rip);
        if crate::breakpoints::armed(self)
            && let Some(mut exception) = crate::system::debug::instruction_breakpoint(self, start)
        {
            // What a load of SS held off comes with it, once for both.
            exception.payload |= std::mem::take(&mut self.processor.held_traps);
            return Err(exception.into());
        }
        let seen = if crate::breakpoints::data_armed(self) { Key::PLAIN } else { 0 };
        self.processor.touched = 0;
        let (waiting, mut kept) = (std::mem::take(&mut self.processor.held_traps), 0);
        let branches = self.processor.regs.debugctl & (debugctl::LBR | debugctl::BTF) != 0
            || self.processor.msrs.counters.branches();
        let retired = self.processor.msrs.counters.exact().then(|| self.to_retire());
        let decoded = if branches { self.decode_at_rip() } else { None };
        let block = self.run_alone(seen).inspect_err(|fault| {
            if *fault == Fault::Together {
                kept = waiting;
            }
        });
        self.processor.held_traps |= kept;
        let block = block?;
        if shadow.is_on() && !self.code.stepped_routine(block) {
            self.processor.shadow = Shadow::None;
        }
        let page = self.code_page();
        let insn = decoded.or_else(|| self.code.first_instruction(block, page));
        if let Some(retired) = retired {
            let branch = insn.is_some_and(|i| i.flow_control() != FlowControl::Next);
            let missed = insn.is_some_and(|i| missed(&i, start, self.processor.regs.rip));
            self.processor.msrs.counters.retire(Retired { branch, missed, ..retired });
        }
        // An iteration of a repeated instruction is not its end: who interrupts it there is to come back to it with RF set
        // (APM vol. 2, 3.1.6).
        if self.processor.regs.rip == start && insn.is_some_and(|i| i.is_string_instruction()) {
            self.processor.regs.rflags |= rflags::RF;
        } else if !is_iret(insn) {
            self.processor.regs.rflags &= !rflags::RF;
        }
        // INT1 has raised the exception itself, once for all that waited.
        let waiting =
            if insn.is_some_and(|i| i.mnemonic() == iced_x86::Mnemonic::Int1) { 0 } else { waiting };
        let met = std::mem::take(&mut self.processor.touched) | waiting;
        let bits = match insn {
            Some(insn) => self.traps(before, start, &insn, met),
            None if before & rflags::TF != 0 => dr6::BS | met,
            None => met,
        };
        if bits != 0 { Err(Exception::debug(bits).into()) } else { Ok(()) }
    }

    /// What the counters have to know of the instruction at RIP before it is done.
    fn to_retire(&self) -> Retired {
        let in_guest = self.control().is_some();
        let virtualizes = self.processor.vendor().switched_on(&self.processor.regs, in_guest);
        let guest = virtualizes.then_some(in_guest);
        Retired { user: self.processor.regs.cpl == 3, guest, branch: false, missed: false }
    }

    /// The instruction at RIP, if its bytes are in memory.
    fn decode_at_rip(&mut self) -> Option<iced_x86::Instruction> {
        let InstructionBytes { bytes, count } = self.instruction_bytes();
        let bits = self.key().bitness();
        Some(Decoder::with_ip(bits, &bytes[..count], self.processor.regs.rip, DECODER_OPTIONS).decode())
            .filter(|insn| !insn.is_invalid())
    }

    /// The bits of DR6 with which the instruction at `start` traps, of which breakpoints brought `met`.
    fn traps(&mut self, before: u64, start: u64, insn: &iced_x86::Instruction, met: u64) -> u64 {
        use crate::system::debug;
        debug::record(self, start, insn);
        if debug::loads_stack(insn) {
            self.processor.held_traps = met;
            return 0;
        }
        debug::step(self, before, start, insn) | met
    }
}

/// Whether a conditional branch at `start` that led to `rip` went against "backward is taken, forward is not".
fn missed(insn: &iced_x86::Instruction, start: u64, rip: u64) -> bool {
    let taken = rip == insn.near_branch_target();
    let backward = insn.near_branch_target() <= start;
    insn.flow_control() == FlowControl::ConditionalBranch && taken != backward
}

fn is_iret(insn: Option<iced_x86::Instruction>) -> bool {
    use iced_x86::Mnemonic::{Iret, Iretd, Iretq};
    insn.is_some_and(|i| matches!(i.mnemonic(), Iret | Iretd | Iretq))
}
