//! The second level of the jump tables: where the code of a guest address is, for all banks.
//!
//! Translated code asks it when its bank's table does not know ([`ireko_translate::lookup`]). Code of global pages is
//! there once for all address spaces of the processor's own world, so that a new process finds the kernel's code.

use ireko_translate::layout::{JUMP_SLOTS, JumpEntry, USER_SLOT, jump_bucket};

/// Families of keys whose code is known by where it lies; the oldest goes.
const FAMILIES: usize = 16;

pub struct Jumps {
    buckets: Box<[[JumpEntry; 2]]>,
    /// The highest number given out so far: one for each slot of an owner, from [`JUMP_SLOTS`] on.
    given: u32,
    shared: Shared,
    /// The numbers of relative code's entries, by the families of its keys.
    placed: Vec<(u64, u32)>,
}

/// Code of global pages.
struct Shared {
    id: u32,
    family: u64,
    /// A bit for each 2 MiB (hashed) that an entry came from, or a fetch translation. Larger pages are not shared.
    chunks: [u64; CHUNKS / 64],
}

const CHUNKS: usize = 2 * HALF;
const HALF: usize = 4096;

/// Word and bit of the 2 MiB around an address.
fn chunk(address: u64) -> (usize, u64) {
    // The halves of the address space are apart: programs flush their pages all the time, and shared are the kernel's.
    let hash = (address >> 21).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
    let bit = hash as usize + (address >> 63) as usize * HALF;
    (bit / 64, 1 << (bit % 64))
}

fn empty(bucket: usize) -> [JumpEntry; 2] {
    [JumpEntry::empty(bucket); 2]
}

impl Jumps {
    /// With room for two entries in each of `buckets`, of which there are a power of two.
    pub fn new(buckets: usize) -> Self {
        assert!(buckets.is_power_of_two() && buckets > 1);
        let shared = Shared { id: 0, family: u64::MAX, chunks: [0; CHUNKS / 64] };
        Self { buckets: (0..buckets).map(empty).collect(), given: 0, shared, placed: Vec::new() }
    }

    /// For translated code: where the buckets are, and the highest number of one.
    pub fn table(&self) -> (u64, u64) {
        (self.buckets.as_ptr() as u64, self.buckets.len() as u64 - 1)
    }

    fn bucket(&self, address: u64) -> usize {
        jump_bucket(address, self.buckets.len())
    }

    /// Less than three numbers are left.
    pub(crate) fn spent(&self) -> bool {
        self.given > u32::MAX - 4 * JUMP_SLOTS as u32
    }

    /// A number that no entry has.
    fn give(&mut self) -> u32 {
        self.given += JUMP_SLOTS as u32;
        self.given
    }

    /// The newest entry of a bucket comes first, the older one of the two goes.
    pub(crate) fn insert(&mut self, entry: JumpEntry) {
        let number = self.bucket(entry.rip);
        let bucket = &mut self.buckets[number];
        if (bucket[0].rip, bucket[0].id) != (entry.rip, entry.id) {
            bucket[1] = bucket[0];
        }
        bucket[0] = entry;
    }

    /// Forgets the code at an address.
    pub(crate) fn remove(&mut self, address: u64) {
        let number = self.bucket(address);
        for entry in self.buckets[number].iter_mut().filter(|entry| entry.rip == address) {
            *entry = JumpEntry::empty(number);
        }
    }

    pub(crate) fn wipe(&mut self) {
        self.buckets.iter_mut().enumerate().for_each(|(n, bucket)| *bucket = empty(n));
        self.given = 0;
        self.forget_shared();
        self.forget_placed();
    }

    /// No entry is that of all address spaces any more.
    pub(crate) fn forget_shared(&mut self) {
        self.shared.id = 0;
    }

    /// Relative code is known nowhere any more.
    pub(crate) fn forget_placed(&mut self) {
        self.placed.clear();
    }

    /// The number of entries of relative code under keys of a family.
    fn placed(&mut self, family: u64) -> u32 {
        if let Some(known) = self.placed.iter().find(|known| known.0 == family) {
            return known.1;
        }
        if self.placed.len() == FAMILIES {
            self.placed.remove(0);
        }
        let id = self.give();
        self.placed.push((family, id));
        id
    }

