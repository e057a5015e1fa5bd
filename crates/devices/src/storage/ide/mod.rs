//! The IDE controller of the PIIX3 (82371SB data sheet): two channels with two drives each, by programmed I/O and as bus master.
//!
//! Locks: the drives, then gate or a channel's registers. A virtual processor holds the registers and only rings.

mod channel;
mod engine;
mod regs;
#[cfg(test)]
mod tests;

pub mod saved;

pub use engine::Channel;
pub use regs::{IRQS, PLACES};

use super::Media;
use crate::chipset::identity;
use crate::pci::{Bar, ConfigSpace, Function};
use crate::service::Service as _;
use ireko_vmcore::{Device, Line, Memory, SavedState, Space};
use regs::*;
use std::sync::Arc;

/// The controller as a PCI function. Its registers at the old places are [`Ports`].
pub struct Ide {
    config: ConfigSpace,
    channels: [Arc<Channel>; 2],
}

impl Ide {
    /// First channel's master and slave, then the second's. Whoever drives it needs somebody to run each of
    /// [`Ide::channels`].
    pub fn new(drives: [Option<Media>; 4], memory: Arc<Memory>, lines: [Line; 2]) -> Self {
        let [a, b, c, d] = drives;
        let [first, second] = lines;
        let channel = |drives, line| Arc::new(Channel::new(drives, memory.clone(), line));
        let mut config = ConfigSpace::new(identity(PIIX3_IDE, CLASS, 0));
        config.add_bar(MASTER_BAR, Bar::Io(MASTER_SIZE));
        for timing in [TIMING, TIMING + 2] {
            config.put(timing, &TIMING_DECODED.to_le_bytes());
            config.allow(timing, &[0xff, 0xff]);
        }
        Self { config, channels: [channel([a, b], first), channel([c, d], second)] }
    }

    /// What works on each channel.
    pub fn channels(&self) -> &[Arc<Channel>; 2] {
        &self.channels
    }

    pub fn ports(&self) -> Ports {
        Ports(self.channels.clone())
    }
}

impl Function for Ide {
    fn name(&self) -> &'static str {
        "piix3-ide"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn read_bar(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..MASTER_SIZE).zip(data) {
            *byte = self.channels[(at >> 3) as usize].read_master(at & 7);
        }
    }
    fn write_bar(&mut self, _: usize, offset: u64, data: &[u8]) {
        for (at, &byte) in (offset..MASTER_SIZE).zip(data) {
            self.channels[(at >> 3) as usize].write_master(at & 7, byte);
        }
    }
    fn reset(&mut self) {
        self.channels.iter().for_each(|channel| channel.reset());
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

impl Drop for Ide {
    fn drop(&mut self) {
        self.channels.iter().for_each(|channel| channel.end());
    }
}

/// Command and control blocks of both channels.
pub struct Ports([Arc<Channel>; 2]);

impl Device for Ports {
    fn name(&self) -> &'static str {
        "ide"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        [BLOCK, 1, BLOCK, 1].map(|size| (Space::Port, size)).to_vec()
    }
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let channel = &self.0[region / 2];
        match region % 2 {
            0 => channel.read(offset, data),
            _ => data.fill(channel.read_control()),
        }
    }
    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        let channel = &self.0[region / 2];
        match region % 2 {
            0 => channel.write(offset, data),
            _ => channel.write_control(data[0]),
        }
    }
    fn reset(&mut self) {}
    /// It is its function's.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}
