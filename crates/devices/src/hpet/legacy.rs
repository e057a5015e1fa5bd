//! A wire of the interval timer's or the clock's, which the event timer may take from it (1.0a, 2.3.5, LEG_RT_CNF).

use crate::lock;
use ireko_vmcore::{Line, LineSink};
use std::sync::{Arc, Mutex};

const OWN: u32 = 0;
const REPLACEMENT: u32 = 1;

pub struct Legacy {
    out: Line,
    state: Mutex<LegacyState>,
}

#[derive(Default)]
struct LegacyState {
    levels: [bool; 2],
    replaced: bool,
}

impl LegacyState {
    fn level(&self) -> bool {
        self.levels[usize::from(self.replaced)]
    }
}

impl Legacy {
    pub fn new(out: Line) -> Arc<Self> {
        Arc::new(Self { out, state: Mutex::default() })
    }

    /// The older timer's end.
    pub fn own(self: &Arc<Self>) -> Line {
        Line::new(self.clone(), OWN)
    }

    /// The event timer's.
    pub fn replacement(self: &Arc<Self>) -> Line {
        Line::new(self.clone(), REPLACEMENT)
    }

    /// Whose end counts.
    pub fn replace(&self, replaced: bool) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.replaced, replaced) != replaced {
            self.out.forget_ticks();
            self.out.set(state.level());
        }
    }

    /// Of its own end, and of the event timer's.
    pub(super) fn levels(&self) -> [bool; 2] {
        lock(&self.state).levels
    }

    /// What the wire's end has of it is restored by that end.
    pub(super) fn restore(&self, levels: [bool; 2], replaced: bool) {
        *lock(&self.state) = LegacyState { levels, replaced };
    }

    /// Takes note of an end's level. Whether that end counts.
    fn note(state: &mut LegacyState, pin: u32, level: bool) -> bool {
        state.levels[usize::from(pin == REPLACEMENT)] = level;
        state.replaced == (pin == REPLACEMENT)
    }
}

impl LineSink for Legacy {
    fn set(&self, pin: u32, level: bool) {
        // The lock is held over the call so that two ends cannot leave the output at the older level.
        let mut state = lock(&self.state);
        Self::note(&mut state, pin, level);
        self.out.set(state.level());
    }

    fn ticks(&self, pin: u32, count: u64) {
        let mut state = lock(&self.state);
        if Self::note(&mut state, pin, true) {
            self.out.ticks(count);
        }
    }

    fn forget_ticks(&self, pin: u32) {
        if lock(&self.state).replaced == (pin == REPLACEMENT) {
            self.out.forget_ticks();
        }
    }
}
