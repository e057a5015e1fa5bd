//! Memory for translated code, seen twice: where it is written it cannot be executed, and where it is executed it cannot be
//! written.

// UNSAFETY: executable memory that is written, by its other view, while other code in it runs on the same thread.
#![allow(unsafe_code)]

use crate::layout::{Hot, LAST_SLOT, NOWHERE};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// Memory for code, in regions that are filled one after the other; each is written over as a whole.
///
/// Code that is written at another linear address than it is executed at needs a serializing instruction in between (SDM vol. 3,
/// "Handling self- and cross-modifying code"): [`CodeCache::synchronize`], which whoever enters code calls first.
pub struct CodeCache {
    /// Readable and writable.
    write: View,
    /// Readable and executable.
    execute: View,
    /// Bytes of one region, the one that is filled, and where the next code goes.
    region: usize,
    current: usize,
    next: usize,
    /// Something was written since the last serializing instruction.
    written: bool,
}

/// One mapping of the memory.
struct View {
    memory: *mut u8,
    size: usize,
}

/// CALL [RSP + the last slot's look-up thunk]: leaves for the address in R14.
const LEAVE: [u8; 3] = [0xff, 0x94, 0x24];
/// What is in front of the regions: the code at [`NOWHERE`].
const FIRST: usize = 64;
const _: () = assert!(NOWHERE == 0);

// SAFETY: the memory belongs to this value alone.
unsafe impl Send for CodeCache {}

impl CodeCache {
    /// Of `size` bytes, in so many regions.
    pub fn new(size: usize, regions: usize) -> io::Result<Self> {
        let file = memory_file(size)?;
        let mut cache = Self {
            write: View::new(&file, size, libc::PROT_READ | libc::PROT_WRITE)?,
            execute: View::new(&file, size, libc::PROT_READ | libc::PROT_EXEC)?,
            region: ((size - FIRST) / regions) & !0xf,
            current: 0,
            next: 0,
            written: false,
        };
        let slot = offset_of!(Hot, lookup_thunk) + 8 * LAST_SLOT;
        cache.add(&LEAVE);
        cache.next = LEAVE.len();
        cache.add_bytes(&(slot as u32).to_le_bytes());
        cache.fill(0);
        Ok(cache)
    }

    /// Goes on with code in a region, over what was there.
    pub fn fill(&mut self, region: usize) {
        assert!(FIRST + (region + 1) * self.region <= self.write.size);
        self.current = region;
        self.next = FIRST + region * self.region;
    }
    /// Bytes that are left in the region.
    pub fn room(&self) -> usize {
        FIRST + (self.current + 1) * self.region - self.next
    }
    /// Bytes of a region.
    pub fn region_size(&self) -> usize {
        self.region
    }
    /// The region that is filled.
    pub fn current(&self) -> usize {
        self.current
    }
    /// The region that an offset lies in.
    pub fn region_of(&self, offset: usize) -> Option<usize> {
        Some(offset.checked_sub(FIRST)? / self.region)
    }
    /// Host addresses of the whole cache, where it is executed.
    pub fn range(&self) -> (usize, usize) {
        (self.execute.memory as usize, self.execute.memory as usize + self.execute.size)
    }
    /// Host address of an offset, where it is executed.
    pub fn address(&self, offset: usize) -> *const u8 {
        self.execute.memory.wrapping_add(offset)
    }

    /// Adds code, 16-byte aligned; gives its offset, or `None` if the region has no room.
    pub fn add(&mut self, code: &[u8]) -> Option<usize> {
        let end = FIRST + (self.current + 1) * self.region;
        let start = self.next.next_multiple_of(16);
        start.checked_add(code.len()).filter(|&last| last <= end)?;
        self.next = start;
        Some(self.add_bytes(code))
    }

    /// Adds bytes, which have room.
    fn add_bytes(&mut self, code: &[u8]) -> usize {
        let start = self.next;
        assert!(start + code.len() <= self.write.size);
        // SAFETY: the bytes lie in the mapping.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.write.memory.add(start), code.len()) };
        self.written = true;
        self.next = start + code.len();
        start
    }

    /// Adds a copy of what is there, as `change` makes it; `None` if the region has no room.
    pub fn add_copy(&mut self, from: usize, length: usize, change: impl FnOnce(&mut [u8])) -> Option<usize> {
        assert!(from + length <= self.write.size);
        // SAFETY: the bytes lie in the writable view, and nothing writes to that while this refers to it.
        let bytes = unsafe { std::slice::from_raw_parts(self.write.memory.add(from), length) };
        let mut copy = bytes.to_vec();
        change(&mut copy);
        self.add(&copy)
    }

