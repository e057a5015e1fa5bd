//! The block cache: which guest code is translated where, and what a write to it undoes.

pub mod jumps;
pub(crate) mod region;

use crate::hash::FastHash;
use crate::tuning::Unroll;
use ireko_translate::block::Request;
use ireko_translate::classify::Env;
use ireko_translate::relocate::{Renumber, move_to, unlink};
use ireko_translate::{CodeCache, Key, Lacking, Site, SiteKind, Translated, Translator};
use region::{Block, Linked, REGIONS, Region, Regions, append, number, part, region_of};
use std::collections::{HashMap, HashSet};

/// Bytes of translated code that a vCPU keeps for a machine of so much memory. What is noted of the code takes as much again;
/// banks and the rest 40 MiB. All of it stays below a tenth of the guest's memory and 64 MiB.
fn cache_size(memory: u64, vcpus: u32) -> usize {
    let all = ((memory / 10 + (24 << 20)) / 2).clamp(24 << 20, 192 << 20);
    let least = if vcpus == 1 { all } else { 12 << 20 };
    (all / u64::from(vcpus.max(1))).max(least) as usize & !0xfff
}

/// Blocks are found by where their first byte is and how it is run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockId {
    pub physical: u64,
    /// Of relative code, the offset in its page; and in its high bits the physical page of what comes next, if it goes on there.
    pub rip: u64,
    pub key: Key,
}

/// Bytes of code for which the second level of the jump tables has a bucket: what a block or two take. And how many there are at most, as a
/// power of two: 4 MiB.
const BUCKET_FOR: usize = 768;
const MOST_BUCKETS: u32 = 17;

const NEAR: usize = 1 << 14;

/// Loops that are known to run. When there are more, all are to be found anew.
const MOST_LOOPS: usize = 4096;

fn near(id: &BlockId) -> usize {
    let mixed = id.rip ^ (id.physical >> 12) << 7 ^ u64::from(id.key.0) << 5;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % NEAR
}

type Map<K, V> = HashMap<K, V, FastHash>;

/// Code in one physical page: blocks, and which 64-byte granules they cover.
#[derive(Default)]
struct PageCode {
    blocks: Vec<u32>,
    granules: u64,
}

/// What one block takes at the most, and more.
const MOST: usize = 128 << 10;

/// Everything translated for one vCPU.
///
/// Code fills one region of the cache after the other. When one is full, the next is emptied: its blocks were *retired* one region
/// before. Nothing leads to a retired block any more; when it is wanted it is copied to the region that is filled. So what runs
/// stays, and what does not run goes.
pub struct Code {
    pub(crate) cache: CodeCache,
    translator: Translator,
    regions: Regions,
    /// Links to other pages that are in force, and to which block.
    far: Vec<(u32, u32)>,
    map: Map<BlockId, u32>,
    /// The map's most wanted, found without hashing much.
    near: Vec<Option<(BlockId, u32)>>,
    pages: Map<u64, PageCode>,
    pub(crate) jumps: jumps::Jumps,
    /// Code was undone since this was last cleared: the running block may be stale.
    pub(crate) undone: bool,
    /// The second level of the jump tables may lead to code that was undone, by addresses that nobody noted.
    pub(crate) unknown_jumps: bool,
    /// Key bits that are always on: optimizations that are switched off.
    pub(crate) always: Key,
    /// Which loops are unrolled; and those that were found running.
    pub(crate) unrolls: Unroll,
    loops: HashSet<BlockId, FastHash>,
    /// Grows when code is forgotten: numbers of blocks, sites and links may mean others.
    pub(crate) generation: u64,
    _registration: Option<crate::signal::Registration>,
    pub(crate) buffer: Vec<u8>,
}

/// A site where its page is, if it is relative.
pub(crate) fn at_page(mut site: Site, page: u64) -> Site {
    if site.relative {
        move_to(&mut site.insn, page);
    }
    site
}

fn granules(offset: u64, length: u64) -> u64 {
    let first = offset / 64;
    let last = (offset + length.max(1) - 1).min(4095) / 64;
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}

