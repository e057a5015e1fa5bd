//! One PCI bus: functions, their configuration space by ports and by memory, and the routing of BAR accesses.

mod bus;
mod config;
mod host;
mod hotplug;
mod msix;
pub mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

pub use bus::{PciBus, PciError, Windows};
pub use config::{Bar, ConfigSpace, Identity};
pub use host::{CONFIG_PLACES, ConfigPorts, Ecam};
pub use hotplug::{HotPlug, PLACES as HOT_PLUG_PLACES};
pub use msix::Msix;
pub use regs::ECAM_SIZE;

use ireko_vmcore::{Record, RestoreError, SavedState};

/// A device on the bus, of one function.
pub trait Function: Send {
    fn name(&self) -> &'static str;
    fn config(&self) -> &ConfigSpace;
    fn config_mut(&mut self) -> &mut ConfigSpace;
    /// Override these where configuration space has side effects.
    fn read_config(&mut self, offset: u16, data: &mut [u8]) {
        self.config().read(offset, data);
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config_mut().write(offset, data);
    }
    /// What its BARs decode may have changed.
    fn placed(&mut self) {}
    /// Accesses within BAR `bar`; `data.len()` is 1, 2, 4 or 8. A bridge has no BARs.
    fn read_bar(&mut self, _bar: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write_bar(&mut self, _bar: usize, _offset: u64, _data: &[u8]) {}
    /// Resets the function; the bus has reset its configuration space already.
    fn reset(&mut self) {}
    /// What is to be saved of it, its configuration space first of all. The bus works out where its BARs are.
    fn saved(&mut self) -> &mut dyn SavedState;
}

/// Base address registers that a function has beside its own, and what they decode.
pub trait Bars: Send {
    fn add(&self, config: &mut ConfigSpace);
    /// What they decode may have changed.
    fn placed(&mut self, config: &ConfigSpace);
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]);
    fn write(&mut self, bar: usize, offset: u64, data: &[u8]);
    fn reset(&mut self);
    /// What is to be saved of them; the configuration space is their function's.
    fn record(&self) -> Record;
    fn restore(&mut self, record: &Record) -> Result<(), RestoreError>;
}
