//! Copies of pages of code in which some instructions are others, for processes to run.

// UNSAFETY: maps memory that other processes have, too, and copies pages there.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PAGE: usize = 4096;
/// So many at once.
const MOST: u32 = 1024;

pub struct Copies {
    file: OwnedFd,
    memory: *mut u8,
    free: Vec<u32>,
}

// SAFETY: the memory is this one's alone on this side.
unsafe impl Send for Copies {}

impl Copies {
    pub fn new() -> io::Result<Self> {
        let bytes = MOST as usize * PAGE;
        let file = super::child::memory_file(bytes)?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh shared mapping.
        let memory = unsafe {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            libc::mmap(std::ptr::null_mut(), bytes, rights, libc::MAP_SHARED, fd, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, memory: memory.cast(), free: (0..MOST).rev().collect() })
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Keeps a copy, if there is room.
    pub fn keep(&mut self, page: &[u8; PAGE]) -> Option<u32> {
        let number = self.free.pop()?;
        // SAFETY: numbers are those that there are.
        unsafe {
            self.memory.add(number as usize * PAGE).copy_from_nonoverlapping(page.as_ptr(), PAGE);
        }
        Some(number)
    }

    /// Nobody has a copy any more.
    pub fn drop_copy(&mut self, number: u32) {
        self.free.push(number);
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // SAFETY: our mapping, whole.
        unsafe { libc::munmap(self.memory.cast(), MOST as usize * PAGE) };
    }
}
