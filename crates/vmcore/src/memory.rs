//! Guest physical memory: what devices read and write through `vm-memory`, and what engines map.
//!
//! An engine that caches what memory holds (translated code) *watches* pages; a write by a device to a watched page
//! is reported through [`Watch::take`].

// UNSAFETY: `Region` carries a host address across threads, and pages are given back to the host by address; nothing is
// dereferenced here.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use vm_memory::bitmap::{Bitmap, NewBitmap, WithBitmapSlice};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

pub const PAGE: u64 = 4096;

/// The `vm-memory` type that devices use.
pub type GuestRam = GuestMemoryMmap<WatchBitmap>;

/// All guest memory of a VM. Made once; its layout does not change while the VM runs.
pub struct Memory {
    ram: GuestRam,
    watch: Arc<Watch>,
    regions: Vec<Region>,
    /// At the end of `regions`: bytes that the guest may get later.
    room: u64,
}

/// One run of guest physical memory and where the host has it.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub guest: u64,
    pub size: u64,
    pub host: *mut u8,
}

// SAFETY-free reasoning: `Region` is an address and a size; dereferencing it is the engine's unsafe business. The
// mapping lives as long as `Memory`, and all access to it is by atomics or raw copies, as hardware does.
#[allow(unsafe_code)]
// SAFETY: a Region is only an address; whoever dereferences it answers for that.
unsafe impl Send for Region {}
#[allow(unsafe_code)]
// SAFETY: as for Send.
unsafe impl Sync for Region {}

impl Memory {
    /// Anonymous, zeroed memory for `ranges` of (guest physical address, size); page multiples, ascending, disjoint.
    pub fn new(ranges: &[(u64, u64)]) -> io::Result<Self> {
        Self::with_room(ranges, None)
    }

    /// As [`Memory::new`], with one more range above the others for memory that the guest may get later. It costs nothing
    /// until it is used.
    pub fn with_room(ranges: &[(u64, u64)], room: Option<(u64, u64)>) -> io::Result<Self> {
        let ranges: Vec<_> = ranges.iter().copied().chain(room).collect();
        let pages = ranges.iter().map(|(start, size)| (start + size) / PAGE).max().unwrap_or(0);
        let watch = Arc::new(Watch::new(pages as usize));
        let mut mapped = Vec::new();
        for &(start, size) in &ranges {
            let region = MmapRegion::<WatchBitmap>::new(size as usize).map_err(io::Error::other)?;
            region.bitmap().place(watch.clone(), start);
            ask_for_large_pages(region.as_ptr(), region.size());
            mapped.push(
                GuestRegionMmap::new(region, GuestAddress(start))
                    .ok_or_else(|| io::Error::other("guest memory range wraps around"))?,
            );
        }
        let ram = GuestRam::from_regions(mapped).map_err(io::Error::other)?;
        let regions = Self::list(&ram);
        Ok(Self { ram, watch, regions, room: room.map_or(0, |(_, size)| size) })
    }

    fn list(ram: &GuestRam) -> Vec<Region> {
        use vm_memory::GuestMemoryBackend;
        ram.iter().map(|r| Region { guest: r.start_addr().0, size: r.len(), host: r.as_ptr() }).collect()
    }

    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
    /// Bytes of guest memory, without what may come later.
    pub fn size(&self) -> u64 {
        self.regions.iter().map(|r| r.size).sum::<u64>() - self.room
    }

    /// Gives whole pages back to the host: they read as zeros from now on, and the host finds new ones when they are
    /// touched again. Addresses stay valid. To an engine it is a write of zeros by a device. False where the range is not
    /// whole pages of one region, or the host refuses.
    pub fn give_back(&self, address: u64, size: u64) -> bool {
        let Some(region) = self.region(address, size) else { return false };
        let given = drop_pages(region.host.wrapping_add((address - region.guest) as usize), size as usize);
        region.keep_apart(address - region.guest, size);
        self.watch.wrote(address, size);
        given
    }

    /// What was given back is in use again: the host may serve it in large pages.
    pub fn take_again(&self, address: u64, size: u64) {
        let Some(region) = self.region(address, size) else { return };
        let start = region.host as u64 + (address - region.guest);
        let (start, size) = region.large_pages(start, start + size);
        ask_for_large_pages(start, size);
    }

    /// The region of these whole pages.
    fn region(&self, address: u64, size: u64) -> Option<&Region> {
        let inside = |r: &&Region| {
            let offset = address.wrapping_sub(r.guest);
            offset < r.size && size <= r.size - offset
        };
        let whole = address.is_multiple_of(PAGE) && size.is_multiple_of(PAGE) && size > 0;
        self.regions.iter().find(inside).filter(|_| whole)
    }
}

/// The host's large pages.
const LARGE_PAGE: u64 = 2 << 20;

