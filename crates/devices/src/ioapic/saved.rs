//! What is saved of the I/O APIC.

use super::regs::{PINS, SAVED_ENTRY, SAVED_ID};
use super::{IoApic, IoApicState};
use crate::lock;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedIoApic {
    /// The ID register.
    pub id: u32,
    /// IOREGSEL.
    pub select: u8,
    /// The redirection entries, with their remote IRR.
    pub entries: [u64; PINS],
    /// The pins' levels, a bit for each.
    pub lines: u32,
}

impl Saved for SavedIoApic {
    const NAME: &'static str = "ioapic";
    const VERSION: u32 = 1;
}

impl SaveRestore for IoApic {
    type Saved = SavedIoApic;

    fn save(&self) -> SavedIoApic {
        let state = lock(&self.state);
        let IoApicState { id, select, entries, lines } = *state;
        SavedIoApic { id, select, entries, lines }
    }

    fn restore(&mut self, saved: SavedIoApic) -> Result<(), RestoreError> {
        let SavedIoApic { id, select, entries, lines } = saved;
        ensure::<SavedIoApic>(id & !SAVED_ID == 0, format!("an ID register of {id:#x}"))?;
        ensure::<SavedIoApic>(lines >> PINS == 0, format!("pins of {lines:#x}"))?;
        let wrong = entries.iter().find(|entry| **entry & !SAVED_ENTRY != 0);
        ensure::<SavedIoApic>(wrong.is_none(), format!("a redirection entry of {wrong:x?}"))?;
        *lock(&self.state) = IoApicState { id, select, entries, lines };
        Ok(())
    }
}
