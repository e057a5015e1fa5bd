//! Walks over a fake memory, one fact each.

use super::*;
use ireko_nested::Stage2Tables;
use ireko_x86::bits::efer;
use ireko_x86::paging::ept;
use std::cell::RefCell;
use std::collections::BTreeMap;

const P: u64 = entry::P;
const RW: u64 = entry::RW;
const US: u64 = entry::US;
const A: u64 = entry::A;
const D: u64 = entry::D;
const PS: u64 = entry::PS;

/// Entries by address; every address below 16 MiB has memory.
#[derive(Default)]
struct Fake {
    cells: RefCell<BTreeMap<u64, u64>>,
    /// Fails this many updates, as if another processor had been faster.
    busy: RefCell<usize>,
}

impl Fake {
    fn with(cells: &[(u64, u64)]) -> Self {
        Self { cells: RefCell::new(cells.iter().copied().collect()), busy: RefCell::new(0) }
    }
    fn at(&self, address: u64) -> u64 {
        self.cells.borrow().get(&address).copied().unwrap_or(0)
    }
}

impl Tables for Fake {
    fn read(&self, address: u64, size: usize) -> Option<u64> {
        let value = self.at(address);
        (address < 16 << 20).then_some(if size == 4 { value & 0xffff_ffff } else { value })
    }
    fn set_bits(&self, address: u64, _: usize, old: u64, bits: u64) -> bool {
        if *self.busy.borrow() > 0 {
            *self.busy.borrow_mut() -= 1;
            return false;
        }
        let same = self.at(address) == old;
        if same {
            self.cells.borrow_mut().insert(address, old | bits);
        }
        same
    }
}

const fn access(kind: Kind, user: bool) -> Access {
    Access { kind, user, smap_override: false }
}
const READ: Access = access(Kind::Read, false);
const WRITE: Access = access(Kind::Write, false);
const FETCH: Access = access(Kind::Fetch, false);
const USER_READ: Access = access(Kind::Read, true);
const USER_WRITE: Access = access(Kind::Write, true);
const USER_FETCH: Access = access(Kind::Fetch, true);

fn long(cr4: u64) -> Paging {
    Paging {
        cr0: cr0::PG | cr0::PE | cr0::WP,
        cr3: 0x1000,
        cr4: cr4 | cr4::PAE,
        efer: efer::LME | efer::LMA | efer::NXE,
        pdpte: [0; 4],
        pkru: None,
        stage2: None,
    }
}

fn legacy(cr4: u64) -> Paging {
    Paging { cr4, efer: 0, ..long(0) }
}

fn pae() -> Paging {
    Paging { efer: efer::NXE, pdpte: [0x2001, 0, 0, 0], ..long(0) }
}

/// Linear 0 in four levels, each entry with `flags`, the page at 0x5000 with `leaf`.
fn four_levels(flags: u64, leaf: u64) -> Fake {
    Fake::with(&[
        (0x1000, 0x2000 | flags),
        (0x2000, 0x3000 | flags),
        (0x3000, 0x4000 | flags),
        (0x4000, 0x5000 | leaf),
    ])
}

