//! What is saved of what connects the local APICs. Their registers are their processors'.

use super::Apics;
use ireko_vmcore::saved::{RestoreError, Saved};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPartition {
    /// Whose turn it is to take an interrupt that is for the processor of lowest priority: a number that only counts up.
    pub turn: u64,
}

impl Saved for SavedPartition {
    const NAME: &'static str = "partition";
    const VERSION: u32 = 1;
}

impl Apics {
    pub fn save(&self) -> SavedPartition {
        SavedPartition { turn: self.turn.load(Ordering::Relaxed) as u64 }
    }

    pub fn restore(&self, saved: SavedPartition) -> Result<(), RestoreError> {
        self.turn.store(saved.turn as usize, Ordering::Relaxed);
        Ok(())
    }
}
