//! Pieces of an image's tables in memory: a bounded number, whatever the image says of itself.

use crate::Store;
use crate::store::read_padded;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Whether pages that are not in memory are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Load,
    Known,
}

/// Pages of one size at multiples of it. What was changed is written only when its owner says so, who knows the order.
pub struct Pages {
    store: Arc<dyn Store>,
    size: usize,
    most: usize,
    slots: Vec<Slot>,
    places: HashMap<u64, usize>,
    /// Where the look for a page that can go goes on.
    hand: usize,
    dirty: BTreeSet<u64>,
}

struct Slot {
    offset: u64,
    data: Box<[u8]>,
    used: bool,
}

impl Pages {
    /// `most`: bytes.
    pub fn new(store: Arc<dyn Store>, size: usize, most: usize) -> Self {
        let most = (most / size).max(64);
        let (slots, places, dirty) = (Vec::new(), HashMap::new(), BTreeSet::new());
        Self { store, size, most, slots, places, hand: 0, dirty }
    }

    fn start(&self, offset: u64) -> u64 {
        offset - offset % self.size as u64
    }

    /// The bytes from an offset to the end of its page.
    pub fn from(&mut self, offset: u64) -> io::Result<&[u8]> {
        let start = self.start(offset);
        let slot = self.load(start)?;
        Ok(&self.slots[slot].data[(offset - start) as usize..])
    }

    /// The same, or nothing where only a page that is not in memory would tell.
    pub fn look(&mut self, offset: u64, look: Look) -> io::Result<Option<&[u8]>> {
        match look {
            Look::Load => self.from(offset).map(Some),
            Look::Known => Ok(self.peek(offset)),
        }
    }

    fn peek(&mut self, offset: u64) -> Option<&[u8]> {
        let start = self.start(offset);
        let slot = *self.places.get(&start)?;
        self.slots[slot].used = true;
        Some(&self.slots[slot].data[(offset - start) as usize..])
    }

    /// The same, to be changed.
    pub fn change(&mut self, offset: u64) -> io::Result<&mut [u8]> {
        let start = self.start(offset);
        let slot = self.load(start)?;
        self.dirty.insert(start);
        Ok(&mut self.slots[slot].data[(offset - start) as usize..])
    }

    fn load(&mut self, start: u64) -> io::Result<usize> {
        if let Some(&slot) = self.places.get(&start) {
            self.slots[slot].used = true;
            return Ok(slot);
        }
        let mut data = vec![0; self.size].into_boxed_slice();
        read_padded(self.store.as_ref(), start, &mut data)?;
        let new = Slot { offset: start, data, used: true };
        let slot = match self.spare() {
            Some(slot) => {
                self.places.remove(&self.slots[slot].offset);
                self.slots[slot] = new;
                slot
            }
            None => {
                self.slots.push(new);
                self.slots.len() - 1
            }
        };
        self.places.insert(start, slot);
        Ok(slot)
    }

    /// A page that can go: one that is as in the image and was not used lately.
    fn spare(&mut self) -> Option<usize> {
        if self.slots.len() < self.most {
            return None;
        }
        for _ in 0..2 * self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.used) && !self.dirty.contains(&slot.offset) {
                return Some(self.hand);
            }
        }
        None
    }

    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// So much was changed that it should be written before more is.
    pub fn is_crowded(&self) -> bool {
        self.dirty.len() >= self.most / 2
    }

    /// How many pages were changed.
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Their owner has written them.
    pub fn are_written(&mut self) {
        self.dirty.clear();
    }

    /// What was changed, in the order of offsets.
    pub fn changed(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.dirty.iter().filter_map(|offset| Some((*offset, &*self.slots[*self.places.get(offset)?].data)))
    }

    /// Writes what was changed. Nothing says that it is there after a crash.
    pub fn write_back(&mut self) -> io::Result<()> {
        for (offset, data) in self.changed() {
            self.store.write_at(offset, data)?;
        }
        self.dirty.clear();
        Ok(())
    }

    /// What lies in a range is not a table any more.
    pub fn forget(&mut self, range: Range<u64>) {
        let gone: Vec<u64> = self.places.keys().copied().filter(|offset| range.contains(offset)).collect();
        for offset in gone {
            self.dirty.remove(&offset);
            if let Some(slot) = self.places.remove(&offset) {
                // An offset that no page has.
                self.slots[slot].offset = u64::MAX;
                self.slots[slot].used = false;
            }
        }
    }
}

/// Whether a piece of a table lies in the file.
pub fn whole(store_size: u64, offset: u64, len: u64) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= store_size)
}
