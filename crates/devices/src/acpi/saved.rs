//! What is saved of ACPI's fixed hardware and of port 92h.

use super::regs::{APM_SMI, GLOBAL_SMI, TIMER_CARRY};
use super::{AcpiPm, Port92, Registers};
use crate::lock;
use ireko_vmcore::saved::{Bytes, RestoreError, SaveRestore, Saved};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedAcpiPm {
    /// PM1_STS, PM1_EN and PM1_CNT.
    pub status: u16,
    pub enable: u16,
    pub control: u16,
    pub gpe_status: u16,
    pub gpe_enable: u16,
    /// Half periods of the PM timer that status has been told of.
    pub carries: u64,
    /// APM command and status.
    pub apm: Bytes<2>,
    pub smi_enable: u32,
    pub smi_status: u32,
    pub smi_locked: bool,
    /// The system sleeps (S3).
    pub asleep: bool,
}

impl Saved for SavedAcpiPm {
    const NAME: &'static str = "acpi-pm";
    const VERSION: u32 = 1;
}

impl SaveRestore for AcpiPm {
    type Saved = SavedAcpiPm;

    fn save(&self) -> SavedAcpiPm {
        let state = lock(&self.state);
        let registers = &state.registers;
        SavedAcpiPm {
            status: registers.status,
            enable: registers.enable,
            control: registers.control,
            gpe_status: registers.gpe_status,
            gpe_enable: registers.gpe_enable,
            carries: registers.carries,
            apm: Bytes(registers.apm),
            smi_enable: registers.smi_enable,
            smi_status: registers.smi_status,
            smi_locked: state.smi.as_ref().is_some_and(|smi| smi.locked),
            asleep: registers.asleep,
        }
    }

    fn restore(&mut self, saved: SavedAcpiPm) -> Result<(), RestoreError> {
        let mut state = lock(&self.state);
        state.registers = Registers {
            status: saved.status,
            enable: saved.enable,
            control: saved.control,
            gpe_status: saved.gpe_status,
            gpe_enable: saved.gpe_enable,
            carries: saved.carries,
            apm: saved.apm.0,
            smi_enable: saved.smi_enable & (GLOBAL_SMI | APM_SMI),
            smi_status: saved.smi_status,
            asleep: saved.asleep,
        };
        state.smi.iter_mut().for_each(|smi| smi.locked = saved.smi_locked);
        state.level = state.registers.sci();
        let level = state.level;
        state.sci.set(level);
        if state.registers.enable & TIMER_CARRY != 0 {
            let ticks = state.ticks();
            state.arm(ticks);
        }
        Ok(())
    }
}

/// System control port A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPort92 {
    pub value: u8,
}

impl Saved for SavedPort92 {
    const NAME: &'static str = "port92";
    const VERSION: u32 = 1;
}

impl SaveRestore for Port92 {
    type Saved = SavedPort92;

    fn save(&self) -> SavedPort92 {
        SavedPort92 { value: self.value }
    }

    fn restore(&mut self, saved: SavedPort92) -> Result<(), RestoreError> {
        self.value = saved.value;
        Ok(())
    }
}
