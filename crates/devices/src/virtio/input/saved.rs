//! What is saved of the tablet.

use super::{BACKLOG, EVENT, InputState, Position, Tablet};
use crate::lock;
use ireko_vmcore::saved::{Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTablet {
    pub select: [u8; 2],
    /// Reports that wait: right, down, the wheel, buttons.
    pub reports: Vec<(u16, u16, i32, u8)>,
    /// Events of the report that is being told.
    pub events: Vec<Bytes<EVENT>>,
    /// What the driver knows.
    pub told: Option<(u16, u16, i32, u8)>,
}

impl Saved for SavedTablet {
    const NAME: &'static str = "virtio-input";
    const VERSION: u32 = 1;
}

/// Events of one report, at most: two directions, buttons, a wheel, the end.
const MOST_EVENTS: usize = 16;

fn numbers(position: &Position) -> (u16, u16, i32, u8) {
    (position.x, position.y, position.wheel, position.buttons)
}

fn position((x, y, wheel, buttons): (u16, u16, i32, u8)) -> Result<Position, RestoreError> {
    ensure::<SavedTablet>(wheel != i32::MIN, "a wheel turns too far")?;
    Ok(Position { x, y, wheel, buttons })
}

impl SaveRestore for Tablet {
    type Saved = SavedTablet;

    fn save(&self) -> SavedTablet {
        let state = lock(&self.state);
        SavedTablet {
            select: state.select,
            reports: state.reports.iter().map(numbers).collect(),
            events: state.events.iter().map(|event| Bytes(*event)).collect(),
            told: state.told.as_ref().map(numbers),
        }
    }

    fn restore(&mut self, saved: SavedTablet) -> Result<(), RestoreError> {
        let (reports, events) = (saved.reports.len(), saved.events.len());
        let fit = reports <= BACKLOG && events <= MOST_EVENTS;
        ensure::<SavedTablet>(fit, format!("{reports} reports and {events} events wait"))?;
        *lock(&self.state) = InputState {
            select: saved.select,
            reports: saved.reports.into_iter().map(position).collect::<Result<_, _>>()?,
            events: saved.events.into_iter().map(|event| event.0).collect(),
            told: saved.told.map(position).transpose()?,
        };
        Ok(())
    }
}
