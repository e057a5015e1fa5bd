//! What is saved of the event timer.

use super::Hpet;
use super::block::{Block, Comparator};
use super::regs::*;
use crate::lock;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHpet {
    pub configuration: u64,
    pub status: u64,
    /// The counter while it stands; while it runs, what is added to the tick of the machine's clock.
    pub counter: u64,
    pub timers: [SavedTimer; TIMERS],
    /// When each timer matches next, in nanoseconds of the machine's clock.
    pub due: [Option<u64>; TIMERS],
    /// For the wires of interval timer and clock: the levels of their own ends and of this timer's.
    pub legacy: [[bool; 2]; 2],
}

/// One timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTimer {
    pub configuration: u64,
    pub comparator: u64,
    pub period: u64,
    pub fsb: u64,
}

impl Saved for SavedHpet {
    const NAME: &'static str = "hpet";
    const VERSION: u32 = 1;
}

impl SaveRestore for Hpet {
    type Saved = SavedHpet;

    fn save(&self) -> SavedHpet {
        let state = lock(&self.state);
        let timer = |timer: &Comparator| {
            let Comparator { configuration, comparator, period, fsb } = *timer;
            SavedTimer { configuration, comparator, period, fsb }
        };
        SavedHpet {
            configuration: state.block.configuration,
            status: state.block.status,
            counter: state.block.counter,
            timers: state.block.timers.each_ref().map(timer),
            due: state.due,
            legacy: state.wires.legacy.each_ref().map(|wire| wire.levels()),
        }
    }

    fn restore(&mut self, saved: SavedHpet) -> Result<(), RestoreError> {
        const TIMER_BITS: u64 = WRITABLE | PERIODIC | VALUE_SET;
        let known = saved.configuration & !(ENABLE | LEGACY) == 0 && saved.status >> TIMERS == 0;
        let timers_known = saved.timers.iter().all(|timer| timer.configuration & !TIMER_BITS == 0);
        ensure::<SavedHpet>(known && timers_known, "it has bits that no register has")?;
        let timer = |timer: SavedTimer| {
            let SavedTimer { configuration, comparator, period, fsb } = timer;
            Comparator { configuration, comparator, period, fsb }
        };
        let mut state = lock(&self.state);
        state.block = Block {
            configuration: saved.configuration,
            status: saved.status,
            counter: saved.counter,
            timers: saved.timers.map(timer),
        };
        let replaced = state.block.legacy();
        state.wires.legacy.iter().zip(saved.legacy).for_each(|(wire, levels)| wire.restore(levels, replaced));
        state.show_levels();
        state.due = saved.due;
        for (timer, due) in state.timers.iter().zip(saved.due) {
            match due {
                Some(due) => timer.arm(due),
                None => timer.cancel(),
            }
        }
        Ok(())
    }
}