/// Bytes that a block takes in the map, which has room for twice what is in it, at most, and a byte for each place.
const IN_MAP: usize = 2 * (size_of::<(BlockId, u32)>() + 1);
const PAGE_IN_MAP: usize = 2 * (size_of::<(u64, PageCode)>() + 1);

impl Code {
    /// For a machine with `memory` bytes, whose processor lacks something.
    pub fn new(memory: u64, vcpus: u32, env: Env, lacking: Lacking) -> std::io::Result<Self> {
        let cache = CodeCache::new(cache_size(memory, vcpus), REGIONS)?;
        let mut translator = Translator::new(env);
        translator.lacking = lacking;
        let registration = crate::signal::Registration::new(cache.range());
        Ok(Self {
            cache,
            translator,
            regions: Regions::default(),
            far: Vec::new(),
            map: Map::default(),
            near: vec![None; NEAR],
            pages: Map::default(),
            jumps: jumps::Jumps::new(1 << (cache_size(memory, vcpus) / BUCKET_FOR).ilog2().min(MOST_BUCKETS)),
            undone: false,
            unknown_jumps: false,
            always: Key::default(),
            unrolls: Unroll::default(),
            loops: HashSet::default(),
            generation: 0,
            _registration: registration,
            buffer: Vec::with_capacity(4096 + 16),
        })
    }

    fn region(&mut self) -> &mut Region {
        &mut self.regions.0[self.cache.current()]
    }

    /// The region whose blocks nothing leads to: the next one to be filled.
    fn retired(&self) -> usize {
        (self.cache.current() + 1) % REGIONS
    }

    /// The guest's RIP of the instruction that a host address in the cache stands for, while `page` is that of relative code.
    pub(crate) fn locate(&self, host: usize, page: u64) -> Option<u64> {
        let (start, end) = self.cache.range();
        let offset = host.checked_sub(start).filter(|_| host < end)?;
        let (region, block) = self.block_at(offset)?;
        let within = offset as u32 - block.code;
        let faults = part(&region.faults, &block.faults);
        let fault = faults.partition_point(|f| f.0 <= within).checked_sub(1)?;
        let (page, rip) =
            if block.id.key.relative() { (page, block.id.rip & 0xfff) } else { (0, block.id.rip) };
        Some(page.wrapping_add(rip).wrapping_add(faults[fault].1.into()))
    }

    /// What was translated and linked is executed from here on.
    pub(crate) fn synchronize(&mut self) {
        self.cache.synchronize();
    }

    /// Offset of a block's code.
    pub(crate) fn offset(&self, block: u32) -> u32 {
        self.regions.block(block).code
    }

    pub(crate) fn entry(&self, block: u32) -> *const u8 {
        self.cache.address(self.offset(block) as usize)
    }

    pub(crate) fn site(&self, number: u32) -> &Site {
        self.regions.site(number)
    }

    /// Host address that blocks' offsets are relative to.
    pub(crate) fn base(&self) -> u64 {
        self.cache.range().0 as u64
    }

    /// Guest bytes of a block.
    pub(crate) fn block_length(&self, block: u32) -> usize {
        self.regions.block(block).length.into()
    }

    /// Bytes of a block's code.
    #[cfg(test)]
    pub(crate) fn code_length(&self, block: u32) -> u32 {
        self.regions.block(block).code_length
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.regions.0.iter().map(|region| region.blocks.len()).sum()
    }

    fn first_site(&self, block: u32) -> Option<&Site> {
        part(&self.regions.0[region_of(block)].sites, &self.regions.block(block).sites).first()
    }

    /// The instruction of a single-instruction block, if a routine did it.
    pub(crate) fn first_instruction(&self, block: u32, page: u64) -> Option<iced_x86::Instruction> {
        Some(at_page(*self.first_site(block)?, page).insn)
    }

    /// Whether a routine did the instruction of a single-instruction block (it has seen to the shadow itself).
    pub(crate) fn stepped_routine(&self, block: u32) -> bool {
        self.first_site(block).is_some_and(|site| site.kind == SiteKind::System)
    }

