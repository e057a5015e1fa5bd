//! What a region of the code cache holds besides code: its blocks, and what is noted of their sites and links.

use super::{BlockId, granules};
use ireko_translate::Site;
use ireko_translate::relocate::Number;
use std::ops::Range;

/// Numbers of blocks, sites and links say their region from this bit on.
const SHIFT: u32 = 28;

/// Regions of a cache: the one that is filled, the one whose blocks are on their way out, and the others.
pub(crate) const REGIONS: usize = 8;

/// The region that a block, site or link is in.
pub(crate) fn region_of(number: u32) -> usize {
    (number >> SHIFT) as usize % REGIONS
}

pub(crate) fn place(number: u32) -> usize {
    (number & ((1 << SHIFT) - 1)) as usize
}

/// The `index`th of a region.
pub(crate) fn number(region: usize, index: usize) -> u32 {
    (region as u32) << SHIFT | index as u32
}

pub(crate) struct Block {
    pub id: BlockId,
    /// Offset of the entry in the cache, and bytes.
    pub code: u32,
    pub code_length: u32,
    /// Where links lead.
    pub linked_at: u32,
    /// Guest bytes.
    pub length: u16,
    /// A loop that is there once and could be there several times.
    pub could_unroll: bool,
    /// Place in its region of the bytes that it depends on besides.
    pub looked_at: Range<u32>,
    /// Physical page of the bytes beyond the first page.
    pub second: Option<u64>,
    pub valid: bool,
    pub incoming: Vec<u32>,
    /// Places in its region of its sites and links, of what leads from the host's instructions to the guest's, and of numbers in
    /// its code.
    pub sites: Range<u32>,
    pub links: Range<u32>,
    pub faults: Range<u32>,
    pub numbers: Range<u32>,
}

/// A link with absolute offsets in the cache.
pub(crate) struct Linked {
    /// Physical page that the jump is in.
    pub frame: u64,
    /// Where it leads: of relative code, from its page.
    pub target: u64,
    pub relative: bool,
    pub patch: usize,
    pub stub: usize,
    /// For a jump to another page: where it goes if that page may not be linked.
    pub far: Option<usize>,
}

impl Linked {
    /// Where its jump is, and where that leads while nothing is linked.
    pub fn unlinked(&self) -> (usize, usize) {
        (self.patch, self.stub)
    }
}

#[derive(Default)]
pub(crate) struct Region {
    pub blocks: Vec<Block>,
    pub sites: Vec<Site>,
    pub links: Vec<Linked>,
    /// Host offset of each copied instruction of a block, ascending, and the guest instruction's offset from its start.
    pub faults: Vec<(u32, u16)>,
    pub numbers: Vec<Number>,
    /// Bytes behind a block's first that were looked at for it: offset and number.
    pub looked_at: Vec<(u16, u16)>,
    /// Bytes of blocks' lists.
    pub listed: usize,
}

/// A block's part of its region's list.
pub(crate) fn part<'a, T>(list: &'a [T], places: &Range<u32>) -> &'a [T] {
    &list[places.start as usize..places.end as usize]
}

/// Adds to a list, and gives where.
pub(crate) fn append<T>(list: &mut Vec<T>, what: impl IntoIterator<Item = T>) -> Range<u32> {
    let start = list.len() as u32;
    list.extend(what);
    start..list.len() as u32
}

impl Region {
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.sites.clear();
        self.links.clear();
        self.faults.clear();
        self.numbers.clear();
        self.looked_at.clear();
        self.listed = 0;
    }

    /// Bytes that are noted, where each block takes `each` in maps.
    pub fn noted(&self, each: usize) -> usize {
        size_of_val(&*self.sites)
            + size_of_val(&*self.links)
            + size_of_val(&*self.faults)
            + size_of_val(&*self.numbers)
            + size_of_val(&*self.looked_at)
            + self.blocks.len() * (size_of::<Block>() + each)
            + self.listed
    }
}

/// All of them, by numbers.
#[derive(Default)]
pub(crate) struct Regions(pub [Region; REGIONS]);

impl Regions {
    pub fn block(&self, number: u32) -> &Block {
        &self.0[region_of(number)].blocks[place(number)]
    }
    pub fn block_mut(&mut self, number: u32) -> &mut Block {
        &mut self.0[region_of(number)].blocks[place(number)]
    }
    pub fn site(&self, number: u32) -> &Site {
        &self.0[region_of(number)].sites[place(number)]
    }
    pub fn looked_at(&self, block: u32) -> &[(u16, u16)] {
        part(&self.0[region_of(block)].looked_at, &self.block(block).looked_at)
    }
    /// Those bytes' granules of the block's first page.
    pub fn granules_looked_at(&self, block: u32) -> u64 {
        let offset = self.block(block).id.physical & 0xfff;
        let each = self.looked_at(block).iter();
        each.fold(0, |all, &(at, count)| all | granules(offset + u64::from(at), count.into()))
    }
    pub fn link(&self, number: u32) -> Option<&Linked> {
        self.0[region_of(number)].links.get(place(number))
    }
}
