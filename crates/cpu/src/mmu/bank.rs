//! Banks: one address space's TLB, jump tables and fetch cache, with the hot state that translated code runs on.

// UNSAFETY: translated code reads and writes banks behind Rust's back, so they are raw memory with a fixed layout.
#![allow(unsafe_code)]

use crate::direct::space::Space;
use crate::hash::FastHash;
use ireko_nested::Stage2;
use ireko_translate::layout::{
    self, BANK, FETCH, FETCH_BYTES, FETCH_ENTRIES, FILLED, FILLED_MODE_BYTES, FetchEntry, HOSTS,
    HOSTS_MODE_BYTES, JUMP_CODES, JUMP_ENTRIES, JUMP_FILLED, JUMP_FILLED_BYTES, JUMP_SLOT_BYTES, JUMP_SLOTS,
    JUMP_TAGS, LARGE, LARGE_ENTRIES, LARGE_SHIFT, SECOND_GLOBAL, SECOND_READ_ONLY, SMALL, SMALL_ENTRIES,
    STACK, SecondEntry, TLB, TLB_ENTRIES, TLB_MODE_BYTES, TLB_MODES, jump_no_tag, tlb_no_tag,
};
use ireko_translate::{Hot, TlbEntry, lookup};
use std::collections::HashSet;

/// Whose translations a bank holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 0 for the processor's own world.
    pub asid: u32,
    /// nCR3 of a guest world with nested paging.
    pub nested_root: u64,
    pub pcid: u16,
}

/// What all translations of a bank were made with, apart from the tables' contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    pub cr3: u64,
    pub cr0: u64,
    pub cr4: u64,
    pub efer: u64,
    pub nested: Option<Stage2>,
}

const FETCHED_WORDS: usize = 128;

/// The first jump-table slots are supervisor code's.
const SUPERVISOR_SLOTS: usize = 2;

/// Word and bit of a page among those fetched from.
fn fetched_bit(address: u64) -> (usize, u64) {
    // The halves of the address space are apart: programs' pages come and go, the kernel's stay.
    let hash = (address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52 | address >> 63 << 12;
    ((hash >> 6) as usize % FETCHED_WORDS, 1 << (hash & 63))
}

/// One bank. `memory` points at its mapping.
pub struct Bank {
    memory: *mut u8,
    pub tag: Option<Tag>,
    pub last_used: u64,
    /// The key that the jump table of each slot is for.
    pub slot_keys: [u64; JUMP_SLOTS],
    /// What the keys of all slots but the last have in common.
    pub family: u64,
    /// Supervisor code's jump tables lead to pages that are not global.
    pub local_kernel: bool,
    /// Number of this bank's entries in the second level of the jump tables; 0: it has none.
    pub jump_id: u32,
    /// Generations of the second level's local and global entries, from 1 to [`GENERATIONS`].
    generations: [u64; 2],
    /// Numbers of the 2 MiB and 1 GiB of address space of which something is here that the guest maps by one page.
    large: HashSet<u64, FastHash>,
    giant: HashSet<u64, FastHash>,
    /// A bit for each page (hashed) that code was fetched from since the jumps were last forgotten.
    fetched: [u64; FETCHED_WORDS],
    pub root: Root,
    /// Page-table frames behind the translations are watched, so that a flush may find nothing changed.
    pub tracked: bool,
    /// One of them was written.
    pub dirty: bool,
    /// Those frames, each once.
    pub frames: HashSet<u64, FastHash>,
    /// There may be global pages in the lower half of the address space, which systems keep for their programs.
    low_globals: bool,
    /// The protection keys of the pages that are here, each the lower bit of its two in PKRU; and the PKRU that they were
    /// entered under.
    keys: u32,
    pkru: u32,
    /// Host TSC of the last flush by ASID.
    pub flushed_at: u64,
    /// The process that has the program's pages, if its code runs there.
    pub space: Option<Space>,
    /// How it went there, or what says that it should.
    pub direct: Trial,
}

/// Whether a program's code is worth a process of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial {
    /// Its code runs there now, where it may.
    pub on: bool,
    /// How often the program was found running.
    pub found: u32,
    /// How often it must be found so.
    pub wanted: u32,
    /// How much more often than before, after the last attempt that did not pay.
    pub backoff: u32,
    /// Times that it was left since that was last judged, and its process' processor time then.
    pub left: u32,
    pub began: u64,
}

