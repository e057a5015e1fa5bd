//! Wires between devices and interrupt controllers.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;
mod ticks;

use crate::{IoApic, Pic, lock};
use ireko_vmcore::{ExtInt, Line, LineSink};
use regs::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use ticks::Ticks;

/// Fans a global system interrupt out to the PIC pair and the I/O APIC.
pub struct Irqs {
    pic: Pic,
    ioapic: IoApic,
    ticks: Mutex<Ticks>,
    /// The vector of [`Ticks::sent`], or 0: what an EOI is compared with before a lock is taken.
    watched: AtomicU32,
}

impl Irqs {
    pub fn new(pic: Pic, ioapic: IoApic) -> Arc<Self> {
        Arc::new(Self { pic, ioapic, ticks: Mutex::default(), watched: AtomicU32::new(0) })
    }

    /// The wire of a global system interrupt, 0 to 23. GSI 0 is the timer; 2 is the cascade and ends nowhere.
    pub fn line(self: &Arc<Self>, gsi: u32) -> Line {
        Line::new(self.clone(), gsi)
    }

    /// A processor ended an interrupt with this vector.
    pub fn eoi(&self, vector: u8, level: bool) {
        if level {
            return self.ioapic.eoi(vector);
        }
        if u32::from(vector) != self.watched.load(Ordering::Relaxed) {
            return;
        }
        let mut ticks = lock(&self.ticks);
        if ticks.sent == Some(vector) {
            self.served(&mut ticks);
        }
    }

    /// A tick has been served: the next that is owed follows.
    fn served(&self, ticks: &mut Ticks) {
        if ticks.pay() { self.send(ticks) } else { self.sent(ticks, None) }
    }

    fn send(&self, ticks: &mut Ticks) {
        self.sent(ticks, self.ioapic.edge(TIMER_PIN));
        for level in [false, true, ticks.level] {
            self.pass(TIMER, level);
        }
    }

    fn sent(&self, ticks: &mut Ticks, vector: Option<u8>) {
        ticks.sent = vector;
        self.watched.store(vector.map_or(0, u32::from), Ordering::Relaxed);
    }

    fn pass(&self, gsi: u32, level: bool) {
        match gsi {
            TIMER_PIN => return,
            TIMER => self.ioapic.set(TIMER_PIN, level),
            gsi if gsi < GSIS => self.ioapic.set(gsi, level),
            _ => return,
        }
        if gsi < ISA {
            self.pic.set(gsi, level);
        }
    }
}

impl LineSink for Irqs {
    fn set(&self, gsi: u32, level: bool) {
        if gsi != TIMER {
            return self.pass(gsi, level);
        }
        let mut ticks = lock(&self.ticks);
        ticks.level = level;
        self.pass(gsi, level);
    }

    fn ticks(&self, gsi: u32, count: u64) {
        if gsi != TIMER {
            self.pass(gsi, false);
            return self.pass(gsi, true);
        }
        let mut ticks = lock(&self.ticks);
        ticks.level = true;
        // Where both controllers would take it, the processors' own is who answers for it.
        match self.ioapic.edge(TIMER_PIN) {
            Some(vector) => {
                let waits = ticks.sent == Some(vector);
                ticks.owe(count, waits);
            }
            None if self.pic.open(TIMER) => ticks.owe(count, self.pic.waits(TIMER)),
            // Nobody would have seen them.
            None => {}
        }
        self.send(&mut ticks);
    }

    fn forget_ticks(&self, gsi: u32) {
        if gsi == TIMER {
            lock(&self.ticks).forget();
        }
    }
}

impl ExtInt for Irqs {
    fn pending(&self) -> bool {
        self.pic.pending()
    }
    fn acknowledge(&self) -> u8 {
        let mut ticks = lock(&self.ticks);
        let waited = self.pic.waits(TIMER);
        let vector = self.pic.acknowledge();
        if waited && !self.pic.waits(TIMER) && ticks.sent.is_none() {
            self.served(&mut ticks);
        }
        vector
    }
}

/// A wired OR: asserted while any of its inputs is.
pub struct SharedLine {
    out: Line,
    inputs: Mutex<Vec<bool>>,
}

impl SharedLine {
    pub fn new(out: Line) -> Arc<Self> {
        Arc::new(Self { out, inputs: Mutex::default() })
    }

    /// One more input.
    pub fn input(self: &Arc<Self>) -> Line {
        let mut inputs = lock(&self.inputs);
        inputs.push(false);
        Line::new(self.clone(), inputs.len() as u32 - 1)
    }
}

impl LineSink for SharedLine {
    fn set(&self, pin: u32, level: bool) {
        // The lock is held over the call so that two inputs cannot leave the output at the older level.
        let mut inputs = lock(&self.inputs);
        if let Some(input) = inputs.get_mut(pin as usize) {
            *input = level;
        }
        self.out.set(inputs.contains(&true));
    }
}

/// A wire with two ends.
pub fn both(one: Line, other: Line) -> Line {
    struct Fork(Line, Line);
    impl LineSink for Fork {
        fn set(&self, _: u32, level: bool) {
            self.0.set(level);
            self.1.set(level);
        }
    }
    Line::new(Arc::new(Fork(one, other)), 0)
}
