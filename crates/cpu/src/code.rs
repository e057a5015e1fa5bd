//! The block cache: which guest code is translated where, and what a write to it undoes.

use crate::Cpu;
use crate::fault::Fault;
use crate::mixer::Mixing;
use crate::mmu::walk::Kind;
use ireko_nested::Intercept;
use ireko_translate::block::Request;
use ireko_translate::classify::Env;
use ireko_translate::layout::JumpEntry;
use ireko_translate::{CodeCache, Key, Lacking, Link, Site, Translator};
use ireko_vmcore::memory::Reason;
use ireko_x86::bits::{cr0, cr4, rflags};
use ireko_x86::regs::seg;
use std::collections::HashMap;

/// Bytes of translated code that a vCPU keeps for a machine of so much memory. What is noted of the code takes as much again;
/// banks and the rest 40 MiB. All of it stays below a tenth of the guest's memory and 64 MiB.
fn cache_size(memory: u64) -> usize {
    ((memory / 10 + (24 << 20)) / 2).clamp(24 << 20, 192 << 20) as usize & !0xfff
}

/// Blocks are found by where their first byte is and how it is run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct BlockId {
    physical: u64,
    rip: u64,
    key: Key,
}

const NEAR: usize = 1 << 14;

fn near(id: &BlockId) -> usize {
    let mixed = id.rip ^ id.physical >> 12 ^ u64::from(id.key.0) << 5;
    (mixed ^ mixed >> 14) as usize % NEAR
}

type Map<K, V> = HashMap<K, V, Mixing>;

pub(crate) struct Block {
    id: BlockId,
    /// Offset of the entry in the cache.
    pub code: u32,
    length: u16,
    /// Physical page of the bytes beyond the first page.
    second: Option<u64>,
    valid: bool,
    incoming: Vec<u32>,
    faults: Box<[(u32, u16)]>,
    /// The first site of the block, if it has one.
    first_site: Option<u32>,
}

/// A link with absolute offsets in the cache.
struct Linked {
    patch: usize,
    stub: usize,
    /// For a jump to another page: where it goes if that page may not be linked.
    far: Option<usize>,
}

impl Linked {
    /// Where its jump is, and where that leads while nothing is linked.
    fn unlinked(&self) -> (usize, usize) {
        (self.patch, self.stub)
    }
}

/// Code in one physical page: blocks, and which 64-byte granules they cover.
#[derive(Default)]
struct PageCode {
    blocks: Vec<u32>,
    granules: u64,
}

/// Everything translated for one vCPU.
pub struct Code {
    pub(crate) cache: CodeCache,
    translator: Translator,
    pub(crate) sites: Vec<Site>,
    links: Vec<Linked>,
    /// Links to other pages that are in force, and to which block.
    far: Vec<(u32, u32)>,
    pub(crate) blocks: Vec<Block>,
    map: Map<BlockId, u32>,
    /// The map's most wanted, found without hashing much.
    near: Vec<Option<(BlockId, u32)>>,
    pages: Map<u64, PageCode>,
    pub(crate) jumps: crate::jumps::Jumps,
    /// Code was undone since this was last cleared: the running block may be stale.
    pub(crate) undone: bool,
    /// Key bits that are always on: optimizations that are switched off.
    pub(crate) always: Key,
    /// Grows when all code is forgotten.
    pub(crate) generation: u64,
    _registration: Option<crate::signal::Registration>,
    buffer: Vec<u8>,
    /// Bytes of blocks' lists.
    listed: usize,
}

fn granules(offset: u64, length: u64) -> u64 {
    let first = offset / 64;
    let last = (offset + length.max(1) - 1).min(4095) / 64;
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}

