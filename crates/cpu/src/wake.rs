//! How other threads get a vCPU's attention: out of translated code, and out of HLT.

// UNSAFETY: `attention` lies in a bank, which is raw memory; the lock keeps it from going away.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Address of the current bank's `attention`.
struct Bell(*const AtomicU64);

// SAFETY: the pointer is used only under the lock, while the bank exists.
unsafe impl Send for Bell {}

pub struct Wake {
    wanted: AtomicBool,
    bell: Mutex<Bell>,
    rung: Condvar,
}

impl Default for Wake {
    fn default() -> Self {
        Self {
            wanted: AtomicBool::new(false),
            bell: Mutex::new(Bell(std::ptr::null())),
            rung: Condvar::new(),
        }
    }
}

impl Wake {
    fn lock(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks the vCPU to look around. From any thread.
    pub fn wake(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        let bell = self.lock();
        if !bell.0.is_null() {
            // SAFETY: not null means that the bank exists; `hang` takes the lock before it goes.
            unsafe { (*bell.0).store(0, Ordering::SeqCst) };
        }
        self.rung.notify_all();
    }

    /// Says where the current bank's `attention` is (null: nowhere).
    pub fn hang(&self, attention: *const u64) {
        self.lock().0 = attention.cast();
    }

    pub fn wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Begins a look around.
    pub fn clear(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    /// Waits until somebody wakes, at most `most`.
    pub fn sleep(&self, most: Duration) {
        let bell = self.lock();
        if !self.wanted() {
            drop(self.rung.wait_timeout(bell, most));
        }
    }
}
