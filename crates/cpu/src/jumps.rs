//! The second level of the jump tables: where the code of a guest address is, for all banks.
//!
//! Translated code asks it when its bank's table does not know ([`ireko_translate::lookup`]). Code of global pages is
//! there once for all address spaces of the processor's own world, so that a new process finds the kernel's code.

use crate::Cpu;
use ireko_translate::Key;
use ireko_translate::layout::{JUMP_BUCKETS, JUMP_SLOTS, JumpEntry, jump_bucket};
use ireko_x86::bits::cr4;

/// The slot that has no second level: it changes its key too often.
const LAST: usize = JUMP_SLOTS - 1;

pub struct Jumps {
    buckets: Box<[[JumpEntry; 2]]>,
    /// The highest number given out so far: one for each slot of an owner, from [`JUMP_SLOTS`] on.
    given: u32,
    shared: Shared,
}

/// Code of global pages.
struct Shared {
    id: u32,
    family: u64,
    /// A bit for each 2 MiB (hashed) that an entry came from, or one of [`Cpu::shared_fetch`]. Larger pages are not shared.
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

/// Whose a number is, of whatever slot.
fn owner(id: u32) -> u32 {
    id / JUMP_SLOTS as u32
}

fn empty(bucket: usize) -> [JumpEntry; 2] {
    [JumpEntry::empty(bucket); 2]
}

impl Default for Jumps {
    fn default() -> Self {
        let buckets = (0..JUMP_BUCKETS).map(empty).collect();
        let shared = Shared { id: 0, family: u64::MAX, chunks: [0; CHUNKS / 64] };
        Self { buckets, given: 0, shared }
    }
}

impl Jumps {
    /// For translated code.
    pub fn address(&self) -> u64 {
        self.buckets.as_ptr() as u64
    }

    /// Less than two numbers are left.
    fn spent(&self) -> bool {
        self.given > u32::MAX - 3 * JUMP_SLOTS as u32
    }

    /// A number that no entry has.
    fn give(&mut self) -> u32 {
        self.given += JUMP_SLOTS as u32;
        self.given
    }

    /// The newest entry of a bucket comes first, the older one of the two goes.
    fn insert(&mut self, entry: JumpEntry) {
        let bucket = &mut self.buckets[jump_bucket(entry.rip)];
        if (bucket[0].rip, bucket[0].id) != (entry.rip, entry.id) {
            bucket[1] = bucket[0];
        }
        bucket[0] = entry;
    }

    /// Enters what may be asked for soon, in place of what none of `owners` has.
    pub(crate) fn offer(&mut self, entry: JumpEntry, owners: [u32; 2]) {
        let bucket = &mut self.buckets[jump_bucket(entry.rip)];
        if bucket.iter().all(|known| (known.rip, known.id) != (entry.rip, entry.id))
            && let Some(place) = bucket.iter_mut().rev().find(|known| !owners.contains(&owner(known.id)))
        {
            *place = entry;
        }
    }

    fn wipe(&mut self) {
        self.buckets.iter_mut().enumerate().for_each(|(n, bucket)| *bucket = empty(n));
        self.given = 0;
        self.forget_shared();
    }

    fn forget_shared(&mut self) {
        self.shared.id = 0;
    }
}

impl Cpu {
    /// What the keys of all slots but the last have in common; RDTSC's differs by privilege where CR4.TSD is on.
    fn family(&self, key: Key) -> u64 {
        let disabled = self.processor.regs.cr4 & cr4::TSD != 0;
        let routine = self.rdtsc_routine();
        u64::from(key.family()) | u64::from(disabled) << 32 | u64::from(routine) << 33
    }

    /// Code of one slot jumps to another without a look at keys, so the tables of a bank are of one family.
    pub(crate) fn join_family(&mut self, key: Key) {
        if key.slot() == LAST {
            return;
        }
        let family = self.family(key);
        let bank = self.mmu.banks.current();
        if bank.family != family {
            bank.flush_jumps();
            bank.family = family;
        }
    }