impl Code {
    /// For a machine with `memory` bytes, whose processor lacks something.
    pub fn new(memory: u64, lacking: Lacking) -> std::io::Result<Self> {
        let cache = CodeCache::new(cache_size(memory))?;
        let mut translator = Translator::new(Env { routine: has_routine, feature: crate::isa::engine_has });
        translator.lacking = lacking;
        let registration = crate::signal::Registration::new(cache.range());
        Ok(Self {
            cache,
            translator,
            sites: Vec::new(),
            links: Vec::new(),
            far: Vec::new(),
            blocks: Vec::new(),
            map: Map::default(),
            near: vec![None; NEAR],
            pages: Map::default(),
            jumps: Default::default(),
            undone: false,
            always: Key::default(),
            generation: 0,
            _registration: registration,
            buffer: Vec::with_capacity(4096 + 16),
            listed: 0,
        })
    }

    /// The block and guest offset in it that a host address in the cache stands for.
    pub(crate) fn locate(&self, host: usize) -> Option<u64> {
        let (start, end) = self.cache.range();
        let offset = host.checked_sub(start).filter(|_| host < end)? as u32;
        let at = self.blocks.partition_point(|b| b.code <= offset).checked_sub(1)?;
        let block = &self.blocks[at];
        let within = offset - block.code;
        let fault = block.faults.partition_point(|f| f.0 <= within).checked_sub(1)?;
        Some(block.id.rip.wrapping_add(block.faults[fault].1.into()))
    }

    /// What was translated and linked is executed from here on.
    pub(crate) fn settle(&mut self) {
        self.cache.settle();
    }

    pub(crate) fn entry(&self, block: u32) -> *const u8 {
        self.cache.address(self.blocks[block as usize].code as usize)
    }

    /// Host address that blocks' offsets are relative to.
    pub(crate) fn base(&self) -> u64 {
        self.cache.range().0 as u64
    }

    /// Guest bytes of a block.
    pub(crate) fn block_length(&self, block: u32) -> usize {
        self.blocks[block as usize].length.into()
    }

    /// The instruction of a single-instruction block, if a routine did it.
    pub(crate) fn first_instruction(&self, block: u32) -> Option<iced_x86::Instruction> {
        let site = self.blocks.get(block as usize)?.first_site?;
        Some(self.sites[site as usize].insn)
    }

    /// Whether a routine did the instruction of a single-instruction block (it has seen to the shadow itself).
    pub(crate) fn stepped_routine(&self, block: u32) -> bool {
        let site = self.blocks.get(block as usize).and_then(|b| b.first_site);
        site.is_some_and(|s| self.sites[s as usize].kind == ireko_translate::SiteKind::System)
    }

    /// Offers the jump tables all blocks of a block's page that are run as it is, at the addresses beside it, under a number of
    /// one of `owners`. Those that go on in the next page are left out.
    pub(crate) fn offer_beside(&mut self, block: u32, number: u32, owners: [u32; 2]) {
        let id = self.blocks[block as usize].id;
        let beside = self.pages.get(&(id.physical >> 12)).map_or(&[][..], |page| &page.blocks);
        for other in beside.iter().map(|&other| &self.blocks[other as usize]) {
            let alike = other.id.key == id.key && other.id.rip >> 12 == id.rip >> 12;
            if other.valid && other.second.is_none() && alike {
                self.jumps.offer(JumpEntry { rip: other.id.rip, id: number, code: other.code }, owners);
            }
        }
    }

    /// Points a link at a block.
    pub(crate) fn link(&mut self, link: u32, to: u32) {
        let Some(linked) = self.links.get(link as usize) else { return };
        self.cache.patch(linked.patch, self.blocks[to as usize].code as usize);
        self.blocks[to as usize].incoming.push(link);
        self.listed += size_of::<u32>();
    }

    /// Points a link at what it does without a block: the jump table.
    fn link_to_table(&mut self, link: u32) {
        if let Some(Linked { patch, far: Some(far), .. }) = self.links.get(link as usize) {
            self.cache.patch(*patch, *far);
        }
    }

