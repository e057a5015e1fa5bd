//! What wakes a device's thread.

use crate::lock;
use std::sync::{Condvar, Mutex, PoisonError};

/// What somebody has something for, each a bit.
#[derive(Default)]
struct Rung {
    what: u64,
    asleep: bool,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    wake: Condvar,
}

impl Bell {
    pub fn ring(&self, what: usize) {
        let mut rung = lock(&self.rung);
        rung.what |= 1u64.checked_shl(what as u32).unwrap_or(0);
        // Waking nobody costs a system call, too.
        if std::mem::take(&mut rung.asleep) {
            self.wake.notify_one();
        }
    }

    pub fn end(&self) {
        lock(&self.rung).ended = true;
        self.wake.notify_all();
    }

    pub fn take(&self) -> u64 {
        std::mem::take(&mut lock(&self.rung).what)
    }

    /// Until it rings. False: it will not any more.
    pub fn wait(&self) -> bool {
        let mut rung = lock(&self.rung);
        while rung.what == 0 && !rung.ended {
            rung.asleep = true;
            rung = self.wake.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        rung.asleep = false;
        !rung.ended
    }
}