    /// Enters the block at `rip` in the second level.
    pub(crate) fn remember_jump(&mut self, slot: usize, rip: u64, block: u32) {
        let user = self.processor.regs.cpl == 3;
        let global = self.shared_code(rip);
        self.mmu.banks.current().local_kernel |= !global && !user;
        if slot == LAST || !self.tuning.jump_cache {
            return;
        }
        let ids = self.jump_ids()[slot];
        let code = self.code.blocks[block as usize].code;
        self.code.jumps.insert(JumpEntry { rip, id: ids[usize::from(global)], code });
        self.mmu.banks.current().hot_mut().jump_ids = self.jump_ids();
    }

    /// Once for each page that an address space jumps to: what was translated of it in others, by the same address, is known here, too.
    pub(crate) fn remember_page(&mut self, slot: usize, block: u32) {
        let (rip, user) = (self.processor.regs.rip, self.processor.regs.cpl == 3);
        let bank = self.mmu.banks.current();
        if slot == LAST || !self.tuning.jump_cache || bank.fetch_global(rip, user) || !bank.first_jump_to(rip)
        {
            return;
        }
        let ids = self.jump_ids()[slot];
        let owners = ids.map(owner);
        self.code.offer_beside(block, ids[0], owners);
    }

    /// The numbers of the entries that the current bank may use: its own, and the shared ones.
    pub(crate) fn jump_ids(&mut self) -> [[u32; 2]; JUMP_SLOTS] {
        if self.code.jumps.spent() {
            self.mmu.banks.all().for_each(|bank| bank.flush_jumps());
            self.code.jumps.wipe();
        }
        let bank = self.mmu.banks.current();
        let (own_world, family) = (bank.tag.is_some_and(|t| t.asid == 0), bank.family);
        if own_world && self.code.jumps.shared.family != family {
            self.code.jumps.forget_shared();
            self.code.jumps.shared.family = family;
        }
        if bank.jump_id == 0 {
            bank.jump_id = self.code.jumps.give();
        }
        if own_world && self.code.jumps.shared.id == 0 {
            self.code.jumps.shared.id = self.code.jumps.give();
        }
        let own = self.mmu.banks.current().jump_id;
        let shared = if own_world { self.code.jumps.shared.id } else { own };
        std::array::from_fn(|slot| [own + slot as u32, shared + slot as u32])
    }

    /// All that is known of jumps goes.
    pub(crate) fn forget_jumps(&mut self) {
        self.mmu.banks.all().for_each(|bank| bank.flush_jumps());
        self.code.jumps.forget_shared();
    }

    /// Whether the code at an address, which was just fetched, is the same in all address spaces of the processor's own
    /// world.
    pub(crate) fn shared_code(&mut self, address: u64) -> bool {
        let user = self.processor.regs.cpl == 3;
        let bank = self.mmu.banks.current();
        let shared = bank.tag.is_some_and(|t| t.asid == 0) && bank.fetch_global(address, user);
        if shared {
            let (word, bit) = chunk(address);
            self.code.jumps.shared.chunks[word] |= bit;
        }
        shared
    }

    /// Code was fetched from a global page at `address`, for all banks.
    pub(crate) fn share_fetch(&mut self, asid: u32, address: u64, user: bool, physical: u64) {
        self.mmu.shared_fetch.keep(asid, address, user, physical);
        let (word, bit) = chunk(address);
        self.code.jumps.shared.chunks[word] |= bit;
    }

    /// Global pages of a world are flushed.
    pub(crate) fn forget_shared(&mut self, asid: u32) {
        if asid == 0 {
            self.mmu.shared_fetch.forget();
            self.mmu.banks.of(0).for_each(|bank| bank.flush_jumps());
            self.code.jumps.forget_shared();
            self.code.jumps.shared.chunks = [0; CHUNKS / 64];
            self.code.unlink_far();
        }
    }

