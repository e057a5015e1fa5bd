//! A device's memory that is ordinary memory for the guest, at a place that the guest chooses (a PCI base address register).

// UNSAFETY: makes slices of a host mapping, as devices reach guest memory.
#![allow(unsafe_code)]

use super::mapping::Mapping;
use super::watch::Watch;
use super::{PAGE, Region};
use rustix::mm::Advice;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::{Bytes, VolatileSlice};

/// Apertures lie below.
pub const APERTURE_END: u64 = 1 << 32;
/// Set with a place; places are pages.
const PLACED: u64 = 1;

/// Always there for its device; for the guest only while it has a place.
pub struct Aperture {
    mapping: Mapping,
    size: u64,
    /// Where the guest has it, and [`PLACED`]; 0: nowhere.
    place: AtomicU64,
    watch: Arc<Watch>,
}

impl Aperture {
    pub(super) fn new(size: u64, watch: Arc<Watch>) -> io::Result<Self> {
        let mapping = Mapping::reserve(0, size as usize)?;
        let _ = mapping.advise(0, size as usize, Advice::LinuxHugepage);
        mapping.open(0, size as usize)?;
        Ok(Self { mapping, size, place: AtomicU64::new(0), watch })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the guest has it.
    pub fn place(&self) -> Option<u64> {
        let place = self.place.load(Ordering::Acquire);
        (place & PLACED != 0).then_some(place & !PLACED)
    }

    pub(super) fn set_place(&self, place: Option<u64>) {
        self.place.store(place.map_or(0, |place| place | PLACED), Ordering::Release);
    }

    /// Whether it could be there.
    pub(super) fn fits(&self, place: u64) -> bool {
        place.is_multiple_of(PAGE) && place.checked_add(self.size).is_some_and(|end| end <= APERTURE_END)
    }

    fn offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.place()?).filter(|offset| *offset < self.size)
    }

    /// Host address of a byte at a guest physical address, if it is there.
    pub fn host(&self, address: u64) -> Option<*mut u8> {
        self.offset(address).map(|offset| self.mapping.host().wrapping_add(offset as usize))
    }

    /// Guest physical address of a byte that `host` points at, while there is one.
    pub fn guest(&self, host: *const u8) -> Option<u64> {
        let offset = (host as u64).wrapping_sub(self.mapping.host() as u64);
        self.place().filter(|_| offset < self.size).map(|place| place + offset)
    }

    /// Whether a range lies in it as a whole.
    pub fn holds(&self, address: u64, size: u64) -> bool {
        self.offset(address).is_some_and(|offset| size <= self.size - offset)
    }

    /// As an engine maps it.
    pub(super) fn region(&self, place: u64) -> Region {
        Region { guest: place, size: self.size, host: self.mapping.host(), later: false }
    }

    /// Host address from a byte on, and how much of `size` there is.
    pub(super) fn run(&self, address: u64, size: usize) -> Option<(*mut u8, usize)> {
        let left = self.size - self.offset(address)?;
        Some((self.host(address)?, left.min(size as u64) as usize))
    }

    fn slice(&self, offset: u64, size: usize) -> Option<VolatileSlice<'_>> {
        let room = self.size.checked_sub(offset)?;
        let host = self.mapping.host().wrapping_add(offset as usize);
        // SAFETY: the range lies in our mapping, which is open and lives as long as `self`. All access to it is volatile.
        (size as u64 <= room).then(|| unsafe { VolatileSlice::new(host, size) })
    }

    /// For the device: reads what lies at an offset; zeros where nothing does.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let read = self.slice(offset, data.len()).map(|slice| slice.read_slice(data, 0));
        if !matches!(read, Some(Ok(()))) {
            data.fill(0);
        }
    }

    /// For the device: writes; what lies outside goes nowhere.
    pub fn write(&self, offset: u64, data: &[u8]) {
        let Some(slice) = self.slice(offset, data.len()) else { return };
        let _ = slice.write_slice(data, 0);
        if let Some(place) = self.place() {
            self.watch.wrote(place + offset, data.len() as u64);
        }
    }
}

impl std::fmt::Debug for Aperture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aperture({:#x} bytes at {:x?})", self.size, self.place())
    }
}

#[cfg(test)]
mod tests {
    use crate::Memory;
    use crate::memory::Reason;
    use vm_memory::{Bytes, GuestAddress};

    const MIB: u64 = 1 << 20;
    const FRAME: u64 = (16 * MIB) >> 12;

    fn memory() -> Memory {
        Memory::with_aperture(&[(0, MIB)], None, 2 * MIB).unwrap()
    }

    #[test]
    fn an_aperture_is_memory_where_it_was_placed_and_nowhere_else() {
        let memory = memory();
        let aperture = memory.aperture().unwrap();
        aperture.write(8, &[7]);
        assert!(!memory.is_there(16 * MIB));
        memory.place_aperture(Some(16 * MIB));
        assert_eq!(memory.ram().read_obj::<u8>(GuestAddress(16 * MIB + 8)).unwrap(), 7);
        memory.place_aperture(Some(32 * MIB));
        assert!(!memory.is_there(16 * MIB) && memory.is_there(34 * MIB - 1) && !memory.is_there(34 * MIB));
        memory.place_aperture(None);
        assert!(!memory.is_there(32 * MIB));
    }

    #[test]
    fn an_aperture_over_memory_or_beyond_its_end_is_not_there() {
        let memory = memory();
        for place in [0, MIB - 4096, (1 << 32) - MIB, 1 << 32, 16 * MIB + 1, u64::MAX - 4095] {
            memory.place_aperture(Some(place));
            assert_eq!(memory.aperture().unwrap().place(), None, "{place:#x}");
        }
    }

    #[test]
    fn engines_hear_of_a_move() {
        let memory = memory();
        memory.place_aperture(Some(16 * MIB));
        let before = memory.unplugs();
        memory.watch().set(FRAME, Reason::Code, true);
        memory.place_aperture(Some(16 * MIB));
        assert_eq!(memory.unplugs(), before);
        memory.place_aperture(Some(64 * MIB));
        assert_eq!((memory.unplugs(), memory.watch().take(|_| ())), (before + 1, vec![FRAME]));
    }

    #[test]
    fn what_the_device_writes_into_a_watched_page_is_reported() {
        let memory = memory();
        memory.place_aperture(Some(16 * MIB));
        memory.watch().set(FRAME + 1, Reason::Code, true);
        memory.aperture().unwrap().write(4096, &[1]);
        assert_eq!(memory.watch().take(|_| ()), [FRAME + 1]);
    }

    #[test]
    fn outside_of_an_aperture_there_are_zeros() {
        let memory = memory();
        let (aperture, mut data) = (memory.aperture().unwrap(), [1; 4]);
        aperture.write(2 * MIB - 2, &[7; 4]);
        aperture.read(2 * MIB - 2, &mut data);
        assert_eq!(data, [0; 4]);
        aperture.read(u64::MAX, &mut data);
    }
}