// SAFETY: a bank is plain memory that one vCPU owns; only `attention` is written by others, atomically.
unsafe impl Send for Bank {}

/// Bits of `TlbEntry::unused`: a global page; one whose protection key is not 0.
const GLOBAL: u64 = 1;
const KEYED: u64 = 2;

/// Access-disable bits of all keys in PKRU, and that of key 0.
const KEYS: u32 = 0x5555_5555;
const KEY_0: u32 = 1;

/// Small pages in a large one.
const CHUNK_PAGES: usize = 1 << (LARGE_SHIFT - 12);

/// Generations of the second level before it is wiped: as many as a key has room for.
const GENERATIONS: u64 = 511;

/// Large pages that a bank remembers; with more, it forgets all translations.
const MOST_LARGE: usize = 1 << 14;

/// A translation for the second level.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// Of 2 MiB, not 4 KiB.
    pub large: bool,
    /// Host address of the page.
    pub host: *mut u8,
    /// Where the page's watch byte is.
    pub watch: *const u8,
    /// May be written without a walk, while it is not watched.
    pub write: bool,
    pub global: bool,
}

/// Bytes in front of and behind a bank that cannot be accessed. What translated code adds to RSP is a constant in the bank, or an
/// index that a mask keeps in its table; this is for the day when one of them is wrong.
const GUARD: usize = 16 << 20;

/// Fresh memory for a bank, with its guards.
fn reserve() -> std::io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let (all, none) = (BANK + 2 * GUARD, libc::PROT_NONE);
    // SAFETY: a fresh private mapping.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), all, none, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    let memory = start.wrapping_byte_add(GUARD);
    // SAFETY: the part of the mapping between its guards.
    if unsafe { libc::mprotect(memory, BANK, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        let error = std::io::Error::last_os_error();
        // SAFETY: the mapping is ours and nothing points into it.
        unsafe { libc::munmap(start, all) };
        return Err(error);
    }
    Ok(memory.cast())
}

impl Bank {
    pub fn new() -> std::io::Result<Self> {
        let mut bank = Self {
            memory: reserve()?,
            tag: None,
            last_used: 0,
            slot_keys: [u64::MAX; JUMP_SLOTS],
            family: u64::MAX,
            local_kernel: false,
            jump_id: 0,
            generations: [1; 2],
            large: HashSet::default(),
            giant: HashSet::default(),
            fetched: [0; FETCHED_WORDS],
            root: Root::default(),
            tracked: false,
            dirty: false,
            frames: HashSet::default(),
            low_globals: false,
            keys: 0,
            pkru: 0,
            flushed_at: 0,
            space: None,
            direct: Trial::default(),
        };
        bank.wipe();
        Ok(bank)
    }

    fn wipe(&mut self) {
        for mode in 0..TLB_MODES {
            for index in 0..TLB_ENTRIES {
                self.clear_entry(mode, index);
            }
        }
        for slot in 0..JUMP_SLOTS {
            for index in 0..JUMP_ENTRIES {
                self.clear_jump(slot, index);
            }
        }
        self.clear_fetch();
        self.want();
    }

    /// Where RSP points while this bank's code runs.
    pub fn hot(&self) -> *mut Hot {
        // The mapping is page aligned and STACK a multiple of Hot's alignment.
        self.memory.wrapping_add(STACK).cast()
    }

    pub fn hot_mut(&mut self) -> &mut Hot {
        // SAFETY: Hot lies wholly in the mapping; translated code does not run while Rust holds the borrow.
        unsafe { &mut *self.hot() }
    }

    fn at(&mut self, mode: usize, index: usize) -> &mut TlbEntry {
        assert!(mode < TLB_MODES && index < TLB_ENTRIES);
        let offset = STACK + TLB + mode * TLB_MODE_BYTES + index * size_of::<TlbEntry>();
        // SAFETY: in the mapping by the assertion; as for `hot_mut`.
        unsafe { &mut *self.memory.add(offset).cast() }
    }

    /// Host address of a page that cannot be accessed.
    fn nowhere(&self) -> u64 {
        self.memory as u64 - 4096
    }

    fn clear_entry(&mut self, mode: usize, index: usize) {
        *self.at(mode, index) = TlbEntry::empty(index, self.nowhere());
    }

