//! The local APIC of one processor at work on its registers, which are the processor's. Other threads reach it through
//! the `fabric`. Start reading at [`Apic::pending`].

mod fabric;
mod message;
mod registers;
pub mod saved;
mod timer;

pub use fabric::Apics;
pub use message::{Delivery, Destination, Message};
pub use timer::BUS_KHZ;

use crate::processor::apic::{LocalApic, entry};
use crate::tsc::Tsc;
use fabric::{Inbox, Mode, event};
use ireko_vmcore::{Clock, Timer, Timers};
use ireko_x86::apic::{esr, lvt};
use std::sync::Arc;

/// What one processor's APIC is wired to.
pub struct Wires {
    fabric: Arc<Apics>,
    inbox: Arc<Inbox>,
    clock: Clock,
    alarm: Timer,
}

impl Wires {
    /// Those of vCPU `id`, which is less than the number that the fabric was made with.
    pub fn new(fabric: &Arc<Apics>, id: u32, clock: Clock, timers: &Timers) -> Self {
        let inbox = fabric.inbox(id);
        let posted = inbox.clone();
        let alarm = timers.timer(move || posted.post(event::TIMER));
        Self { fabric: fabric.clone(), inbox, clock, alarm }
    }
}

/// An APIC at work: its registers, and what they are wired to.
pub struct Apic<'a> {
    pub regs: &'a mut LocalApic,
    pub wires: &'a Wires,
    pub tsc: Tsc,
    /// An NMI is being served.
    pub nmi_blocked: bool,
}