    /// Undoes the links to other pages.
    pub(crate) fn unlink_far(&mut self) {
        let far = std::mem::take(&mut self.far);
        let links = &self.links;
        self.cache.patch_all(far.iter().map(|&(link, _)| links[link as usize].unlinked()));
        let mut targets: Vec<u32> = far.into_iter().map(|(_, to)| to).collect();
        targets.sort_unstable();
        targets.dedup();
        for to in targets {
            let links = &self.links;
            self.blocks[to as usize].incoming.retain(|&link| links[link as usize].far.is_none());
        }
    }

    /// Bytes that are noted of the code. They go with it.
    fn noted(&self) -> usize {
        // A map has room for twice what is in it, at most, and a byte for each place.
        let map = 2 * (size_of::<(BlockId, u32)>() + 1);
        let page = 2 * (size_of::<(u64, PageCode)>() + 1);
        size_of_val(&*self.sites)
            + size_of_val(&*self.links)
            + size_of_val(&*self.far)
            + self.blocks.len() * (size_of::<Block>() + map)
            + self.pages.len() * page
            + self.listed
    }

    /// There is no room for another block, in the cache or beside it: notes take as much as the code may at most.
    fn is_full(&self) -> bool {
        let (start, end) = self.cache.range();
        end - start - self.cache.used() < 1 << 20 || self.noted() > end - start
    }

    fn remove(&mut self, number: u32) {
        let block = &mut self.blocks[number as usize];
        if !block.valid {
            return;
        }
        block.valid = false;
        let incoming = std::mem::take(&mut block.incoming);
        let id = block.id;
        if self.map.get(&id) == Some(&number) {
            self.map.remove(&id);
        }
        self.near[near(&id)] = None;
        let links = &self.links;
        self.cache.patch_all(incoming.into_iter().map(|link| links[link as usize].unlinked()));
    }
}

/// Whether a routine does an instruction.
pub fn has_routine(code: iced_x86::Code) -> bool {
    crate::system::routine(code).is_some()
}

/// With those that keep MXCSR.MM by software.
fn has_routine_or_mxcsr(code: iced_x86::Code) -> bool {
    has_routine(code) || crate::data::mxcsr::routine(code).is_some()
}

impl Cpu {
    /// The host has no MXCSR.MM, or it is not to be used: it is kept here. Before the first code is translated.
    pub(crate) fn keep_mm(&mut self) {
        self.processor.mm = Some(false);
        self.code.translator.env.routine = has_routine_or_mxcsr;
    }

    /// The mode bits that code runs under now.
    pub(crate) fn key(&self) -> Key {
        let regs = &self.processor.regs;
        let long = regs.code64();
        // Elsewhere that bit is another.
        let mut key = self.code.always.0 & if long { u32::MAX } else { !Key::PUSHF_ROUTINE };
        let mut set = |on: bool, bit: u32| key |= if on { bit } else { 0 };
        set(long, Key::CODE64);
        // Alignment is looked at, and made, where accesses go by routine.
        set(self.checks_alignment() || self.processor.mm == Some(true), Key::PLAIN);
        set(long && self.control().is_none(), Key::OWN);
        set(long && regs.cr4 & cr4::FSGSBASE != 0, Key::BASES);
        set(long && self.tuning.far_links && self.control().is_none(), Key::FAR);
        set(!long && regs.seg[seg::CS].big(), Key::CODE32);
        set(regs.cpl == 3, Key::USER);
        set(!long && regs.seg[seg::SS].big(), Key::STACK32);
        set(regs.rflags & rflags::DF != 0, Key::BACKWARD);
        set(regs.cr0 & cr0::TS != 0, Key::TASK_SWITCHED);
        set(regs.cr0 & cr0::EM != 0, Key::EMULATE);
        set(regs.cr0 & cr0::MP != 0, Key::MONITOR);
        set(regs.cr4 & cr4::OSFXSR != 0, Key::SSE);
        set(regs.cr4 & cr4::OSXSAVE != 0 && regs.xcr0 & 6 == 6, Key::AVX);
        let evex = if long { Key::EVEX64 } else { Key::EVEX32 };
        set(crate::data::vector::evex_on(regs), evex);
        set(regs.cpl == 0, Key::KERNEL);
        set(regs.cr4 & cr4::SMAP != 0, Key::SMAP);
        set(self.rdtsc_routine() || regs.cr4 & cr4::TSD != 0 && regs.cpl != 0, Key::RDTSC_ROUTINE);
        set(long && self.control().is_some_and(|c| c.has(Intercept::Pushf)), Key::PUSHF_ROUTINE);
        key |= (self.processor.mmu_mode(crate::cpu::Privilege::Current) as u32) << Key::MMU_SHIFT;
        if !long {
            key |= self.segment_bits();
        }
        Key(key)
    }

