//! Guest physical memory: what devices read and write through `vm-memory`, and what engines map.
//!
//! An engine that caches what memory holds (translated code) *watches* pages; a write by a device to a watched page
//! is reported through [`Watch::take`]. Above all memory there may be room for blocks that come and go ([`Memory::plug`],
//! [`Memory::unplug`]): one that is away is not there for the guest, for no device, and for the host it is closed.

// UNSAFETY: `Region` carries a host address across threads; nothing is dereferenced here.

mod aperture;
mod attributes;
mod blocks;
mod mapping;
mod ram;
mod watch;

pub use self::aperture::{APERTURE_END, Aperture};
pub use self::attributes::{AREAS, Attributes, HIDDEN, Inside, SHADOW};
pub use self::blocks::{BLOCK, Blocks};
pub use self::mapping::GUARD;
use self::mapping::{LARGE_PAGE, Mapping};
pub use self::ram::{GuestRam, WatchBitmap};
pub use self::watch::{Kick, Reason, Watch};
use rustix::mm::Advice;
use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use vm_memory::Bytes;

pub const PAGE: u64 = 4096;

/// All guest memory of a VM. Made once; where things can be does not change while the VM runs.
pub struct Memory {
    /// Goes before the memory.
    slots: Mutex<Option<Box<dyn Slots>>>,
    ram: GuestRam,
    /// How often memory has gone, or its attributes have changed.
    unplugs: AtomicU64,
}

/// One run of guest physical memory and where the host has it.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub guest: u64,
    pub size: u64,
    pub host: *mut u8,
    /// Its blocks come and go.
    pub later: bool,
}

// SAFETY-free reasoning: `Region` is an address and a size; dereferencing it is the engine's unsafe business. The
// mapping lives as long as `Memory`, and all access to it is by atomics or raw copies, as hardware does.
#[allow(unsafe_code)]
// SAFETY: a Region is only an address; whoever dereferences it answers for that.
unsafe impl Send for Region {}
#[allow(unsafe_code)]
// SAFETY: as for Send.
unsafe impl Sync for Region {}

/// What an engine that hands memory on (to the kernel) does when a block comes or goes.
pub trait Slots: Send + Sync {
    fn add(&self, block: Region) -> io::Result<()>;
    /// When it is back, no guest reaches the block any more.
    fn remove(&self, block: Region);
    /// The aperture comes, or goes.
    fn aperture(&self, aperture: Region, there: bool) -> io::Result<()> {
        let _ = (aperture, there);
        Ok(())
    }
}

/// Why a block did not come or go.
#[derive(Debug)]
pub enum Refusal {
    /// Not whole blocks of the room that all are away (to come) or there (to go).
    Wrong,
    /// A device uses one of them just now.
    Busy,
    Host(io::Error),
}

/// A file in memory, of so many bytes.
fn file(size: u64) -> io::Result<Arc<OwnedFd>> {
    let file = rustix::fs::memfd_create("guest memory", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, size)?;
    Ok(Arc::new(file))
}

impl Memory {
    /// Anonymous, zeroed memory for `ranges` of (guest physical address, size); page multiples, ascending, disjoint.
    pub fn new(ranges: &[(u64, u64)]) -> io::Result<Self> {
        Self::with_room(ranges, None)
    }

    /// As [`Memory::new`], with one more range above the others, of whole blocks, for memory that the guest may get later.
    /// It costs nothing until it is plugged.
    pub fn with_room(ranges: &[(u64, u64)], room: Option<(u64, u64)>) -> io::Result<Self> {
        Self::with_aperture(ranges, room, 0)
    }

    /// As [`Memory::with_room`], with an aperture of so many bytes, which has no place yet; 0: without one.
    pub fn with_aperture(ranges: &[(u64, u64)], room: Option<(u64, u64)>, aperture: u64) -> io::Result<Self> {
        Self::made(ranges, room, aperture, false)
    }

