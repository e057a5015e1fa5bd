//! The local APIC of one processor: its registers, owned by the processor's thread. Other threads reach it through
//! the `fabric`. Start reading at [`Apic::pending`].

mod fabric;
mod message;
mod registers;
mod timer;
mod vectors;

pub use fabric::Apics;
pub use message::{Delivery, Destination, Message};
pub use timer::BUS_KHZ;

use crate::tsc::Tsc;
use fabric::{Inbox, Mode, event};
use ireko_vmcore::{Clock, Timers};
use ireko_x86::apic::{SVR_ENABLE, base, esr, lvt};
use std::sync::Arc;
use timer::Countdown;
use vectors::Vectors;

/// Index in the local vector table, in the order of the registers.
mod entry {
    pub const TIMER: usize = 0;
    pub const LINT0: usize = 3;
    pub const ERROR: usize = 5;
    pub const COUNT: usize = 6;
}

pub struct Apic {
    id: u32,
    fabric: Arc<Apics>,
    inbox: Arc<Inbox>,
    base: u64,
    tpr: u8,
    /// Logical destination and destination format of the xAPIC.
    ldr: u32,
    dfr: u32,
    svr: u32,
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
    /// Errors since the last write of ESR, and those that were shown by it.
    errors: u32,
    esr: u32,
    icr: u64,
    lvt: [u32; entry::COUNT],
    timer: Countdown,
    nmi: bool,
    smi: bool,
    init: bool,
    startup: Option<u8>,
    /// An ExtINT message came (from an IOAPIC in that mode).
    extint: bool,
}

impl Apic {
    /// The APIC of vCPU `id` after RESET. `id` is less than the number that the fabric was made with.
    pub fn new(fabric: &Arc<Apics>, id: u32, clock: Clock, timers: &Timers, tsc: Tsc) -> Self {
        let inbox = fabric.inbox(id);
        let ring = inbox.clone();
        let alarm = timers.timer(move || ring.post(event::TIMER));
        let bsp = if id == 0 { base::BSP } else { 0 };
        let mut apic = Self {
            id,
            fabric: fabric.clone(),
            inbox,
            base: base::DEFAULT | base::EN | bsp,
            tpr: 0,
            ldr: 0,
            dfr: 0,
            svr: 0,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            errors: 0,
            esr: 0,
            icr: 0,
            lvt: [0; entry::COUNT],
            timer: Countdown::new(clock, tsc, alarm),
            nmi: false,
            smi: false,
            init: false,
            startup: None,
            extint: false,
        };
        apic.init();
        apic
    }

    /// INIT: all registers but ID and base as after reset. The first processor's LINT0 is left as firmware leaves
    /// it, in ExtINT mode ("virtual wire"), because kernels are started without firmware.
    pub fn init(&mut self) {
        self.tpr = 0;
        (self.ldr, self.dfr, self.svr) = (0, u32::MAX, 0xff);
        (self.irr, self.isr, self.tmr) = Default::default();
        (self.errors, self.esr, self.icr) = (0, 0, 0);
        self.lvt = [lvt::MASKED; entry::COUNT];
        if self.id == 0 {
            self.lvt[entry::LINT0] = lvt::MODE_EXTINT;
        }
        self.timer.divide = 0;
        self.timer.stop();
        (self.nmi, self.init, self.extint) = (false, false, false);
        self.smi = false;
        self.publish();
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    fn enabled(&self) -> bool {
        self.base & base::EN != 0
    }
    fn x2apic(&self) -> bool {
        self.base & base::EXTD != 0
    }
    fn software_enabled(&self) -> bool {
        self.enabled() && self.svr & SVR_ENABLE != 0
    }

    fn publish(&self) {
        let mode = match (self.enabled(), self.x2apic(), self.dfr >> 28) {
            (false, _, _) => Mode::Off,
            (_, true, _) => Mode::X2,
            (_, _, 0xf) => Mode::Flat,
            _ => Mode::Cluster,
        };
        self.inbox.publish(mode, if mode == Mode::X2 { self.x2apic_ldr() } else { self.ldr });
    }

    // ---- for the run loop ----

    /// Takes in what others sent and what the timer did.
    fn sync(&mut self) {
        let events = self.inbox.take();
        if events == 0 {
            return;
        }
        if events & event::REQUEST != 0 {
            self.take_requests();
        }
        self.nmi |= events & event::NMI != 0;
        self.smi |= events & event::SMI != 0;
        self.extint |= events & event::EXTINT != 0;
        if events & event::INIT != 0 {
            (self.init, self.startup) = (true, None);
        }
        if events & event::STARTUP != 0 {
            self.startup = Some((events >> 8) as u8);
        }
        if events & event::TIMER != 0 && self.timer.due(self.lvt[entry::TIMER]) {
            self.raise(entry::TIMER);
        }
    }

    fn take_requests(&mut self) {
        let (requests, levels) = self.inbox.take_requests();
        if !self.software_enabled() {
            return;
        }
        for n in 0..4 {
            self.irr.0[n] |= requests.0[n];
            self.tmr.0[n] = self.tmr.0[n] & !requests.0[n] | levels.0[n] & requests.0[n];
        }
    }

    /// An interrupt of our own, by an entry of the local vector table.
    fn raise(&mut self, n: usize) {
        let local = self.lvt[n];
        if local & lvt::MASKED != 0 || !self.software_enabled() {
            return;
        }
        let vector = (local & lvt::VECTOR) as u8;
        if vector < 16 {
            self.errors |= esr::RECEIVE_ILLEGAL_VECTOR;
            return;
        }
        self.irr.insert(vector);
        self.tmr.remove(vector);
    }

    /// Remembers an error, and tells of it through the local vector table.
    fn error(&mut self, bit: u32) {
        self.errors |= bit;
        self.raise(entry::ERROR);
    }

    /// The vector that is to be delivered: requested, and of a higher class than the processor's priority.
    pub fn pending(&mut self) -> Option<u8> {
        self.sync();
        let vector = self.irr.highest()?;
        (vector >> 4 > self.ppr() >> 4).then_some(vector)
    }

    /// Acknowledges that vector: it is in service until EOI.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        self.irr.remove(vector);
        self.isr.insert(vector);
        Some(vector)
    }

