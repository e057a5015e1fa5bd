//! What is saved of flash memory: what it holds, and how far a command has come.

use super::{Flash, Mode};
use ireko_vmcore::saved::{Blob, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedFlash {
    pub content: Blob,
    /// 0: reads give the array, 1: the status; the next write is 2: programmed, 3: an erase's confirmation.
    pub mode: u8,
    pub status: u8,
    /// Programmed and not yet kept: from here up to there.
    pub dirty: (u64, u64),
}

impl Saved for SavedFlash {
    const NAME: &'static str = "flash";
    const VERSION: u32 = 1;
}

impl SaveRestore for Flash {
    type Saved = SavedFlash;

    fn save(&self) -> SavedFlash {
        let mode = match self.mode {
            Mode::Array => 0,
            Mode::Status => 1,
            Mode::Program => 2,
            Mode::Erase => 3,
        };
        SavedFlash {
            content: Blob(self.content.clone()),
            mode,
            status: self.status,
            dirty: (self.dirty.start as u64, self.dirty.end as u64),
        }
    }

    /// What is kept elsewhere is to be what was kept when it was saved.
    fn restore(&mut self, saved: SavedFlash) -> Result<(), RestoreError> {
        let Blob(content) = saved.content;
        let (size, (start, end)) = (content.len(), saved.dirty);
        ensure::<SavedFlash>(size == self.content.len(), format!("it holds {size} bytes"))?;
        ensure::<SavedFlash>(start <= end && end <= size as u64, format!("bytes {start} to {end} are new"))?;
        self.mode = match saved.mode {
            0 => Mode::Array,
            1 => Mode::Status,
            2 => Mode::Program,
            3 => Mode::Erase,
            other => return Err(RestoreError::invalid::<SavedFlash>(format!("mode {other}"))),
        };
        (self.content, self.status, self.dirty) = (content, saved.status, start as usize..end as usize);
        Ok(())
    }
}