    /// As [`Memory::with_aperture`], in a file if `in_file` says so, which other processes can be shown ([`Memory::file`]).
    pub fn made(
        ranges: &[(u64, u64)],
        room: Option<(u64, u64)>,
        aperture: u64,
        in_file: bool,
    ) -> io::Result<Self> {
        let all: Vec<_> = ranges.iter().copied().chain(room).collect();
        check(&all, room)?;
        let ends = all.iter().map(|(start, size)| start + size);
        let pages = ends.chain((aperture > 0).then_some(APERTURE_END)).max().unwrap_or(0) / PAGE;
        let (mut regions, mut mappings) = (Vec::new(), Vec::new());
        let file = in_file.then(|| file(all.iter().map(|range| range.1).sum())).transpose()?;
        let mut offset = 0;
        for (number, &(guest, size)) in all.iter().enumerate() {
            let mapping = match &file {
                Some(file) => Mapping::of_file(guest, size as usize, file, offset)?,
                None => Mapping::reserve(guest, size as usize)?,
            };
            offset += size;
            // Large host pages spare host page faults and TLB misses. Only a hint: the host may refuse it.
            let _ = mapping.advise(0, size as usize, Advice::LinuxHugepage);
            let later = number >= ranges.len();
            if !later {
                mapping.open(0, size as usize)?;
            }
            regions.push(Region { guest, size, host: mapping.host(), later });
            mappings.push(mapping);
        }
        let blocks = room.map(|(start, size)| Arc::new(Blocks::new(start, size)));
        let watch = Arc::new(Watch::new(pages as usize));
        let aperture =
            (aperture > 0).then(|| Aperture::new(aperture, watch.clone()).map(Arc::new)).transpose()?;
        let attributes = Attributes::new();
        let ram = GuestRam { regions, blocks, watch, mappings, aperture, attributes };
        Ok(Self { ram, slots: Mutex::default(), unplugs: AtomicU64::new(0) })
    }