    /// One page of a world is flushed, of up to 2 MiB.
    pub(crate) fn forget_shared_at(&mut self, asid: u32, address: u64) {
        let (word, bit) = chunk(address);
        if self.code.jumps.shared.chunks[word] & bit != 0 {
            self.forget_shared(asid);
        }
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
    fn a_new_address_space_knows_all_of_a_page_that_it_jumps_to() {
        let mut cpu = Cpu::new(&crate::cpu::CpuSpec::lone(&[(0, 1 << 20)]).unwrap()).unwrap();
        cpu.processor.regs.efer = ireko_x86::bits::efer::LME | ireko_x86::bits::efer::LMA;
        cpu.processor.regs.seg[ireko_x86::regs::seg::CS].attr = 0xa9b;
        let key = cpu.key();
        let block = |cpu: &mut Cpu, rip| {
            cpu.write_physical(rip, &[0xeb, 0xfe]);
            cpu.processor.regs.rip = rip;
            cpu.block(key).unwrap()
        };
        let blocks = [0x1ffe, 0x1010, 0x1000, 0x2000].map(|rip| block(&mut cpu, rip));
        cpu.join_family(key);
        cpu.mmu.banks.current().flush_jumps();
        cpu.processor.regs.rip = 0x1000;
        cpu.remember_page(key.slot(), blocks[2]);
        let id = cpu.jump_ids()[key.slot()][0];
        let knows = |rip| cpu.code.jumps.buckets[jump_bucket(rip)].iter().any(|e| (e.rip, e.id) == (rip, id));
        assert_eq!([0x1000, 0x1010, 0x1ffe, 0x2000].map(knows), [true, true, true, false]);
    }

    #[test]
    fn no_programs_page_is_taken_for_a_kernels() {
        let chunks = |first: u64| (0..1u64 << 14).map(move |n| chunk(first + (n << 21)));
        let kernels: std::collections::HashSet<_> = chunks(0xffff_8000_0000_0000).collect();
        assert!(chunks(0).all(|program| !kernels.contains(&program)));
    }

    #[test]
    fn a_bucket_keeps_the_two_newest() {
        let mut jumps = Jumps::default();
        let rip = 0x1000;
        (4..7).for_each(|id| jumps.insert(entry(rip, id)));
        assert_eq!(jumps.buckets[jump_bucket(rip)], [entry(rip, 6), entry(rip, 5)]);
    }

    #[test]
    fn what_is_offered_drives_nothing_out_that_is_in_use() {
        let mut jumps = Jumps::default();
        let rip = 0x1000;
        let owners = [owner(4), owner(8)];
        [8, 12].into_iter().for_each(|id| jumps.insert(entry(rip, id)));
        jumps.offer(entry(rip, 4), owners);
        assert_eq!(jumps.buckets[jump_bucket(rip)], [entry(rip, 4), entry(rip, 8)]);
        jumps.offer(entry(rip, 5), owners);
        assert_eq!(jumps.buckets[jump_bucket(rip)], [entry(rip, 4), entry(rip, 8)]);
    }

    #[test]
    fn an_empty_entry_is_for_no_address_of_its_bucket() {
        assert_eq!(
            (0..JUMP_BUCKETS).find(|&bucket| jump_bucket(JumpEntry::empty(bucket).rip) == bucket),
            None
        );
    }

    #[test]
    fn the_number_of_empty_entries_is_never_given() {
        let mut jumps = Jumps::default();
        let given = jumps.give();
        assert!(given > NOBODY && NOBODY != 0);
    }

    #[test]
    fn numbers_leave_room_for_the_slots() {
        let mut jumps = Jumps::default();
        assert_eq!((jumps.give(), jumps.give()), (4, 8));
    }

    #[test]
    fn numbers_end_before_they_come_again() {
        let mut jumps = Jumps { given: u32::MAX / 4 * 4 - 8, ..Jumps::default() };
        assert!(jumps.spent() && jumps.give().checked_add(4).is_some());
    }
}
