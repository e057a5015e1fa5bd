//! When a device may touch guest memory: closed while the machine is paused, shut for good at its end, and renewed by
//! every reset, so that what was begun before it writes nothing after it.
//!
//! Nobody waits for a device at its gate longer than for the copy of one piece: what takes time (the host's files, its
//! network) happens outside. So a vCPU may renew it, whatever the device is stuck in.

use crate::lock;
use ireko_vmcore::Throttle;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
struct GateState {
    /// Counts resets.
    epoch: u64,
    /// Nothing is begun; what is under way goes on.
    held: bool,
    paused: bool,
    ended: bool,
    /// Between [`Gate::enter`] and [`Gate::leave`].
    inside: bool,
    /// The same, and not waiting.
    working: bool,
}

impl GateState {
    fn over(&self, epoch: u64) -> bool {
        self.ended || self.epoch != epoch
    }
}

#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

/// Leave to work for the device as it was when the work began.
#[derive(Clone, Copy)]
pub struct Permit<'a> {
    gate: &'a Gate,
    epoch: u64,
}

/// Guest memory may be written for as long as this is held.
pub struct Pass<'a>(#[allow(dead_code)] MutexGuard<'a, GateState>);

impl Gate {
    /// Waits out a pause. False: the machine has ended.
    pub fn wait_until_open(&self) -> bool {
        let mut state = lock(&self.state);
        while (state.paused || state.held) && !state.ended {
            state = self.wait(state);
        }
        !state.ended
    }

    pub fn is_open(&self) -> bool {
        let state = lock(&self.state);
        !state.paused && !state.held && !state.ended
    }

    /// As [`Gate::enter`] without waiting.
    pub fn try_enter(&self) -> Option<Permit<'_>> {
        let mut state = lock(&self.state);
        let open = !state.paused && !state.held && !state.ended;
        (state.working, state.inside) = (open, open);
        open.then_some(Permit { gate: self, epoch: state.epoch })
    }

    /// Whether something of what was to be done may be left, as a pause came meanwhile.
    pub fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        (state.working, state.inside) = (false, false);
        let held = state.held;
        self.tell(state);
        held
    }

    /// Only who pauses or ends waits for somebody to rest.
    fn tell(&self, state: MutexGuard<'_, GateState>) {
        if state.held || state.paused || state.ended {
            self.changed.notify_all();
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, GateState>) -> MutexGuard<'a, GateState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// The device was reset.
    pub fn renew(&self) {
        self.change(|state| state.epoch += 1);
    }
    /// Begins nothing more.
    pub fn hold(&self) {
        self.change(|state| state.held = true);
    }
    pub fn pause(&self) {
        self.change(|state| (state.held, state.paused) = (true, true));
    }
    pub fn resume(&self) {
        self.change(|state| (state.held, state.paused) = (false, false));
    }
    pub fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// Whether what is under way came to rest within the time.
    pub fn rests(&self, patience: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, patience, |state| state.working);
        !waited.unwrap_or_else(PoisonError::into_inner).0.working
    }

    /// Whether what was begun has been finished within the time.
    pub fn finishes(&self, patience: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, patience, |state| state.inside);
        !waited.unwrap_or_else(PoisonError::into_inner).0.inside
    }

    pub fn epoch(&self) -> u64 {
        lock(&self.state).epoch
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the device was reset")
}

impl<'a> Permit<'a> {
    pub fn epoch(self) -> u64 {
        self.epoch
    }

    /// Whether nothing new is to be begun: a pause comes.
    pub fn held(self) -> bool {
        lock(&self.gate.state).held
    }

    /// Whether the device was reset, or its machine has ended, since the work began.
    pub fn over(self) -> bool {
        lock(&self.gate.state).over(self.epoch)
    }

    /// Waits out a pause. An error: whatever comes now comes too late.
    pub fn pass(self) -> io::Result<Pass<'a>> {
        let mut state = lock(&self.gate.state);
        while state.paused && !state.over(self.epoch) {
            state.working = false;
            self.gate.changed.notify_all();
            state = self.gate.wait(state);
        }
        if state.over(self.epoch) {
            return Err(over());
        }
        state.working = true;
        Ok(Pass(state))
    }

    /// Waits for so long while nothing is done for the guest: a pause does not wait for who is idle, nor the other way round.
    pub fn wait_idle(self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        let mut state = lock(&self.gate.state);
        state.working = false;
        self.gate.changed.notify_all();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.over(self.epoch) {
                return Err(over());
            }
            if left.is_zero() {
                return Ok(());
            }
            let waited = self.gate.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what moves next from its limits, and waits until it may.
    pub fn pay(self, throttle: &Throttle, bytes: u64, operations: u64) -> io::Result<()> {
        // Limits may change meanwhile.
        const LOOK: Duration = Duration::from_millis(100);
        let mut wait = throttle.take(bytes, operations, Instant::now());
        while !wait.is_zero() {
            self.sleep(wait.min(LOOK))?;
            wait = throttle.take(0, 0, Instant::now());
        }
        Ok(())
    }

    /// Waits for so long, and no longer than it makes sense.
    pub fn sleep(self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        loop {
            let state = self.pass()?.0;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            drop(self.gate.changed.wait_timeout(state, left));
        }
    }
}
