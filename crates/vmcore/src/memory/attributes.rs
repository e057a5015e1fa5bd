//! What a chipset makes of memory: areas that cannot be written, memory that is there in system-management mode only, and a device that
//! is written in that mode only.

use super::PAGE;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The areas that a chipset has attributes for, one of 16 KiB each: option ROMs and the BIOS.
pub const SHADOW: Range<u64> = 0xc_0000..0x10_0000;
/// From here on it is the ROM's end that is behind it.
const ROM_SHADOW: u64 = 0xe_0000;
const AREA: u64 = 16 << 10;
/// From here on there is neither ROM nor memory of system-management mode.
const FOUR_GIB: u64 = 1 << 32;
pub const AREAS: u32 = ((SHADOW.end - SHADOW.start) / AREA) as u32;

/// Nothing is protected at first.
#[derive(Debug, Default)]
pub struct Attributes {
    rom: OnceLock<Range<u64>>,
    /// A device that takes writes in system-management mode only.
    guarded: OnceLock<Range<u64>>,
    /// Where the mode's memory is stays as it is.
    locked: AtomicBool,
    /// A bit for each area that cannot be written.
    protected: AtomicU32,
    /// A bit for each that reads as what is behind shadow RAM: the ROM, or nothing.
    unread: AtomicU32,
    /// The first page of what is hidden, and above that how many there are.
    hidden: [AtomicU64; HIDDEN],
    /// What the mode has of the first of these: an [`Inside`].
    inside: AtomicU8,
    /// From the end of [`SHADOW`] on so many bytes are memory like any other.
    ordinary: AtomicU64,
}

/// What system-management mode finds where the first range is that is hidden outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inside {
    Memory,
    /// Memory for fetches of code; data is what others find there.
    Code,
    /// What others find there.
    Nothing,
}

/// Of a bit for each area of [`SHADOW`], in which the address is.
#[inline]
fn is_set(areas: &AtomicU32, address: u64) -> bool {
    areas.load(Ordering::Acquire) >> ((address - SHADOW.start) / AREA) & 1 != 0
}

#[inline]
fn has(hidden: &AtomicU64, address: u64) -> bool {
    let (word, page) = (hidden.load(Ordering::Acquire), address / PAGE);
    word != 0 && page.wrapping_sub(word & 0xffff_ffff) < word >> 32
}

/// So many ranges can be hidden.
pub const HIDDEN: usize = 2;

impl Attributes {
    pub(super) fn new() -> Self {
        let attributes = Self::default();
        attributes.measure();
        attributes
    }

    pub(super) fn set_rom(&self, rom: Range<u64>) {
        let _ = self.rom.set(rom);
        self.measure();
    }

    pub(super) fn set_guarded(&self, device: Range<u64>) {
        let _ = self.guarded.set(device);
    }

    /// Whether a device at an address takes writes in system-management mode only.
    pub fn guards(&self, address: u64) -> bool {
        self.guarded.get().is_some_and(|device| device.contains(&address))
    }

    pub(super) fn set_locked(&self, locked: bool) {
        self.locked.store(locked, Ordering::Release);
    }

    /// Whether the memory of system-management mode is closed until reset: who is not in the mode has no say in it any more.
    pub fn locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    /// Whether that is news.
    pub(super) fn set_protected(&self, areas: u32) -> bool {
        self.protected.swap(areas, Ordering::AcqRel) != areas
    }

    /// Whether that is news.
    pub(super) fn set_unread(&self, areas: u32) -> bool {
        self.unread.swap(areas, Ordering::AcqRel) != areas
    }

    /// Whether an address is of shadow RAM that cannot be read.
    #[inline]
    pub fn unread(&self, address: u64) -> bool {
        SHADOW.contains(&address) && is_set(&self.unread, address)
    }

    /// Where the ROM has what is read at such an address, if the ROM reaches so far down: its end is at SHADOW's.
    pub fn behind(&self, address: u64) -> Option<u64> {
        let rom = self.rom.get()?;
        let at = rom.end.checked_sub(SHADOW.end - address)?;
        (address >= ROM_SHADOW && rom.contains(&at)).then_some(at)
    }

    /// Whole pages below 4 GiB. Whether that is news.
    pub(super) fn set_hidden(&self, number: usize, range: &Range<u64>) -> bool {
        let pages = range.end.saturating_sub(range.start) / PAGE;
        let first = range.start / PAGE;
        let word = if pages == 0 { 0 } else { pages << 32 | first };
        let news = self.hidden[number].swap(word, Ordering::AcqRel) != word;
        self.measure();
        news
    }

