//! What is saved of the controller, of each port and of the device there.

use super::Ahci;
use super::command::{Answer, Kind};
use super::port::Port;
use super::regs::*;
use crate::pci::saved::SavedConfig;
use crate::service::Service as _;
use crate::storage::saved::SavedUnit;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedAhci {
    pub config: SavedConfig,
    /// GHC.
    pub control: u32,
    pub ports: Vec<SavedPort>,
}

/// A port's registers, and its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPort {
    /// PxCLB and PxFB.
    pub list: u64,
    pub received: u64,
    /// PxIS, PxIE, PxCMD, PxTFD, PxSCTL, PxSERR, PxSACT, PxCI.
    pub interrupts: u32,
    pub enabled: u32,
    pub command: u32,
    pub task: u32,
    pub control: u32,
    pub error: u32,
    pub active: u32,
    pub issued: u32,
    /// The slot of the last command.
    pub slot: u32,
    pub halted: bool,
    /// The device is to be reset before its next command, and is in the middle of a software reset.
    pub reset: bool,
    pub resetting: bool,
    /// The queued command that failed last: its tag, status, error, count, address and device.
    pub failed: Option<(u8, u8, u8, u16, u64, u8)>,
    pub unit: Option<SavedUnit>,
}

impl Saved for SavedAhci {
    const NAME: &'static str = "ahci";
    const VERSION: u32 = 1;
}

impl SavedPort {
    fn of(port: &Port) -> Self {
        let device = port.engine.at_rest();
        let failed = device.failed.as_ref().map(|(tag, answer)| {
            (*tag, answer.status, answer.error, answer.count, answer.lba, answer.device)
        });
        Self {
            list: port.list,
            received: port.received,
            interrupts: port.interrupts,
            enabled: port.enabled,
            command: port.command,
            task: port.task,
            control: port.control,
            error: port.error,
            active: port.active,
            issued: port.issued,
            slot: port.slot,
            halted: port.halted,
            reset: port.engine.is_to_be_reset(),
            resetting: device.resetting,
            failed,
            unit: device.media.save(),
        }
    }

    fn restore(&self, port: &mut Port) -> Result<(), RestoreError> {
        ensure::<SavedAhci>(self.slot < 32, format!("slot {}", self.slot))?;
        port.reset();
        (port.list, port.received) = (self.list & !CLB_ALIGN, self.received & !FB_ALIGN);
        (port.interrupts, port.enabled) = (self.interrupts, self.enabled & PXIE_WRITABLE);
        (port.command, port.task) = (self.command & CMD_WRITABLE, self.task);
        (port.control, port.error) = (self.control & SCTL_WRITABLE, self.error);
        (port.active, port.issued) = (self.active, self.issued);
        (port.slot, port.halted) = (self.slot, self.halted);
        {
            let mut device = port.engine.at_rest();
            device.resetting = self.resetting;
            device.failed = self.failed.map(|(tag, status, error, count, lba, address)| {
                (tag, Answer { status, error, count, lba, device: address, ..Answer::new(Kind::Queued(tag)) })
            });
            device.media.restore::<SavedAhci>(self.unit.as_ref())?;
        }
        port.engine.set_to_be_reset(self.reset);
        // What had rung before is not saved.
        (0..32)
            .filter(|slot| port.issued >> slot & 1 != 0)
            .for_each(|slot| port.engine.mailbox().notify(slot));
        Ok(())
    }
}

impl SaveRestore for Ahci {
    type Saved = SavedAhci;

    fn save(&self) -> SavedAhci {
        let ports = self.ports.iter().map(SavedPort::of).collect();
        SavedAhci { config: self.config.save(), control: self.control, ports }
    }

    fn restore(&mut self, saved: SavedAhci) -> Result<(), RestoreError> {
        let count = saved.ports.len();
        ensure::<SavedAhci>(
            count == self.ports.len(),
            format!("{count} ports and not {}", self.ports.len()),
        )?;
        self.config.restore(&saved.config);
        self.control = saved.control & GHC_INTERRUPTS | GHC_AHCI;
        self.ports.iter_mut().zip(&saved.ports).try_for_each(|(port, saved)| saved.restore(port))?;
        self.set_intx();
        Ok(())
    }
}
