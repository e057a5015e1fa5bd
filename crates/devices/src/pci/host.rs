//! How the processor reaches configuration space, and the host bridge that software finds in slot 0.

use super::config::{ConfigSpace, Identity};
use super::regs::*;
use super::{Function, PciBus};
use crate::Power;
use crate::access::value;
use crate::acpi::ResetControl;
use ireko_vmcore::{Device, SavedState, Space};
use std::sync::Arc;

/// 00:00.0: nothing but an identity.
pub(super) struct HostBridge(pub(super) ConfigSpace);

impl HostBridge {
    pub fn new() -> Self {
        Self(ConfigSpace::new(Identity {
            vendor: BRIDGE_VENDOR,
            device: BRIDGE_DEVICE,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 0,
            class: BRIDGE_CLASS,
        }))
    }
}

impl Function for HostBridge {
    fn name(&self) -> &'static str {
        "host-bridge"
    }
    fn config(&self) -> &ConfigSpace {
        &self.0
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.0
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

pub const CONFIG_PLACES: [u64; 1] = [0xcf8];

/// Configuration mechanism 1, and the reset register that lies among its ports.
pub struct ConfigPorts {
    pub(super) bus: Arc<PciBus>,
    pub(super) address: u32,
    pub(super) reset: ResetControl,
}

impl ConfigPorts {
    pub fn new(bus: Arc<PciBus>, power: Power) -> Self {
        Self { bus, address: 0, reset: ResetControl::new(power) }
    }

    /// Function and register that the address register and a data port name; `None` while disabled, or on a bus
    /// that is not there.
    fn target(&self, port: u64) -> Option<(u8, u16)> {
        let here = self.address & CONFIG_ENABLE != 0 && self.address >> 16 & 0xff == 0;
        let register = (self.address & 0xfc) as u16 + (port - CONFIG_DATA) as u16;
        here.then_some(((self.address >> 8) as u8, register))
    }
}

impl Device for ConfigPorts {
    fn name(&self) -> &'static str {
        "pci-config"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, CONFIG_PORTS)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        match (offset, data.len()) {
            (CONFIG_ADDRESS, 4) => data.copy_from_slice(&self.address.to_le_bytes()),
            (CONFIG_RESET, 1) => data[0] = self.reset.read(),
            (CONFIG_DATA.., 1..=4) => {
                if let Some((function, register)) = self.target(offset) {
                    self.bus.read_config(function, register, data);
                }
            }
            _ => {}
        }
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        match (offset, data.len()) {
            // Only a 32-bit access is one of the address register (3.2.2.3.2).
            (CONFIG_ADDRESS, 4) => self.address = value(data) as u32 & CONFIG_ADDRESS_BITS,
            (CONFIG_RESET, 1) => self.reset.write(data[0]),
            (CONFIG_DATA.., 1..=4) => {
                if let Some((function, register)) = self.target(offset) {
                    self.bus.write_config(function, register, data);
                }
            }
            _ => {}
        }
    }
    fn reset(&mut self) {
        self.address = 0;
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

/// Enhanced configuration access: configuration space of bus 0 as memory.
pub struct Ecam {
    bus: Arc<PciBus>,
}

impl Ecam {
    pub fn new(bus: Arc<PciBus>) -> Self {
        Self { bus }
    }
}

fn split(offset: u64) -> (u8, u16) {
    ((offset >> ECAM_FUNCTION_SHIFT) as u8, (offset & 0xfff) as u16)
}

impl Device for Ecam {
    fn name(&self) -> &'static str {
        "pci-ecam"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Mmio, ECAM_SIZE)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        let (function, register) = split(offset);
        self.bus.read_config(function, register, data);
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        let (function, register) = split(offset);
        self.bus.write_config(function, register, data);
    }
    fn reset(&mut self) {}
    /// It has no state.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}