    /// RDTSC is intercepted, or not the processor's own plus an offset.
    pub(crate) fn rdtsc_routine(&self) -> bool {
        self.control()
            .is_some_and(|c| c.has(Intercept::Rdtsc) || c.tsc_ratio != ireko_x86::vmcb::TSC_RATIO_ONE)
    }

    fn segment_bits(&self) -> u32 {
        let protected = self.processor.regs.protected() && !self.processor.regs.v86();
        // 16-bit code looks at 64 KiB where accesses are, so a limit may be greater.
        let wide = self.processor.regs.seg[seg::CS].big();
        let whole = |limit: u32| if wide { protected && limit == u32::MAX } else { limit >= 0xffff };
        let mut bits = 0;
        for (index, segment) in self.processor.regs.seg.iter().enumerate() {
            let usable = if index == seg::CS {
                segment.readable() && (segment.is_code() || !segment.expand_down())
            } else {
                segment.present()
                    && segment.is_user()
                    && !segment.is_code()
                    && segment.writable()
                    && !segment.expand_down()
            };
            bits |= u32::from(usable && whole(segment.limit)) << (Key::FLAT_SHIFT + index as u32);
            bits |= u32::from(segment.base == 0) << (Key::ZERO_SHIFT + index as u32);
        }
        bits
    }

    /// Links a direct jump to the block at RIP. One to another page is linked only to code of global pages, which is there
    /// in all address spaces; [`Cpu::forget_shared`] undoes it.
    pub(crate) fn link(&mut self, link: u32, block: u32) {
        let far = self.code.links.get(link as usize).is_some_and(|l| l.far.is_some());
        if !far {
            return self.code.link(link, block);
        }
        let crosses = self.code.blocks[block as usize].second.is_some();
        if crosses || !self.shared_code(self.processor.regs.rip) {
            return self.code.link_to_table(link);
        }
        self.code.link(link, block);
        self.code.far.push((link, block));
    }

    /// Physical address of the code byte at a linear address.
    pub(crate) fn fetch(&mut self, linear: u64) -> Result<u64, Fault> {
        let user = self.processor.regs.cpl == 3;
        if let Some(physical) = self.mmu.banks.current().fetch(linear, user) {
            return Ok(physical);
        }
        let asid = self.asid();
        if let Some(physical) = self.mmu.shared_fetch.find(asid, linear, user) {
            self.mmu.banks.current().set_fetch(linear, user, physical, true);
            return Ok(physical);
        }
        let mode = if user { crate::mmu::view::USER } else { crate::mmu::view::SUPERVISOR };
        let page = self.walk(linear, Kind::Fetch, mode)?;
        let shared = page.global && page.linear_size <= 2 << 20 && asid == 0;
        self.mmu.banks.current().set_fetch(linear, user, page.physical, shared);
        if shared {
            self.share_fetch(asid, linear, user, page.physical);
        }
        Ok(page.physical)
    }

    /// Linear address of RIP, after the checks of a fetch.
    pub(crate) fn fetch_address(&self) -> Result<u64, Fault> {
        let rip = self.processor.regs.rip;
        if self.processor.regs.code64() {
            return if self.processor.regs.canonical(rip) { Ok(rip) } else { Err(Fault::gp(0)) };
        }
        if rip > self.processor.regs.seg[seg::CS].limit.into() {
            return Err(Fault::gp(0));
        }
        Ok(self.processor.regs.seg[seg::CS].base.wrapping_add(rip) & 0xffff_ffff)
    }

