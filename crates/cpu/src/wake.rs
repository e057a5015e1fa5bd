//! How other threads get a vCPU's attention: out of translated code, and out of HLT.

// UNSAFETY: `attention` lies in a bank, which is raw memory; the lock keeps it from going away.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Address of the current bank's `attention`.
struct Attention(*const AtomicU64);

// SAFETY: the pointer is used only under the lock, while the bank exists.
unsafe impl Send for Attention {}

pub struct Wake {
    wanted: AtomicBool,
    target: Mutex<Attention>,
    woken: Condvar,
}

impl Default for Wake {
    fn default() -> Self {
        Self {
            wanted: AtomicBool::new(false),
            target: Mutex::new(Attention(std::ptr::null())),
            woken: Condvar::new(),
        }
    }
}

impl Wake {
    fn lock(&self) -> MutexGuard<'_, Attention> {
        self.target.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks the vCPU to look around. From any thread.
    pub fn wake(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        let target = self.lock();
        if !target.0.is_null() {
            // SAFETY: not null means that the bank exists; `attach` takes the lock before it goes.
            unsafe { (*target.0).store(0, Ordering::SeqCst) };
        }
        self.woken.notify_all();
    }

    /// Says where the current bank's `attention` is (null: nowhere).
    pub fn attach(&self, attention: *const AtomicU64) {
        self.lock().0 = attention;
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
        let target = self.lock();
        if !self.wanted() {
            drop(self.woken.wait_timeout(target, most));
        }
    }
}