    /// Where a block lies, if that is all that there is to know of it: it is relative, and ends in its page.
    pub(crate) fn placed(&self, block: u32) -> Option<u64> {
        let block = self.regions.block(block);
        (block.id.key.relative() && block.second.is_none()).then_some(block.id.physical)
    }

    /// The block that a place in the cache belongs to.
    fn block_at(&self, offset: usize) -> Option<(&Region, &Block)> {
        let region = self.regions.0.get(self.cache.region_of(offset)?)?;
        let at = region.blocks.partition_point(|b| b.code as usize <= offset).checked_sub(1)?;
        Some((region, &region.blocks[at]))
    }

    /// Points a link at a block of the same physical page, which ends in it: what it leads to is then the same wherever the page
    /// is. (A page's translation may be another by now than when the jump's block was found.)
    pub(crate) fn link_in_page(&mut self, link: u32, to: u32) {
        let target = self.regions.block(to);
        let frame = self.regions.link(link).map(|linked| linked.frame);
        if frame == Some(target.id.physical >> 12) && target.second.is_none() {
            self.link(link, to);
        }
    }

    /// Points a link at a block.
    fn link(&mut self, link: u32, to: u32) {
        let Some(patch) = self.regions.link(link).map(|linked| linked.patch) else { return };
        let block = self.regions.block_mut(to);
        block.incoming.push(link);
        let target = (block.code + block.linked_at) as usize;
        self.regions.0[region_of(to)].listed += size_of::<u32>();
        self.cache.patch(patch, target);
    }

    /// Address that a link leads to, while relative code is run at `page`.
    pub(crate) fn target(&self, link: u32, page: u64) -> u64 {
        let linked = self.regions.link(link).expect("the link of code that just ran");
        linked.target.wrapping_add(if linked.relative { page } else { 0 })
    }

    /// Whether a link leads to another page than it comes from.
    pub(crate) fn is_far(&self, link: u32) -> bool {
        self.regions.link(link).is_some_and(|linked| linked.far.is_some())
    }

    /// Points such a link at a block, until [`Code::unlink_far`].
    pub(crate) fn link_far(&mut self, link: u32, to: u32) {
        self.link(link, to);
        self.far.push((link, to));
    }

    /// Whether a block goes on in another page.
    pub(crate) fn crosses(&self, block: u32) -> bool {
        self.regions.block(block).second.is_some()
    }

    /// Points a link at what it does without a block: the jump table.
    pub(crate) fn link_to_table(&mut self, link: u32) {
        if let Some(Linked { patch, far: Some(far), .. }) = self.regions.link(link) {
            self.cache.patch(*patch, *far);
        }
    }

    /// These links lead to their stubs again.
    fn unlink(&mut self, links: impl IntoIterator<Item = u32>) {
        let linked = links.into_iter().filter_map(|link| self.regions.link(link));
        self.cache.patch_all(linked.map(Linked::unlinked));
    }

    /// Undoes the links to other pages.
    pub(crate) fn unlink_far(&mut self) {
        let far = std::mem::take(&mut self.far);
        self.unlink(far.iter().map(|&(link, _)| link));
        let mut targets: Vec<u32> = far.into_iter().map(|(_, to)| to).collect();
        targets.sort_unstable();
        targets.dedup();
        for to in targets {
            let mut incoming = std::mem::take(&mut self.regions.block_mut(to).incoming);
            incoming.retain(|&link| !self.is_far(link));
            self.regions.block_mut(to).incoming = incoming;
        }
    }

    /// Bytes that are noted of the code. They go with it.
    #[cfg(test)]
    pub(crate) fn noted(&self) -> usize {
        let regions = self.regions.0.iter().map(|region| region.noted(IN_MAP)).sum::<usize>();
        regions + size_of_val(&*self.far) + self.pages.len() * PAGE_IN_MAP
    }

    /// There is no room for another block in the region, or beside it: notes take as much as the code may at most.
    pub(crate) fn is_full(&self) -> bool {
        let region = &self.regions.0[self.cache.current()];
        let each = IN_MAP + PAGE_IN_MAP;
        let noted = region.noted(each) + size_of_val(&*self.far) + 2 * MOST;
        self.cache.room() < MOST || noted > self.cache.region_size()
    }

