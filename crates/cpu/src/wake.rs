//! How other threads get a vCPU's attention: out of translated code, and out of HLT.

// UNSAFETY: `attention` lies in a bank, which is raw memory; the lock keeps it from going away.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Address of the current bank's `attention`.
struct Attention {
    at: *const AtomicU64,
    /// A descriptor of the process in which the guest's code runs as it stands; none: -1.
    process: i32,
}

// SAFETY: the pointer is used only under the lock, while the bank exists.
unsafe impl Send for Attention {}

/// A signal to a process by a descriptor of it, which tells it nothing of who sends it: its frame is a program's to read.
pub(crate) fn signal(process: i32, signal: i32) {
    // SAFETY: what is told is bytes alone.
    let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
    (told.si_signo, told.si_code) = (signal, libc::SI_QUEUE);
    // SAFETY: what is told is read.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, signal, &raw const told, 0) };
}

pub struct Wake {
    wanted: AtomicBool,
    target: Mutex<Attention>,
    woken: Condvar,
}

impl Default for Wake {
    fn default() -> Self {
        Self {
            wanted: AtomicBool::new(false),
            target: Mutex::new(Attention { at: std::ptr::null(), process: -1 }),
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
        if !target.at.is_null() {
            // SAFETY: not null means that the bank exists; `attach` takes the lock before it goes.
            unsafe { (*target.at).store(0, Ordering::SeqCst) };
        }
        if target.process >= 0 {
            // `signals` takes the descriptor back before it is closed.
            signal(target.process, libc::SIGURG);
        }
        self.woken.notify_all();
    }

    /// Says where the current bank's `attention` is (null: nowhere).
    pub fn attach(&self, attention: *const AtomicU64) {
        self.lock().at = attention;
    }

    /// Says which process runs the guest's code from here on, by a descriptor of it: who wakes signals it. None: this one.
    pub fn signals(&self, process: Option<i32>) {
        self.lock().process = process.unwrap_or(-1);
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