    /// The block at RIP under `key`, translated if need be.
    pub(crate) fn block(&mut self, key: Key) -> Result<u32, Fault> {
        let linear = self.fetch_address()?;
        let physical = self.fetch(linear)?;
        // What was translated in system-management mode is no code outside.
        if self.mmu.physical.hides_code(physical) {
            return Err(Fault::Unsupported(format!(
                "code at physical address {physical:#x}, where there is no memory, cannot be executed"
            )));
        }
        let id = BlockId { physical, rip: self.processor.regs.rip, key };
        let slot = near(&id);
        if let Some((_, number)) = self.code.near[slot].filter(|n| n.0 == id) {
            return Ok(number);
        }
        if let Some(&number) = self.code.map.get(&id) {
            let second = self.code.blocks[number as usize].second;
            if second.is_none() {
                self.code.near[slot] = Some((id, number));
                return Ok(number);
            }
            if second == Some(self.fetch((linear | 0xfff).wrapping_add(1))?) {
                return Ok(number);
            }
            self.undo(&[number]);
        }
        self.translate(linear, id)
    }

    fn translate(&mut self, linear: u64, id: BlockId) -> Result<u32, Fault> {
        self.counters.blocks += 1;
        if self.code.is_full() {
            self.clear_code();
        }
        let in_page = 4096 - (id.physical & 0xfff) as usize;
        let mut bytes = std::mem::take(&mut self.code.buffer);
        bytes.clear();
        bytes.resize(in_page, 0);
        if !self.mmu.physical.read_code(id.physical, &mut bytes) {
            self.code.buffer = bytes;
            return Err(Fault::Unsupported(format!(
                "code at physical address {:#x}, where there is no memory, cannot be executed",
                id.physical
            )));
        }
        let mut second = None;
        let mut made = self.try_translate(&bytes, in_page, id);
        if made.is_none() {
            let next = match self.fetch((linear | 0xfff).wrapping_add(1)) {
                Ok(next) => next,
                Err(fault) => {
                    self.code.buffer = bytes;
                    return Err(fault);
                }
            };
            second = Some(next);
            bytes.resize(in_page + 15, 0);
            self.mmu.physical.read_code(next, &mut bytes[in_page..]);
            made = self.try_translate(&bytes, in_page, id);
        }
        self.code.buffer = bytes;
        let Some(translated) = made else {
            // Fifteen bytes and still no end of the instruction.
            return Err(Fault::gp(0));
        };
        Ok(self.enter_block(id, second, in_page, translated))
    }

    fn try_translate(
        &mut self,
        bytes: &[u8],
        in_page: usize,
        id: BlockId,
    ) -> Option<ireko_translate::Translated> {
        let code = &mut self.code;
        code.translator.translate(&Request {
            bytes,
            rip: id.rip,
            in_page,
            page_offset: 4096 - in_page,
            key: id.key,
            first_site: code.sites.len() as u32,
            first_link: code.links.len() as u32,
            block: code.blocks.len() as u32,
        })
    }

    fn enter_block(
        &mut self,
        id: BlockId,
        second: Option<u64>,
        in_page: usize,
        made: ireko_translate::Translated,
    ) -> u32 {
        let code = &mut self.code;
        let number = code.blocks.len() as u32;
        let at = code.cache.add(&made.code).expect("room was made before");
        let first_site = (!made.sites.is_empty()).then_some(code.sites.len() as u32);
        code.sites.extend(made.sites);
        code.links.extend(made.links.iter().map(|l: &Link| Linked {
            patch: at + l.patch as usize,
            stub: at + l.stub as usize,
            far: l.far.map(|far| at + far as usize),
        }));
        // In the lists of at most two pages, and with the rows that lead from the host's instructions to the guest's.
        code.listed += 2 * size_of::<u32>() + size_of_val(&*made.faults);
        code.blocks.push(Block {
            id,
            code: at as u32,
            length: made.length as u16,
            second,
            valid: true,
            incoming: Vec::new(),
            faults: made.faults.into_boxed_slice(),
            first_site,
        });
        code.map.insert(id, number);
        let first = made.length.min(in_page) as u64;
        self.watch_code(id.physical, first, number);
        if let Some(second) = second {
            self.watch_code(second & !0xfff, (made.length - in_page.min(made.length)) as u64, number);
        }
        number
    }

