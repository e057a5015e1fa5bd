//! What is forgotten: translations of addresses that a guest or its hypervisor flushes, and translated code whose bytes were written.

use crate::cpu::Cpu;
use crate::mmu::bank::{Root, Tag};
use crate::siblings::Notice;
use ireko_nested::Flush;
use ireko_vmcore::memory::Reason;

/// Pages without code that are watched for it all the same, at most; and how often one is written until it is not.
const LINGERING: usize = 4096;
const WRITES: u32 = 16;

impl Cpu {
    /// After CR0, CR4 or EFER changes: forgets translations of this world. `keep_global` keeps global pages.
    pub fn flush_tlb(&mut self, keep_global: bool) {
        self.instruments.counters.flushes += 1;
        let asid = self.asid();
        if !keep_global {
            self.forget_shared(asid);
        }
        self.mmu.flush_world(&self.processor, asid, keep_global);
    }

    /// INVLPG: forgets one page of the current world, of other PCIDs only if it is global (APM vol. 3, INVLPG).
    pub fn flush_page(&mut self, address: u64) {
        let Tag { asid, pcid, .. } = Tag::of(&self.processor);
        self.forget_shared_at(asid, address);
        self.mmu.flush_page(asid, Some(pcid), address);
    }

    /// MOV to CR3 has set `regs.cr3` to a new value; `no_flush` is bit 63 of the operand with PCIDs on.
    pub fn cr3_loaded(&mut self, no_flush: bool) {
        self.instruments.counters.flushes += u64::from(!no_flush);
        self.mmu.load_root(&self.processor, no_flush);
    }

    /// INVPCID of one PCID (`None`: all), optionally sparing global pages.
    pub fn flush_pcid(&mut self, pcid: Option<u16>, keep_global: bool) {
        self.instruments.counters.flushes += 1;
        let asid = self.asid();
        if !keep_global {
            self.forget_shared(asid);
        }
        self.mmu.flush_pcid(asid, pcid, keep_global);
    }

    /// What a hypervisor asks to forget.
    pub fn flush_asid(&mut self, what: Flush) {
        self.instruments.counters.flushes += 1;
        match what {
            Flush::All => {
                self.forget_shared(0);
                self.mmu.flush_all();
            }
            Flush::Asid { asid, keep_global } => {
                // What other processors have written of its page tables is known first.
                let notices = self.platform.seat.take();
                self.heed(notices);
                let spare = self.platform.tuning.spare_flushes;
                self.instruments.counters.spared_flushes += self.mmu.flush_asid(asid, keep_global, spare);
            }
            Flush::Page { asid, address } => {
                self.forget_shared_at(asid, address);
                self.mmu.flush_page(asid, None, address);
            }
        }
    }

    /// The world changed (VMRUN, #VMEXIT), and with it the address space. Nothing is flushed, unless the bank's
    /// translations were made with other roots or modes.
    pub fn world_switched(&mut self) {
        self.handoff.waits = true;
        self.processor.monitored = None;
        self.mmu.select(&self.processor);
        if self.mmu.banks.current().root != Root::of(&self.processor) {
            self.forget_shared(self.asid());
            self.mmu.renew(&self.processor);
        }
    }

    /// Global pages of a world are flushed.
    pub(crate) fn forget_shared(&mut self, asid: u32) {
        if asid == 0 {
            self.mmu.shared_fetch.forget();
            self.mmu.banks.of(0).for_each(|bank| bank.flush_code());
            self.code.jumps.share_none();
            self.code.unlink_far();
        }
    }

    /// One page of a world is flushed, of up to 2 MiB.
    pub(crate) fn forget_shared_at(&mut self, asid: u32, address: u64) {
        if self.code.jumps.may_share(address) {
            self.forget_shared(asid);
        }
    }

    /// Writes to a page are heard of from here on. Before its bytes are read: what a device writes in between is known then. Whether other processors
    /// were waited for, and what they had written is known.
    pub(crate) fn watch_code(&mut self, frame: u64) -> bool {
        if self.code.is_in(frame) || self.mmu.lingering.remove(&frame).is_some() {
            return false;
        }
        let watch = self.mmu.physical.memory().watch().clone();
        let host = self.mmu.physical.host(frame << 12);
        let page = [(frame, host.map(|host| host as usize))];
        let waited = self.platform.seat.watch(&watch, Reason::Code, &page);
        if let Some(host) = host {
            self.mmu.banks.all().for_each(|bank| bank.protect(host));
        }
        if waited {
            self.heed_siblings();
        }
        waited
    }

    /// What other processors ask, between two instructions.
    pub(crate) fn heed_siblings(&mut self) {
        let notices = self.platform.seat.pass();
        self.heed(notices);
        self.watch_tables();
    }

