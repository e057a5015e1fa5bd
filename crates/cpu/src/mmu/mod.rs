//! The soft MMU: page walks of every format, composed with stage 2.

pub mod bank;
pub mod format;
pub mod physical;
pub mod shared;
pub mod tables;
pub mod view;
pub mod walk;

use crate::hash::FastHash;
use crate::mmu::physical::Physical;
use crate::processor::Processor;
use bank::{Bank, Root, Selected, Tag};
use ireko_vmcore::Memory;
use ireko_x86::paging::entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use walk::{Access, Kind, Page, Paging, Tables, WalkFault};

/// Guest memory, and what is known of how linear addresses lead to it.
pub struct Mmu {
    pub physical: Physical,
    pub(crate) banks: bank::Banks,
    pub(crate) shared_fetch: shared::SharedFetch,
    pub(crate) dependents: tables::Dependents,
    /// Other processors write page tables, too: which frames are watched, whether anything depends on them or not; and which are to be.
    pub(crate) one_of_many: bool,
    pub(crate) watched: HashSet<u64, FastHash>,
    pub(crate) unwatched: Vec<u64>,
    /// Frames that are watched for code though there is none, and how often each was written since: that is soon there again where a program makes
    /// code as it runs.
    pub(crate) lingering: HashMap<u64, u32, FastHash>,
    /// How often blocks of memory had gone when translations were last forgotten for it.
    pub(crate) unplugs: u64,
}

impl Mmu {
    pub fn new(memory: Arc<Memory>) -> std::io::Result<Self> {
        Ok(Self {
            unplugs: memory.unplugs(),
            physical: Physical::new(memory),
            banks: bank::Banks::new()?,
            shared_fetch: Default::default(),
            dependents: Default::default(),
            one_of_many: false,
            watched: HashSet::default(),
            unwatched: Vec::new(),
            lingering: HashMap::default(),
        })
    }

    /// Walks the tables for an access with the rights of a TLB table.
    pub(crate) fn walk(
        &mut self,
        processor: &Processor,
        address: u64,
        kind: Kind,
        mode: usize,
    ) -> Result<Page, WalkFault> {
        let access = Access { kind, user: mode == view::USER, smap_override: mode == view::SUPERVISOR_ALL };
        let paging = Paging::of(processor);
        let walked = if self.banks.current().tracked {
            self.walk_tracked(&paging, address, access)
        } else {
            walk::walk(&self.physical, &paging, address, access)
        };
        if let Ok(page) = &walked {
            self.banks.current().mark_size(address, page.linear_size);
        }
        walked
    }

    /// What a walk for reading would give, if it would change nothing.
    pub(crate) fn peek(&mut self, processor: &Processor, address: u64) -> Option<Page> {
        let paging = Paging::of(processor);
        let access = Access { kind: Kind::Read, user: true, smap_override: false };
        let unchanged = walk::Unchanged::new(&self.physical);
        let recorder = tables::Recorder::new(&unchanged);
        let page = walk::walk(&recorder, &paging, address, access).ok()?;
        let frames = recorder.frames.into_inner();
        if unchanged.would_change() {
            return None;
        }
        self.banks.current().mark_size(address, page.linear_size);
        let tracked = self.banks.current().tracked;
        (!tracked || !self.track(&frames) && self.banks.current().tracked).then_some(page)
    }

    /// The entry of the highest of four levels of tables that an address goes through. None: it cannot be read.
    pub(crate) fn root_entry(&self, processor: &Processor, address: u64) -> Option<u64> {
        let paging = Paging::of(processor);
        let tables = walk::Unchanged::new(&self.physical);
        let entry = (paging.cr3 & entry::ADDRESS) + (address >> 39 & 0x1ff) * 8;
        let physical = walk::guest_physical(&tables, &paging, entry, Kind::Read).ok()?;
        tables.read(physical, 8)
    }

    /// Of frames that nobody watched before, entries may have been written since they were read: they are read again.
    fn walk_tracked(&mut self, paging: &Paging, address: u64, access: Access) -> Result<Page, WalkFault> {
        loop {
            let recorder = tables::Recorder::new(&self.physical);
            let walked = walk::walk(&recorder, paging, address, access);
            let frames = recorder.frames.into_inner();
            // Frames are finite, and a bank that depends on too many is tracked no more.
            if !self.track(&frames) || !self.banks.current().tracked {
                return walked;
            }
        }
    }

