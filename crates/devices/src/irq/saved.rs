//! What is saved of the wires: ticks of the interval timer that are owed.

use super::Irqs;
use super::ticks::{MOST, Ticks};
use crate::lock;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTicks {
    pub owed: u64,
    /// The vector of the last one, until it is ended.
    pub sent: Option<u8>,
    /// The wire's level between ticks.
    pub level: bool,
}

impl Saved for SavedTicks {
    const NAME: &'static str = "timer-ticks";
    const VERSION: u32 = 1;
}

/// What owes ticks.
pub struct OwedTicks(pub Arc<Irqs>);

impl SaveRestore for OwedTicks {
    type Saved = SavedTicks;

    fn save(&self) -> SavedTicks {
        let ticks = lock(&self.0.ticks);
        SavedTicks { owed: ticks.owed, sent: ticks.sent, level: ticks.level }
    }

    fn restore(&mut self, saved: SavedTicks) -> Result<(), RestoreError> {
        let SavedTicks { owed, sent, level } = saved;
        ensure::<SavedTicks>(owed <= MOST, format!("{owed} ticks are owed"))?;
        let mut ticks = lock(&self.0.ticks);
        *ticks = Ticks { owed, sent: None, level };
        self.0.sent(&mut ticks, sent);
        Ok(())
    }
}
