//! What a bank forgets and what it keeps.

use super::*;

const MODE: usize = 1;
static WATCH: u8 = 0;

fn page(large: bool, host: u64) -> Second {
    Second { large, host: host as *mut u8, watch: &raw const WATCH, write: true, global: false }
}

fn second_host(bank: &mut Bank, address: u64) -> Option<u64> {
    bank.find_second(MODE, address).map(|found| found.0 as u64)
}

#[test]
fn forgetting_one_address_of_a_large_page_forgets_all_of_it() {
    let mut bank = Bank::new().unwrap();
    bank.mark_size(0x20_0000, 2 << 20);
    bank.fill(MODE, 0x20_5000, 0x7000_5000 as *mut u8, true, false);
    bank.flush_page(0x3f_f123);
    assert_eq!(bank.lookup(MODE, 0x20_5000, false), None);
}

#[test]
fn forgetting_half_of_a_4_mib_page_forgets_the_other() {
    let mut bank = Bank::new().unwrap();
    bank.mark_size(0x40_0000, 4 << 20);
    bank.fill(MODE, 0x40_5000, 0x7000_5000 as *mut u8, true, false);
    bank.flush_page(0x60_0000);
    assert_eq!(bank.lookup(MODE, 0x40_5000, false), None);
}

#[test]
fn forgetting_an_address_of_a_1_gib_page_forgets_all_of_it() {
    let mut bank = Bank::new().unwrap();
    bank.mark_size(0x4000_0000, 1 << 30);
    bank.fill(MODE, 0x4000_5000, 0x7000_5000 as *mut u8, true, false);
    bank.flush_page(0x7fff_f000);
    assert_eq!(bank.lookup(MODE, 0x4000_5000, false), None);
}

#[test]
fn forgetting_a_small_page_keeps_its_neighbour() {
    let mut bank = Bank::new().unwrap();
    bank.mark_size(0x5000, 4096);
    bank.fill(MODE, 0x5000, 0x7000_5000 as *mut u8, true, false);
    bank.flush_page(0x6000);
    assert!(bank.lookup(MODE, 0x5000, false).is_some());
}

#[test]
fn the_second_level_forgets_a_page() {
    let mut bank = Bank::new().unwrap();
    bank.fill_second(MODE, 0x5000, page(false, 0x7000_0000));
    bank.flush_page(0x5abc);
    assert_eq!(second_host(&mut bank, 0x5000), None);
}

#[test]
fn a_large_entry_gives_the_small_page_within() {
    let mut bank = Bank::new().unwrap();
    bank.fill_second(MODE, 0x20_0000, page(true, 0x7000_0000));
    assert_eq!(second_host(&mut bank, 0x20_3456), Some(0x7000_3000));
}

#[test]
fn an_entry_is_its_modes_alone() {
    let mut bank = Bank::new().unwrap();
    bank.fill_second(0, 0x5000, page(false, 0x7000_0000));
    assert_eq!(second_host(&mut bank, 0x5000), None);
}

#[test]
fn global_pages_outlive_a_flush_that_keeps_them() {
    let mut bank = Bank::new().unwrap();
    bank.fill_second(MODE, 0x5000, Second { global: true, ..page(false, 0x7000_0000) });
    bank.flush(true);
    assert_eq!(second_host(&mut bank, 0x5000), Some(0x7000_0000));
}

#[test]
fn local_pages_do_not_outlive_it() {
    let mut bank = Bank::new().unwrap();
    bank.fill_second(MODE, 0x5000, page(false, 0x7000_0000));
    bank.flush(true);
    assert_eq!(second_host(&mut bank, 0x5000), None);
}

#[test]
fn no_entry_comes_back_when_the_generations_begin_anew() {
    let mut bank = Bank::new().unwrap();
    bank.fill_second(MODE, 0x5000, page(false, 0x7000_0000));
    let came_back = (0..2 * GENERATIONS).any(|_| {
        bank.flush(false);
        second_host(&mut bank, 0x5000).is_some()
    });
    assert!(!came_back);
}