    /// Finds where the first range above [`SHADOW`] begins that is not ordinary.
    fn measure(&self) {
        let ranges = self.hidden().into_iter().chain(self.rom.get().cloned());
        let above = ranges.filter(|range| range.end > SHADOW.end.max(range.start));
        let first = above.map(|range| range.start.max(SHADOW.end)).min().unwrap_or(FOUR_GIB);
        self.ordinary.store(first.min(FOUR_GIB) - SHADOW.end, Ordering::Release);
    }

    /// Whether it is known at a glance that nothing is said of an address here: most of memory.
    #[inline]
    pub fn ordinary(&self, address: u64) -> bool {
        address >= FOUR_GIB || address.wrapping_sub(SHADOW.end) < self.ordinary.load(Ordering::Acquire)
    }

    /// What is there in system-management mode only.
    pub fn hidden(&self) -> [Range<u64>; HIDDEN] {
        self.hidden.each_ref().map(|hidden| {
            let word = hidden.load(Ordering::Acquire);
            let start = (word & 0xffff_ffff) * PAGE;
            start..start + (word >> 32) * PAGE
        })
    }

    /// Whether a byte is there in system-management mode only.
    #[inline]
    pub fn hides(&self, address: u64) -> bool {
        self.hidden.iter().any(|hidden| has(hidden, address))
    }

    /// Whether that is news.
    pub(super) fn set_inside(&self, inside: Inside) -> bool {
        self.inside.swap(inside as u8, Ordering::AcqRel) != inside as u8
    }

    /// Whether a byte is not there in system-management mode either, for code or for data.
    #[inline]
    pub fn closes(&self, address: u64, code: bool) -> bool {
        let from = if code { Inside::Nothing } else { Inside::Code };
        self.inside.load(Ordering::Acquire) >= from as u8 && has(&self.hidden[0], address)
    }

    /// Whether memory at an address can be written.
    #[inline]
    pub fn writable(&self, address: u64) -> bool {
        if address >= SHADOW.end {
            return !self.rom.get().is_some_and(|rom| rom.contains(&address));
        }
        address < SHADOW.start || !is_set(&self.protected, address)
    }

    /// Whether a range is memory like any other from end to end.
    pub fn plain(&self, start: u64, size: u64) -> bool {
        let end = start.saturating_add(size);
        let apart = |other: &Range<u64>| other.is_empty() || end <= other.start || other.end <= start;
        let areas = self.protected.load(Ordering::Acquire) | self.unread.load(Ordering::Acquire);
        let shadow = areas == 0 || apart(&SHADOW);
        shadow && self.hidden().iter().all(apart) && self.rom.get().is_none_or(apart)
    }

    /// How much of a range of bytes a device reaches in one piece from its start: `None` if not even the first byte.
    pub(super) fn reach(&self, address: u64, size: u64, write: bool) -> Option<u64> {
        if self.plain(address, size) {
            return Some(size);
        }
        let open = |at: u64| !self.hides(at) && if write { self.writable(at) } else { !self.unread(at) };
        let end = address.saturating_add(size);
        let mut at = address;
        while at < end && open(at) {
            at = self.edge(at);
        }
        (at > address).then(|| at.min(end) - address)
    }

