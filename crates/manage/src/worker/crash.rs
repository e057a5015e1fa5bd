//! What becomes of a machine whose guest has crashed.

use super::launch::LOG;
use super::protocol::Reply;
use super::server::Control;
use crate::store::config::AutomaticCrash;
use ireko_machine::Outcome;
use std::sync::{Condvar, Mutex, MutexGuard};

/// What a worker does when its machine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The same machine again, as after a reset.
    Again,
    /// The machine stays as it is, for a look.
    Hold,
    End,
}

/// An end as it is shown, in one sentence. Registers are for the worker's log.
pub fn told(outcome: &Outcome) -> String {
    let sentence = outcome.sentence();
    if sentence.len() == outcome.to_string().len() {
        return sentence;
    }
    format!("{sentence}; its registers are in {LOG}")
}

/// A triple fault resets a PC; some systems reboot by one. What halted with interrupts off, or cannot be executed, is over on a
/// PC, too.
pub fn after(outcome: &Outcome, action: AutomaticCrash) -> After {
    match (outcome, action) {
        (Outcome::Reset, _) | (Outcome::Shutdown(_) | Outcome::Watchdog, AutomaticCrash::Restart) => {
            After::Again
        }
        (
            Outcome::Shutdown(_)
            | Outcome::Watchdog
            | Outcome::Idle(_)
            | Outcome::Unsupported(_)
            | Outcome::Failed(_),
            AutomaticCrash::Pause,
        ) => After::Hold,
        _ => After::End,
    }
}

/// Where a crashed machine waits for somebody to say how it goes on.
#[derive(Default)]
pub struct Held {
    said: Mutex<Option<Outcome>>,
    changed: Condvar,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.said.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn say(&self, outcome: Outcome) {
        *self.lock() = Some(outcome);
        self.changed.notify_all();
    }

    fn wait(&self) -> Outcome {
        let mut said = self.lock();
        loop {
            if let Some(outcome) = said.take() {
                return outcome;
            }
            said = self.changed.wait(said).unwrap_or_else(|e| e.into_inner());
        }
    }
}

/// What is said to who wants a crashed machine to go on.
const GONE: &str = "Its guest has crashed, so it cannot go on; use Restart-VM, or Stop-VM -TurnOff.";

impl Control {
    /// Holds the machine that has ended until it is reset or turned off: the outcome of that.
    pub(super) fn hold(&self, crash: &Outcome) -> Outcome {
        super::log(&format!("{crash}; it is held"));
        {
            let mut inner = self.lock();
            if inner.turned_off {
                return Outcome::Stopped;
            }
            // What was said of another crash does not count.
            *self.held.lock() = None;
            (inner.crashed, inner.stopping_until) = (Some(told(crash)), None);
        }
        self.paused(true);
        let outcome = self.held.wait();
        self.lock().crashed = None;
        outcome
    }

    /// A crashed machine is let go with this outcome. False: it has not crashed.
    pub(super) fn let_go(&self, outcome: Outcome) -> bool {
        let crashed = self.lock().crashed.is_some();
        if crashed {
            self.held.say(outcome);
        }
        crashed
    }

    /// Whether a crashed machine keeps this from being done.
    pub(super) fn resumed(&self) -> Option<Reply> {
        self.lock().crashed.as_ref().map(|_| Reply::Error(GONE.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_fault_or_a_watchdog_is_a_reset_unless_somebody_wants_to_hear_of_it() {
        let all = [AutomaticCrash::Restart, AutomaticCrash::TurnOff, AutomaticCrash::Pause];
        for crash in [Outcome::Shutdown("rip 0".into()), Outcome::Watchdog] {
            assert_eq!(all.map(|action| after(&crash, action)), [After::Again, After::End, After::Hold]);
        }
    }

    #[test]
    fn what_no_reset_can_mend_is_not_tried_again() {
        for outcome in [
            Outcome::Idle(String::new()),
            Outcome::Unsupported(String::new()),
            Outcome::Failed(String::new()),
        ] {
            assert_eq!(after(&outcome, AutomaticCrash::Restart), After::End);
            assert_eq!(after(&outcome, AutomaticCrash::Pause), After::Hold);
        }
    }

    #[test]
    fn registers_are_told_of_and_not_shown() {
        let said = told(&Outcome::Idle("rip 0\nrax 1".into()));
        assert_eq!(said, "the guest halted with interrupts off for good; its registers are in worker.log");
        assert_eq!(told(&Outcome::PowerOff), "the guest turned itself off");
    }

    #[test]
    fn an_orderly_end_is_no_crash() {
        for outcome in [Outcome::PowerOff, Outcome::Stopped] {
            assert_eq!(after(&outcome, AutomaticCrash::Pause), After::End);
        }
        assert_eq!(after(&Outcome::Reset, AutomaticCrash::TurnOff), After::Again);
    }
}