    /// Host address of a byte, if one of the TLB's levels has its page for this access. The first has it then.
    pub(crate) fn find(&mut self, mode: usize, address: u64, write: bool) -> Option<*mut u8> {
        let bank = self.banks.current();
        if let Some(host) = bank.lookup(mode, address, write) {
            return Some(host);
        }
        let (start, may_write, global) = bank.find_second(mode, address).filter(|found| found.1 || !write)?;
        let physical = self.physical.guest(start)?;
        self.fill(mode, address, start, physical, may_write, global);
        Some(start.wrapping_add((address & 0xfff) as usize))
    }

    /// Enters a page in the TLB's first level; a watched one must not be written unchecked.
    pub(crate) fn fill(
        &mut self,
        mode: usize,
        address: u64,
        start: *mut u8,
        physical: u64,
        write: bool,
        global: bool,
    ) {
        let watched = self.physical.memory().watch().watched(physical >> 12);
        self.banks.current().fill(mode, address, start, write && !watched, global);
    }

    /// If blocks of memory have gone (a device did what the guest asked for), no translation leads to them any more.
    pub(crate) fn drop_unplugged(&mut self) {
        let now = self.physical.memory().unplugs();
        if std::mem::replace(&mut self.unplugs, now) != now {
            self.flush_all();
        }
    }

    /// The current bank's translations have to be what PKRU allows: it changes in one bank and holds in all.
    pub(crate) fn heed_keys(&mut self, processor: &Processor) {
        let pkru = if processor.checks_keys() { processor.regs.pkru } else { 0 };
        self.banks.current().heed_keys(pkru);
    }

    /// Makes the bank of the current world and address space the current one.
    pub(crate) fn select(&mut self, processor: &Processor) {
        if self.banks.select(Tag::of(processor)).expect("memory for a bank") == Selected::Reused {
            self.empty_bank(self.banks.number());
        }
        self.heed_keys(processor);
    }

    /// Empties the current bank, whose root is another now.
    pub(crate) fn renew(&mut self, processor: &Processor) {
        self.empty_bank(self.banks.number());
        self.banks.current().root = Root::of(processor);
    }

    /// CR3 has a new value.
    pub(crate) fn load_root(&mut self, processor: &Processor, no_flush: bool) {
        self.select(processor);
        let root = Root::of(processor);
        let bank = self.banks.current();
        if bank.root.cr3 != root.cr3 {
            bank.direct = Default::default();
        }
        if !no_flush {
            bank.flush(true);
        }
        bank.root = root;
    }

    pub(crate) fn flush_all(&mut self) {
        self.banks.all().for_each(|bank| bank.flush(false));
    }

    /// All address spaces of the current world.
    pub(crate) fn flush_world(&mut self, processor: &Processor, asid: u32, keep_global: bool) {
        self.banks.of(asid).for_each(|bank| bank.flush(keep_global));
        self.select(processor);
        self.banks.current().root = Root::of(processor);
    }

    /// One page of a world: in all its address spaces, or in that of a PCID, and wherever it is global.
    pub(crate) fn flush_page(&mut self, asid: u32, pcid: Option<u16>, address: u64) {
        let concerned = |bank: &&mut Bank| {
            let other = |pcid| bank.tag.is_some_and(|tag| tag.pcid != pcid);
            !pcid.is_some_and(other) || bank.may_have_global(address)
        };
        self.banks.of(asid).filter(concerned).for_each(|bank| bank.flush_page(address));
    }

    /// One address space of a world, or all.
    pub(crate) fn flush_pcid(&mut self, asid: u32, pcid: Option<u16>, keep_global: bool) {
        let meant = |bank: &&mut Bank| pcid.is_none() || bank.tag.map(|tag| tag.pcid) == pcid;
        self.banks.of(asid).filter(meant).for_each(|bank| bank.flush(keep_global));
    }

    /// All of a world that a hypervisor runs; how many flushes needed not happen, where those may be spared.
    pub(crate) fn flush_asid(&mut self, asid: u32, keep_global: bool, spare: bool) -> u64 {
        let numbers = self.banks.numbers(asid).into_iter();
        numbers.map(|number| u64::from(self.flush_bank(number, keep_global, spare))).sum()
    }
}