impl Region {
    /// Large pages of which a part was given back stay in small pages: the host would fill them up again to make them whole
    /// (khugepaged). Those that went as a whole are let alone.
    fn keep_apart(&self, offset: u64, size: u64) {
        let (start, end) = (self.host as u64 + offset, self.host as u64 + offset + size);
        for edge in [start, end].into_iter().filter(|edge| !edge.is_multiple_of(LARGE_PAGE)) {
            let (start, size) = self.large_pages(edge, edge + 1);
            refuse_large_pages(start, size);
        }
    }

    /// The large pages that hold these host addresses, as far as they are ours.
    fn large_pages(&self, start: u64, end: u64) -> (*mut u8, usize) {
        let host = self.host as u64;
        let start = (start / LARGE_PAGE * LARGE_PAGE).max(host);
        let end = end.next_multiple_of(LARGE_PAGE).min(host + self.size);
        (self.host.wrapping_add((start - host) as usize), (end - start) as usize)
    }
}

#[allow(unsafe_code)]
fn refuse_large_pages(start: *mut u8, size: usize) {
    // SAFETY: a part of one of our mappings, and the hint changes nothing that can be seen in it. The host may refuse.
    let _ = unsafe { rustix::mm::madvise(start.cast(), size, rustix::mm::Advice::LinuxNoHugepage) };
}

#[allow(unsafe_code)]
fn drop_pages(start: *mut u8, size: usize) -> bool {
    // SAFETY: the caller found the range within one private anonymous mapping of ours, which stays mapped; what it holds is
    // a guest's, and nothing in Rust refers into it.
    unsafe { rustix::mm::madvise(start.cast(), size, rustix::mm::Advice::LinuxDontNeed) }.is_ok()
}

/// Large host pages spare host page faults and TLB misses. Only a hint: the host may refuse it.
#[allow(unsafe_code)]
fn ask_for_large_pages(start: *mut u8, size: usize) {
    // SAFETY: the range lies in one private mapping of ours, and the hint changes nothing that can be seen in it.
    let _ = unsafe { rustix::mm::madvise(start.cast(), size, rustix::mm::Advice::LinuxHugepage) };
}

/// Why an engine watches a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It holds code that was translated.
    Code,
    /// It holds page tables that were walked.
    Tables,
}

/// Called from the writer's thread.
pub type Kick = Box<dyn Fn() + Send + Sync>;

/// Which guest pages an engine wants to hear about, and which were written since it last asked.
pub struct Watch {
    watched: Box<[AtomicU8]>,
    written: Mutex<Vec<u64>>,
    any: AtomicBool,
    kicks: Mutex<Vec<Kick>>,
}

/// Fresh zeros from the host, so that what is never watched costs nothing: memory that may be added one day has its
/// pages here, too.
#[allow(unsafe_code)]
fn zeros(count: usize) -> Box<[AtomicU8]> {
    let bytes = Box::into_raw(vec![0u8; count].into_boxed_slice());
    // SAFETY: `AtomicU8` has the size, alignment and bit validity of `u8`, and the box is the only owner.
    unsafe { Box::from_raw(bytes as *mut [AtomicU8]) }
}

impl Watch {
    fn new(pages: usize) -> Self {
        Self {
            watched: zeros(pages),
            written: Mutex::default(),
            any: AtomicBool::new(false),
            kicks: Mutex::default(),
        }
    }
    /// Starts or ends watching the page with number `frame` (guest physical address / 4096) for a reason of the
    /// engine's: a page is watched while it has any.
    pub fn set(&self, frame: u64, reason: Reason, on: bool) {
        if let Some(flags) = self.watched.get(frame as usize) {
            let bit = 1 << reason as u8;
            if on {
                flags.fetch_or(bit, Ordering::SeqCst)
            } else {
                flags.fetch_and(!bit, Ordering::SeqCst)
            };
        }
    }
    /// Whether the page is watched for this reason.
    pub fn watched_for(&self, frame: u64, reason: Reason) -> bool {
        self.watched.get(frame as usize).is_some_and(|f| f.load(Ordering::Relaxed) >> reason as u8 & 1 != 0)
    }
    pub fn watched(&self, frame: u64) -> bool {
        self.watched.get(frame as usize).is_some_and(|flag| flag.load(Ordering::Relaxed) != 0)
    }
    /// Where the byte of a page is that is not 0 while the page is watched; those of the pages behind it follow. For engines
    /// that look at it from machine code.
    pub fn byte(&self, frame: u64) -> Option<*const u8> {
        self.watched.get(frame as usize).map(|flags| flags.as_ptr().cast_const())
    }
    /// Registers a call for when a watched page was written by a device.
    pub fn on_write(&self, kick: Kick) {
        self.kicks.lock().unwrap_or_else(|e| e.into_inner()).push(kick);
    }
    /// Whether [`Watch::take`] would give anything.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }
    /// The watched frames that devices wrote since the last call.
    pub fn take(&self) -> Vec<u64> {
        let mut written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut written)
    }

    fn wrote(&self, address: u64, size: u64) {
        for frame in address / PAGE..=(address + size.max(1) - 1) / PAGE {
            if self.watched(frame) {
                self.written.lock().unwrap_or_else(|e| e.into_inner()).push(frame);
                self.any.store(true, Ordering::Release);
                self.kicks.lock().unwrap_or_else(|e| e.into_inner()).iter().for_each(|kick| kick());
            }
        }
    }
}