    /// The word of the bits that say which of 64 TLB entries may be valid.
    fn filled(&mut self, mode: usize, word: usize) -> &mut u64 {
        assert!(mode < TLB_MODES && word < FILLED_MODE_BYTES / 8);
        let offset = STACK + FILLED + mode * FILLED_MODE_BYTES + word * 8;
        // SAFETY: as for `at`.
        unsafe { &mut *self.memory.add(offset).cast() }
    }

    /// The low halves of the host addresses of 64 entries, where they are filled.
    fn hosts(&mut self, mode: usize, word: usize) -> &mut [u32; 64] {
        assert!(mode < TLB_MODES && word < FILLED_MODE_BYTES / 8);
        let offset = STACK + HOSTS + mode * HOSTS_MODE_BYTES + word * size_of::<[u32; 64]>();
        // SAFETY: as for `at`.
        unsafe { &mut *self.memory.add(offset).cast() }
    }

    /// The second level's entries that may hold an address: that of 2 MiB, and that of 4 KiB.
    fn second(&mut self, address: u64) -> [&mut SecondEntry; 2] {
        let large = (address >> LARGE_SHIFT) as usize % LARGE_ENTRIES;
        let small = layout::small_index(address);
        let place = |table: usize, index: usize| STACK + table + index * size_of::<SecondEntry>();
        // SAFETY: both lie in the mapping by the moduli, in different tables; as for `hot_mut`.
        unsafe {
            [
                &mut *self.memory.add(place(LARGE, large)).cast(),
                &mut *self.memory.add(place(SMALL, small)).cast(),
            ]
        }
    }

    /// The entry that may hold `address`.
    pub fn entry(&mut self, mode: usize, address: u64) -> &mut TlbEntry {
        self.at(mode, layout::tlb_index(address))
    }

    /// Host address of a byte if the TLB has its page for this access.
    pub fn lookup(&mut self, mode: usize, address: u64, write: bool) -> Option<*mut u8> {
        let entry = self.entry(mode, address);
        let tag = if write { entry.write } else { entry.read };
        let offset = address.wrapping_add(tag);
        (offset < 4096).then(|| (entry.host + offset) as *mut u8)
    }

    /// Enters a page in the first level. `host` is its host address.
    pub fn fill(&mut self, mode: usize, address: u64, host: *mut u8, write: bool, global: bool) {
        self.note_global(address, global);
        let index = layout::tlb_index(address);
        let page = (address & !0xfff).wrapping_neg();
        *self.at(mode, index) = TlbEntry {
            read: page,
            host: host as u64,
            write: if write { page } else { tlb_no_tag(index) },
            unused: if global { GLOBAL } else { 0 },
        };
        *self.filled(mode, index / 64) |= 1 << (index % 64);
        self.hosts(mode, index / 64)[index % 64] = host as u32;
    }

    /// Enters a page in the second level.
    pub fn fill_second(&mut self, mode: usize, address: u64, page: Second) {
        self.note_global(address, page.global);
        let wanted = self.hot_mut().wanted[mode][usize::from(page.global)];
        let shift = if page.large { LARGE_SHIFT } else { 12 };
        let [large, small] = self.second(address);
        let entry = if page.large { large } else { small };
        let read_only = if page.write { 0 } else { SECOND_READ_ONLY };
        *entry = SecondEntry {
            key: address >> shift << shift | wanted,
            host: page.host as u64,
            watch: page.watch as u64,
            flags: read_only | if page.global { SECOND_GLOBAL } else { 0 },
        };
    }

    /// Host address of an address's 4 KiB page, whether it may be written, and whether it is global, if the second level
    /// knows.
    pub fn find_second(&mut self, mode: usize, address: u64) -> Option<(*mut u8, bool, bool)> {
        let wanted = self.hot_mut().wanted[mode];
        let [large, small] = self.second(address);
        for (entry, shift) in [(large, LARGE_SHIFT), (small, 12)] {
            let page = address >> shift << shift;
            if wanted.contains(&(entry.key ^ page)) {
                let host = entry.host + ((address - page) & !0xfff);
                let (write, global) = (entry.flags & SECOND_READ_ONLY == 0, entry.flags & SECOND_GLOBAL != 0);
                return Some((host as *mut u8, write, global));
            }
        }
        None
    }

