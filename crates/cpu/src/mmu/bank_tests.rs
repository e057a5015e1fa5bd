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