/// Addresses that a table might take for one of its own: every tag that stands for "no page", its negative, every single bit, and
/// the neighbours of all of them by a byte and by a page.
fn suspects() -> Vec<u64> {
    let bits = (0..64).map(|bit| 1u64 << bit);
    let pages = (0..TLB_ENTRIES).map(tlb_no_tag);
    let jumps = (0..JUMP_ENTRIES).map(jump_no_tag);
    let both_signs = bits.chain(pages).chain(jumps).chain([0, u64::MAX]).flat_map(|a| [a, a.wrapping_neg()]);
    let near = [0i64, 1, -1, 8, -8, 4095, -4095, 4096, -4096];
    both_signs.flat_map(|a| near.map(|n| a.wrapping_add_signed(n))).collect()
}

/// The suspects of each entry of the TLB: a class by its upper bits, and an index.
fn suspects_at(index: usize) -> impl Iterator<Item = u64> {
    let uppers = (23..64).flat_map(|bit| [1u64 << bit, (1u64 << bit).wrapping_neg()]).chain([0, u64::MAX]);
    uppers.map(move |upper| upper & !0x7f_ffff | (index as u64) << 12)
}

fn all_suspects() -> impl Iterator<Item = u64> {
    suspects().into_iter().chain((0..TLB_ENTRIES).flat_map(suspects_at))
}

/// Whether the entry at the skewed index has an address.
fn skewed(bank: &mut Bank, mode: usize, address: u64, write: bool) -> bool {
    let entry = bank.at(mode, layout::tlb_skewed_index(address));
    address.wrapping_add(if write { entry.write } else { entry.read }) < 4096
}

/// Suspects that the first level takes for a page that it has, by one index or the other.
fn taken(bank: &mut Bank, write: bool) -> Vec<u64> {
    let modes = (0..TLB_MODES).flat_map(|mode| all_suspects().map(move |address| (mode, address)));
    modes
        .filter(|&(mode, address)| {
            bank.lookup(mode, address, write).is_some() || skewed(bank, mode, address, write)
        })
        .map(|a| a.1)
        .collect()
}

/// A page for entry `index`, away from all suspects.
fn page_of(index: usize) -> u64 {
    0x1234_5680_0000 | (index as u64) << 12
}

fn full(write: bool) -> Bank {
    let mut bank = Bank::new().unwrap();
    for mode in 0..TLB_MODES {
        for index in 0..TLB_ENTRIES {
            bank.fill(mode, page_of(index), 0x7000_0000 as *mut u8, write, index % 2 == 0);
        }
    }
    bank
}

#[test]
fn no_address_hits_an_empty_entry() {
    let mut bank = Bank::new().unwrap();
    assert_eq!((taken(&mut bank, false), taken(&mut bank, true)), (vec![], vec![]));
}

#[test]
fn no_address_hits_an_entry_for_another() {
    let mut bank = full(true);
    assert_eq!((taken(&mut bank, false), taken(&mut bank, true)), (vec![], vec![]));
}

#[test]
fn no_address_can_be_written_by_an_entry_for_reading() {
    let mut bank = full(false);
    let own = (0..TLB_ENTRIES).filter(|&index| bank.lookup(MODE, page_of(index), true).is_some());
    assert_eq!((own.count(), taken(&mut bank, true)), (0, vec![]));
}

#[test]
fn no_address_can_be_written_by_an_entry_that_was_protected() {
    let mut bank = full(true);
    bank.protect(0x7000_0000 as *mut u8);
    let own = (0..TLB_ENTRIES).filter(|&index| bank.lookup(MODE, page_of(index), true).is_some());
    assert_eq!((own.count(), taken(&mut bank, true)), (0, vec![]));
}

#[test]
fn no_address_hits_an_entry_that_was_forgotten() {
    for forget in [
        |bank: &mut Bank| bank.flush(true),
        |bank: &mut Bank| bank.flush(false),
        |bank: &mut Bank| (0..TLB_ENTRIES).for_each(|index| bank.flush_page(page_of(index))),
        |bank: &mut Bank| {
            bank.mark_size(page_of(0), 2 << 20);
            bank.flush_page(page_of(0));
        },
    ] {
        let mut bank = full(true);
        forget(&mut bank);
        assert_eq!((taken(&mut bank, false), taken(&mut bank, true)), (vec![], vec![]));
    }
}

#[test]
fn pages_that_share_an_entry_share_none_at_the_skewed_index() {
    for page in [0, 0x5000, 0x7fff_f7a1_2000, 0xffff_8000_0000_0000] {
        let sharing: HashSet<usize> = (0..1024).map(|n| layout::tlb_skewed_index(page ^ n << 23)).collect();
        assert_eq!((sharing.len(), layout::tlb_index(page)), (1024, layout::tlb_index(page ^ 1 << 23)));
    }
}

