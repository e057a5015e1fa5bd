//! What is saved of PCI: a function's configuration space, MSI-X, the ports that lead there, and the slots that fill and empty.

use super::config::ConfigSpace;
use super::host::{ConfigPorts, HostBridge};
use super::hotplug::{HotPlug, Slots};
use super::msix::Msix;
use super::regs::*;
use crate::lock;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

/// A function's configuration space. What the guest cannot write is as the function has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedConfig {
    pub bytes: Bytes<CONFIG_SIZE>,
}

impl Saved for SavedConfig {
    const NAME: &'static str = "pci-function";
    const VERSION: u32 = 1;
}

impl ConfigSpace {
    pub fn save(&self) -> SavedConfig {
        SavedConfig { bytes: Bytes(self.bytes) }
    }

    pub fn restore(&mut self, saved: &SavedConfig) {
        self.write(0, &[]);
        self.reset();
        self.write(0, &saved.bytes.0);
    }
}

impl SaveRestore for HostBridge {
    type Saved = SavedConfig;

    fn save(&self) -> SavedConfig {
        self.0.save()
    }

    fn restore(&mut self, saved: SavedConfig) -> Result<(), RestoreError> {
        self.0.restore(&saved);
        Ok(())
    }
}

/// A function's MSI-X vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMsix {
    pub control: u16,
    /// 16 bytes for each vector.
    pub table: Blob,
    /// A bit for each vector, in words of 64.
    pub pending: Blob,
}

impl Msix {
    pub fn save(&self) -> SavedMsix {
        SavedMsix {
            control: self.control,
            table: Blob(self.table.clone()),
            pending: Blob(self.pending.clone()),
        }
    }

    /// Sends nothing. `S` is the function that has it.
    pub fn restore<S: Saved>(&mut self, saved: SavedMsix) -> Result<(), RestoreError> {
        let SavedMsix { control, table: Blob(table), pending: Blob(pending) } = saved;
        ensure::<S>(table.len() == self.table.len(), format!("an MSI-X table of {} bytes", table.len()))?;
        ensure::<S>(pending.len() == self.pending.len(), format!("{} bytes of pending bits", pending.len()))?;
        (self.control, self.table, self.pending) = (control, table, pending);
        Ok(())
    }
}

/// Configuration mechanism 1, with the reset register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedConfigPorts {
    pub address: u32,
    pub reset_control: u8,
}

impl Saved for SavedConfigPorts {
    const NAME: &'static str = "pci-config";
    const VERSION: u32 = 1;
}

impl SaveRestore for ConfigPorts {
    type Saved = SavedConfigPorts;

    fn save(&self) -> SavedConfigPorts {
        SavedConfigPorts { address: self.address, reset_control: self.reset.value }
    }

    fn restore(&mut self, saved: SavedConfigPorts) -> Result<(), RestoreError> {
        self.address = saved.address & CONFIG_ADDRESS_BITS;
        self.reset.value = saved.reset_control;
        Ok(())
    }
}

/// Slots that fill and empty, a bit for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHotPlug {
    pub up: u32,
    pub down: u32,
    pub removable: u32,
}

impl Saved for SavedHotPlug {
    const NAME: &'static str = "pci-hot-plug";
    const VERSION: u32 = 1;
}

impl SaveRestore for HotPlug {
    type Saved = SavedHotPlug;

    fn save(&self) -> SavedHotPlug {
        let Slots { up, down, removable } = *lock(&self.slots);
        SavedHotPlug { up, down, removable }
    }

    /// What may go is what the machine's own disks say.
    fn restore(&mut self, saved: SavedHotPlug) -> Result<(), RestoreError> {
        let mut slots = lock(&self.slots);
        let missing = saved.removable & !slots.removable;
        ensure::<SavedHotPlug>(missing == 0, format!("slots {missing:#x} have nothing that could go"))?;
        let SavedHotPlug { up, down, removable } = saved;
        *slots = Slots { up, down, removable };
        Ok(())
    }
}