/// Who hears of writes, and where the region starts.
type Place = (Arc<Watch>, u64);

/// The hook in `vm-memory` through which device writes become known.
#[derive(Clone, Default)]
pub struct WatchBitmap {
    place: Arc<Mutex<Option<Place>>>,
    base: usize,
}

impl WatchBitmap {
    fn place(&self, watch: Arc<Watch>, start: u64) {
        *self.place.lock().unwrap_or_else(|e| e.into_inner()) = Some((watch, start));
    }
}

impl std::fmt::Debug for WatchBitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WatchBitmap(+{:#x})", self.base)
    }
}

impl<'a> WithBitmapSlice<'a> for WatchBitmap {
    type S = Self;
}

impl vm_memory::bitmap::BitmapSlice for WatchBitmap {}

impl NewBitmap for WatchBitmap {
    fn with_len(_: usize) -> Self {
        Self::default()
    }
}

impl Bitmap for WatchBitmap {
    fn mark_dirty(&self, offset: usize, len: usize) {
        if let Some((watch, start)) = &*self.place.lock().unwrap_or_else(|e| e.into_inner()) {
            watch.wrote(start + (self.base + offset) as u64, len as u64);
        }
    }
    fn dirty_at(&self, _: usize) -> bool {
        false
    }
    fn slice_at(&self, offset: usize) -> Self {
        Self { place: self.place.clone(), base: self.base + offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn a_device_write_to_a_watched_page_is_reported_once() {
        let memory = Memory::new(&[(0, 0x10000), (0x100000, 0x10000)]).unwrap();
        memory.watch().set(0x101, Reason::Code, true);
        memory.ram().write_slice(&[1, 2, 3], GuestAddress(0x100fff)).unwrap();
        assert_eq!(memory.watch().take(), [0x101]);
        assert!(!memory.watch().any());
    }

    #[test]
    fn room_for_later_is_memory_that_does_not_count_yet() {
        let memory = Memory::with_room(&[(0, 0x10000)], Some((0x100000, 0x10000))).unwrap();
        memory.ram().write_obj(7u64, GuestAddress(0x100000)).unwrap();
        assert_eq!((memory.size(), memory.regions().len()), (0x10000, 2));
    }

    #[test]
    fn pages_given_back_are_zero_and_reported() {
        let memory = Memory::new(&[(0, 0x10000), (0x100000, 0x10000)]).unwrap();
        memory.ram().write_obj(7u64, GuestAddress(0x102008)).unwrap();
        memory.watch().set(0x102, Reason::Tables, true);
        assert!(memory.give_back(0x101000, 0x2000));
        assert_eq!(memory.ram().read_obj::<u64>(GuestAddress(0x102008)).unwrap(), 0);
        assert_eq!(memory.watch().take(), [0x102]);
    }

    /// The `VmFlags` of the mapping that holds this address (proc_pid_smaps(5)).
    fn flags(address: u64) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bound = |text| u64::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(start, end)| bound(start).zip(bound(end))) {
                inside = (start..end).contains(&address);
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.to_string();
            }
        }
        panic!("{address:#x} is not mapped");
    }

    #[test]
    fn a_large_page_stays_apart_once_a_part_of_it_went() {
        let memory = Memory::new(&[(0, 16 << 20)]).unwrap();
        let start = memory.regions()[0].host as u64;
        let first_whole = start.next_multiple_of(LARGE_PAGE) - start;
        assert!(memory.give_back(first_whole + LARGE_PAGE + PAGE, PAGE));
        assert!(memory.give_back(first_whole + 3 * LARGE_PAGE, LARGE_PAGE));
        let refused = |block: u64| flags(start + first_whole + block * LARGE_PAGE).contains(" nh");
        assert_eq!([0, 1, 2, 3].map(refused), [false, true, false, false]);
        memory.take_again(first_whole + LARGE_PAGE + PAGE, PAGE);
        assert!(!refused(1));
    }

    #[test]
    fn only_whole_pages_of_one_region_are_given_back() {
        let memory = Memory::new(&[(0, 0x10000), (0x10000, 0x10000)]).unwrap();
        for (address, size) in [
            (8, 0x1000),
            (0, 8),
            (0, 0),
            (0xf000, 0x2000),
            (0x1f000, 0x2000),
            (0x1000, !0xfff),
            (!0xfff, 0x1000),
        ] {
            assert!(!memory.give_back(address, size), "{address:#x} {size:#x}");
        }
    }

    #[test]
    fn a_device_write_elsewhere_is_not_reported() {
        let memory = Memory::new(&[(0, 0x10000)]).unwrap();
        memory.watch().set(1, Reason::Code, true);
        memory.ram().write_obj(7u64, GuestAddress(0x3000)).unwrap();
        assert!(!memory.watch().any());
    }
}