    fn watch_code(&mut self, physical: u64, length: u64, block: u32) {
        let frame = physical >> 12;
        let page = self.code.pages.entry(frame).or_default();
        let fresh = page.blocks.is_empty();
        page.blocks.push(block);
        page.granules |= granules(physical & 0xfff, length);
        if fresh {
            self.mmu.physical.memory().watch().set(frame, Reason::Code, true);
            if let Some(host) = self.mmu.physical.host(frame << 12) {
                self.mmu.banks.all().for_each(|bank| bank.protect(host));
            }
        }
    }

    fn undo(&mut self, numbers: &[u32]) {
        if numbers.is_empty() {
            return;
        }
        self.counters.invalidations += 1;
        self.code.undone = true;
        numbers.iter().for_each(|&n| self.code.remove(n));
        self.forget_jumps();
    }

    /// `count` bytes at a physical address were written: forgets what was translated from them.
    pub(crate) fn wrote_physical(&mut self, physical: u64, count: usize) {
        let frame = physical >> 12;
        self.mmu.wrote_table(frame);
        let Some(page) = self.code.pages.get_mut(&frame) else { return };
        if page.granules & granules(physical & 0xfff, count as u64) == 0 {
            return;
        }
        let (low, high) = (physical, physical + count as u64);
        let blocks = &self.code.blocks;
        let touched = |n: u32| {
            let block = &blocks[n as usize];
            let start = block.id.physical;
            let in_first = start < high && low < start + u64::from(block.length);
            in_first || block.second.is_some_and(|s| s >> 12 == frame)
        };
        let (gone, kept): (Vec<u32>, Vec<u32>) = page.blocks.iter().partition(|&&n| touched(n));
        page.granules = 0;
        for &n in &kept {
            let block = &blocks[n as usize];
            let start = if block.id.physical >> 12 == frame { block.id.physical & 0xfff } else { 0 };
            page.granules |= granules(start, block.length.into());
        }
        let empty = kept.is_empty();
        page.blocks = kept;
        if empty {
            self.code.pages.remove(&frame);
            self.mmu.physical.memory().watch().set(frame, Reason::Code, false);
        }
        self.undo(&gone);
    }

    /// Guest memory at `host` was written by a routine.
    pub(crate) fn wrote_code(&mut self, host: *mut u8, count: usize) {
        if let Some(physical) = self.mmu.physical.guest(host)
            && self.mmu.physical.memory().watch().watched(physical >> 12)
        {
            self.wrote_physical(physical, count);
        }
    }

    /// Devices wrote to pages that hold translated code.
    pub(crate) fn take_device_writes(&mut self) {
        let watch = self.mmu.physical.memory().watch().clone();
        for frame in watch.take() {
            self.wrote_physical(frame << 12, 4096);
        }
    }

    /// Forgets all translated code.
    pub(crate) fn clear_code(&mut self) {
        let watch = self.mmu.physical.memory().watch().clone();
        self.code.pages.keys().for_each(|&frame| watch.set(frame, Reason::Code, false));
        let code = &mut self.code;
        code.pages.clear();
        code.map.clear();
        code.near.fill(None);
        code.blocks.clear();
        code.links.clear();
        code.far.clear();
        code.sites.clear();
        code.cache.clear();
        code.listed = 0;
        code.undone = true;
        code.generation += 1;
        self.forget_jumps();
    }
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
