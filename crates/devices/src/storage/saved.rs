//! What is saved of the media at controllers: of a unit what its commands can tell. A disk's bytes are the host's file's.

use super::scsi::{Attention, Events, Sense, Target};
use super::{Media, Unit};
use ireko_vmcore::saved::{RestoreError, Saved};
use serde::{Deserialize, Serialize};

/// A SCSI unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedUnit {
    /// Sense key, additional sense code and qualifier.
    pub sense: (u8, u8, u8),
    pub ejected: bool,
    pub prevented: bool,
    /// What the next command is refused with: 0 nothing, 1 no medium, 2 another medium.
    pub attention: u8,
    pub event_removed: bool,
    pub event_new: bool,
    pub asks_for_events: bool,
}

impl Saved for SavedUnit {
    const NAME: &'static str = "scsi-unit";
    const VERSION: u32 = 1;
}

impl Target {
    pub(super) fn save(&self) -> SavedUnit {
        SavedUnit {
            sense: (self.sense.0, self.sense.1, self.sense.2),
            ejected: self.ejected,
            prevented: self.prevented,
            attention: match self.told {
                Attention::None => 0,
                Attention::Gone => 1,
                Attention::Changed => 2,
            },
            event_removed: self.events.removed,
            event_new: self.events.new,
            asks_for_events: self.asks,
        }
    }

    pub(super) fn restore<S: Saved>(&mut self, saved: &SavedUnit) -> Result<(), RestoreError> {
        self.told = match saved.attention {
            0 => Attention::None,
            1 => Attention::Gone,
            2 => Attention::Changed,
            other => return Err(RestoreError::invalid::<S>(format!("attention {other}"))),
        };
        self.sense = Sense(saved.sense.0, saved.sense.1, saved.sense.2);
        (self.ejected, self.prevented) = (saved.ejected, saved.prevented);
        self.events = Events { removed: saved.event_removed, new: saved.event_new };
        self.asks = saved.asks_for_events;
        Ok(())
    }
}

impl Unit {
    pub(crate) fn save(&self) -> SavedUnit {
        self.target.save()
    }

    pub(crate) fn restore<S: Saved>(&mut self, saved: &SavedUnit) -> Result<(), RestoreError> {
        self.look();
        self.target.restore::<S>(saved)
    }
}

impl Media {
    /// A disk has nothing besides its bytes.
    pub(super) fn save(&self) -> Option<SavedUnit> {
        match self {
            Self::Disk(_) => None,
            Self::Cd(unit) => Some(unit.save()),
        }
    }

    pub(super) fn restore<S: Saved>(&mut self, saved: Option<&SavedUnit>) -> Result<(), RestoreError> {
        match (self, saved) {
            (Self::Disk(_), None) => Ok(()),
            (Self::Cd(unit), Some(saved)) => unit.restore::<S>(saved),
            _ => {
                Err(RestoreError::invalid::<S>("a disk is where a CD drive belongs, or the other way round"))
            }
        }
    }
}
