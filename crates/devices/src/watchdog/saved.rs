//! What is saved of the watchdog.

use super::regs::*;
use super::{Stage, Watchdog, WatchdogState};
use crate::pci::saved::SavedConfig;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedWatchdog {
    pub config: SavedConfig,
    pub lengths: [u32; 2],
    /// Keys that have been written of those that let a write through.
    pub keys: u8,
    /// Whether the second stage runs, or the first, and when it ends, in nanoseconds of the machine's clock.
    pub running: Option<(bool, u64)>,
    pub interrupts: bool,
    pub timed_out: bool,
}

impl Saved for SavedWatchdog {
    const NAME: &'static str = "i6300esb";
    const VERSION: u32 = 1;
}

impl SaveRestore for Watchdog {
    type Saved = SavedWatchdog;

    fn save(&self) -> SavedWatchdog {
        let WatchdogState { lengths, keys, running, interrupts, timed_out } = self.state.clone();
        let running = running.map(|(stage, due)| (stage == Stage::Second, due));
        SavedWatchdog {
            config: self.config.save(),
            lengths,
            keys: keys as u8,
            running,
            interrupts,
            timed_out,
        }
    }

    fn restore(&mut self, saved: SavedWatchdog) -> Result<(), RestoreError> {
        let SavedWatchdog { config, lengths, keys, running, interrupts, timed_out } = saved;
        let fit = lengths.iter().all(|length| *length <= LONGEST) && usize::from(keys) <= KEYS.len();
        ensure::<SavedWatchdog>(fit, "it has bits that no register has")?;
        self.config.restore(&config);
        let stage = |second| if second { Stage::Second } else { Stage::First };
        let running = running.map(|(second, due)| (stage(second), due));
        // One that is not enabled does not run.
        let running = running.filter(|_| self.locks() & ENABLED != 0);
        self.state = WatchdogState { lengths, keys: keys.into(), running, interrupts, timed_out };
        self.arm();
        self.show();
        Ok(())
    }
}