    /// Empties the next region and goes on there, and retires the one behind it. Gives the pages that no code is of any more;
    /// jumps must be forgotten.
    pub(crate) fn next_region(&mut self) -> Vec<u64> {
        self.unlink_far();
        let emptied = self.retired();
        self.cache.fill(emptied);
        let gone = self.empty(emptied);
        self.retire((emptied + 1) % REGIONS);
        self.near.fill(None);
        self.undone = true;
        self.generation += 1;
        gone
    }

    /// Forgets a region's blocks, to which nothing leads.
    fn empty(&mut self, region: usize) -> Vec<u64> {
        let mut old = std::mem::take(&mut self.regions.0[region]);
        let mut frames = Vec::with_capacity(old.blocks.len());
        for (index, block) in old.blocks.iter().enumerate().filter(|(_, block)| block.valid) {
            self.forget(number(region, index), &block.id);
            frames.push(block.id.physical >> 12);
            frames.extend(block.second.map(|second| second >> 12));
        }
        frames.sort_unstable();
        frames.dedup();
        frames.retain(|frame| {
            let Some(page) = self.pages.get_mut(frame) else { return true };
            page.blocks.retain(|&block| region_of(block) != region);
            page.blocks.is_empty()
        });
        frames.iter().for_each(|frame| drop(self.pages.remove(frame)));
        // Their numbers will be others'.
        for block in self.regions.0.iter_mut().flat_map(|region| &mut region.blocks) {
            block.incoming.retain(|&link| region_of(link) != region);
        }
        // Its memory is used again.
        old.clear();
        self.regions.0[region] = old;
        frames
    }

    /// Nothing leads to a region's blocks any more, but for the maps.
    fn retire(&mut self, region: usize) {
        let mut incoming = Vec::new();
        for block in &mut self.regions.0[region].blocks {
            incoming.append(&mut block.incoming);
        }
        self.unlink(incoming);
    }

    /// A block is in no map any more.
    fn forget(&mut self, number: u32, id: &BlockId) {
        if self.map.get(id) == Some(&number) {
            self.map.remove(id);
        }
    }

    /// Nothing leads to a block, and no list has it but that of the page `written`, which has it no more. Notes pages that no code is of
    /// any more.
    fn remove(&mut self, number: u32, written: Option<u64>, empty: &mut Vec<u64>) {
        let block = self.regions.block_mut(number);
        if !block.valid {
            return;
        }
        block.valid = false;
        let incoming = std::mem::take(&mut block.incoming);
        let id = block.id;
        match (id.key.relative(), block.second) {
            (false, _) => self.jumps.remove(id.rip),
            (true, None) => self.jumps.remove(id.physical),
            // Entered by addresses that nobody noted.
            (true, Some(_)) => self.unknown_jumps = true,
        }
        let frames = [Some(id.physical >> 12), block.second.map(|second| second >> 12)];
        for frame in frames.into_iter().flatten().filter(|&frame| Some(frame) != written) {
            let Some(page) = self.pages.get_mut(&frame) else { continue };
            page.blocks.retain(|&block| block != number);
            if page.blocks.is_empty() {
                self.pages.remove(&frame);
                empty.push(frame);
            }
        }
        self.forget(number, &id);
        self.near[near(&id)] = None;
        self.unlink(incoming);
    }

    /// A loop was left at its jump back, which is a link, for somebody's attention: so it is worth several turns in a row. (Of those that turn often, one is found so
    /// sooner or later.) Gives the block that is to be translated anew for it, if one is.
    pub(crate) fn found_running(&mut self, link: u32) -> Option<u32> {
        let linked = self.regions.link(link)?;
        let (target, patch) = (linked.target, linked.patch);
        let block = self.block_at(patch)?.1;
        let id = block.id;
        if self.unrolls != Unroll::Running || !block.could_unroll || target != id.rip {
            return None;
        }
        if self.loops.len() == MOST_LOOPS {
            self.loops.clear();
        }
        self.loops.insert(id);
        self.map.get(&id).copied()
    }

