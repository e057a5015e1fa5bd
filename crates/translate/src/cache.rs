//! Memory for translated code.

// UNSAFETY: executable memory that is written while other code in it runs on the same thread.
#![allow(unsafe_code)]

use std::io;
use std::ptr;

/// A run of writable and executable memory, filled from the start; emptied as a whole.
pub struct CodeCache {
    memory: *mut u8,
    size: usize,
    used: usize,
}

// SAFETY: the memory belongs to this value alone.
unsafe impl Send for CodeCache {}

impl CodeCache {
    pub fn new(size: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh private mapping.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { memory: memory.cast(), size, used: 0 })
    }

    pub fn used(&self) -> usize {
        self.used
    }
    /// Host addresses of the whole cache.
    pub fn range(&self) -> (usize, usize) {
        (self.memory as usize, self.memory as usize + self.size)
    }
    pub fn clear(&mut self) {
        self.used = 0;
    }
    /// Host address of an offset.
    pub fn address(&self, offset: usize) -> *const u8 {
        self.memory.wrapping_add(offset)
    }

    /// Adds code, 16-byte aligned; gives its offset, or `None` if there is no room.
    pub fn add(&mut self, code: &[u8]) -> Option<usize> {
        let start = self.used.next_multiple_of(16);
        let end = start.checked_add(code.len()).filter(|&end| end <= self.size)?;
        // SAFETY: start..end lies in the mapping.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.memory.add(start), code.len()) };
        self.used = end;
        Some(start)
    }

    /// Points the 32-bit displacement at `at` to `target` (both offsets).
    pub fn patch(&mut self, at: usize, target: usize) {
        assert!(at + 4 <= self.used && target <= self.used);
        let delta = target as i64 - (at as i64 + 4);
        // SAFETY: at..at+4 lies in the used part; this thread is the only one that runs this code.
        unsafe { self.memory.add(at).cast::<i32>().write_unaligned(delta as i32) };
    }
}

impl Drop for CodeCache {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and its owner does not run code from it any more.
        unsafe { libc::munmap(self.memory.cast(), self.size) };
    }
}