    /// Host address of a byte of a large page, how many bytes of that are there from it on, and whether they may be written (but
    /// for what is watched), if the second level knows.
    pub fn find_large(&mut self, mode: usize, address: u64) -> Option<(*mut u8, u64, bool)> {
        let wanted = self.hot_mut().wanted[mode];
        let [entry, _] = self.second(address);
        let within = address % (1 << LARGE_SHIFT);
        let found = wanted.contains(&(entry.key ^ (address - within)));
        let host = (entry.host + within) as *mut u8;
        found.then_some((host, (1 << LARGE_SHIFT) - within, entry.flags & SECOND_READ_ONLY == 0))
    }

    /// The guest maps `address` by a page of `size` bytes: whoever forgets one address of it forgets all of it.
    pub fn mark_size(&mut self, address: u64, size: u64) {
        if size <= 4096 {
            return;
        }
        if self.large.len() + self.giant.len() > MOST_LARGE {
            self.flush(false);
        }
        if size > 4 << 20 {
            self.giant.insert(address >> 30);
        } else {
            self.large.insert(address >> LARGE_SHIFT);
            // A 4 MiB page has another half.
            self.large.insert((address ^ size >> 1 & 1 << LARGE_SHIFT) >> LARGE_SHIFT);
        }
    }

    /// The low bits of valid keys, for translated code to compare with: mode, global, generation.
    fn want(&mut self) {
        let [local, global] = self.generations;
        for mode in 0..TLB_MODES as u64 {
            self.hot_mut().wanted[mode as usize] = [mode | local << 3, mode | 4 | global << 3];
        }
    }

    /// Ends the second level's generation, that of global pages only if asked to.
    fn flush_second(&mut self, keep_global: bool) {
        self.generations[0] += 1;
        self.generations[1] += u64::from(!keep_global);
        if self.generations.iter().any(|&g| g > GENERATIONS) {
            self.generations = [1; 2];
            let bytes = (LARGE_ENTRIES + SMALL_ENTRIES) * size_of::<SecondEntry>();
            // SAFETY: both tables lie behind each other in the mapping.
            unsafe { self.memory.add(STACK + LARGE).write_bytes(0, bytes) };
        }
        self.want();
    }

    /// Empties the first level's entries but for those whose `unused` has one of the bits `keep`, or lacks one of `only`.
    fn flush_first(&mut self, keep: u64, only: u64) {
        for mode in 0..TLB_MODES {
            for word in 0..FILLED_MODE_BYTES / 8 {
                let mut rest = *self.filled(mode, word);
                if rest == 0 {
                    continue;
                }
                let mut kept = 0;
                while rest != 0 {
                    let bit = rest & rest.wrapping_neg();
                    rest ^= bit;
                    let index = word * 64 + bit.trailing_zeros() as usize;
                    let marks = self.at(mode, index).unused;
                    if marks & keep != 0 || marks & only != only {
                        kept |= bit;
                    } else {
                        self.clear_entry(mode, index);
                    }
                }
                *self.filled(mode, word) = kept;
            }
        }
    }

    /// A page that was just entered has a protection key.
    pub fn mark_key(&mut self, mode: usize, address: u64, key: u8) {
        self.keys |= KEY_0 << (2 * key);
        if key != 0 {
            self.entry(mode, address).unused |= KEYED;
        }
    }

    /// Forgets the pages of which `pkru` does not allow what the PKRU allowed that they were entered under, or allows more.
    pub fn heed_keys(&mut self, pkru: u32) {
        let changed = self.pkru ^ pkru;
        self.pkru = pkru;
        let changed = (changed | changed >> 1) & self.keys & KEYS;
        if changed & KEY_0 != 0 {
            self.forget_space();
            self.flush_first(0, 0);
            self.flush_second(false);
            self.keys = 0;
        } else if changed != 0 {
            self.flush_first(0, KEYED);
            self.keys &= KEY_0;
        }
    }

    fn forget_space(&mut self) {
        if let Some(space) = &mut self.space {
            space.forget_all();
        }
    }

    /// Forgets all, or all but global pages.
    pub fn flush(&mut self, keep_global: bool) {
        self.forget_space();
        self.flush_first(if keep_global { GLOBAL } else { 0 }, 0);
        self.flush_second(keep_global);
        if !keep_global {
            self.large.clear();
            self.giant.clear();
            self.keys = 0;
            self.low_globals = false;
        }
        self.flush_fetch();
        self.flush_jumps_from(if keep_global && !self.local_kernel { SUPERVISOR_SLOTS } else { 0 });
    }