impl Apic<'_> {
    /// INIT.
    pub fn init(&mut self) {
        self.regs.reset();
        self.wires.alarm.cancel();
        self.publish();
    }

    fn publish(&self) {
        let mode = match (self.regs.enabled(), self.regs.x2apic(), self.regs.dfr >> 28) {
            (false, _, _) => Mode::Off,
            (_, true, _) => Mode::X2,
            (_, _, 0xf) => Mode::Flat,
            _ => Mode::Cluster,
        };
        let ldr = if mode == Mode::X2 { self.regs.x2apic_ldr() } else { self.regs.ldr };
        self.wires.inbox.publish(mode, ldr);
    }

    // ---- for the run loop ----

    /// Takes in what others sent and what the timer did.
    fn sync(&mut self) {
        let events = self.wires.inbox.take();
        if events == 0 {
            return;
        }
        if events & event::REQUEST != 0 {
            self.take_requests();
        }
        if events & event::NMI != 0 {
            let most = if self.nmi_blocked { 1 } else { 2 };
            let come = self.wires.inbox.take_nmis().min(2) as u8;
            self.regs.nmis = (self.regs.nmis + come).min(most.max(self.regs.nmis));
        }
        self.regs.smi |= events & event::SMI != 0;
        self.regs.extint |= events & event::EXTINT != 0;
        if events & event::INIT != 0 {
            (self.regs.init, self.regs.startup) = (true, None);
        }
        if events & event::STARTUP != 0 {
            self.regs.startup = Some((events >> 8) as u8);
        }
        if events & event::TIMER != 0 && self.timer_due() {
            self.raise(entry::TIMER);
        }
    }

    /// Takes in what others sent, for who saves it.
    pub fn drain_inbox(&mut self) {
        self.sync();
    }

    /// The registers were restored, and the machine's clock stands: what others sent meanwhile is for nobody. A deadline is armed when the
    /// clock goes on (`Cpu::follow_clock`).
    pub fn restored(&mut self) {
        let inbox = &self.wires.inbox;
        let _ = (inbox.take(), inbox.take_requests(), inbox.take_nmis());
        self.publish();
        self.arm_count();
    }

    fn take_requests(&mut self) {
        let (requests, levels) = self.wires.inbox.take_requests();
        if !self.regs.software_enabled() {
            return;
        }
        for n in 0..4 {
            self.regs.irr.0[n] |= requests.0[n];
            self.regs.tmr.0[n] = self.regs.tmr.0[n] & !requests.0[n] | levels.0[n] & requests.0[n];
        }
    }

    /// An interrupt of our own, by an entry of the local vector table.
    fn raise(&mut self, n: usize) {
        let local = self.regs.lvt[n];
        if local & lvt::MASKED != 0 || !self.regs.software_enabled() {
            return;
        }
        let vector = (local & lvt::VECTOR) as u8;
        if vector < 16 {
            self.regs.errors |= esr::RECEIVE_ILLEGAL_VECTOR;
            return;
        }
        self.regs.irr.insert(vector);
        self.regs.tmr.remove(vector);
    }

    /// Remembers an error, and tells of it through the local vector table.
    fn error(&mut self, bit: u32) {
        self.regs.errors |= bit;
        self.raise(entry::ERROR);
    }

    /// The vector that is to be delivered: requested, and of a higher class than the processor's priority.
    pub fn pending(&mut self) -> Option<u8> {
        self.sync();
        let vector = self.regs.irr.highest()?;
        (vector >> 4 > self.regs.ppr() >> 4).then_some(vector)
    }

    /// Acknowledges that vector: it is in service until EOI.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        self.regs.irr.remove(vector);
        self.regs.isr.insert(vector);
        Some(vector)
    }

    /// The 8259's INTR reaches the processor: through LINT0 in ExtINT mode, or past an APIC that is off.
    pub fn extint_pending(&mut self) -> bool {
        self.sync();
        let lint0 = self.regs.lvt[entry::LINT0];
        let wired = lint0 & lvt::MASKED == 0 && lint0 & lvt::MODE == lvt::MODE_EXTINT;
        let open = self.regs.id == 0 && (wired || !self.regs.enabled());
        (open || self.regs.extint) && self.wires.fabric.pic().is_some_and(|pic| pic.pending())
    }

    /// The 8259's interrupt-acknowledge cycle.
    pub fn extint_acknowledge(&mut self) -> u8 {
        self.regs.extint = false;
        self.wires.fabric.pic().map_or(0xff, |pic| pic.acknowledge())
    }

    pub fn nmi_pending(&mut self) -> bool {
        self.sync();
        self.regs.nmis > 0
    }
    pub fn nmi_take(&mut self) -> bool {
        self.sync();
        let pending = self.regs.nmis > 0;
        self.regs.nmis -= u8::from(pending);
        pending
    }
    pub fn smi_pending(&mut self) -> bool {
        self.sync();
        self.regs.smi
    }
    pub fn smi_take(&mut self) -> bool {
        self.sync();
        std::mem::take(&mut self.regs.smi)
    }
    pub fn init_pending(&mut self) -> bool {
        self.sync();
        self.regs.init
    }
    pub fn init_take(&mut self) -> bool {
        self.sync();
        std::mem::take(&mut self.regs.init)
    }
    /// The vector of a STARTUP message: execution begins at that page.
    pub fn sipi_take(&mut self) -> Option<u8> {
        self.sync();
        self.regs.startup.take()
    }

    fn end_of_interrupt(&mut self) {
        let Some(vector) = self.regs.isr.highest() else { return };
        self.regs.isr.remove(vector);
        self.wires.fabric.end_of_interrupt(vector, self.regs.tmr.has(vector));
    }

    fn send(&mut self, message: &Message) {
        let vectored = matches!(message.delivery, Delivery::Fixed | Delivery::Lowest);
        if vectored && message.vector < 16 {
            return self.error(esr::SEND_ILLEGAL_VECTOR);
        }
        // INIT with the level de-asserted only synchronizes arbitration IDs.
        if message.delivery == Delivery::Init && message.level && self.regs.icr >> 14 & 1 == 0 {
            return;
        }
        self.wires.fabric.deliver(message);
    }

    // ---- time ----

    /// IA32_TSC_DEADLINE; 0 unless the timer is in that mode.
    pub fn deadline(&mut self) -> u64 {
        self.sync();
        if self.regs.deadline_mode() { self.regs.timer.deadline } else { 0 }
    }
    pub fn set_deadline(&mut self, deadline: u64) {
        self.sync();
        if self.regs.deadline_mode() && self.arm_deadline(deadline) {
            self.raise(entry::TIMER);
        }
    }
    /// The processor's TSC was written.
    pub fn tsc_moved(&mut self) {
        let deadline = self.deadline();
        self.set_deadline(deadline);
    }
}

#[cfg(test)]
mod tests;