    /// Points the 32-bit displacement at `at` to `target` (both offsets). Whoever enters code next synchronizes first.
    pub fn patch(&mut self, at: usize, target: usize) {
        assert!(at + 4 <= self.write.size && target <= self.write.size);
        let delta = target as i64 - (at as i64 + 4);
        // SAFETY: at..at+4 lies in the mapping; this thread is the only one that runs this code.
        unsafe { self.write.memory.add(at).cast::<i32>().write_unaligned(delta as i32) };
        self.written = true;
    }

    /// The same of many, and at once: code that called the routine that does this goes on.
    pub fn patch_all(&mut self, places: impl IntoIterator<Item = (usize, usize)>) {
        places.into_iter().for_each(|(at, target)| self.patch(at, target));
        self.synchronize();
    }

    /// What was written is what will be executed from here on, on this thread.
    pub fn synchronize(&mut self) {
        if std::mem::take(&mut self.written) {
            serialize();
        }
    }
}

/// The cheapest serializing instruction that every processor has and no hypervisor intercepts: IRET, to the next instruction.
fn serialize() {
    // SAFETY: IRET pops what was pushed, and goes on behind itself with stack, flags and segments as they were.
    unsafe {
        core::arch::asm!(
            "mov {stack}, rsp",
            "mov {word:e}, ss",
            "push {word}",
            "push {stack}",
            "pushfq",
            "mov {word:e}, cs",
            "push {word}",
            "lea {word}, [rip + 2f]",
            "push {word}",
            "iretq",
            "2:",
            stack = out(reg) _,
            word = out(reg) _,
        );
    }
}

impl View {
    fn new(file: &OwnedFd, size: usize, protection: i32) -> io::Result<Self> {
        // SAFETY: a fresh mapping of a file that nobody else has.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), size, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is ours. The hint keeps code out of core dumps and may be refused.
        unsafe { libc::madvise(memory, size, libc::MADV_DONTDUMP) };
        Ok(Self { memory: memory.cast(), size })
    }
}

/// A file in memory of `size` bytes without a name. Whoever holds no descriptor of it cannot make more views.
fn memory_file(size: usize) -> io::Result<OwnedFd> {
    // MFD_EXEC is refused by kernels before 6.3, and wanted by some after.
    const MFD_EXEC: libc::c_uint = 0x10;
    let make = |flags| {
        // SAFETY: a system call with a name that ends.
        let fd = unsafe { libc::memfd_create(c"translated code".as_ptr(), libc::MFD_CLOEXEC | flags) };
        // SAFETY: a fresh descriptor of ours.
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
    };
    let file = make(MFD_EXEC).or_else(|_| make(0))?;
    // SAFETY: a system call on our own descriptor.
    if unsafe { libc::ftruncate(file.as_raw_fd(), size as libc::off_t) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and its owner does not run code from it any more.
        unsafe { libc::munmap(self.memory.cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this process may do with the page of an address (proc_pid_maps(5)).
    fn rights(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let bound = |text| usize::from_str_radix(text, 16).unwrap();
            (bound(start)..bound(end)).contains(&address)
        });
        line.unwrap().split(' ').nth(1).unwrap().to_string()
    }

    #[test]
    fn no_view_is_both_writable_and_executable() {
        let cache = CodeCache::new(1 << 16, 2).unwrap();
        let views = [cache.write.memory, cache.execute.memory].map(|view| rights(view as usize));
        assert_eq!(views, ["rw-s", "r-xs"]);
    }

    #[test]
    fn what_is_written_is_there_to_be_executed() {
        let mut cache = CodeCache::new(1 << 16, 2).unwrap();
        let at = cache.add(&[0x90, 0xc3]).unwrap();
        // SAFETY: the code was just added there.
        assert_eq!(unsafe { cache.address(at).cast::<[u8; 2]>().read() }, [0x90, 0xc3]);
    }

    #[test]
    fn the_code_of_empty_entries_is_in_no_region() {
        let mut cache = CodeCache::new(1 << 16, 2).unwrap();
        for region in [0, 1, 0] {
            cache.fill(region);
            assert_ne!(cache.add(&[0x90; 100]), Some(NOWHERE as usize));
        }
        // SAFETY: the start of the cache.
        assert_eq!(unsafe { cache.address(NOWHERE as usize).cast::<[u8; 3]>().read() }, LEAVE);
    }

    #[test]
    fn a_region_takes_no_more_than_its_own() {
        let mut cache = CodeCache::new(1 << 16, 2).unwrap();
        let size = cache.region_size();
        assert!(cache.add(&vec![0x90; size]).is_some() && cache.room() == 0);
        assert_eq!(cache.add(&[0x90]), None);
        cache.fill(1);
        let at = cache.add(&[0x90]).unwrap();
        assert_eq!((cache.region_of(at), cache.region_of(at - 1)), (Some(1), Some(0)));
    }
}