    /// The 8259's INTR reaches the processor: through LINT0 in ExtINT mode, or past an APIC that is off.
    pub fn extint_pending(&mut self) -> bool {
        self.sync();
        let lint0 = self.lvt[entry::LINT0];
        let wired = lint0 & lvt::MASKED == 0 && lint0 & lvt::MODE == lvt::MODE_EXTINT;
        let open = self.id == 0 && (wired || !self.enabled());
        (open || self.extint) && self.fabric.pic().is_some_and(|pic| pic.pending())
    }

    /// The 8259's interrupt-acknowledge cycle.
    pub fn extint_acknowledge(&mut self) -> u8 {
        self.extint = false;
        self.fabric.pic().map_or(0xff, |pic| pic.acknowledge())
    }

    pub fn nmi_pending(&mut self) -> bool {
        self.sync();
        self.nmi
    }
    pub fn nmi_take(&mut self) -> bool {
        self.sync();
        std::mem::take(&mut self.nmi)
    }
    pub fn smi_pending(&mut self) -> bool {
        self.sync();
        self.smi
    }
    pub fn smi_take(&mut self) -> bool {
        self.sync();
        std::mem::take(&mut self.smi)
    }
    pub fn init_pending(&mut self) -> bool {
        self.sync();
        self.init
    }
    pub fn init_take(&mut self) -> bool {
        self.sync();
        std::mem::take(&mut self.init)
    }
    /// The vector of a STARTUP message: execution begins at that page.
    pub fn sipi_take(&mut self) -> Option<u8> {
        self.sync();
        self.startup.take()
    }

    // ---- priorities ----

    pub fn tpr(&self) -> u8 {
        self.tpr
    }
    pub fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
    }
    pub fn cr8(&self) -> u64 {
        (self.tpr >> 4).into()
    }
    pub fn set_cr8(&mut self, value: u64) {
        self.tpr = (value as u8) << 4;
    }

    /// Processor priority (APM vol. 2, 16.6.4).
    fn ppr(&self) -> u8 {
        let served = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= served { self.tpr } else { served }
    }

    fn end_of_interrupt(&mut self) {
        let Some(vector) = self.isr.highest() else { return };
        self.isr.remove(vector);
        self.fabric.end_of_interrupt(vector, self.tmr.has(vector));
    }

    fn send(&mut self, message: &Message) {
        let vectored = matches!(message.delivery, Delivery::Fixed | Delivery::Lowest);
        if vectored && message.vector < 16 {
            return self.error(esr::SEND_ILLEGAL_VECTOR);
        }
        // INIT with the level de-asserted only synchronizes arbitration IDs.
        if message.delivery == Delivery::Init && message.level && self.icr >> 14 & 1 == 0 {
            return;
        }
        self.fabric.deliver(message);
    }

    // ---- time ----

    /// IA32_TSC_DEADLINE; 0 unless the timer is in that mode.
    pub fn deadline(&mut self) -> u64 {
        self.sync();
        if self.deadline_mode() { self.timer.deadline() } else { 0 }
    }
    pub fn set_deadline(&mut self, deadline: u64) {
        self.sync();
        if self.deadline_mode() && self.timer.set_deadline(deadline) {
            self.raise(entry::TIMER);
        }
    }
    fn deadline_mode(&self) -> bool {
        self.lvt[entry::TIMER] & lvt::TIMER_MODE == lvt::TSC_DEADLINE
    }
    /// The processor's TSC was written.
    pub fn tsc_moved(&mut self, tsc: Tsc) {
        self.timer.tsc = tsc;
        let deadline = self.deadline();
        self.set_deadline(deadline);
    }
}

#[cfg(test)]
mod tests;
