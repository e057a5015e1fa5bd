//! Where the host has guest memory: address space with guards around it, opened where memory is.

// UNSAFETY: maps and unmaps memory, and changes what may be done with it; nothing is dereferenced here.
#![allow(unsafe_code)]

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

/// The host's large pages.
pub const LARGE_PAGE: u64 = 2 << 20;

/// On both sides of guest memory nothing is mapped for so long: no displacement from a byte of it reaches other memory.
pub const GUARD: usize = LARGE_PAGE as usize;

/// Reserved address space, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    reservation: *mut u8,
    reserved: usize,
    host: *mut u8,
    size: usize,
    /// What it shows, if that can be shown elsewhere, too; else its memory is its own.
    file: Option<Arc<OwnedFd>>,
}

// SAFETY: only addresses, and the calls that take them may come from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Address space for `size` bytes at guest address `guest`, closed. Large pages of the guest are large pages of the
    /// host. What is in it is in no core dump.
    pub fn reserve(guest: u64, size: usize) -> io::Result<Self> {
        let large = LARGE_PAGE as usize;
        let reserved = size.checked_add(2 * GUARD + 2 * large).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let reservation: *mut u8 =
            unsafe { mm::mmap_anonymous(ptr::null_mut(), reserved, ProtFlags::empty(), flags) }?.cast();
        let first = (reservation as usize + GUARD).next_multiple_of(large) + guest as usize % large;
        let host = reservation.wrapping_add(first - reservation as usize);
        let mapping = Self { reservation, reserved, host, size, file: None };
        mapping.advise(0, size, Advice::LinuxDontDump)?;
        Ok(mapping)
    }

    /// As [`Mapping::reserve`], of what is in a file from `offset` on.
    pub fn of_file(guest: u64, size: usize, file: &Arc<OwnedFd>, offset: u64) -> io::Result<Self> {
        let mut mapping = Self::reserve(guest, size)?;
        let flags = MapFlags::SHARED | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: over a part of our own fresh reservation.
        unsafe { mm::mmap(mapping.host.cast(), size, ProtFlags::empty(), flags, file.as_fd(), offset) }?;
        mapping.advise(0, size, Advice::LinuxDontDump)?;
        mapping.file = Some(file.clone());
        Ok(mapping)
    }

    /// The file that it shows.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// Host address of the first byte.
    pub fn host(&self) -> *mut u8 {
        self.host
    }

    fn at(&self, offset: usize, size: usize) -> io::Result<*mut u8> {
        let inside = offset <= self.size && size <= self.size - offset;
        if inside { Ok(self.host.wrapping_add(offset)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Makes memory of a part: zeros, until it is written.
    pub fn open(&self, offset: usize, size: usize) -> io::Result<()> {
        let start = self.at(offset, size)?;
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: a part of our mapping, in which nothing of Rust's lies.
        unsafe { mm::mprotect(start.cast(), size, rights) }?;
        Ok(())
    }

    /// Makes address space of a part again: whoever touches it gets a signal, and the host has its pages back.
    pub fn close(&self, offset: usize, size: usize) -> io::Result<()> {
        let start = self.at(offset, size)?;
        // The pages of a file go only while they can be written.
        self.give_back(offset, size)?;
        // SAFETY: a part of our mapping, in which nothing of Rust's lies; who still has its address gets a signal.
        unsafe { mm::mprotect(start.cast(), size, MprotectFlags::empty()) }?;
        Ok(())
    }

    /// A part that is open becomes zeros, and the host has its pages back.
    pub fn give_back(&self, offset: usize, size: usize) -> io::Result<()> {
        let advice = if self.file.is_some() { Advice::LinuxRemove } else { Advice::LinuxDontNeed };
        self.advise(offset, size, advice)
    }

    /// Tells the kernel something about a part.
    pub fn advise(&self, offset: usize, size: usize, advice: Advice) -> io::Result<()> {
        let start = self.at(offset, size)?;
        // SAFETY: a part of our mapping, which stays mapped. What it holds is a guest's, and nothing in
        // Rust refers into it, so it may become zeros (DONTNEED, REMOVE); the other advice changes nothing that can be seen.
        unsafe { mm::madvise(start.cast(), size, advice) }?;
        Ok(())
    }

    /// The large pages that hold a part, as far as they are ours: offset and size.
    pub fn large_pages(&self, offset: u64, size: u64) -> (usize, usize) {
        let host = self.host as u64;
        let start = ((host + offset) / LARGE_PAGE * LARGE_PAGE).max(host);
        let end = (host + offset + size).next_multiple_of(LARGE_PAGE).min(host + self.size as u64);
        ((start - host) as usize, (end - start) as usize)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our mapping, whole; whoever used addresses in it held the `Memory` that owned this.
        let _ = unsafe { mm::munmap(self.reservation.cast(), self.reserved) };
    }
}
