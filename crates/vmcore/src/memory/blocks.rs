//! Which blocks of the room for later are there, and who is using them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What memory comes and goes by.
pub const BLOCK: u64 = 2 << 20;

/// The block is there; the other bits count the devices' slices that reach into it.
const PRESENT: u32 = 1 << 31;

/// A word for each block of the room: all are away at first.
#[derive(Debug)]
pub struct Blocks {
    range: Range<u64>,
    words: Box<[AtomicU32]>,
    present: AtomicU64,
}

impl Blocks {
    pub(super) fn new(start: u64, size: u64) -> Self {
        let words = (0..size / BLOCK).map(|_| AtomicU32::new(0)).collect();
        Self { range: start..start + size, words, present: AtomicU64::new(0) }
    }

    /// The guest physical addresses that can be there.
    pub fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// Bytes that are there.
    pub fn plugged(&self) -> u64 {
        self.present.load(Ordering::Relaxed) * BLOCK
    }

    fn index(&self, address: u64) -> Option<usize> {
        address.checked_sub(self.range.start).map(|offset| (offset / BLOCK) as usize)
    }

    /// Whether a byte is there.
    pub fn has(&self, address: u64) -> bool {
        let word = self.index(address).and_then(|index| self.words.get(index));
        word.is_some_and(|word| word.load(Ordering::Acquire) & PRESENT != 0)
    }

    /// Whether all blocks of a range are there, or none; `None` for a mixture and for what is not in the room.
    pub fn all(&self, address: u64, size: u64) -> Option<bool> {
        let words = self.words.get(self.indices(address, size)?)?;
        let present = |word: &AtomicU32| word.load(Ordering::Acquire) & PRESENT != 0;
        let first = present(words.first()?);
        words.iter().all(|word| present(word) == first).then_some(first)
    }

    /// Numbers of the blocks in which a range lies.
    fn indices(&self, address: u64, size: u64) -> Option<Range<usize>> {
        let last = address.checked_add(size.checked_sub(1)?)?;
        Some(self.index(address)?..self.index(last)? + 1)
    }

    /// Says that the blocks of a range are there.
    pub(super) fn add(&self, address: u64, size: u64) {
        let words = self.indices(address, size).and_then(|indices| self.words.get(indices));
        for word in words.into_iter().flatten() {
            if word.fetch_or(PRESENT, Ordering::AcqRel) & PRESENT == 0 {
                self.present.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says that the blocks of a range are away; false, and nothing changed, if one of them is used by a device now.
    pub(super) fn remove(&self, address: u64, size: u64) -> bool {
        let words =
            self.indices(address, size).and_then(|indices| self.words.get(indices)).unwrap_or_default();
        let away =
            |word: &AtomicU32| word.compare_exchange(PRESENT, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let gone = words.iter().take_while(|word| away(word)).count();
        if gone < words.len() {
            words[..gone].iter().for_each(|word| word.store(PRESENT, Ordering::Release));
            return false;
        }
        self.present.fetch_sub(gone as u64, Ordering::Relaxed);
        true
    }

    /// Runs of blocks that are there: address and size.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for start in self.range.clone().step_by(BLOCK as usize).filter(|start| self.has(*start)) {
            match runs.last_mut() {
                Some((first, size)) if *first + *size == start => *size += BLOCK,
                _ => runs.push((start, BLOCK)),
            }
        }
        runs
    }
}

/// Keeps blocks there for as long as a device reaches into them.
#[derive(Debug)]
pub struct Pin {
    blocks: Arc<Blocks>,
    indices: Range<usize>,
}

impl Pin {
    /// For the blocks of a range, up to the first that is away, and how many bytes that makes; `None`: even the first is away.
    pub(super) fn new(blocks: &Arc<Blocks>, address: u64, size: u64) -> Option<(Self, u64)> {
        let wanted = blocks.indices(address, size)?;
        let more = |word: u32| (word & PRESENT != 0).then(|| word + 1);
        let pinned = |word: &AtomicU32| word.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        let count = blocks
            .words
            .get(wanted.start..)?
            .iter()
            .take(wanted.len())
            .take_while(|word| pinned(word))
            .count();
        let indices = wanted.start..wanted.start + count;
        let end = blocks.range.start + indices.end as u64 * BLOCK;
        let pin = Self { blocks: blocks.clone(), indices };
        (count > 0).then(|| (pin, size.min(end - address)))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        for word in &self.blocks.words[self.indices.clone()] {
            word.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1 << 32;

    #[test]
    fn blocks_that_were_added_are_there() {
        let blocks = Blocks::new(START, 8 * BLOCK);
        blocks.add(START + 2 * BLOCK, 3 * BLOCK);
        assert_eq!(blocks.plugged(), 3 * BLOCK);
        assert_eq!(blocks.runs(), [(START + 2 * BLOCK, 3 * BLOCK)]);
        assert_eq!(blocks.all(START + 2 * BLOCK, 3 * BLOCK), Some(true));
        assert_eq!(blocks.all(START, 3 * BLOCK), None);
        assert_eq!(blocks.all(START, BLOCK), Some(false));
    }

    #[test]
    fn what_lies_outside_is_never_there() {
        let blocks = Blocks::new(START, 2 * BLOCK);
        for (address, size) in
            [(0, BLOCK), (START - 1, 2), (START + BLOCK, 2 * BLOCK), (u64::MAX, 2), (START, 0)]
        {
            assert_eq!(blocks.all(address, size), None, "{address:#x} {size:#x}");
        }
        assert!(!blocks.has(0) && !blocks.has(START + 2 * BLOCK) && !blocks.has(u64::MAX));
    }

    #[test]
    fn a_block_in_use_stays_and_so_do_those_beside_it() {
        let blocks = Arc::new(Blocks::new(START, 4 * BLOCK));
        blocks.add(START, 4 * BLOCK);
        let (pin, size) = Pin::new(&blocks, START + 2 * BLOCK + 8, 2 * BLOCK).unwrap();
        assert_eq!(size, 2 * BLOCK - 8);
        let second = Pin::new(&blocks, START + 3 * BLOCK, 1);
        drop(pin);
        assert!(!blocks.remove(START, 4 * BLOCK));
        assert_eq!(blocks.all(START, 4 * BLOCK), Some(true));
        drop(second);
        assert!(blocks.remove(START, 4 * BLOCK));
        assert!(Pin::new(&blocks, START, 8).is_none());
        assert_eq!(blocks.plugged(), 0);
    }
}