    /// What else has a routine, besides what the translator was told at first.
    pub(crate) fn set_routines(&mut self, routine: fn(iced_x86::Code) -> bool) {
        self.translator.env.routine = routine;
    }

    /// The block of these bytes and this way to run them, and its second page if it has one.
    pub(crate) fn known(&mut self, id: &BlockId) -> Option<(u32, Option<u64>)> {
        let slot = near(id);
        if let Some((_, number)) = self.near[slot].filter(|known| known.0 == *id) {
            return Some((number, None));
        }
        let number = *self.map.get(id)?;
        if region_of(number) == self.retired() {
            return None;
        }
        let second = self.regions.block(number).second;
        if second.is_none() {
            self.near[slot] = Some((*id, number));
        }
        Some((number, second))
    }

    /// `None` where the bytes end within an instruction.
    pub(crate) fn translate(&mut self, bytes: &[u8], in_page: usize, id: BlockId) -> Option<Translated> {
        let current = self.cache.current();
        let region = &self.regions.0[current];
        self.translator.unrolls = match self.unrolls {
            Unroll::None => false,
            Unroll::Running => self.loops.contains(&id),
            Unroll::All => true,
        };
        self.translator.translate(&Request {
            bytes,
            rip: id.rip,
            in_page,
            page_offset: 4096 - in_page,
            key: id.key,
            first_site: number(current, region.sites.len()),
            first_link: number(current, region.links.len()),
            block: number(current, region.blocks.len()),
        })
    }

    /// Keeps what was translated, and gives its number.
    pub(crate) fn enter(
        &mut self,
        id: BlockId,
        second: Option<u64>,
        in_page: usize,
        made: Translated,
    ) -> u32 {
        let at = self.cache.add(&made.code).expect("room was made before");
        let region = self.region();
        let links = made.links.iter().map(|link| Linked {
            frame: id.physical >> 12,
            target: link.target,
            relative: id.key.relative(),
            patch: at + link.patch as usize,
            stub: at + link.stub as usize,
            far: link.far.map(|far| at + far as usize),
        });
        let block = Block {
            id,
            code: at as u32,
            code_length: made.code.len() as u32,
            linked_at: made.linked_at,
            length: made.length as u16,
            could_unroll: made.could_unroll,
            looked_at: append(&mut region.looked_at, made.looked_at),
            second,
            valid: true,
            incoming: Vec::new(),
            sites: append(&mut region.sites, made.sites),
            links: append(&mut region.links, links),
            faults: append(&mut region.faults, made.faults),
            numbers: append(&mut region.numbers, made.numbers),
        };
        self.keep(block, in_page)
    }

    /// A retired block that can be copied to be this one, and its second page.
    pub(crate) fn to_copy(&self, id: &BlockId) -> Option<(u32, Option<u64>)> {
        let number = *self.map.get(id)?;
        Some((number, self.regions.block(number).second))
    }

    /// Keeps a copy of a block that [`Code::to_copy`] gave, and gives its number.
    pub(crate) fn enter_copy(&mut self, of: u32) -> u32 {
        let current = self.cache.current();
        // One region is read while the other is written; a retired one is never that which is filled.
        let mut source = std::mem::take(&mut self.regions.0[region_of(of)]);
        let region = &mut self.regions.0[current];
        let old = &source.blocks[region::place(of)];
        let from = old.code as usize;
        let renumber = Renumber {
            sites: number(current, region.sites.len())
                .wrapping_sub(number(region_of(of), old.sites.start as usize)),
            links: number(current, region.links.len())
                .wrapping_sub(number(region_of(of), old.links.start as usize)),
        };
        let (numbers, links) = (part(&source.numbers, &old.numbers), part(&source.links, &old.links));
        let added = self.cache.add_copy(from, old.code_length as usize, |code| {
            renumber.code(code, numbers);
            links.iter().for_each(|link| unlink(code, link.patch - from, link.stub - from));
        });
        let at = added.expect("room was made before");
        let there = |place: usize| place - from + at;
        let links = links.iter().map(|link| Linked {
            patch: there(link.patch),
            stub: there(link.stub),
            far: link.far.map(there),
            ..*link
        });
        let own = number(current, region.blocks.len());
        let sites = part(&source.sites, &old.sites).iter().map(|site| Site { block: own, ..*site });
        let id = old.id;
        let block = Block {
            code: at as u32,
            incoming: Vec::new(),
            sites: append(&mut region.sites, sites),
            links: append(&mut region.links, links),
            faults: append(&mut region.faults, part(&source.faults, &old.faults).iter().copied()),
            looked_at: append(&mut region.looked_at, part(&source.looked_at, &old.looked_at).iter().copied()),
            numbers: append(&mut region.numbers, numbers.iter().copied()),
            ..*old
        };
        std::mem::swap(&mut self.regions.0[region_of(of)], &mut source);
        self.keep(block, 4096 - (id.physical & 0xfff) as usize)
    }

