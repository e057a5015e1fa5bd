//! The lockstep mode's journal: what the plain run wrote, so that it can be taken back.

// UNSAFETY: takes back writes to guest memory by host pointer.
#![allow(unsafe_code)]

use super::options::LockstepOptions;

/// One write: where, and what was there.
pub struct Written {
    host: *mut u8,
    old: Vec<u8>,
}

// SAFETY: points into guest memory, which outlives the processor; used on its thread only.
unsafe impl Send for Written {}

pub struct Lockstep {
    pub options: LockstepOptions,
    blocks: u64,
    pub compared: u64,
    pub kept: u64,
    pub recording: bool,
    pub spoiled: bool,
    pub journal: Vec<Written>,
}

impl Lockstep {
    pub fn new(options: LockstepOptions) -> Self {
        Self {
            options,
            blocks: 0,
            compared: 0,
            kept: 0,
            recording: false,
            spoiled: false,
            journal: Vec::new(),
        }
    }

    pub fn due(&mut self) -> bool {
        self.blocks += 1;
        self.blocks > self.options.from && self.blocks.is_multiple_of(self.options.every)
    }

    /// The plain path did something that cannot be done twice.
    pub fn spoil(&mut self) {
        self.spoiled |= self.recording;
    }

    pub(crate) fn note(&mut self, host: *mut u8, size: usize) {
        let mut old = vec![0; size];
        // SAFETY: the slow access has just found `size` bytes of guest memory here.
        unsafe { std::ptr::copy_nonoverlapping(host, old.as_mut_ptr(), size) };
        self.journal.push(Written { host, old });
    }

    pub fn contents(&self) -> Vec<Vec<u8>> {
        let read = |w: &Written| {
            let mut now = vec![0; w.old.len()];
            // SAFETY: as in `note`.
            unsafe { std::ptr::copy_nonoverlapping(w.host, now.as_mut_ptr(), now.len()) };
            now
        };
        self.journal.iter().map(read).collect()
    }

    pub fn take_back(&self) {
        for written in self.journal.iter().rev() {
            // SAFETY: as in `note`.
            unsafe { std::ptr::copy_nonoverlapping(written.old.as_ptr(), written.host, written.old.len()) };
        }
    }
}
