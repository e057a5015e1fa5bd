//! How the threads of one VM stop: for good, with the first reason as the outcome, for a pause, or while the guest sleeps (S3).

use crate::Outcome;
use ireko_vmcore::{HvError, Record, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Default)]
struct Inner {
    outcome: Option<Outcome>,
    paused: bool,
    asleep: bool,
    /// It slept, and the first vCPU has not begun anew since.
    slept: bool,
    /// vCPUs whose threads have not ended, and those of them that wait for the end of a pause.
    alive: usize,
    parked: usize,
    /// vCPUs that are to be saved, and what came of those that were.
    to_save: BTreeSet<usize>,
    saved: BTreeMap<usize, Result<Record, HvError>>,
}

impl Inner {
    /// vCPUs wait, unless the VM ends.
    fn held(&self) -> bool {
        (self.paused || self.asleep) && self.outcome.is_none()
    }
}

/// What a vCPU that had stopped does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its thread ends.
    End,
    GoOn,
    /// It begins where the guest wants to be woken.
    WakeUp,
    /// It is saved, and tells by [`RunState::is_saved`].
    Save,
}

/// Shared by everybody who may end or pause the VM.
#[derive(Clone, Default)]
pub struct RunState {
    inner: Arc<(Mutex<Inner>, Condvar)>,
    stop: Stop,
}

impl RunState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn wait<'a>(&'a self, guard: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.inner.1.wait(guard).unwrap_or_else(|e| e.into_inner())
    }

    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Something changed that somebody may wait for.
    pub fn notify(&self) {
        let _inner = self.lock();
        self.inner.1.notify_all();
    }

    /// Waits until it is so, or the VM ends.
    pub fn wait_for(&self, is_so: impl Fn() -> bool) {
        let mut inner = self.lock();
        while inner.outcome.is_none() && !is_so() {
            inner = self.wait(inner);
        }
    }

    /// Waits so long, or until vCPUs are to be held or end.
    pub fn rest(&self, time: Duration) {
        let calm = |inner: &mut Inner| !inner.held() && inner.outcome.is_none();
        drop(self.inner.1.wait_timeout_while(self.lock(), time, calm));
    }

    /// Waits so long and until vCPUs are not held, or the VM ends.
    pub fn wait_running(&self, time: Duration) {
        let goes_on = |inner: &mut Inner| inner.outcome.is_none();
        let waited = self.inner.1.wait_timeout_while(self.lock(), time, goes_on);
        let (mut inner, _) = waited.unwrap_or_else(|e| e.into_inner());
        while inner.held() {
            inner = self.wait(inner);
        }
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
        // Who rests is not woken by being asked.
        self.inner.1.notify_all();
        let moving =
            |inner: &mut Inner| inner.paused && inner.outcome.is_none() && inner.parked < inner.alive;
        let (mut inner, waited) =
            self.inner.1.wait_timeout_while(inner, patience, moving).unwrap_or_else(|e| e.into_inner());
        if waited.timed_out() {
            inner.paused = false;
            self.go_on(&inner);
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
        self.go_on(&inner);
        self.inner.1.notify_all();
    }

    /// Lets vCPUs run, unless one has to come here first to be woken.
    fn go_on(&self, inner: &Inner) {
        if inner.outcome.is_none() && !inner.paused && !inner.slept {
            self.stop.clear();
        }
    }

    /// Every vCPU, saved by its own thread. `None`: the VM is not paused, or ends.
    pub fn save_vcpus(&self) -> Option<Vec<Result<Record, HvError>>> {
        let mut inner = self.lock();
        if !inner.paused || inner.outcome.is_some() || inner.alive == 0 {
            return None;
        }
        let alive = inner.alive;
        inner.to_save = (0..alive).collect();
        inner.saved.clear();
        self.inner.1.notify_all();
        while inner.saved.len() < alive && inner.outcome.is_none() {
            inner = self.wait(inner);
        }
        inner.to_save.clear();
        let saved = std::mem::take(&mut inner.saved);
        (saved.len() == alive).then(|| saved.into_values().collect())
    }

    pub fn is_saved(&self, vcpu: usize, record: Result<Record, HvError>) {
        self.lock().saved.insert(vcpu, record);
        self.inner.1.notify_all();
    }

    /// Whether the guest sleeps, and whether it has slept and the first vCPU has not begun anew since.
    pub fn sleeps(&self) -> (bool, bool) {
        let inner = self.lock();
        (inner.asleep, inner.slept)
    }

    /// As it was saved; nothing runs yet.
    pub fn restore_sleep(&self, (asleep, slept): (bool, bool)) {
        let mut inner = self.lock();
        (inner.asleep, inner.slept) = (asleep, slept);
        if asleep || slept {
            self.stop.ask();
        }
    }

    /// The guest sleeps: called by a vCPU, whose run ends.
    pub fn sleep(&self) {
        let mut inner = self.lock();
        (inner.asleep, inner.slept) = (true, true);
        self.stop.ask();
        self.inner.1.notify_all();
    }

    pub fn wake(&self) {
        self.lock().asleep = false;
        self.inner.1.notify_all();
    }

    /// For a vCPU that has stopped: waits out the pause and the sleep.
    pub fn wait_while_held(&self, vcpu: usize) -> Next {
        let mut inner = self.lock();
        if inner.held() {
            inner.parked += 1;
            self.inner.1.notify_all();
            while inner.held() && !inner.to_save.contains(&vcpu) {
                inner = self.wait(inner);
            }
            inner.parked -= 1;
            if inner.to_save.remove(&vcpu) {
                return Next::Save;
            }
        }
        if inner.outcome.is_some() {
            return Next::End;
        }
        if vcpu == 0 && std::mem::take(&mut inner.slept) {
            self.go_on(&inner);
            return Next::WakeUp;
        }
        Next::GoOn
    }
}