    /// The file that all regions show, one behind the other, if others can be given it.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.ram.mappings.first()?.file()
    }

    /// Where a byte of memory is in that file, if it is always there.
    pub fn in_file(&self, address: u64) -> Option<u64> {
        self.file()?;
        let mut offset = 0;
        for region in self.regions().iter().filter(|region| !region.later) {
            if address.wrapping_sub(region.guest) < region.size {
                return Some(offset + address - region.guest);
            }
            offset += region.size;
        }
        None
    }

    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }
    pub fn watch(&self) -> &Arc<Watch> {
        &self.ram.watch
    }
    /// All that is or can be memory: of a region that is `later`, ask [`Memory::is_there`].
    pub fn regions(&self) -> &[Region] {
        &self.ram.regions
    }
    /// What of the room is there, if there is room.
    pub fn blocks(&self) -> Option<&Arc<Blocks>> {
        self.ram.blocks.as_ref()
    }
    pub fn aperture(&self) -> Option<&Arc<Aperture>> {
        self.ram.aperture.as_ref()
    }
    /// What the chipset makes of it.
    pub fn attributes(&self) -> &Attributes {
        &self.ram.attributes
    }
    /// Bytes of guest memory, without what may come later.
    pub fn size(&self) -> u64 {
        self.regions().iter().filter(|r| !r.later).map(|r| r.size).sum()
    }
    /// Whether there is memory at an address now.
    pub fn is_there(&self, address: u64) -> bool {
        match self.ram.region(address) {
            Some((_, region)) => !region.later || self.plugged(address),
            None => self.aperture().is_some_and(|aperture| aperture.holds(address, 1)),
        }
    }
    /// Whether the block of an address is there, if it has one.
    pub fn plugged(&self, address: u64) -> bool {
        self.blocks().is_some_and(|blocks| blocks.has(address))
    }
    /// How often memory has gone, or its attributes have changed: when it changes, an engine forgets all that it knows of where memory is.
    pub fn unplugs(&self) -> u64 {
        self.unplugs.load(Ordering::Acquire)
    }
    /// Tells an engine of blocks that come and go from now on.
    pub fn tell(&self, slots: Box<dyn Slots>) {
        *self.slots.lock().unwrap_or_else(|e| e.into_inner()) = Some(slots);
    }

    /// From now on this cannot be written. Once, before anything runs.
    pub fn make_rom(&self, rom: Range<u64>) {
        self.ram.attributes.set_rom(rom);
    }

    /// From now on the device there is written in system-management mode only. Once, before anything runs.
    pub fn guard(&self, device: Range<u64>) {
        self.ram.attributes.set_guarded(device);
    }

    /// Whether processors keep from now on what they know of the memory of system-management mode.
    pub fn lock(&self, locked: bool) {
        self.ram.attributes.set_locked(locked);
    }

    /// The areas of [`SHADOW`] that cannot be written from now on: a bit for each.
    pub fn protect(&self, areas: u32) {
        if self.ram.attributes.set_protected(areas) {
            self.changed(SHADOW);
        }
    }

    /// The areas of [`SHADOW`] that are read from what is behind them from now on: a bit for each.
    pub fn shadow(&self, areas: u32) {
        if self.ram.attributes.set_unread(areas) {
            self.changed(SHADOW);
        }
    }

    /// Whole pages below 4 GiB that are there in system-management mode only from now on; what was before is there again.
    pub fn hide(&self, ranges: [Range<u64>; HIDDEN]) {
        for (number, range) in ranges.into_iter().enumerate() {
            if self.ram.attributes.set_hidden(number, &range) {
                self.changed(range);
            }
        }
    }

    /// What system-management mode finds from now on where the first range is that is hidden.
    pub fn show_inside(&self, inside: Inside) {
        if self.ram.attributes.set_inside(inside) {
            self.changed(self.ram.attributes.hidden()[0].clone());
        }
    }

    /// Engines forget what they know of where memory is.
    fn changed(&self, range: Range<u64>) {
        self.unplugs.fetch_add(1, Ordering::AcqRel);
        self.watch().wrote(range.start, range.end - range.start);
        self.watch().kick();
    }

    /// Puts the aperture where its device has it, or takes it away. Over memory it is not there.
    pub fn place_aperture(&self, place: Option<u64>) {
        let Some(aperture) = self.aperture() else { return };
        let place = place.filter(|&place| aperture.fits(place) && self.is_free(place, aperture.size()));
        let slots = self.slots.lock().unwrap_or_else(|e| e.into_inner());
        let was = aperture.place();
        if was == place {
            return;
        }
        let (engine, size) = (slots.as_deref(), aperture.size());
        aperture.set_place(None);
        if let Some(old) = was {
            // If the kernel lacks memory for it, the guest sees it at its old place, too.
            engine.iter().for_each(|engine| drop(engine.aperture(aperture.region(old), false)));
            self.unplugs.fetch_add(1, Ordering::AcqRel);
            self.watch().wrote(old, size);
            self.watch().kick();
        }
        let there = place
            .filter(|&new| engine.is_none_or(|engine| engine.aperture(aperture.region(new), true).is_ok()));
        aperture.set_place(there);
    }

    /// Whether no memory is in a range, nor can be.
    fn is_free(&self, start: u64, size: u64) -> bool {
        self.regions()
            .iter()
            .all(|region| start + size <= region.guest || region.guest + region.size <= start)
    }

    /// Makes memory of blocks: zeros.
    pub fn plug(&self, address: u64, size: u64) -> Result<(), Refusal> {
        let (blocks, number, region) = self.room(address, size, false)?;
        let slots = self.slots.lock().unwrap_or_else(|e| e.into_inner());
        let (mapping, offset) = (&self.ram.mappings[number], (address - region.guest) as usize);
        mapping.open(offset, size as usize).map_err(Refusal::Host)?;
        if let Some(slots) = &*slots {
            add(&**slots, region, address, size).map_err(|error| {
                let _ = mapping.close(offset, size as usize);
                Refusal::Host(error)
            })?;
        }
        blocks.add(address, size);
        Ok(())
    }

    /// Takes blocks away: nobody reaches them any more, and the host has their pages back.
    pub fn unplug(&self, address: u64, size: u64) -> Result<(), Refusal> {
        let (blocks, number, region) = self.room(address, size, true)?;
        let slots = self.slots.lock().unwrap_or_else(|e| e.into_inner());
        if !blocks.remove(address, size) {
            return Err(Refusal::Busy);
        }
        self.unplugs.fetch_add(1, Ordering::AcqRel);
        let here = slots.as_deref();
        here.iter().for_each(|slots| each(region, address, size).for_each(|block| slots.remove(block)));
        let closed = self.ram.mappings[number].close((address - region.guest) as usize, size as usize);
        self.watch().wrote(address, size);
        self.watch().kick();
        closed.or_else(|error| self.undo(here, region, address, size, error))
    }

    /// The host could not take blocks (it has no more mappings for us): they are there still.
    fn undo(
        &self,
        slots: Option<&dyn Slots>,
        region: &Region,
        address: u64,
        size: u64,
        error: io::Error,
    ) -> Result<(), Refusal> {
        slots.map_or(Ok(()), |slots| add(slots, region, address, size)).map_err(Refusal::Host)?;
        self.blocks().iter().for_each(|blocks| blocks.add(address, size));
        Err(Refusal::Host(error))
    }

    /// The room of these blocks, if all of them are there, or away.
    fn room(&self, address: u64, size: u64, there: bool) -> Result<(&Arc<Blocks>, usize, &Region), Refusal> {
        let whole = address.is_multiple_of(BLOCK) && size.is_multiple_of(BLOCK);
        let blocks = self.blocks().filter(|blocks| whole && blocks.all(address, size) == Some(there));
        let (number, region) = self.ram.region(address).ok_or(Refusal::Wrong)?;
        Ok((blocks.ok_or(Refusal::Wrong)?, number, region))
    }

    /// The page at an address whatever the chipset makes of it, of a machine that rests. False: there is no memory.
    pub fn save_page(&self, address: u64, page: &mut [u8; PAGE as usize]) -> bool {
        self.ram.page(address).is_some_and(|slice| slice.read_slice(page, 0).is_ok())
    }

    /// Puts a page where there is memory, whatever the chipset makes of it, of a machine that rests. False: there is none.
    pub fn restore_page(&self, address: u64, page: &[u8; PAGE as usize]) -> bool {
        self.ram.page(address).is_some_and(|slice| slice.write_slice(page, 0).is_ok())
    }

    /// All that is memory now: address and size, ascending.
    pub fn present(&self) -> Vec<(u64, u64)> {
        let fixed =
            self.regions().iter().filter(|region| !region.later).map(|region| (region.guest, region.size));
        fixed.chain(self.blocks().into_iter().flat_map(|blocks| blocks.runs())).collect()
    }

    /// Gives whole pages back to the host: they read as zeros from now on, and the host finds new ones when they are
    /// touched again. Addresses stay valid. To an engine it is a write of zeros by a device. False where the range is not
    /// whole pages of one region, or the host refuses.
    pub fn give_back(&self, address: u64, size: u64) -> bool {
        let Some((mapping, offset)) = self.pages(address, size) else { return false };
        let given = mapping.give_back(offset as usize, size as usize).is_ok();
        keep_apart(mapping, offset, size);
        self.watch().wrote(address, size);
        given
    }

    /// What was given back is in use again: the host may serve it in large pages.
    pub fn take_again(&self, address: u64, size: u64) {
        let Some((mapping, offset)) = self.pages(address, size) else { return };
        let (start, size) = mapping.large_pages(offset, size);
        let _ = mapping.advise(start, size, Advice::LinuxHugepage);
    }

    /// Mapping and offset of these whole pages of one region.
    fn pages(&self, address: u64, size: u64) -> Option<(&Mapping, u64)> {
        let whole = address.is_multiple_of(PAGE) && size.is_multiple_of(PAGE) && size > 0;
        let (number, region) = self.ram.region(address).filter(|_| whole)?;
        let offset = address - region.guest;
        (size <= region.size - offset).then_some((&self.ram.mappings[number], offset))
    }
}