#[test]
fn entry_0_of_the_jump_tables_stays_empty() {
    let mut bank = Bank::new().unwrap();
    let key = bank.slot_keys[0];
    let rip = (0..).find(|&rip| rip != 0 && layout::jump_index(rip) == 0).unwrap();
    bank.set_jump(0, key, rip, 0x1000);
    assert_eq!(bank.jump(0, key, rip), None);
}

#[test]
fn an_empty_entry_leads_to_a_page_that_cannot_be_accessed() {
    let mut bank = Bank::new().unwrap();
    let host = bank.entry(MODE, 0x5000).host;
    assert_eq!(crate::boundary::tests::touch(host).unwrap_err().address, host);
}

#[test]
fn no_address_hits_an_entry_of_the_second_level_for_another() {
    let mut bank = Bank::new().unwrap();
    for index in 0..SMALL_ENTRIES {
        bank.fill_second(MODE, page_of(index), page(false, 0x7000_0000));
    }
    for index in 0..LARGE_ENTRIES as u64 {
        bank.fill_second(MODE, 0x2345_0000_0000 | index << LARGE_SHIFT, page(true, 0x7000_0000));
    }
    for _ in 0..2 {
        let taken = all_suspects().find(|&address| second_host(&mut bank, address).is_some());
        assert_eq!(taken, None);
        bank.flush(false);
    }
}

#[test]
fn no_address_hits_an_empty_jump() {
    let mut bank = Bank::new().unwrap();
    let key = bank.slot_keys[0];
    for _ in 0..2 {
        let taken =
            all_suspects().find(|&rip| (0..JUMP_SLOTS).any(|slot| bank.jump(slot, key, rip).is_some()));
        assert_eq!(taken, None);
        (0..JUMP_SLOTS).for_each(|slot| bank.set_jump(slot, key, 0x1234_5678, 0x1000));
        bank.flush_jumps();
    }
}

#[test]
fn no_address_hits_an_empty_fetch() {
    let mut bank = Bank::new().unwrap();
    let shared = crate::mmu::shared::SharedFetch::default();
    let taken = all_suspects().find(|&rip| {
        [false, true].into_iter().any(|user| bank.fetch(rip, user).or(shared.find(0, rip, user)).is_some())
    });
    assert_eq!(taken, None);
}

#[test]
fn large_pages_all_over_the_address_space_are_remembered_up_to_a_bound() {
    let mut bank = Bank::new().unwrap();
    for n in 0..100_000u64 {
        bank.mark_size(n << 21, 2 << 20);
        bank.mark_size(n << 30, 1 << 30);
        assert!(bank.large.len() + bank.giant.len() <= MOST_LARGE + 3);
    }
}

#[test]
fn address_spaces_without_end_share_a_number_of_banks() {
    let mut banks = Banks::new().unwrap();
    for n in 0..1000 {
        banks.select(Tag { asid: n, nested_root: 0, pcid: 7 }).unwrap();
    }
    assert_eq!(banks.all().count(), BANKS);
}

/// APM vol. 3, INVLPG: of other PCIDs only global pages go, wherever they are.
#[test]
fn invlpg_reaches_other_pcids_for_global_pages_only() {
    let mut cpu =
        crate::Cpu::new(&crate::construct::CpuSpec::uniprocessor(&[(0, 0x10000)]).unwrap()).unwrap();
    cpu.processor.regs.cr4 |= ireko_x86::bits::cr4::PCIDE;
    let tag = |pcid| Tag { asid: 0, nested_root: 0, pcid };
    let mut kept = |address: u64, global: bool| {
        cpu.mmu.banks.select(tag(7)).unwrap();
        cpu.mmu.banks.current().flush(false);
        cpu.mmu.banks.current().fill(MODE, address, std::ptr::without_provenance_mut(0x10000), true, global);
        cpu.processor.regs.cr3 = 3;
        cpu.cr3_loaded(true);
        cpu.flush_page(address);
        cpu.mmu.banks.select(tag(7)).unwrap();
        cpu.mmu.banks.current().lookup(MODE, address, false).is_some()
    };
    let high = 0xffff_8000_0000_5000;
    assert_eq!([kept(0x5000, false), kept(0x5000, true), kept(high, true)], [true, false, false]);
}
