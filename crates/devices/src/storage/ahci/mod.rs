//! A Serial ATA controller (AHCI 1.3.1), as the ICH9 has it: disks with native queueing, and CD drives.
//!
//! Locks: a device, then gate or function. A virtual processor holds the function and only rings.

mod command;
mod engine;
mod port;
mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

pub use engine::Engine;

use super::Media;
use crate::access::{fill, value};
use crate::chipset::identity;
use crate::pci::regs::COMMAND_INTX_DISABLE;
use crate::pci::{Bar, ConfigSpace, Function};
use crate::service::{Permit, Service as _};
use ireko_vmcore::{Line, Memory, SavedState};
use port::{Ended, Port};
use regs::*;
use std::sync::{Arc, Mutex};

/// The controller as a PCI function: a port for each device.
pub struct Ahci {
    config: ConfigSpace,
    ports: Vec<Port>,
    control: u32,
    intx: Line,
}

impl Ahci {
    /// Of more devices than [`Ahci::MOST`] the first ones count. Whoever drives it needs somebody to run each of
    /// [`Ahci::engines`].
    pub fn new(devices: Vec<Media>, memory: Arc<Memory>, intx: Line) -> Arc<Mutex<Self>> {
        Arc::new_cyclic(|own| {
            let port = |(number, media): (usize, Media)| {
                let signature = media.signature();
                Port::new(Arc::new(Engine::new(media, memory.clone(), own.clone(), number)), signature)
            };
            let ports = devices.into_iter().take(PORTS).enumerate().map(port).collect();
            Mutex::new(Self { config: config(), ports, control: GHC_AHCI, intx })
        })
    }

    /// Ports of a controller.
    pub const MOST: usize = PORTS;

    /// What works on each port.
    pub fn engines(&self) -> Vec<Arc<Engine>> {
        self.ports.iter().map(|port| port.engine.clone()).collect()
    }

    fn issued(&self, port: usize, slot: u32) -> Option<(u64, Option<u64>)> {
        self.ports[port].issued(slot)
    }

    /// A command has ended, unless the driver has reset the port since.
    fn end(&mut self, port: usize, ended: &Ended, permit: Permit<'_>) {
        if !permit.over() {
            self.ports[port].end(ended);
            self.set_intx();
        }
    }

    fn interrupts(&self) -> u32 {
        let ports = self.ports.iter().enumerate();
        ports.filter(|(_, port)| port.interrupting()).fold(0, |all, (number, _)| all | 1 << number)
    }

    fn set_intx(&mut self) {
        let asserted = self.control & GHC_INTERRUPTS != 0 && self.interrupts() != 0;
        self.config.set_interrupt_status(asserted);
        self.intx.set(asserted && self.config.command() & COMMAND_INTX_DISABLE == 0);
    }

    /// The number of ports is in their mask.
    fn implemented(&self) -> u32 {
        ((1u64 << self.ports.len()) - 1) as u32
    }

    fn read(&self, offset: u64) -> u32 {
        match offset {
            CAP => CAP_FIXED | (self.ports.len().saturating_sub(1)) as u32,
            GHC => self.control,
            IS => self.interrupts(),
            PI => self.implemented(),
            VS => VERSION,
            PORT.. => self.port(offset).map_or(0, |port| port.read((offset - PORT) % PORT_SIZE)),
            _ => 0,
        }
    }

    fn port(&self, offset: u64) -> Option<&Port> {
        self.ports.get(((offset - PORT) / PORT_SIZE) as usize)
    }

    fn write(&mut self, offset: u64, value: u32) {
        match offset {
            GHC if value & GHC_RESET != 0 => self.reset_controller(),
            GHC => self.control = value & GHC_INTERRUPTS | GHC_AHCI,
            PORT.. => {
                if let Some(port) = self.ports.get_mut(((offset - PORT) / PORT_SIZE) as usize) {
                    port.write((offset - PORT) % PORT_SIZE, value);
                }
            }
            _ => {}
        }
        self.set_intx();
    }

    fn reset_controller(&mut self) {
        self.ports.iter_mut().for_each(Port::reset);
        self.control = GHC_AHCI;
    }
}

fn config() -> ConfigSpace {
    let mut config = ConfigSpace::new(identity(ICH9_AHCI, CLASS, REVISION));
    config.use_intx();
    config.add_bar(BAR, Bar::Memory32(BAR_SIZE));
    config.put(MAP, &[MAP_AHCI]);
    config.allow(PCS, &[0x3f, 0x80]);
    config
}

impl Function for Ahci {
    fn name(&self) -> &'static str {
        "ahci"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.set_intx();
    }

    /// Registers have 32 bits; they may be read in parts.
    fn read_bar(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        let (from, first) = (offset & !3, u64::from(self.read(offset & !3)));
        let both = first | u64::from(self.read(from + 4)) << 32;
        fill(data, both >> (8 * (offset - from)));
    }

    /// They are written whole, or two at a time.
    fn write_bar(&mut self, _: usize, offset: u64, data: &[u8]) {
        if offset.is_multiple_of(4) && data.len() >= 4 {
            for (at, part) in (offset..).step_by(4).zip(data.chunks(4)) {
                self.write(at, value(part) as u32);
            }
        }
    }

    fn reset(&mut self) {
        self.reset_controller();
        self.set_intx();
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

impl Drop for Ahci {
    fn drop(&mut self) {
        self.ports.iter().for_each(|port| port.engine.end());
    }
}
