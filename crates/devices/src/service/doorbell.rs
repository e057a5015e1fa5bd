//! What wakes a device's thread.

use crate::lock;
use std::sync::{Condvar, Mutex, PoisonError};

/// What somebody has something for, each a bit.
#[derive(Default)]
struct Pending {
    what: u64,
    asleep: bool,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Doorbell {
    pending: Mutex<Pending>,
    wake: Condvar,
}

impl Doorbell {
    pub fn ring(&self, what: usize) {
        let mut pending = lock(&self.pending);
        pending.what |= 1u64.checked_shl(what as u32).unwrap_or(0);
        // Waking nobody costs a system call, too.
        if std::mem::take(&mut pending.asleep) {
            self.wake.notify_one();
        }
    }

    /// Rings again for what had rung.
    pub fn ring_all(&self, what: u64) {
        let mut pending = lock(&self.pending);
        pending.what |= what;
        if what != 0 && std::mem::take(&mut pending.asleep) {
            self.wake.notify_one();
        }
    }

    pub fn end(&self) {
        lock(&self.pending).ended = true;
        self.wake.notify_all();
    }

    pub fn pending(&self) -> u64 {
        lock(&self.pending).what
    }

    pub fn take(&self) -> u64 {
        std::mem::take(&mut lock(&self.pending).what)
    }

    /// Until it rings. False: it will not any more.
    pub fn wait(&self) -> bool {
        let mut pending = lock(&self.pending);
        while pending.what == 0 && !pending.ended {
            pending.asleep = true;
            pending = self.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.asleep = false;
        !pending.ended
    }
}
