//! What is saved of a chipset's functions: their configuration spaces, of which all else follows.

use super::host_bridge::HostBridge;
use super::south::{IsaBridge, PmBridge};
use crate::pci::saved::SavedConfig;
use crate::pci::{Function, regs::COMMAND};
use ireko_vmcore::saved::{RestoreError, SaveRestore};

/// Brings a function to where its registers say it is: by a write that writes nothing.
fn take(function: &mut impl Function, saved: &SavedConfig) -> Result<(), RestoreError> {
    function.reset();
    function.config_mut().restore(saved);
    function.write_config(COMMAND as u16, &[]);
    Ok(())
}

impl SaveRestore for HostBridge {
    type Saved = SavedConfig;
    fn save(&self) -> SavedConfig {
        self.config().save()
    }
    fn restore(&mut self, saved: SavedConfig) -> Result<(), RestoreError> {
        take(self, &saved)
    }
}

impl SaveRestore for IsaBridge {
    type Saved = SavedConfig;
    fn save(&self) -> SavedConfig {
        self.config().save()
    }
    fn restore(&mut self, saved: SavedConfig) -> Result<(), RestoreError> {
        take(self, &saved)
    }
}

impl SaveRestore for PmBridge {
    type Saved = SavedConfig;
    fn save(&self) -> SavedConfig {
        self.config().save()
    }
    fn restore(&mut self, saved: SavedConfig) -> Result<(), RestoreError> {
        take(self, &saved)
    }
}
