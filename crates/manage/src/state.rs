//! The states of a VM and what may be done in each.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum State {
    Off,
    Starting,
    Running,
    Paused,
    /// Held for a disk that its host could not read or write.
    PausedCritical,
    Stopping,
    Saved,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What somebody wants of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    /// The guest turns itself off.
    ShutDown,
    TurnOff,
    Restart,
    Suspend,
    Resume,
    Remove,
    /// A change of what is fixed while it runs.
    Change,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    /// It is what was wanted: a warning, no error.
    Already,
    /// Not in this state; what to do instead.
    Refused(&'static str),
}

pub const ALREADY: &str = "The virtual machine is already in the specified state.";
pub const WRONG_STATE: &str =
    "The operation cannot be performed while the virtual machine is in its current state.";

const STATES: [State; 7] = [
    State::Off,
    State::Starting,
    State::Running,
    State::Paused,
    State::PausedCritical,
    State::Stopping,
    State::Saved,
];

use Verdict::{Already, Go, Refused};
const WAIT: Verdict = Refused("Wait until it is running, or use Stop-VM -TurnOff.");
const STOP_FIRST: Verdict = Refused("Turn it off first: Stop-VM.");
const RESUME_FIRST: Verdict = Refused("Resume it first: Resume-VM.");
const NOT_OFF: Verdict = Refused("Start it first: Start-VM.");
const GOING_DOWN: Verdict = Refused("It is shutting down; wait until it is Off, or use Stop-VM -TurnOff.");
const SAVED: Verdict = Refused("Saving and restoring is not there yet; remove the saved state.");

/// Rows: what is wanted. Columns: Off, Starting, Running, Paused, PausedCritical, Stopping, Saved.
#[rustfmt::skip]
const TABLE: [(Action, [Verdict; 7]); 8] = [
    (Action::Start,    [Go,      Already,    Already,    RESUME_FIRST, RESUME_FIRST, GOING_DOWN, SAVED]),
    (Action::ShutDown, [Already, WAIT,       Go,         RESUME_FIRST, RESUME_FIRST, Go,         Already]),
    (Action::TurnOff,  [Already, Go,         Go,         Go,           Go,           Go,         SAVED]),
    (Action::Restart,  [NOT_OFF, WAIT,       Go,         Go,           Go,           GOING_DOWN, SAVED]),
    (Action::Suspend,  [NOT_OFF, WAIT,       Go,         Already,      Go,           GOING_DOWN, SAVED]),
    (Action::Resume,   [NOT_OFF, Already,    Already,    Go,           Go,           GOING_DOWN, SAVED]),
    (Action::Remove,   [Go,      STOP_FIRST, STOP_FIRST, STOP_FIRST,   STOP_FIRST,   GOING_DOWN, Go]),
    (Action::Change,   [Go,      STOP_FIRST, STOP_FIRST, STOP_FIRST,   STOP_FIRST,   GOING_DOWN, SAVED]),
];

/// Whether `action` may be done in `state`.
pub fn verdict(action: Action, state: State) -> Verdict {
    let row = TABLE.iter().find(|(own, _)| *own == action);
    let column = STATES.iter().position(|own| *own == state);
    match (row, column) {
        (Some((_, row)), Some(column)) => row[column],
        _ => Refused("The state is unknown."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_verdict_in_every_state() {
        for (action, _) in TABLE {
            for state in STATES {
                assert_ne!(verdict(action, state), Refused("The state is unknown."));
            }
        }
    }

    #[test]
    fn what_runs_is_neither_removed_nor_changed() {
        for state in [State::Starting, State::Running, State::Paused, State::PausedCritical, State::Stopping]
        {
            assert!(matches!(verdict(Action::Remove, state), Refused(_)));
            assert!(matches!(verdict(Action::Change, state), Refused(_)));
        }
    }

    #[test]
    fn starting_twice_is_a_warning() {
        assert_eq!(verdict(Action::Start, State::Running), Already);
    }

    #[test]
    fn a_paused_vm_is_resumed_and_not_started() {
        assert_eq!(verdict(Action::Start, State::Paused), RESUME_FIRST);
        assert_eq!(verdict(Action::Resume, State::Paused), Go);
    }

    #[test]
    fn whatever_runs_can_be_turned_off() {
        for state in [State::Starting, State::Running, State::Paused, State::PausedCritical, State::Stopping]
        {
            assert_eq!(verdict(Action::TurnOff, state), Go);
        }
    }
}
