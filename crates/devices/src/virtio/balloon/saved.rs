//! What is saved of the balloon.

use super::{Balloon, BalloonState, EXCHANGES, Pages, Statistics};
use crate::lock;
use ireko_vmcore::saved::{Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedBalloon {
    /// Pages that the device wants, and what the driver says it gave.
    pub target: u32,
    pub actual: Bytes<4>,
    /// Pages that the guest has given: a bit for each, in words of 64, without zeros at the end.
    pub inside: Vec<u64>,
    /// Statistics of the guest's memory, in the order of their tags, and their number.
    pub statistics: Option<(u64, [Option<u64>; Statistics::COUNT])>,
    pub answers: u64,
    pub exchanges: u8,
}

impl Saved for SavedBalloon {
    const NAME: &'static str = "virtio-balloon";
    const VERSION: u32 = 1;
}

impl SaveRestore for Balloon {
    type Saved = SavedBalloon;

    fn save(&self) -> SavedBalloon {
        let state = lock(&self.state);
        let end = state.inside.words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        SavedBalloon {
            target: state.target,
            actual: Bytes(state.actual),
            inside: state.inside.words[..end].to_vec(),
            statistics: state.statistics.map(|all| (all.number, all.values())),
            answers: state.answers,
            exchanges: state.exchanges,
        }
    }

    /// Memory holds zeros there, or what it held: it is the guest's no more either way.
    fn restore(&mut self, saved: SavedBalloon) -> Result<(), RestoreError> {
        let highest = saved.inside.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let pages = self.pages();
        ensure::<SavedBalloon>(
            highest as u64 <= pages.div_ceil(64) && highest == saved.inside.len(),
            format!("it has pages up to number {}", 64 * saved.inside.len()),
        )?;
        ensure::<SavedBalloon>(saved.exchanges <= EXCHANGES, format!("{} exchanges", saved.exchanges))?;
        let count = saved.inside.iter().map(|word| u64::from(word.count_ones())).sum();
        *lock(&self.state) = BalloonState {
            target: saved.target,
            actual: saved.actual.0,
            inside: Pages { words: saved.inside, count },
            statistics: saved.statistics.map(|(number, values)| Statistics::of(number, values)),
            answers: saved.answers,
            exchanges: saved.exchanges,
        };
        Ok(())
    }
}