/// Ranges ascend, do not overlap, and have an end; the room is whole blocks.
fn check(ranges: &[(u64, u64)], room: Option<(u64, u64)>) -> io::Result<()> {
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if ranges.iter().any(|(start, size)| *size == 0 || start.checked_add(*size).is_none()) {
        return wrong("a range of guest memory is empty or wraps around");
    }
    if ranges.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
        return wrong("ranges of guest memory overlap");
    }
    if room.is_some_and(|(start, size)| start % BLOCK != 0 || size % BLOCK != 0) {
        return wrong("the room for later is not whole blocks");
    }
    Ok(())
}

/// A region for each block of a range.
fn each(region: &Region, address: u64, size: u64) -> impl Iterator<Item = Region> {
    let (guest, host) = (region.guest, region.host);
    (address..address + size).step_by(BLOCK as usize).map(move |start| Region {
        guest: start,
        size: BLOCK,
        host: host.wrapping_add((start - guest) as usize),
        later: true,
    })
}

/// Hands blocks to an engine: all, or none.
fn add(slots: &dyn Slots, region: &Region, address: u64, size: u64) -> io::Result<()> {
    for block in each(region, address, size) {
        if let Err(error) = slots.add(block) {
            each(region, address, block.guest - address).for_each(|block| slots.remove(block));
            return Err(error);
        }
    }
    Ok(())
}