    fn note_global(&mut self, address: u64, global: bool) {
        self.low_globals |= global && address >> 63 == 0;
    }

    /// Whether a page at `address` may be here if it is global.
    pub fn may_have_global(&self, address: u64) -> bool {
        address >> 63 != 0 || self.low_globals
    }

    /// Forgets one page, of whatever size the guest made it.
    pub fn flush_page(&mut self, address: u64) {
        if self.giant.contains(&(address >> 30)) {
            return self.flush(false);
        }
        let large = self.large.contains(&(address >> LARGE_SHIFT));
        match &mut self.space {
            Some(space) if large => {
                space.forget_chunk(address);
                space.forget_chunk(address ^ 1 << LARGE_SHIFT);
            }
            Some(space) => space.forget(address),
            None => {}
        }
        if large {
            // Both halves of what may be a page of 4 MiB.
            self.flush_chunk(address);
            self.flush_chunk(address ^ 1 << LARGE_SHIFT);
            return self.flush_code();
        }
        for mode in 0..TLB_MODES {
            self.forget(mode, address);
        }
        self.forget_second(address);
        let (word, bit) = fetched_bit(address);
        if self.fetched[word] & bit != 0 {
            self.flush_code();
        }
    }

    /// Empties the first level's entries of a page. Their bits among the filled stay: emptying them twice is harmless.
    fn forget(&mut self, mode: usize, address: u64) {
        let page = (address & !0xfff).wrapping_neg();
        for index in [layout::tlb_index(address), layout::tlb_skewed_index(address)] {
            let entry = self.at(mode, index);
            if entry.read == page || entry.write == page {
                self.clear_entry(mode, index);
            }
        }
    }

    /// Forgets 2 MiB.
    fn flush_chunk(&mut self, address: u64) {
        let chunk = address >> LARGE_SHIFT << LARGE_SHIFT;
        if !self.large.remove(&(chunk >> LARGE_SHIFT)) {
            return;
        }
        // The first level's entries of 2 MiB lie side by side, in another order at the skewed index.
        let first = |index: usize| index / CHUNK_PAGES * CHUNK_PAGES / 64;
        let words = [layout::tlb_index(chunk), layout::tlb_skewed_index(chunk)].map(first);
        for mode in 0..TLB_MODES {
            for word in words.into_iter().flat_map(|first| first..first + CHUNK_PAGES / 64) {
                let mut rest = *self.filled(mode, word);
                while rest != 0 {
                    let index = word * 64 + rest.trailing_zeros() as usize;
                    if (self.at(mode, index).read.wrapping_neg() ^ chunk) >> LARGE_SHIFT == 0 {
                        self.clear_entry(mode, index);
                    }
                    rest &= rest - 1;
                }
            }
        }
        for page in (0..CHUNK_PAGES as u64).map(|page| chunk | page << 12) {
            self.forget_second(page);
        }
    }

    fn forget_second(&mut self, address: u64) {
        for (entry, shift) in self.second(address).into_iter().zip([LARGE_SHIFT, 12]) {
            if (entry.key ^ address) >> shift == 0 {
                *entry = SecondEntry::default();
            }
        }
    }

    /// Takes the right to write `host`'s page without a check from every entry of the first level. (The second asks at every
    /// refill.)
    pub fn protect(&mut self, host: *mut u8) {
        if let Some(space) = &mut self.space {
            space.protect(host as u64 >> 12);
        }
        for mode in 0..TLB_MODES {
            for word in 0..FILLED_MODE_BYTES / 8 {
                let filled = *self.filled(mode, word);
                let low = host as u32;
                if filled == 0 || !self.hosts(mode, word).iter().fold(false, |any, &one| any | (one == low)) {
                    continue;
                }
                let mut rest = filled;
                while rest != 0 {
                    let index = word * 64 + rest.trailing_zeros() as usize;
                    let entry = self.at(mode, index);
                    if entry.host == host as u64 {
                        entry.write = tlb_no_tag(index);
                    }
                    rest &= rest - 1;
                }
            }
        }
    }

    /// Forgets where jumps lead and where code is fetched.
    pub fn flush_code(&mut self) {
        self.flush_jumps();
        self.flush_fetch();
    }

