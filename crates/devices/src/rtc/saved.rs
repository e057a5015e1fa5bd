//! What is saved of the real-time clock.

use super::Rtc;
use super::chip::{Chip, MOST_OWED, SECOND};
use super::regs::SIZE;
use crate::lock;
use ireko_vmcore::saved::{Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRtc {
    /// Registers and CMOS memory; the time is as of the last look at it, and worked out anew.
    pub bytes: Bytes<SIZE>,
    pub index: u8,
    /// Unix seconds at the machine's time 0.
    pub base: i64,
    /// Nanoseconds by which the calendar is behind.
    pub behind: u64,
    /// The machine's time up to which flags have been worked out.
    pub seen: u64,
    /// Periodic interrupts that are owed.
    pub owed: u64,
    /// The wire's level.
    pub level: bool,
}

impl Saved for SavedRtc {
    const NAME: &'static str = "rtc";
    const VERSION: u32 = 1;
}

impl SaveRestore for Rtc {
    type Saved = SavedRtc;

    fn save(&self) -> SavedRtc {
        let state = lock(&self.state);
        let Chip { bytes, index, base, behind, seen, owed, .. } = state.chip;
        SavedRtc { bytes: Bytes(bytes), index, base, behind, seen, owed, level: state.level }
    }

    /// The wire's level is for who is at its end.
    fn restore(&mut self, saved: SavedRtc) -> Result<(), RestoreError> {
        const FARTHEST: u64 = 1 << 40;
        let SavedRtc { bytes: Bytes(bytes), index, base, behind, seen, owed, level } = saved;
        ensure::<SavedRtc>(usize::from(index) < SIZE, format!("register {index} is selected"))?;
        ensure::<SavedRtc>(base.unsigned_abs() < FARTHEST, format!("second {base}"))?;
        ensure::<SavedRtc>(owed <= MOST_OWED, format!("{owed} interrupts are owed"))?;
        ensure::<SavedRtc>(behind < SECOND, format!("it is behind by {behind} ns"))?;
        let mut state = lock(&self.state);
        let now = state.clock.now();
        ensure::<SavedRtc>(seen <= now, format!("time {seen} was seen at {now}"))?;
        state.chip = Chip { bytes, index, base, behind, seen, owed, again: false };
        state.level = level;
        state.arm();
        Ok(())
    }
}