    fn keep(&mut self, block: Block, in_page: usize) -> u32 {
        let Block { id, second, length, .. } = block;
        let current = self.cache.current();
        let region = &mut self.regions.0[current];
        let number = number(current, region.blocks.len());
        // In the lists of at most two pages.
        region.listed += 2 * size_of::<u32>();
        region.blocks.push(block);
        self.map.insert(id, number);
        let first = usize::from(length).min(in_page);
        let looked_at = self.regions.granules_looked_at(number);
        self.note(id.physical, first as u64, number, looked_at);
        if let Some(second) = second {
            self.note(second & !0xfff, (usize::from(length) - first) as u64, number, 0);
        }
        number
    }

    /// A block has bytes here, and looked at these granules of the page besides.
    fn note(&mut self, physical: u64, length: u64, block: u32, looked_at: u64) {
        let page = self.pages.entry(physical >> 12).or_default();
        page.blocks.push(block);
        page.granules |= granules(physical & 0xfff, length) | looked_at;
    }

    /// Whether something is translated of a page.
    pub(crate) fn is_in(&self, frame: u64) -> bool {
        self.pages.contains_key(&frame)
    }

    /// The blocks that bytes within a page are of, which were written: the page has them no more.
    pub(crate) fn written(&mut self, physical: u64, count: u64) -> Vec<u32> {
        let frame = physical >> 12;
        let Some(page) = self.pages.get_mut(&frame) else { return Vec::new() };
        if page.granules & granules(physical & 0xfff, count) == 0 {
            return Vec::new();
        }
        let (low, high) = (physical, physical + count);
        let regions = &self.regions;
        let touched = |n: u32| {
            let block = regions.block(n);
            let start = block.id.physical;
            let in_first = start < high && low < start + u64::from(block.length);
            let overlaps = |&(at, count): &(u16, u16)| {
                let first = start + u64::from(at);
                first < high && low < first + u64::from(count)
            };
            in_first
                || regions.looked_at(n).iter().any(overlaps)
                || block.second.is_some_and(|s| s >> 12 == frame)
        };
        let (gone, kept): (Vec<u32>, Vec<u32>) = page.blocks.iter().partition(|&&n| touched(n));
        page.granules = 0;
        for &n in &kept {
            let block = regions.block(n);
            let start = if block.id.physical >> 12 == frame { block.id.physical & 0xfff } else { 0 };
            page.granules |= granules(start, block.length.into());
            if block.id.physical >> 12 == frame {
                page.granules |= regions.granules_looked_at(n);
            }
        }
        let empty = kept.is_empty();
        page.blocks = kept;
        if empty {
            self.pages.remove(&frame);
        }
        gone
    }

    /// These blocks are no more: nothing leads to them. They are what was written of a page, if one is given. Gives the other pages
    /// that no code is of any more.
    pub(crate) fn undo(&mut self, numbers: &[u32], written: Option<u64>) -> Vec<u64> {
        self.undone = true;
        let mut empty = Vec::new();
        if written.is_some() {
            // What comes in its place is to be found again.
            for number in numbers {
                self.loops.remove(&self.regions.block(*number).id);
            }
        }
        numbers.iter().for_each(|&number| self.remove(number, written, &mut empty));
        empty
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