    /// Where the next range with attributes of its own begins or ends.
    fn edge(&self, address: u64) -> u64 {
        if SHADOW.contains(&address) {
            return (address / AREA + 1) * AREA;
        }
        let ranges = self.hidden().into_iter().chain(self.rom.get().cloned());
        let edges = ranges.flat_map(|range| [range.start, range.end]).chain([SHADOW.start]);
        edges.filter(|edge| *edge > address).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use crate::Memory;
    use vm_memory::{Bytes, GuestAddress};

    const MIB: u64 = 1 << 20;

    fn memory() -> Memory {
        Memory::new(&[(0, 4 * MIB)]).unwrap()
    }

    #[test]
    fn a_device_reads_what_is_protected_and_does_not_write_it() {
        let memory = memory();
        memory.protect(1 << 15);
        let ram = memory.ram();
        assert!(ram.write_obj(7u8, GuestAddress(0xf_ffff)).is_err());
        assert_eq!(ram.read_obj::<u8>(GuestAddress(0xf_ffff)).unwrap(), 0);
        ram.write_obj(7u8, GuestAddress(0xf_bfff)).unwrap();
        ram.write_obj(7u8, GuestAddress(0x10_0000)).unwrap();
        assert!(ram.write_obj(7u64, GuestAddress(0xf_bffc)).is_err());
        memory.protect(0);
        ram.write_obj(7u8, GuestAddress(0xf_ffff)).unwrap();
    }

    #[test]
    fn behind_shadow_ram_is_the_end_of_the_rom_or_nothing() {
        let memory = memory();
        memory.make_rom(3 * MIB..4 * MIB);
        memory.shadow(1 << 15 | 1);
        let attributes = memory.attributes();
        assert!(attributes.unread(0xf_ffff) && attributes.unread(0xc_0000) && !attributes.unread(0xe_0000));
        assert_eq!(attributes.behind(0xf_ffff), Some(4 * MIB - 1));
        assert_eq!(attributes.behind(0xc_0000), None);
        assert!(memory.ram().read_obj::<u8>(GuestAddress(0xf_ffff)).is_err());
        memory.ram().write_obj(7u8, GuestAddress(0xf_ffff)).unwrap();
    }

    #[test]
    fn a_device_finds_no_memory_where_it_is_hidden() {
        let memory = memory();
        let (ram, hidden) = (memory.ram(), 2 * MIB..3 * MIB);
        ram.write_obj(7u8, GuestAddress(hidden.start)).unwrap();
        memory.hide([0..0, hidden.clone()]);
        for address in [hidden.start, hidden.end - 1] {
            assert!(ram.read_obj::<u8>(GuestAddress(address)).is_err());
            assert!(ram.write_obj(1u8, GuestAddress(address)).is_err());
        }
        assert!(ram.read_obj::<u64>(GuestAddress(hidden.start - 4)).is_err());
        assert!(ram.read_obj::<u8>(GuestAddress(hidden.start - 1)).is_ok());
        assert!(ram.read_obj::<u8>(GuestAddress(hidden.end)).is_ok());
        memory.hide([0..0, 0..0]);
        assert_eq!(ram.read_obj::<u8>(GuestAddress(hidden.start)).unwrap(), 7);
    }

    #[test]
    fn a_rom_is_never_written() {
        let memory = memory();
        memory.ram().write_obj(7u8, GuestAddress(3 * MIB)).unwrap();
        memory.make_rom(3 * MIB..4 * MIB);
        assert!(memory.ram().write_obj(1u8, GuestAddress(3 * MIB)).is_err());
        assert_eq!(memory.ram().read_obj::<u8>(GuestAddress(3 * MIB)).unwrap(), 7);
        assert!(!memory.attributes().writable(4 * MIB - 1) && memory.attributes().writable(3 * MIB - 1));
    }

    #[test]
    fn engines_hear_of_a_change_and_of_nothing_else() {
        let memory = memory();
        let before = memory.unplugs();
        memory.protect(3);
        memory.protect(3);
        memory.hide([0..0, MIB..2 * MIB]);
        memory.hide([0..0, MIB..2 * MIB]);
        assert_eq!(memory.unplugs(), before + 2);
    }

    #[test]
    fn ordinary_memory_ends_where_the_first_range_begins() {
        let memory = memory();
        let first = |hidden| {
            memory.hide(hidden);
            (MIB..8 * MIB).step_by(4096).find(|&at| !memory.attributes().ordinary(at)).unwrap()
        };
        memory.make_rom(3 * MIB..4 * MIB);
        let video = 0xa_0000..0xc_0000;
        assert!(!memory.attributes().ordinary(MIB - 1) && memory.attributes().ordinary(1 << 32));
        assert_eq!(first([0..0, 0..0]), 3 * MIB);
        assert_eq!(first([video.clone(), 2 * MIB..3 * MIB]), 2 * MIB);
        assert_eq!(first([video, 0..0]), 3 * MIB);
    }

    #[test]
    fn what_is_beside_is_plain() {
        let memory = memory();
        memory.hide([2 * MIB..3 * MIB, 0..0]);
        let attributes = memory.attributes();
        assert!(attributes.plain(0, 2 * MIB) && attributes.plain(3 * MIB, u64::MAX));
        assert!(!attributes.plain(2 * MIB - 1, 2) && !attributes.plain(3 * MIB - 1, 1));
        memory.protect(1);
        assert!(!attributes.plain(0, 2 * MIB) && attributes.plain(MIB, MIB));
    }
}