    /// The numbers of entries that a bank may use in each slot: its own, and (in the processor's own world) the shared ones, or its own once
    /// more; of user code its own, and those of all by where they lie. `bank` is the bank's number, 0 while it has none.
    pub(crate) fn numbers(&mut self, bank: &mut u32, own_world: bool, family: u64) -> [[u32; 2]; JUMP_SLOTS] {
        if own_world && self.shared.family != family {
            self.forget_shared();
            self.shared.family = family;
        }
        if *bank == 0 {
            *bank = self.give();
        }
        if own_world && self.shared.id == 0 {
            self.shared.id = self.give();
        }
        let (own, shared) = (*bank, if own_world { self.shared.id } else { *bank });
        let placed = self.placed(family);
        std::array::from_fn(|slot| {
            [own, if slot == USER_SLOT { placed } else { shared }].map(|id| id + slot as u32)
        })
    }

    /// Code at an address is known to be the same in all address spaces.
    pub(crate) fn share(&mut self, address: u64) {
        let (word, bit) = chunk(address);
        self.shared.chunks[word] |= bit;
    }

    /// Whether that may be so of code in the 2 MiB around an address.
    pub(crate) fn may_share(&self, address: u64) -> bool {
        let (word, bit) = chunk(address);
        self.shared.chunks[word] & bit != 0
    }

    /// Of no address any more.
    pub(crate) fn share_none(&mut self) {
        self.forget_shared();
        self.shared.chunks = [0; CHUNKS / 64];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_translate::layout::NOBODY;

    fn entry(rip: u64, id: u32) -> JumpEntry {
        JumpEntry { rip, id, code: 64 }
    }

    #[test]
    fn no_programs_page_is_taken_for_a_kernels() {
        let chunks = |first: u64| (0..1u64 << 14).map(move |n| chunk(first + (n << 21)));
        let kernels: std::collections::HashSet<_> = chunks(0xffff_8000_0000_0000).collect();
        assert!(chunks(0).all(|program| !kernels.contains(&program)));
    }

    #[test]
    fn a_bucket_keeps_the_two_newest() {
        let mut jumps = Jumps::new(64);
        let rip = 0x1000;
        (4..7).for_each(|id| jumps.insert(entry(rip, id)));
        assert_eq!(jumps.buckets[jumps.bucket(rip)], [entry(rip, 6), entry(rip, 5)]);
    }

    #[test]
    fn what_lies_somewhere_is_known_to_all_banks_of_a_family() {
        let mut jumps = Jumps::new(64);
        let mut user =
            |bank: u32, own_world, family| jumps.numbers(&mut { bank }, own_world, family)[USER_SLOT][1];
        assert_eq!(user(4, true, 7), user(8, false, 7));
        assert_ne!(user(4, true, 7), user(4, true, 9));
    }

    #[test]
    fn code_that_is_removed_is_not_found_by_where_it_lay() {
        let mut jumps = Jumps::new(64);
        jumps.insert(entry(0x1010, 6));
        jumps.remove(0x1010);
        assert!(jumps.buckets[jumps.bucket(0x1010)].iter().all(|known| known.rip != 0x1010));
    }

    #[test]
    fn an_empty_entry_is_for_no_address_of_its_bucket() {
        for count in [2, 64, 1 << 17] {
            let own = |&bucket: &usize| jump_bucket(JumpEntry::empty(bucket).rip, count) == bucket;
            assert_eq!((0..count).find(own), None);
        }
    }

    #[test]
    fn the_number_of_empty_entries_is_never_given() {
        let mut jumps = Jumps::new(64);
        let given = jumps.give();
        assert!(given > NOBODY && NOBODY != 0);
    }

    #[test]
    fn numbers_leave_room_for_the_slots() {
        let mut jumps = Jumps::new(64);
        assert_eq!((jumps.give(), jumps.give()), (4, 8));
    }

    #[test]
    fn numbers_end_before_they_come_again() {
        let mut jumps = Jumps { given: u32::MAX / 4 * 4 - 12, ..Jumps::new(64) };
        assert!(jumps.spent() && jumps.give().checked_add(4).is_some());
    }
}
