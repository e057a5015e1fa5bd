//! The block cache: which guest code is translated where, and what a write to it undoes.

pub mod jumps;

use crate::hash::FastHash;
use ireko_translate::block::Request;
use ireko_translate::classify::Env;
use ireko_translate::layout::JumpEntry;
use ireko_translate::{CodeCache, Key, Lacking, Link, Site, Translated, Translator};
use std::collections::HashMap;

/// Bytes of translated code that a vCPU keeps for a machine of so much memory. What is noted of the code takes as much again;
/// banks and the rest 40 MiB. All of it stays below a tenth of the guest's memory and 64 MiB.
fn cache_size(memory: u64) -> usize {
    ((memory / 10 + (24 << 20)) / 2).clamp(24 << 20, 192 << 20) as usize & !0xfff
}

/// Blocks are found by where their first byte is and how it is run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockId {
    pub physical: u64,
    pub rip: u64,
    pub key: Key,
}

const NEAR: usize = 1 << 14;

fn near(id: &BlockId) -> usize {
    let mixed = id.rip ^ id.physical >> 12 ^ u64::from(id.key.0) << 5;
    (mixed ^ mixed >> 14) as usize % NEAR
}

type Map<K, V> = HashMap<K, V, FastHash>;

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
    pub(crate) jumps: jumps::Jumps,
    /// Code was undone since this was last cleared: the running block may be stale.
    pub(crate) undone: bool,
    /// Key bits that are always on: optimizations that are switched off.
    pub(crate) always: Key,
    /// Grows when all code is forgotten.
    pub(crate) generation: u64,
    _registration: Option<crate::signal::Registration>,
    pub(crate) buffer: Vec<u8>,
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
    pub fn new(memory: u64, env: Env, lacking: Lacking) -> std::io::Result<Self> {
        let cache = CodeCache::new(cache_size(memory))?;
        let mut translator = Translator::new(env);
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
    pub(crate) fn synchronize(&mut self) {
        self.cache.synchronize();
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

    /// Whether a link leads to another page than it comes from.
    pub(crate) fn is_far(&self, link: u32) -> bool {
        self.links.get(link as usize).is_some_and(|linked| linked.far.is_some())
    }

    /// Points such a link at a block, until [`Code::unlink_far`].
    pub(crate) fn link_far(&mut self, link: u32, to: u32) {
        self.link(link, to);
        self.far.push((link, to));
    }

    /// Whether a block goes on in another page.
    pub(crate) fn crosses(&self, block: u32) -> bool {
        self.blocks[block as usize].second.is_some()
    }

    /// Points a link at what it does without a block: the jump table.
    pub(crate) fn link_to_table(&mut self, link: u32) {
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
    pub(crate) fn noted(&self) -> usize {
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
    pub(crate) fn is_full(&self) -> bool {
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
        let second = self.blocks[number as usize].second;
        if second.is_none() {
            self.near[slot] = Some((*id, number));
        }
        Some((number, second))
    }

    /// `None` where the bytes end within an instruction.
    pub(crate) fn translate(&mut self, bytes: &[u8], in_page: usize, id: BlockId) -> Option<Translated> {
        self.translator.translate(&Request {
            bytes,
            rip: id.rip,
            in_page,
            page_offset: 4096 - in_page,
            key: id.key,
            first_site: self.sites.len() as u32,
            first_link: self.links.len() as u32,
            block: self.blocks.len() as u32,
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
        let number = self.blocks.len() as u32;
        let at = self.cache.add(&made.code).expect("room was made before");
        let first_site = (!made.sites.is_empty()).then_some(self.sites.len() as u32);
        self.sites.extend(made.sites);
        self.links.extend(made.links.iter().map(|l: &Link| Linked {
            patch: at + l.patch as usize,
            stub: at + l.stub as usize,
            far: l.far.map(|far| at + far as usize),
        }));
        // In the lists of at most two pages, and with the rows that lead from the host's instructions to the guest's.
        self.listed += 2 * size_of::<u32>() + size_of_val(&*made.faults);
        self.blocks.push(Block {
            id,
            code: at as u32,
            length: made.length as u16,
            second,
            valid: true,
            incoming: Vec::new(),
            faults: made.faults.into_boxed_slice(),
            first_site,
        });
        self.map.insert(id, number);
        let first = made.length.min(in_page);
        self.note(id.physical, first as u64, number);
        if let Some(second) = second {
            self.note(second & !0xfff, (made.length - first) as u64, number);
        }
        number
    }

    /// A block has bytes here.
    fn note(&mut self, physical: u64, length: u64, block: u32) {
        let page = self.pages.entry(physical >> 12).or_default();
        page.blocks.push(block);
        page.granules |= granules(physical & 0xfff, length);
    }

    /// Whether something is translated of a page; and all such pages.
    pub(crate) fn is_in(&self, frame: u64) -> bool {
        self.pages.contains_key(&frame)
    }
    pub(crate) fn frames(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// The blocks that bytes within a page are of, which were written: the page has them no more.
    pub(crate) fn written(&mut self, physical: u64, count: u64) -> Vec<u32> {
        let frame = physical >> 12;
        let Some(page) = self.pages.get_mut(&frame) else { return Vec::new() };
        if page.granules & granules(physical & 0xfff, count) == 0 {
            return Vec::new();
        }
        let (low, high) = (physical, physical + count);
        let blocks = &self.blocks;
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
            self.pages.remove(&frame);
        }
        gone
    }

    /// These blocks are no more: nothing leads to them.
    pub(crate) fn undo(&mut self, numbers: &[u32]) {
        self.undone = true;
        numbers.iter().for_each(|&number| self.remove(number));
    }

    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.map.clear();
        self.near.fill(None);
        self.blocks.clear();
        self.links.clear();
        self.far.clear();
        self.sites.clear();
        self.cache.clear();
        self.listed = 0;
        self.undone = true;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_are_made_and_undone_for_ever_are_listed_no_more() {
        let env = Env { routine: |_| false, feature: |_| true };
        let mut code = Code::new(1 << 20, env, Lacking::default()).unwrap();
        // jmp $+2
        let id = BlockId { physical: 0, rip: 0, key: Key(Key::CODE64) };
        let made = code.translate(&[0xeb, 0].repeat(2048), 4096, id).unwrap();
        let block = code.enter(id, None, 4096, made);
        code.links.insert(0, Linked { patch: 0, stub: 0, far: Some(0) });
        for _ in 0..10_000 {
            code.link_far(0, block);
            code.unlink_far();
        }
        assert_eq!((code.blocks[block as usize].incoming.len(), code.far.len()), (0, 0));
    }
}
