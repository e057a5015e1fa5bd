//! Wires between devices and interrupt controllers.

mod regs;
#[cfg(test)]
mod tests;

use crate::{IoApic, Pic, lock};
use ireko_vmcore::{Line, LineSink};
use regs::*;
use std::sync::{Arc, Mutex};

/// Fans a global system interrupt out to the PIC pair and the I/O APIC.
pub struct Irqs {
    pic: Pic,
    ioapic: IoApic,
}

impl Irqs {
    pub fn new(pic: Pic, ioapic: IoApic) -> Arc<Self> {
        Arc::new(Self { pic, ioapic })
    }

    /// The wire of a global system interrupt, 0 to 23. GSI 0 is the timer; 2 is the cascade and ends nowhere.
    pub fn line(self: &Arc<Self>, gsi: u32) -> Line {
        Line::new(self.clone(), gsi)
    }
}

impl LineSink for Irqs {
    fn set(&self, gsi: u32, level: bool) {
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