    fn heed(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Protect(host) => self.mmu.banks.all().for_each(|bank| bank.protect(host as *mut u8)),
                Notice::Written(physical, count) => {
                    self.mmu.wrote_table(physical >> 12, &self.platform.seat);
                    self.forget_code(physical, count);
                }
            }
        }
    }

    /// Frames of page tables that flushes would be spared for are watched from here on.
    fn watch_tables(&mut self) {
        let frames = std::mem::take(&mut self.mmu.unwatched);
        if frames.is_empty() {
            return;
        }
        let host = |frame: u64| self.mmu.physical.host(frame << 12);
        let pages: Vec<_> =
            frames.iter().map(|&frame| (frame, host(frame).map(|host| host as usize))).collect();
        let watch = self.mmu.physical.memory().watch().clone();
        let waited = self.platform.seat.watch(&watch, Reason::Tables, &pages);
        self.mmu.watch_fewer(&self.platform.seat);
        for (frame, host) in pages {
            self.mmu.watched.insert(frame);
            if let Some(host) = host {
                self.mmu.banks.all().for_each(|bank| bank.protect(host as *mut u8));
            }
        }
        if waited {
            let notices = self.platform.seat.pass();
            self.heed(notices);
        }
    }

    /// If there is no code of it.
    pub(crate) fn unwatch_code(&mut self, frame: u64) {
        if !self.code.is_in(frame) {
            // To watch a page again is dear where others have to hear of it.
            if self.platform.seat.is_one_of_many() && self.mmu.lingering.len() < LINGERING {
                self.mmu.lingering.insert(frame, 0);
                return;
            }
            self.watch_code_no_more(frame);
        }
    }

    fn watch_code_no_more(&mut self, frame: u64) {
        let watch = self.mmu.physical.memory().watch().clone();
        self.platform.seat.unwatch(&watch, Reason::Code, frame);
    }

    /// Blocks are no more: those that were written of a page, if one is given.
    pub(crate) fn undo(&mut self, numbers: &[u32], written: Option<u64>) {
        if numbers.is_empty() {
            return;
        }
        self.instruments.counters.invalidations += 1;
        self.code.undo(numbers, written).into_iter().for_each(|frame| self.unwatch_code(frame));
        if std::mem::take(&mut self.code.unknown_jumps) {
            return self.mmu.banks.all().for_each(|bank| bank.flush_jumps());
        }
        self.mmu.banks.all().for_each(|bank| bank.flush_jump_tables());
    }

    /// `count` bytes at a physical address were written: forgets what was translated from them.
    pub(crate) fn wrote_physical(&mut self, physical: u64, count: usize) {
        let frame = physical >> 12;
        self.mmu.wrote_table(frame, &self.platform.seat);
        self.wrote_direct(frame);
        self.platform.seat.wrote(physical, count);
        self.forget_code(physical, count);
    }

    /// Bytes at a physical address are others: forgets what this processor has translated from them.
    fn forget_code(&mut self, physical: u64, count: usize) {
        let frame = physical >> 12;
        if let Some(writes) = self.mmu.lingering.get_mut(&frame) {
            *writes += 1;
            if *writes > WRITES {
                self.mmu.lingering.remove(&frame);
                self.watch_code_no_more(frame);
            }
            return;
        }
        let gone = self.code.written(physical, count as u64);
        if !gone.is_empty() {
            self.unwatch_code(frame);
            self.undo(&gone, Some(frame));
        }
    }

    /// Guest memory at `host` was written by a routine.
    pub(crate) fn wrote_code(&mut self, host: *mut u8, count: usize) {
        if let Some(physical) = self.mmu.physical.guest(host)
            && self.mmu.physical.memory().watch().watched(physical >> 12)
        {
            self.wrote_physical(physical, count);
        }
    }

    /// Devices wrote to pages that hold translated code. Others hear of it before anybody finds that nothing was written.
    pub(crate) fn take_device_writes(&mut self) {
        let watch = self.mmu.physical.memory().watch().clone();
        for frame in watch.take(|frame| self.platform.seat.wrote(frame << 12, 4096)) {
            self.mmu.wrote_table(frame, &self.platform.seat);
            self.wrote_direct(frame);
            self.forget_code(frame << 12, 4096);
        }
    }

    /// A page's code is to be looked at, to run as it stands: writes are heard of from here on.
    pub(crate) fn watch_direct(&mut self, frame: u64) {
        self.mmu.physical.memory().watch().set(frame, Reason::Direct, true);
        if let Some(host) = self.mmu.physical.host(frame << 12) {
            self.mmu.banks.all().for_each(|bank| bank.protect(host));
        }
    }

    /// No process runs a page's code any more.
    pub(crate) fn take_code(&mut self, frame: u64) {
        if let Some(host) = self.mmu.physical.host(frame << 12) {
            let spaces = self.mmu.banks.all().filter_map(|bank| bank.space.as_mut());
            spaces.for_each(|space| space.no_code(host as u64 >> 12));
        }
    }

    /// A page was written: what was known of its code is so no more.
    pub(crate) fn wrote_direct(&mut self, frame: u64) {
        let watched = self.mmu.physical.memory().watch().watched_for(frame, Reason::Direct);
        if self.direct.is_none() || !watched {
            return;
        }
        self.mmu.physical.memory().watch().set(frame, Reason::Direct, false);
        self.take_code(frame);
        let Some(direct) = &mut self.direct else { return };
        direct.forget_verdict(frame);
        if let Some(known) = direct.scanned.get_mut(&frame) {
            known.written += 1;
        }
        for behind in direct.behind.remove(&frame).unwrap_or_default() {
            self.forget_verdict(behind);
        }
    }

    /// What was known of a page's code is so no more.
    pub(crate) fn forget_verdict(&mut self, frame: u64) {
        self.take_code(frame);
        if let Some(direct) = &mut self.direct {
            direct.forget_verdict(frame);
        }
    }

    /// Forgets the code that was wanted least lately.
    pub(crate) fn make_room(&mut self) {
        self.instruments.counters.regions += 1;
        self.code.next_region().into_iter().for_each(|frame| self.unwatch_code(frame));
        self.code.jumps.forget_placed();
        self.code.jumps.forget_shared();
        self.mmu.banks.all().for_each(|bank| bank.flush_jumps());
    }
}