fn error(result: Result<Page, WalkFault>) -> u32 {
    match result {
        Err(WalkFault::Page { error }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_paging_linear_is_physical_in_32_bits() {
    let paging = Paging { cr0: cr0::PE, ..long(0) };
    let page = walk(&Fake::default(), &paging, 0x1_0000_1234, WRITE).unwrap();
    assert_eq!((page.physical, page.write, page.execute), (0x1234, true, true));
}

#[test]
fn a_long_mode_walk_finds_the_page_and_keeps_the_offset() {
    let page = walk(&four_levels(P | RW | US, P | RW | US), &long(0), 0xabc, READ).unwrap();
    assert_eq!((page.physical, page.guest_physical, page.size), (0x5abc, 0x5abc, 4096));
}

#[test]
fn each_level_takes_its_nine_bits_of_the_address() {
    let fake =
        Fake::with(&[(0x1008, 0x2000 | P), (0x2010, 0x3000 | P), (0x3018, 0x4000 | P), (0x4020, 0x5000 | P)]);
    let linear = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 5;
    assert_eq!(walk(&fake, &long(0), linear, READ).unwrap().physical, 0x5005);
}

/// APM vol. 2, figure 5-17 and after: the fifth level takes bits 56:48.
#[test]
fn with_la57_a_fifth_level_takes_nine_more() {
    let fake = Fake::with(&[
        (0x1030, 0x6000 | P),
        (0x6008, 0x2000 | P),
        (0x2010, 0x3000 | P),
        (0x3018, 0x4000 | P),
        (0x4020, 0x5000 | P),
    ]);
    let linear = 6 << 48 | 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 5;
    assert_eq!(walk(&fake, &long(cr4::LA57), linear, READ).unwrap().physical, 0x5005);
    assert_eq!(fake.at(0x1030) & A, A);
}

/// APM vol. 2, 15.25.3: nested tables are of the host's mode.
#[test]
fn with_the_hosts_la57_nested_tables_have_a_fifth_level() {
    let fake = nested(four_levels(P | RW | US, P | RW | US), backed);
    fake.cells.borrow_mut().insert(0x7f000, 0x80000 | P | RW | US);
    let mut paging = under(long(0));
    let own = own_tables(cr4::PAE | cr4::LA57, efer::LMA | efer::NXE);
    paging.stage2 = Some(Stage2 { root: 0x7f000, ..own });
    assert_eq!(walk(&fake, &paging, 0x123, WRITE).unwrap().physical, 0x10_5123);
}

#[test]
fn a_read_sets_a_in_every_entry_and_d_in_none() {
    let fake = four_levels(P | RW, P | RW);
    walk(&fake, &long(0), 0, READ).unwrap();
    let bits = [0x1000, 0x2000, 0x3000, 0x4000].map(|place| fake.at(place) & (A | D));
    assert_eq!(bits, [A; 4]);
}

#[test]
fn a_write_sets_d_in_the_leaf_only() {
    let fake = four_levels(P | RW, P | RW);
    walk(&fake, &long(0), 0, WRITE).unwrap();
    assert_eq!([fake.at(0x3000) & D, fake.at(0x4000) & D], [0, D]);
}

#[test]
fn a_denied_write_sets_nothing() {
    let fake = four_levels(P | RW, P);
    walk(&fake, &long(0), 0, WRITE).unwrap_err();
    assert_eq!([fake.at(0x1000) & A, fake.at(0x4000) & (A | D)], [0, 0]);
}

#[test]
fn a_read_of_a_clean_page_does_not_let_writes_skip_the_walk() {
    assert!(!walk(&four_levels(P | RW, P | RW), &long(0), 0, READ).unwrap().write);
}

#[test]
fn a_read_of_a_dirty_page_lets_writes_skip_the_walk() {
    assert!(walk(&four_levels(P | RW, P | RW | D), &long(0), 0, READ).unwrap().write);
}

#[test]
fn an_entry_that_changes_under_the_walk_starts_it_again() {
    let fake = four_levels(P | RW, P | RW);
    *fake.busy.borrow_mut() = 3;
    assert!(walk(&fake, &long(0), 0, WRITE).unwrap().write);
}

#[test]
fn entries_that_never_hold_still_end_as_a_spurious_fault() {
    let fake = four_levels(P | RW, P | RW);
    *fake.busy.borrow_mut() = usize::MAX;
    assert_eq!(error(walk(&fake, &long(0), 0, WRITE)), pf::WRITE);
}

#[test]
fn not_present_says_so_by_a_clear_p() {
    assert_eq!(error(walk(&four_levels(P, 0), &long(0), 0, USER_WRITE)), pf::WRITE | pf::USER);
}

#[test]
fn tables_outside_memory_are_not_present() {
    let fake = Fake::with(&[(0x1000, 0x7f_0000_0000 | P)]);
    assert_eq!(error(walk(&fake, &long(0), 0, READ)), 0);
}

#[test]
fn a_user_access_needs_u_at_every_level() {
    let fake = four_levels(P | RW, P | RW | US);
    assert_eq!(error(walk(&fake, &long(0), 0, USER_READ)), pf::PRESENT | pf::USER);
}

#[test]
fn a_user_write_needs_w_at_every_level() {
    let fake = four_levels(P | US, P | RW | US);
    assert_eq!(error(walk(&fake, &long(0), 0, USER_WRITE)), pf::PRESENT | pf::USER | pf::WRITE);
}

#[test]
fn without_wp_the_supervisor_writes_read_only_pages() {
    let paging = Paging { cr0: cr0::PG | cr0::PE, ..long(0) };
    assert!(walk(&four_levels(P, P), &paging, 0, WRITE).unwrap().write);
}

#[test]
fn without_wp_the_user_still_may_not_write_read_only_pages() {
    let paging = Paging { cr0: cr0::PG | cr0::PE, ..long(0) };
    let fake = four_levels(P | US, P | US);
    assert_eq!(error(walk(&fake, &paging, 0, USER_WRITE)), pf::PRESENT | pf::USER | pf::WRITE);
}

#[test]
fn nx_at_any_level_forbids_fetching() {
    let fake = Fake::with(&[
        (0x1000, 0x2000 | P | US | entry::NX),
        (0x2000, 0x3000 | P | US),
        (0x3000, 0x4000 | P | US),
        (0x4000, 0x5000 | P | US),
    ]);
    assert_eq!(error(walk(&fake, &long(0), 0, USER_FETCH)), pf::PRESENT | pf::USER | pf::FETCH);
    assert!(!walk(&fake, &long(0), 0, USER_READ).unwrap().execute);
}

#[test]
fn nx_is_reserved_while_nxe_is_off() {
    let paging = Paging { efer: efer::LMA | efer::LME, ..long(0) };
    let fake = four_levels(P, P | entry::NX);
    assert_eq!(error(walk(&fake, &paging, 0, READ)), pf::PRESENT | pf::RESERVED);
}

#[test]
fn a_fetch_is_not_told_of_without_nx_and_smep() {
    let paging = Paging { efer: efer::LMA | efer::LME, ..long(0) };
    assert_eq!(error(walk(&four_levels(P, 0), &paging, 0, USER_FETCH)), pf::USER);
}

#[test]
fn smep_forbids_the_supervisor_to_fetch_user_pages() {
    let fake = four_levels(P | US, P | US);
    assert_eq!(error(walk(&fake, &long(cr4::SMEP), 0, FETCH)), pf::PRESENT | pf::FETCH);
    assert!(walk(&fake, &long(0), 0, FETCH).is_ok());
}

#[test]
fn smap_forbids_the_supervisor_to_read_user_pages() {
    let fake = four_levels(P | US, P | US);
    assert_eq!(error(walk(&fake, &long(cr4::SMAP), 0, READ)), pf::PRESENT);
}

#[test]
fn ac_lifts_smap() {
    let fake = four_levels(P | RW | US, P | RW | US);
    let access = Access { smap_override: true, ..WRITE };
    assert!(walk(&fake, &long(cr4::SMAP), 0, access).unwrap().write);
}

#[test]
fn smap_leaves_fetches_alone_but_marks_the_page_unreadable() {
    let page = walk(&four_levels(P | US, P | US), &long(cr4::SMAP), 0, FETCH).unwrap();
    assert_eq!((page.read, page.execute), (false, true));
}

#[test]
fn smap_leaves_supervisor_pages_alone() {
    assert!(walk(&four_levels(P | US, P), &long(cr4::SMAP), 0, READ).unwrap().read);
}

#[test]
fn address_bits_that_the_processor_lacks_are_reserved() {
    let fake = four_levels(P, P | 1 << 51);
    assert_eq!(error(walk(&fake, &long(0), 0, READ)), pf::PRESENT | pf::RESERVED);
}

#[test]
fn a_reserved_bit_comes_before_a_lower_level_that_is_not_present() {
    let fake = Fake::with(&[(0x1000, 0x2000 | P | PS), (0x2000, 0)]);
    assert_eq!(error(walk(&fake, &long(0), 0, READ)), pf::PRESENT | pf::RESERVED);
}

#[test]
fn a_one_gib_page_maps_thirty_bits() {
    let fake = Fake::with(&[(0x1000, 0x2000 | P), (0x2000, 0x4000_0000 | P | PS)]);
    let page = walk(&fake, &long(0), 0x3fff_ffff, READ).unwrap();
    assert_eq!((page.physical, page.size), (0x7fff_ffff, 1 << 30));
}

#[test]
fn a_misplaced_one_gib_page_is_reserved() {
    let fake = Fake::with(&[(0x1000, 0x2000 | P), (0x2000, 0x4020_0000 | P | PS)]);
    assert_eq!(error(walk(&fake, &long(0), 0, READ)), pf::PRESENT | pf::RESERVED);
}

#[test]
fn a_two_mib_page_maps_twentyone_bits_and_may_have_pat() {
    let fake = Fake::with(&[(0x1000, 0x2000 | P), (0x2000, 0x3000 | P), (0x3000, 0x60_1000 | P | PS)]);
    let page = walk(&fake, &long(0), 0x1f_0001, READ).unwrap();
    assert_eq!((page.physical, page.size), (0x7f_0001, 2 << 20));
}

#[test]
fn g_counts_only_with_pge() {
    let fake = four_levels(P, P | entry::G);
    let global = [long(0), long(cr4::PGE)].map(|paging| walk(&fake, &paging, 0, READ).unwrap().global);
    assert_eq!(global, [false, true]);
}

#[test]
fn legacy_tables_have_two_levels_of_ten_bits() {
    let fake = Fake::with(&[(0x1ffc, 0x2000 | P), (0x2ffc, 0x5000 | P)]);
    assert_eq!(walk(&fake, &legacy(0), 0xffff_f123, READ).unwrap().physical, 0x5123);
}

#[test]
fn a_four_mib_page_needs_pse() {
    let fake = Fake::with(&[(0x1000, 0x40_0000 | P | PS)]);
    assert_eq!(walk(&fake, &legacy(cr4::PSE), 0x12_3456, READ).unwrap().physical, 0x52_3456);
    assert_eq!(error(walk(&fake, &legacy(0), 0x12_3456, READ)), 0);
}

#[test]
fn pse36_puts_four_mib_pages_above_four_gib() {
    let fake = Fake::with(&[(0x1000, 0x40_0000 | 1 << 13 | P | PS)]);
    assert_eq!(walk(&fake, &legacy(cr4::PSE), 0, READ).unwrap().physical, 0x1_0040_0000);
}

#[test]
fn pae_takes_its_top_entries_from_the_processor() {
    let fake = Fake::with(&[(0x2008, 0x3000 | P), (0x3000, 0x5000 | P)]);
    assert_eq!(walk(&fake, &pae(), 0x20_0010, READ).unwrap().physical, 0x5010);
    assert_eq!(error(walk(&fake, &pae(), 0x4000_0000, READ)), 0);
}

#[test]
fn pae_reserves_the_bits_above_the_address() {
    let fake = Fake::with(&[(0x2000, 0x3000 | P), (0x3000, 0x5000 | P | 1 << 55)]);
    assert_eq!(error(walk(&fake, &pae(), 0, READ)), pf::PRESENT | pf::RESERVED);
}

#[test]
fn loading_pdptes_reads_four_and_refuses_reserved_bits() {
    let fake = Fake::with(&[(0x1020, 0x2001), (0x1038, 0x3001)]);
    assert_eq!(load_pdptes(&fake, 0x1020), Some([0x2001, 0, 0, 0x3001]));
    assert_eq!(load_pdptes(&Fake::with(&[(0x1020, 0x2001 | RW)]), 0x1020), None);
}

// ---- nested paging: the guest's tables at guest-physical 0x1000.., backed 0x100000 higher ----

/// Nested tables at 0x80000 that map guest-physical 0..2 MiB page by page 1 MiB higher; the guest's tables there.
fn nested(guest: Fake, leaf: impl Fn(u64) -> u64) -> Fake {
    let cells = guest.cells.into_inner();
    let fake = Fake::with(&[]);
    {
        let mut all = fake.cells.borrow_mut();
        all.extend(cells.into_iter().map(|(place, value)| (place + 0x10_0000, value)));
        for (place, next) in [(0x80000, 0x81000), (0x81000, 0x82000), (0x82000, 0x83000)] {
            all.insert(place, next | P | RW | US);
        }
        for frame in 0..16 {
            all.insert(0x83000 + 8 * frame, leaf(frame));
        }
    }
    fake
}

fn backed(frame: u64) -> u64 {
    (0x10_0000 + (frame << 12)) | P | RW | US
}

fn under(paging: Paging) -> Paging {
    let stage2 = own_tables(cr4::PAE, efer::LMA | efer::NXE);
    Paging { stage2: Some(stage2), ..paging }
}

fn own_tables(cr4: u64, efer: u64) -> Stage2 {
    Stage2 { root: 0x80000, tables: Stage2Tables::Own { cr4, efer } }
}

/// The address, whether it is a table's, what was tried, and what was found.
fn nested_fault(result: Result<Page, WalkFault>) -> (u64, bool, Stage2Access, Found) {
    match result {
        Err(WalkFault::Stage2(fault)) => (fault.address, fault.table, fault.access, fault.found),
        other => panic!("{other:?}"),
    }
}

const NO_WRITE: Found = Found::Less { read: true, write: false, execute: true };
const NO_EXECUTE: Found = Found::Less { read: true, write: true, execute: false };
const NO_RIGHTS: Found = Found::Less { read: false, write: false, execute: false };

#[test]
fn both_stages_compose() {
    let fake = nested(four_levels(P | RW | US, P | RW | US), backed);
    let page = walk(&fake, &under(long(0)), 0x123, WRITE).unwrap();
    assert_eq!((page.physical, page.guest_physical, page.write), (0x10_5123, 0x5123, true));
}

#[test]
fn stage_two_alone_translates_an_unpaged_guest() {
    let paging = Paging { cr0: cr0::PE, ..under(long(0)) };
    let page = walk(&nested(Fake::default(), backed), &paging, 0x7123, READ).unwrap();
    assert_eq!((page.physical, page.guest_physical, page.size), (0x10_7123, 0x7123, 4096));
}

#[test]
fn a_missing_final_page_is_a_nested_fault_at_the_page() {
    let fake = nested(four_levels(P | US, P | US), |frame| if frame == 5 { 0 } else { backed(frame) });
    let fault = nested_fault(walk(&fake, &under(long(0)), 0x123, USER_READ));
    assert_eq!(fault, (0x5123, false, Stage2Access::Read, Found::Nothing));
}

#[test]
fn a_missing_table_page_is_a_nested_fault_of_the_table_walk() {
    let fake = nested(four_levels(P, P), |frame| if frame == 3 { 0 } else { backed(frame) });
    let fault = nested_fault(walk(&fake, &under(long(0)), 0, READ));
    assert_eq!(fault, (0x3000, true, Stage2Access::Write, Found::Nothing));
}

#[test]
fn guest_tables_must_be_writable_in_the_nested_tables() {
    let fake =
        nested(four_levels(P, P), |frame| if frame == 4 { backed(frame) & !RW } else { backed(frame) });
    let fault = nested_fault(walk(&fake, &under(long(0)), 0, READ));
    assert_eq!(fault, (0x4000, true, Stage2Access::Write, NO_WRITE));
}

#[test]
fn a_supervisor_access_of_the_guest_is_a_user_access_of_the_nested_tables() {
    let fake =
        nested(four_levels(P, P), |frame| if frame == 5 { backed(frame) & !US } else { backed(frame) });
    let fault = nested_fault(walk(&fake, &under(long(0)), 0, READ));
    assert_eq!(fault, (0x5000, false, Stage2Access::Read, NO_RIGHTS));
}

#[test]
fn nested_nx_stops_a_fetch() {
    let fake = nested(four_levels(P, P), |frame| backed(frame) | if frame == 5 { entry::NX } else { 0 });
    let fault = nested_fault(walk(&fake, &under(long(0)), 0, FETCH));
    assert_eq!(fault, (0x5000, false, Stage2Access::Fetch, NO_EXECUTE));
}

#[test]
fn reserved_bits_of_the_nested_tables_are_told() {
    let fake = nested(four_levels(P, P), |frame| backed(frame) | if frame == 5 { 1 << 51 } else { 0 });
    let fault = nested_fault(walk(&fake, &under(long(0)), 0, READ));
    assert_eq!(fault, (0x5000, false, Stage2Access::Read, Found::Malformed));
}

#[test]
fn the_guests_own_fault_comes_before_the_nested_one() {
    let fake = nested(four_levels(P, P), |frame| if frame == 5 { 0 } else { backed(frame) });
    assert_eq!(error(walk(&fake, &under(long(0)), 0, USER_READ)), pf::PRESENT | pf::USER);
}

#[test]
fn the_nested_dirty_bit_is_needed_too() {
    let fake = nested(four_levels(P | RW, P | RW | D), backed);
    assert!(!walk(&fake, &under(long(0)), 0, READ).unwrap().write);
    walk(&fake, &under(long(0)), 0, WRITE).unwrap();
    assert!(walk(&fake, &under(long(0)), 0, READ).unwrap().write);
}

#[test]
fn the_guests_table_pages_become_dirty_in_the_nested_tables() {
    let fake = nested(four_levels(P | RW, P | RW), backed);
    walk(&fake, &under(long(0)), 0, READ).unwrap();
    let dirty = [1, 4, 5].map(|frame| fake.at(0x83000 + 8 * frame) & (A | D));
    assert_eq!(dirty, [A | D, A | D, A]);
}

#[test]
fn the_smaller_page_of_both_stages_counts() {
    let guest = Fake::with(&[(0x1000, 0x2000 | P), (0x2000, P | PS)]);
    let page = walk(&nested(guest, backed), &under(long(0)), 0x5000, READ).unwrap();
    assert_eq!(page.size, 4096);
}

#[test]
fn a_pae_guest_under_nested_paging_reads_its_top_entries_from_memory() {
    let guest = Fake::with(&[(0x1000, 0x2000 | P), (0x2000, 0x3000 | P), (0x3000, 0x5000 | P)]);
    let paging = Paging { pdpte: [0; 4], ..under(pae()) };
    assert_eq!(walk(&nested(guest, backed), &paging, 0, READ).unwrap().physical, 0x10_5000);
}

#[test]
fn legacy_nested_tables_translate_32_bits() {
    let fake = Fake::with(&[(0x80000, 0x10_0000 | P | RW | US), (0x10_0014, 0x9000 | P | RW | US)]);
    let stage2 = own_tables(0, 0);
    let paging = Paging { cr0: cr0::PE, stage2: Some(stage2), ..long(0) };
    assert_eq!(walk(&fake, &paging, 0x5008, READ).unwrap().physical, 0x9008);
}

#[test]
fn a_nested_fault_tells_the_linear_address_that_led_to_it() {
    let fake = nested(four_levels(P | US, P | US), |frame| if frame == 5 { 0 } else { backed(frame) });
    let Err(WalkFault::Stage2(fault)) = walk(&fake, &under(long(0)), 0x123, READ) else { panic!("a page") };
    assert_eq!(fault.linear, Some(0x123));
}

// ---- extended page tables (SDM vol. 3, 29.3) below the same guest ----

const RWX: u64 = ept::READ | ept::WRITE | ept::EXECUTE;

/// As [`nested`], in extended tables.
fn extended(guest: Fake, leaf: impl Fn(u64) -> u64) -> Fake {
    let fake = nested(guest, leaf);
    for (place, next) in [(0x80000, 0x81000), (0x81000, 0x82000), (0x82000, 0x83000)] {
        fake.cells.borrow_mut().insert(place, next | RWX);
    }
    fake
}

fn write_back(frame: u64) -> u64 {
    (0x10_0000 + (frame << 12)) | RWX | 6 << 3
}

fn under_ept(dirty: bool) -> Paging {
    let tables = Stage2Tables::Extended { five_levels: false, dirty };
    Paging { stage2: Some(Stage2 { root: 0x80000, tables }), ..long(0) }
}

/// A walk over tables of which the entry of frame 5, where the page is, is this.
fn with_page(entry: u64, dirty: bool, access: Access) -> Result<Page, WalkFault> {
    let leaf = |frame| if frame == 5 { entry } else { write_back(frame) };
    walk(&extended(four_levels(P | RW | A, P | RW | A | D), leaf), &under_ept(dirty), 0x123, access)
}

#[test]
fn extended_tables_compose_with_the_guests() {
    let page = with_page(write_back(5), false, WRITE).unwrap();
    assert_eq!((page.physical, page.write, page.execute), (0x10_5123, true, true));
}

#[test]
fn extended_entries_have_a_bit_for_each_access() {
    let cases = [
        (ept::READ, READ, None),
        (ept::READ, WRITE, Some(Found::Less { read: true, write: false, execute: false })),
        (ept::READ | ept::WRITE, FETCH, Some(NO_EXECUTE)),
        (ept::EXECUTE, READ, Some(Found::Less { read: false, write: false, execute: true })),
        (ept::EXECUTE, FETCH, None),
        (0, READ, Some(Found::Nothing)),
    ];
    for (rights, access, found) in cases {
        let result = with_page(write_back(5) & !RWX | rights, false, access);
        match found {
            None => assert!(result.is_ok(), "{rights:#x} {access:?}: {result:?}"),
            Some(found) => assert_eq!(nested_fault(result).3, found, "{rights:#x} {access:?}"),
        }
    }
}

/// 29.3.3.1: writable and not readable, a reserved memory type, reserved address bits.
#[test]
fn misconfigured_extended_entries_are_malformed() {
    let bad = [
        write_back(5) & !ept::READ,
        write_back(5) & !ept::TYPE | 2 << 3,
        write_back(5) & !ept::TYPE | 7 << 3,
        write_back(5) | 1 << 51,
    ];
    for entry in bad {
        assert_eq!(nested_fault(with_page(entry, false, READ)).3, Found::Malformed, "{entry:#x}");
    }
}

#[test]
fn extended_tables_keep_accessed_and_dirty_where_they_are_asked_to() {
    for dirty in [false, true] {
        let fake = extended(four_levels(P | RW | A, P | RW | A | D), write_back);
        walk(&fake, &under_ept(dirty), 0x123, WRITE).unwrap();
        let kept = fake.at(0x83000 + 8 * 5) & (ept::ACCESSED | ept::DIRTY);
        assert_eq!(kept, if dirty { ept::ACCESSED | ept::DIRTY } else { 0 });
    }
}

/// 29.3.2: with A and D bits, the guest's own tables count as written.
#[test]
fn guest_tables_are_read_only_where_no_dirty_bits_are_kept() {
    let leaf = |frame| if frame == 4 { write_back(frame) & !ept::WRITE } else { write_back(frame) };
    let fake = || extended(four_levels(P | RW | A, P | RW | A | D), leaf);
    assert!(walk(&fake(), &under_ept(false), 0x123, READ).is_ok());
    let fault = nested_fault(walk(&fake(), &under_ept(true), 0x123, READ));
    assert_eq!((fault.0, fault.1, fault.2), (0x4000, true, Stage2Access::Write));
}

#[test]
fn an_extended_entry_may_map_two_mib() {
    let fake = extended(four_levels(P | A, P | A), write_back);
    fake.cells.borrow_mut().insert(0x82000, RWX | 6 << 3 | PS);
    fake.cells.borrow_mut().extend([
        (0x1000, 0x2000 | P | A),
        (0x2000, 0x3000 | P | A),
        (0x3000, P | A | PS),
    ]);
    let page = walk(&fake, &under_ept(false), 0x12_3456, READ).unwrap();
    assert_eq!((page.physical, page.size), (0x12_3456, 2 << 20));
}

/// Tables made of a few words that come again everywhere: recursive, crossing, with reserved bits.
struct Noise<'a> {
    words: &'a [u8],
    busy: RefCell<u32>,
}

impl Tables for Noise<'_> {
    fn read(&self, address: u64, size: usize) -> Option<u64> {
        let words = (self.words.len() / 8).max(1) as u64;
        let at = ((address >> 3) % words) as usize * 8;
        let bytes = self.words.get(at..at + 8)?.try_into().ok()?;
        let value = u64::from_le_bytes(bytes);
        (address < 1 << 40).then_some(if size == 4 { value & 0xffff_ffff } else { value })
    }
    fn set_bits(&self, _: u64, _: usize, _: u64, _: u64) -> bool {
        *self.busy.borrow_mut() += 1;
        !self.busy.borrow().is_multiple_of(3)
    }
}

#[test]
fn fuzz_page_tables() {
    bolero::check!().with_test_time(std::time::Duration::from_secs(2)).for_each(|input: &[u8]| {
        let (head, words) = input.split_at(input.len().min(40));
        let at = |n: usize| head.get(n).copied().unwrap_or(0);
        let word = |n: usize| u64::from_le_bytes(core::array::from_fn(|k| at(n + k)));
        let tables = Noise { words, busy: RefCell::new(0) };
        let format = match at(0) % 4 {
            0 => long(u64::from(at(1)) << 16),
            1 => legacy(u64::from(at(1))),
            2 => Paging { pdpte: [word(8), word(16), word(24), word(32)], ..pae() },
            _ => Paging { cr0: cr0::PE, ..long(0) },
        };
        let tables2 = if at(6) & 1 == 0 {
            own_tables(cr4::PAE, efer::LMA | efer::NXE).tables
        } else {
            Stage2Tables::Extended { five_levels: at(6) & 2 != 0, dirty: at(6) & 4 != 0 }
        };
        let stage2 = (at(2) & 1 != 0).then_some(Stage2 { root: word(8), tables: tables2 });
        let paging =
            Paging { cr3: word(16), cr0: format.cr0 ^ (u64::from(at(3)) & 1) << 16, stage2, ..format };
        let kind = [Kind::Read, Kind::Write, Kind::Fetch][usize::from(at(4) % 3)];
        let wanted = Access { kind, user: at(5) & 1 != 0, smap_override: at(5) & 2 != 0 };
        if let Ok(page) = walk(&tables, &paging, word(24), wanted) {
            assert!(page.size.is_power_of_two() && page.size >= 4096, "{page:?}");
            assert!(page.physical < 1 << 52, "{page:?}");
        }
    });
}
