//! What is saved of the console.

use super::{BACKLOG, Console};
use crate::lock;
use ireko_vmcore::saved::{Blob, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedConsole {
    /// Input that waits for the driver's buffers.
    pub input: Blob,
}

impl Saved for SavedConsole {
    const NAME: &'static str = "virtio-console";
    const VERSION: u32 = 1;
}

impl SaveRestore for Console {
    type Saved = SavedConsole;

    fn save(&self) -> SavedConsole {
        SavedConsole { input: Blob(lock(&self.input).iter().copied().collect()) }
    }

    fn restore(&mut self, saved: SavedConsole) -> Result<(), RestoreError> {
        let Blob(input) = saved.input;
        ensure::<SavedConsole>(input.len() <= BACKLOG, format!("{} bytes wait", input.len()))?;
        *lock(&self.input) = input.into();
        Ok(())
    }
}
