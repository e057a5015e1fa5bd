//! What is saved of the pair.

use super::chip::{Chip, Expect};
use super::{Pair, Pic};
use crate::lock;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

/// The pair of 8259As.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPic {
    pub master: SavedChip,
    pub slave: SavedChip,
}

/// One 8259A, in the words of its data sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedChip {
    /// The initialization command word that comes next (2 to 4); 0: none.
    pub expected_icw: u8,
    pub icw1: u8,
    pub icw4: u8,
    /// The vector of pin 0.
    pub base: u8,
    pub imr: u8,
    pub isr: u8,
    /// Edges that wait for their acknowledge cycle.
    pub edges: u8,
    /// The pins' levels.
    pub lines: u8,
    pub elcr: u8,
    /// The pin with the lowest priority, 0 to 7.
    pub lowest: u8,
    pub rotate_on_aeoi: bool,
    pub special_mask: bool,
    pub read_isr: bool,
    pub poll: bool,
}

impl Saved for SavedPic {
    const NAME: &'static str = "pic";
    const VERSION: u32 = 1;
}

impl Chip {
    pub(super) fn save(&self) -> SavedChip {
        let expected_icw = match self.expect {
            Expect::Operation => 0,
            Expect::Icw2 => 2,
            Expect::Icw3 => 3,
            Expect::Icw4 => 4,
        };
        SavedChip {
            expected_icw,
            icw1: self.icw1,
            icw4: self.icw4,
            base: self.base,
            imr: self.imr,
            isr: self.isr,
            edges: self.edges,
            lines: self.lines,
            elcr: self.elcr,
            lowest: self.lowest,
            rotate_on_aeoi: self.rotate_on_aeoi,
            special_mask: self.special_mask,
            read_isr: self.read_isr,
            poll: self.poll,
        }
    }

    pub(super) fn restored(&self, saved: SavedChip) -> Result<Self, RestoreError> {
        let expect = match saved.expected_icw {
            0 => Expect::Operation,
            2 => Expect::Icw2,
            3 => Expect::Icw3,
            4 => Expect::Icw4,
            other => return Err(RestoreError::invalid::<SavedPic>(format!("ICW{other} comes next"))),
        };
        ensure::<SavedPic>(saved.lowest < 8, format!("pin {} has the lowest priority", saved.lowest))?;
        ensure::<SavedPic>(saved.base & 7 == 0, format!("pin 0 has vector {}", saved.base))?;
        ensure::<SavedPic>(saved.elcr & !self.elcr_mask == 0, format!("an ELCR of {:#x}", saved.elcr))?;
        Ok(Self {
            expect,
            icw1: saved.icw1,
            icw4: saved.icw4,
            base: saved.base,
            imr: saved.imr,
            isr: saved.isr,
            edges: saved.edges,
            lines: saved.lines,
            elcr: saved.elcr,
            elcr_mask: self.elcr_mask,
            lowest: saved.lowest,
            rotate_on_aeoi: saved.rotate_on_aeoi,
            special_mask: saved.special_mask,
            read_isr: saved.read_isr,
            poll: saved.poll,
        })
    }
}

impl SaveRestore for Pic {
    type Saved = SavedPic;

    fn save(&self) -> SavedPic {
        let pair = lock(&self.pair);
        SavedPic { master: pair.master.save(), slave: pair.slave.save() }
    }

    /// INTR's end looks at it again.
    fn restore(&mut self, saved: SavedPic) -> Result<(), RestoreError> {
        {
            let mut pair = lock(&self.pair);
            let (master, slave) = (pair.master.restored(saved.master)?, pair.slave.restored(saved.slave)?);
            *pair = Pair { master, slave };
        }
        (self.changed)();
        Ok(())
    }
}
