//! How the threads of one VM stop: for good, with the first reason as the outcome, or for a pause.

use crate::Outcome;
use ireko_vmcore::Stop;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Default)]
struct Inner {
    outcome: Option<Outcome>,
    paused: bool,
    /// vCPUs whose threads have not ended, and those of them that wait for the end of a pause.
    alive: usize,
    parked: usize,
}

/// Shared by everybody who may end or pause the VM.
#[derive(Clone, Default)]
pub struct Ending {
    inner: Arc<(Mutex<Inner>, Condvar)>,
    stop: Stop,
}

impl Ending {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn wait<'a>(&'a self, guard: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.inner.1.wait(guard).unwrap_or_else(|e| e.into_inner())
    }

    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The first reason stays.
    pub fn end(&self, outcome: Outcome) {
        self.lock().outcome.get_or_insert(outcome);
        self.stop.ask();
        self.inner.1.notify_all();
    }

    pub fn ended(&self) -> bool {
        self.lock().outcome.is_some()
    }

    pub fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome.clone()
    }

    pub fn take(&self) -> Outcome {
        self.lock().outcome.take().unwrap_or(Outcome::Stopped)
    }

    pub fn expect_vcpus(&self, count: usize) {
        self.lock().alive = count;
    }

    pub fn vcpu_is_gone(&self) {
        let mut inner = self.lock();
        inner.alive = inner.alive.saturating_sub(1);
        self.inner.1.notify_all();
    }

    pub fn paused(&self) -> bool {
        self.lock().paused
    }

    /// Comes back when every vCPU waits (or the VM ends). False: one did not within the time, and there is no pause. Not to be
    /// called by a vCPU's thread.
    pub fn pause(&self, patience: Duration) -> bool {
        let mut inner = self.lock();
        inner.paused = true;
        self.stop.ask();
        let moving =
            |inner: &mut Inner| inner.paused && inner.outcome.is_none() && inner.parked < inner.alive;
        let (mut inner, waited) =
            self.inner.1.wait_timeout_while(inner, patience, moving).unwrap_or_else(|e| e.into_inner());
        if waited.timed_out() {
            inner.paused = false;
            self.stop.clear();
            self.inner.1.notify_all();
        }
        !waited.timed_out()
    }

    pub fn resume(&self) {
        let mut inner = self.lock();
        // Who pauses must have seen them all: otherwise one could miss the pause and the next could not be told apart.
        while inner.paused && inner.outcome.is_none() && inner.parked < inner.alive {
            inner = self.wait(inner);
        }
        inner.paused = false;
        if inner.outcome.is_none() {
            self.stop.clear();
        }
        self.inner.1.notify_all();
    }

    /// For a vCPU that has stopped: waits out the pause. True: run again.
    pub fn wait_while_paused(&self) -> bool {
        let mut inner = self.lock();
        if !inner.paused && inner.outcome.is_none() {
            return true;
        }
        inner.parked += 1;
        self.inner.1.notify_all();
        while inner.paused && inner.outcome.is_none() {
            inner = self.wait(inner);
        }
        inner.parked -= 1;
        inner.outcome.is_none()
    }
}
