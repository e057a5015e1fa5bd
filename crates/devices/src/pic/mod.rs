//! The pair of 8259A interrupt controllers, and the edge/level control registers.

mod chip;
mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use crate::lock;
use chip::Chip;
use ireko_vmcore::{Device, ExtInt, LineSink, SavedState, Space};
use regs::*;
use std::sync::{Arc, Mutex};

/// Master, slave, ELCR pair.
pub const PLACES: [u64; 3] = [0x20, 0xa0, 0x4d0];
const ELCR_REGION: usize = 2;

struct Pair {
    master: Chip,
    slave: Chip,
}

impl Pair {
    fn new() -> Self {
        Self { master: Chip::new(ELCR_MASTER), slave: Chip::new(ELCR_SLAVE) }
    }

    /// Carries the slave's INT to the master; true when the master's INTR is asserted.
    fn update(&mut self) -> bool {
        self.master.follow(CASCADE, self.slave.request().is_some());
        self.master.request().is_some()
    }

    fn chip(&mut self, region: usize) -> &mut Chip {
        if region == 0 { &mut self.master } else { &mut self.slave }
    }

    fn acknowledge(&mut self) -> u8 {
        self.update();
        let Some(pin) = self.master.request() else { return self.master.vector(SPURIOUS) };
        self.master.acknowledge(pin);
        let vector = if pin == CASCADE { self.acknowledge_slave() } else { self.master.vector(pin) };
        self.update();
        vector
    }

    fn acknowledge_slave(&mut self) -> u8 {
        let Some(pin) = self.slave.request() else { return self.slave.vector(SPURIOUS) };
        self.slave.acknowledge(pin);
        self.slave.vector(pin)
    }
}

/// A handle to the pair. Pins 0 to 15; pin 2 is the cascade and takes no line.
///
/// `changed` is called, without a lock of this device, when INTR changes because of a line or a register. It is not
/// called out of [`ExtInt::acknowledge`]: who acknowledges looks at [`ExtInt::pending`] again.
#[derive(Clone)]
pub struct Pic {
    pair: Arc<Mutex<Pair>>,
    changed: Arc<dyn Fn() + Send + Sync>,
}

impl Pic {
    pub fn new(changed: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { pair: Arc::new(Mutex::new(Pair::new())), changed }
    }

    /// Whether a pin of the master's is not masked.
    pub fn open(&self, pin: u32) -> bool {
        lock(&self.pair).master.open(pin as u8)
    }

    /// Whether an edge at such a pin waits for its acknowledge cycle.
    pub fn waits(&self, pin: u32) -> bool {
        lock(&self.pair).master.waits(pin as u8)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pair) -> T) -> T {
        let mut pair = lock(&self.pair);
        let before = pair.update();
        let result = act(&mut pair);
        let after = pair.update();
        drop(pair);
        if before != after {
            (self.changed)();
        }
        result
    }
}

impl LineSink for Pic {
    fn set(&self, pin: u32, level: bool) {
        self.with(|pair| match pin as u8 {
            CASCADE => {}
            pin @ 0..8 => pair.master.set(pin, level),
            pin @ 8..16 => pair.slave.set(pin - 8, level),
            _ => {}
        });
    }
}

impl ExtInt for Pic {
    fn pending(&self) -> bool {
        lock(&self.pair).update()
    }
    fn acknowledge(&self) -> u8 {
        lock(&self.pair).acknowledge()
    }
}

impl Device for Pic {
    fn name(&self) -> &'static str {
        "pic"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, PORTS); 3]
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        self.with(|pair| {
            for (port, byte) in (offset..).zip(data) {
                *byte = match region {
                    ELCR_REGION => pair.chip(port as usize).elcr(),
                    _ => pair.chip(region).read(port),
                };
            }
        });
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        self.with(|pair| {
            for (port, &byte) in (offset..).zip(data) {
                match region {
                    ELCR_REGION => pair.chip(port as usize).set_elcr(byte),
                    _ => pair.chip(region).write(port, byte),
                }
            }
        });
    }
    fn reset(&mut self) {
        self.with(|pair| {
            pair.master.reset();
            pair.slave.reset();
        });
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
