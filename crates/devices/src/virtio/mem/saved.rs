//! What is saved of the memory device. Which blocks are plugged is saved with memory.

use super::{EXTENT, Mem, region};
use crate::lock;
use ireko_vmcore::memory::BLOCK;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMem {
    pub requested: u64,
    /// How much of the region the driver may use.
    pub usable: u64,
}

impl Saved for SavedMem {
    const NAME: &'static str = "virtio-mem";
    const VERSION: u32 = 1;
}

impl SaveRestore for Mem {
    type Saved = SavedMem;

    fn save(&self) -> SavedMem {
        let state = lock(&self.state);
        SavedMem { requested: state.requested, usable: state.usable }
    }

    fn restore(&mut self, saved: SavedMem) -> Result<(), RestoreError> {
        let SavedMem { requested, usable } = saved;
        let whole = requested.is_multiple_of(BLOCK) && usable.is_multiple_of(BLOCK.min(EXTENT));
        let inside = requested <= region(&self.blocks) && usable <= region(&self.blocks);
        ensure::<SavedMem>(whole && inside, format!("{requested} bytes are asked for, {usable} usable"))?;
        let mut state = lock(&self.state);
        (state.requested, state.usable) = (requested, usable);
        Ok(())
    }
}
