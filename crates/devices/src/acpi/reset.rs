//! The reset register and the keyboard controller's reset pulse.

use super::regs::*;
use crate::{Power, PowerEvent};
use ireko_vmcore::{Device, SavedState, Space};

/// The reset control register, at port 0xcf9 among the PCI configuration ports.
pub struct ResetControl {
    pub(crate) value: u8,
    power: Power,
}

impl ResetControl {
    pub fn new(power: Power) -> Self {
        Self { value: 0, power }
    }
    pub fn read(&self) -> u8 {
        self.value
    }
    /// RST_CPU going from 0 to 1 resets.
    pub fn write(&mut self, value: u8) {
        let rising = value & !self.value & RESET_CPU != 0;
        self.value = value & !RESET_CPU;
        if rising {
            (self.power)(PowerEvent::Reset);
        }
    }
}

pub(super) const COMMAND_REGION: usize = 1;

/// A keyboard controller that is not there, but for the reset pulse; at the places of one that is.
pub struct ResetPulse {
    power: Power,
}

impl ResetPulse {
    pub fn new(power: Power) -> Self {
        Self { power }
    }
}

impl Device for ResetPulse {
    fn name(&self) -> &'static str {
        "reset-pulse"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, 1), (Space::Port, 1)]
    }
    fn read(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write(&mut self, region: usize, _: u64, data: &[u8]) {
        if region == COMMAND_REGION && data.first() == Some(&I8042_PULSE_RESET) {
            (self.power)(PowerEvent::Reset);
        }
    }
    fn reset(&mut self) {}
    /// It has no state.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}

pub const PORT92_PLACES: [u64; 1] = [0x92];

/// System control port A: the fast reset. A20 is always on, as on processors that have no A20M# any more.
pub struct Port92 {
    pub(super) value: u8,
    power: Power,
}

impl Port92 {
    pub fn new(power: Power) -> Self {
        Self { value: 0, power }
    }
}

impl Device for Port92 {
    fn name(&self) -> &'static str {
        "port92"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, 1)]
    }
    fn read(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(self.value | PORT92_A20);
    }
    fn write(&mut self, _: usize, _: u64, data: &[u8]) {
        let new = data.first().copied().unwrap_or(0);
        let rising = new & !self.value & PORT92_RESET != 0;
        self.value = new;
        if rising {
            (self.power)(PowerEvent::Reset);
        }
    }
    fn reset(&mut self) {
        self.value = 0;
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