    fn flush_fetch(&mut self) {
        if self.fetched == [0; FETCHED_WORDS] {
            return;
        }
        self.clear_fetch();
    }

    fn clear_fetch(&mut self) {
        for user in [false, true] {
            (0..FETCH_ENTRIES).for_each(|index| *self.fetch_at(user, index) = FetchEntry::empty(index));
        }
        self.fetched = [0; FETCHED_WORDS];
    }

    pub fn flush_jumps(&mut self) {
        self.flush_jumps_from(0);
    }

    /// Empties the tables; the second level keeps what is this bank's.
    pub fn flush_jump_tables(&mut self) {
        (0..JUMP_SLOTS).for_each(|slot| self.flush_slot(slot));
    }

    /// Empties the jump tables from slot `first` on.
    fn flush_jumps_from(&mut self, first: usize) {
        (first..JUMP_SLOTS).for_each(|slot| self.flush_slot(slot));
        self.local_kernel &= first != 0;
        self.jump_id = 0;
        self.hot_mut().jump_ids = Default::default();
    }

    fn flush_slot(&mut self, slot: usize) {
        for word in 0..JUMP_FILLED_BYTES / 8 {
            let mut rest = *self.jumps_filled(slot, word);
            if rest == 0 {
                continue;
            }
            *self.jumps_filled(slot, word) = 0;
            while rest != 0 {
                self.clear_jump(slot, word * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
    }

    /// The word of the bits that say which of 64 jump-table entries may be valid.
    fn jumps_filled(&mut self, slot: usize, word: usize) -> &mut u64 {
        assert!(slot < JUMP_SLOTS && word < JUMP_FILLED_BYTES / 8);
        let offset = STACK + JUMP_FILLED + slot * JUMP_FILLED_BYTES + word * 8;
        // SAFETY: as for `at`.
        unsafe { &mut *self.memory.add(offset).cast() }
    }

    fn set_jump_raw(&mut self, slot: usize, index: usize, tag: u64, code: u64) {
        assert!(slot < JUMP_SLOTS && index < JUMP_ENTRIES);
        let offset = STACK + JUMP_TAGS + slot * JUMP_SLOT_BYTES + index * 16;
        // SAFETY: both words lie in the mapping by the assertion.
        unsafe {
            self.memory.add(offset).cast::<u64>().write(tag);
            self.memory.add(offset + JUMP_CODES).cast::<u64>().write(code);
        }
    }

    fn clear_jump(&mut self, slot: usize, index: usize) {
        self.set_jump_raw(slot, index, jump_no_tag(index), lookup::nowhere());
    }

    /// Tells translated code of key `key` (in `slot`) that `rip` is at host address `code`. Entry 0 stays empty
    /// ([`layout::JUMP_MASK`]).
    pub fn set_jump(&mut self, slot: usize, key: u64, rip: u64, code: u64) {
        if self.slot_keys[slot] != key {
            self.claim_slot(slot, key);
        }
        let index = layout::jump_index(rip);
        if index == 0 {
            return;
        }
        self.set_jump_raw(slot, index, rip.wrapping_neg(), code);
        *self.jumps_filled(slot, index / 64) |= 1 << (index % 64);
    }

    /// Host address of the code at `rip`, if the slot is `key`'s and knows it.
    pub fn jump(&self, slot: usize, key: u64, rip: u64) -> Option<*const u8> {
        if self.slot_keys[slot] != key {
            return None;
        }
        let offset = STACK + JUMP_TAGS + slot * JUMP_SLOT_BYTES + layout::jump_index(rip) * 16;
        // SAFETY: both words lie in the mapping: slots and indices are bounded by their types' makers.
        let (tag, code) = unsafe {
            (
                self.memory.add(offset).cast::<u64>().read(),
                self.memory.add(offset + JUMP_CODES).cast::<u64>().read(),
            )
        };
        (tag.wrapping_add(rip) == 0).then_some(code as *const u8)
    }

    /// Gives a slot to another key; what it held was for the old one.
    pub fn claim_slot(&mut self, slot: usize, key: u64) {
        if self.slot_keys[slot] == key {
            return;
        }
        self.slot_keys[slot] = key;
        self.flush_slot(slot);
    }

    fn fetch_at(&mut self, user: bool, index: usize) -> &mut FetchEntry {
        assert!(index < FETCH_ENTRIES);
        let offset = STACK + FETCH + usize::from(user) * FETCH_BYTES + index * size_of::<FetchEntry>();
        // SAFETY: in the mapping by the assertion; as for `hot_mut`.
        unsafe { &mut *self.memory.add(offset).cast() }
    }

    fn fetched_from(&mut self, address: u64, user: bool) -> Option<FetchEntry> {
        let tag = FetchEntry::tag(address, user);
        let entry = *self.fetch_at(user, FetchEntry::index(address));
        (entry.tag == tag).then_some(entry)
    }

    /// Physical address of a byte that may be fetched, if its page was lately.
    pub fn fetch(&mut self, address: u64, user: bool) -> Option<u64> {
        let entry = self.fetched_from(address, user)?;
        Some(entry.physical & !0xfff | address & 0xfff)
    }

    /// Whether the page that code was fetched from is known to be global.
    pub fn fetch_global(&mut self, address: u64, user: bool) -> bool {
        self.fetched_from(address, user).is_some_and(|entry| entry.physical & 1 != 0)
    }

    pub fn set_fetch(&mut self, address: u64, user: bool, physical: u64, global: bool) {
        self.note_global(address, global);
        let (word, bit) = fetched_bit(address);
        self.fetched[word] |= bit;
        *self.fetch_at(user, FetchEntry::index(address)) = FetchEntry {
            tag: FetchEntry::tag(address, user),
            physical: physical & !0xfff | u64::from(global),
        };
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing points into it any more.
        unsafe { libc::munmap(self.memory.wrapping_sub(GUARD).cast(), BANK + 2 * GUARD) };
    }
}

/// All banks of a vCPU and which one is in force.
pub struct Banks {
    banks: Vec<Bank>,
    current: usize,
    time: u64,
}

/// Banks of one vCPU: levels below, times address spaces that alternate.
const BANKS: usize = 40;

impl Banks {
    pub fn new() -> std::io::Result<Self> {
        let mut first = Bank::new()?;
        first.tag = Some(Tag { asid: 0, nested_root: 0, pcid: 0 });
        Ok(Self { banks: vec![first], current: 0, time: 0 })
    }

    pub fn current(&mut self) -> &mut Bank {
        &mut self.banks[self.current]
    }

    /// Number of the current bank.
    pub fn number(&self) -> usize {
        self.current
    }

    pub fn get(&mut self, number: usize) -> Option<&mut Bank> {
        self.banks.get_mut(number)
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Bank> {
        self.banks.iter_mut()
    }

    /// All banks of one ASID.
    pub fn of(&mut self, asid: u32) -> impl Iterator<Item = &mut Bank> {
        self.banks.iter_mut().filter(move |b| b.tag.is_some_and(|t| t.asid == asid))
    }

    /// Numbers of the banks of one ASID.
    pub fn numbers(&self, asid: u32) -> Vec<usize> {
        let of = |b: &Bank| b.tag.is_some_and(|t| t.asid == asid);
        (0..self.banks.len()).filter(|&n| of(&self.banks[n])).collect()
    }

    /// Makes the bank of `tag` current; the one unused for longest makes place, and must be emptied by the caller.
    pub fn select(&mut self, tag: Tag) -> std::io::Result<Selected> {
        self.time += 1;
        if self.banks[self.current].tag == Some(tag) {
            return Ok(Selected::Known);
        }
        let time = self.time;
        let found = self.banks.iter().position(|b| b.tag == Some(tag));
        let (number, selected) = match found {
            Some(found) => (found, Selected::Known),
            None if self.banks.len() < BANKS => {
                self.banks.push(Bank::new()?);
                (self.banks.len() - 1, Selected::Fresh)
            }
            None => {
                let oldest =
                    self.banks.iter().enumerate().min_by_key(|(_, b)| b.last_used).map_or(0, |(n, _)| n);
                (oldest, Selected::Reused)
            }
        };
        // What belongs to the processor, not to the address space.
        let x87 = self.current().hot_mut().x87;
        self.current = number;
        let bank = self.current();
        bank.hot_mut().x87 = x87;
        bank.tag = Some(tag);
        bank.last_used = time;
        Ok(selected)
    }
}

/// How [`Banks::select`] came by a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It is the tag's already.
    Known,
    /// It is new and empty.
    Fresh,
    /// It was another tag's.
    Reused,
}

#[cfg(test)]
#[path = "bank_tests.rs"]
mod tests;