/// Large pages of which a part was given back stay in small pages: the host would fill them up again to make them whole
/// (khugepaged). Those that went as a whole are let alone.
fn keep_apart(mapping: &Mapping, offset: u64, size: u64) {
    let host = mapping.host() as u64;
    for edge in [offset, offset + size].into_iter().filter(|edge| !(host + edge).is_multiple_of(LARGE_PAGE)) {
        let (start, size) = mapping.large_pages(edge, 1);
        // Only a hint: the host may refuse it.
        let _ = mapping.advise(start, size, Advice::LinuxNoHugepage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

    #[test]
    fn a_device_write_to_a_watched_page_is_reported_once() {
        let memory = Memory::new(&[(0, 0x10000), (0x100000, 0x10000)]).unwrap();
        memory.watch().set(0x101, Reason::Code, true);
        memory.ram().write_slice(&[1, 2, 3], GuestAddress(0x100fff)).unwrap();
        assert_eq!(memory.watch().take(|_| ()), [0x101]);
        assert!(!memory.watch().any());
    }

    const ROOM: u64 = 1 << 32;

    fn with_room(blocks: u64) -> Memory {
        Memory::with_room(&[(0, 0x10000)], Some((ROOM, blocks * BLOCK))).unwrap()
    }

    #[test]
    fn room_for_later_is_not_there_and_does_not_count() {
        let memory = with_room(2);
        assert_eq!((memory.size(), memory.regions().len()), (0x10000, 2));
        assert!(memory.is_there(0xffff) && !memory.is_there(ROOM));
        assert!(memory.ram().write_obj(7u64, GuestAddress(ROOM)).is_err());
        assert!(memory.ram().read_obj::<u64>(GuestAddress(ROOM)).is_err());
        assert!(flags(memory.regions()[1].host as u64).split(' ').all(|flag| flag != "rd" && flag != "wr"));
    }

    #[test]
    fn a_plugged_block_is_memory_up_to_its_end() {
        let memory = with_room(4);
        memory.plug(ROOM + BLOCK, BLOCK).unwrap();
        let ram = memory.ram();
        ram.write_obj(7u64, GuestAddress(ROOM + 2 * BLOCK - 8)).unwrap();
        assert_eq!(ram.read_obj::<u64>(GuestAddress(ROOM + 2 * BLOCK - 8)).unwrap(), 7);
        assert!(ram.write_obj(7u64, GuestAddress(ROOM + 2 * BLOCK - 4)).is_err());
        assert!(!ram.check_range(GuestAddress(ROOM + BLOCK), BLOCK as usize + 1, Permissions::Read));
        assert!(ram.check_range(GuestAddress(ROOM + BLOCK), BLOCK as usize, Permissions::Read));
    }

    #[test]
    fn a_range_over_several_blocks_is_one() {
        let memory = with_room(4);
        memory.plug(ROOM, 4 * BLOCK).unwrap();
        memory.ram().write_slice(&vec![7; 3 * BLOCK as usize], GuestAddress(ROOM + 4096)).unwrap();
        assert_eq!(memory.ram().read_obj::<u8>(GuestAddress(ROOM + 3 * BLOCK)).unwrap(), 7);
    }

    #[test]
    fn a_block_that_went_is_zero_when_it_comes_again() {
        let memory = with_room(2);
        memory.plug(ROOM, 2 * BLOCK).unwrap();
        memory.ram().write_obj(7u64, GuestAddress(ROOM + BLOCK)).unwrap();
        memory.watch().set((ROOM + BLOCK) / PAGE, Reason::Code, true);
        memory.unplug(ROOM + BLOCK, BLOCK).unwrap();
        assert_eq!((memory.watch().take(|_| ()), memory.unplugs()), (vec![(ROOM + BLOCK) / PAGE], 1));
        assert!(memory.ram().read_obj::<u64>(GuestAddress(ROOM + BLOCK)).is_err());
        memory.plug(ROOM + BLOCK, BLOCK).unwrap();
        assert_eq!(memory.ram().read_obj::<u64>(GuestAddress(ROOM + BLOCK)).unwrap(), 0);
    }

    #[test]
    fn a_block_stays_while_a_device_holds_a_slice_of_it() {
        let memory = with_room(2);
        memory.plug(ROOM, 2 * BLOCK).unwrap();
        let held: Vec<_> =
            memory.ram().get_slices(GuestAddress(ROOM + BLOCK), 8, Permissions::Write).unwrap().collect();
        assert!(matches!(memory.unplug(ROOM, 2 * BLOCK), Err(Refusal::Busy)));
        held[0].as_ref().unwrap().write_obj(7u64, 0).unwrap();
        drop(held);
        memory.unplug(ROOM, 2 * BLOCK).unwrap();
    }

    #[test]
    fn a_device_finds_memory_or_an_error_in_a_block_that_comes_and_goes() {
        let memory = with_room(1);
        std::thread::scope(|scope| {
            let device = scope.spawn(|| {
                let (mut there, mut away) = (0u32, 0u32);
                let mut bytes = vec![0; 3 * PAGE as usize];
                while there < 200 || away < 200 {
                    match memory.ram().read_slice(&mut bytes, GuestAddress(ROOM + 8)) {
                        Ok(()) => there += 1,
                        Err(_) => away += 1,
                    }
                    let _ = memory.ram().write_slice(&bytes, GuestAddress(ROOM + BLOCK / 2));
                }
            });
            while !device.is_finished() {
                memory.plug(ROOM, BLOCK).unwrap();
                // The device has it just now.
                while matches!(memory.unplug(ROOM, BLOCK), Err(Refusal::Busy)) {
                    std::thread::yield_now();
                }
            }
        });
    }

    #[test]
    fn only_whole_blocks_that_are_away_are_plugged() {
        let memory = with_room(4);
        memory.plug(ROOM + BLOCK, BLOCK).unwrap();
        for (address, size) in [
            (0, BLOCK),
            (ROOM, 0),
            (ROOM, PAGE),
            (ROOM + PAGE, BLOCK),
            (ROOM, 2 * BLOCK),
            (ROOM + 4 * BLOCK, BLOCK),
            (ROOM + 3 * BLOCK, 2 * BLOCK),
            (ROOM - BLOCK, BLOCK),
            (!(BLOCK - 1), BLOCK),
            (ROOM, !(BLOCK - 1)),
        ] {
            assert!(matches!(memory.plug(address, size), Err(Refusal::Wrong)), "{address:#x} {size:#x}");
            assert!(matches!(memory.unplug(address, size), Err(Refusal::Wrong)), "{address:#x} {size:#x}");
        }
    }

    /// An engine that notes what it is given, and takes so much.
    struct Engine {
        blocks: Arc<Mutex<Vec<u64>>>,
        most: usize,
    }

    impl Slots for Engine {
        fn add(&self, block: Region) -> io::Result<()> {
            let mut blocks = self.blocks.lock().unwrap();
            if blocks.len() == self.most {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            blocks.push(block.guest);
            Ok(())
        }
        fn remove(&self, block: Region) {
            self.blocks.lock().unwrap().retain(|guest| *guest != block.guest);
        }
    }

    #[test]
    fn an_engine_hears_of_each_block_and_may_refuse() {
        let memory = with_room(4);
        let blocks = Arc::<Mutex<Vec<u64>>>::default();
        memory.tell(Box::new(Engine { blocks: blocks.clone(), most: 2 }));
        memory.plug(ROOM, BLOCK).unwrap();
        assert!(matches!(memory.plug(ROOM + BLOCK, 3 * BLOCK), Err(Refusal::Host(_))));
        assert_eq!(*blocks.lock().unwrap(), [ROOM]);
        assert!(!memory.is_there(ROOM + BLOCK));
        memory.unplug(ROOM, BLOCK).unwrap();
        assert!(blocks.lock().unwrap().is_empty());
    }

    #[test]
    fn guest_memory_has_guards_and_is_in_no_core_dump() {
        let memory = Memory::new(&[(0, 0x10000), (0x100000, 0x10000)]).unwrap();
        for region in memory.regions() {
            assert!(flags(region.host as u64).contains(" dd"));
            for beside in
                [region.host as u64 - GUARD as u64, region.host as u64 + region.size + GUARD as u64 - 1]
            {
                assert!(flags(beside).split(' ').all(|flag| flag != "rd" && flag != "wr"), "{beside:#x}");
            }
        }
    }

    #[test]
    fn pages_given_back_are_zero_and_reported() {
        let memory = Memory::new(&[(0, 0x10000), (0x100000, 0x10000)]).unwrap();
        memory.ram().write_obj(7u64, GuestAddress(0x102008)).unwrap();
        memory.watch().set(0x102, Reason::Tables, true);
        assert!(memory.give_back(0x101000, 0x2000));
        assert_eq!(memory.ram().read_obj::<u64>(GuestAddress(0x102008)).unwrap(), 0);
        assert_eq!(memory.watch().take(|_| ()), [0x102]);
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
