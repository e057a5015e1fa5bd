use super::*;

/// JMP to the next instruction.
const NEXT: [u8; 2] = [0xeb, 0];
/// MOV RAX, [RIP]; JMP to the next instruction.
const RELATIVE: [u8; 9] = [0x48, 0x8b, 0x05, 0, 0, 0, 0, 0xeb, 0];

const HIGH: u64 = 0x7f00_0000_0000;

fn code() -> Code {
    let env = Env { routine: |_| false, feature: |_| true };
    Code::new(1 << 20, 1, env, Lacking::default()).unwrap()
}

fn id(physical: u64, rip: u64) -> BlockId {
    BlockId { physical, rip, key: Key(Key::CODE64) }
}

fn enter(code: &mut Code, id: BlockId, bytes: &[u8]) -> u32 {
    let page: Vec<u8> = bytes.iter().copied().cycle().take(4096).collect();
    let made = code.translate(&page, 4096, id).unwrap();
    code.enter(id, None, 4096, made)
}

#[test]
fn links_that_are_made_and_undone_for_ever_are_listed_no_more() {
    let mut code = code();
    let block = enter(&mut code, id(0, 0), &NEXT);
    code.regions.0[0]
        .links
        .insert(0, Linked { frame: 0, target: 0, relative: false, patch: 64, stub: 64, far: Some(64) });
    for _ in 0..10_000 {
        code.link_far(0, block);
        code.unlink_far();
    }
    assert_eq!((code.regions.block(block).incoming.len(), code.far.len()), (0, 0));
}

#[test]
fn relative_code_is_where_its_page_is() {
    let mut code = code();
    let relative = BlockId { key: Key(Key::CODE64 | Key::RELATIVE), ..id(0, 0) };
    let block = enter(&mut code, relative, &RELATIVE);
    let fault = code.regions.0[0].faults[1];
    let host = code.entry(block) as usize + fault.0 as usize;
    assert_eq!(code.locate(host, HIGH + 0x5000), Some(HIGH + 0x5000 + u64::from(fault.1)));
    let site = at_page(*code.site(number(0, 0)), HIGH + 0x5000);
    assert_eq!((site.insn.ip(), site.insn.ip_rel_memory_address()), (HIGH + 0x5000, HIGH + 0x5007));
}

#[test]
fn a_retired_block_is_known_no_more_and_can_be_copied() {
    let mut code = code();
    let block = enter(&mut code, id(0, HIGH), &NEXT);
    for _ in 0..REGIONS - 2 {
        code.next_region();
    }
    assert_eq!(code.known(&id(0, HIGH)), Some((block, None)));
    code.next_region();
    assert_eq!(code.known(&id(0, HIGH)), None);
    let (of, _) = code.to_copy(&id(0, HIGH)).unwrap();
    let copy = code.enter_copy(of);
    assert!(code.next_region().is_empty());
    assert_eq!(code.known(&id(0, HIGH)), Some((copy, None)));
}

#[test]
fn a_retired_block_that_nobody_wants_goes_with_its_page() {
    let mut code = code();
    enter(&mut code, id(0x3000, HIGH), &NEXT);
    for _ in 0..REGIONS - 1 {
        assert!(code.next_region().is_empty());
    }
    assert_eq!(code.next_region(), [3]);
    assert!(code.to_copy(&id(0x3000, HIGH)).is_none() && !code.is_in(3));
}

#[test]
fn a_link_to_a_retired_block_leads_to_its_stub() {
    let mut code = code();
    let to = enter(&mut code, id(0, HIGH), &NEXT);
    code.next_region();
    enter(&mut code, id(2, HIGH + 2), &NEXT);
    let link = number(1, 0);
    code.link(link, to);
    assert_eq!(code.regions.block(to).incoming, [link]);
    for _ in 0..REGIONS - 2 {
        code.next_region();
    }
    assert!(code.regions.block(to).incoming.is_empty());
}

#[test]
fn links_of_an_emptied_region_are_in_no_list() {
    let mut code = code();
    enter(&mut code, id(0, HIGH), &NEXT);
    code.next_region();
    let to = enter(&mut code, id(2, HIGH + 2), &NEXT);
    code.link(number(0, 0), to);
    for _ in 0..REGIONS - 1 {
        code.next_region();
    }
    assert_eq!((code.cache.current(), code.regions.0[0].links.len()), (0, 0));
    assert!(code.regions.0.iter().flat_map(|r| &r.blocks).all(|b| b.incoming.is_empty()));
}

#[test]
fn a_write_undoes_retired_blocks_too() {
    let mut code = code();
    enter(&mut code, id(0x3000, HIGH), &NEXT);
    for _ in 0..REGIONS - 1 {
        code.next_region();
    }
    let gone = code.written(0x3000, 1);
    code.undo(&gone, Some(3));
    assert!(gone.len() == 1 && code.to_copy(&id(0x3000, HIGH)).is_none());
}

#[test]
fn a_block_that_is_no_more_is_in_no_list_of_its_pages() {
    let mut code = code();
    // MOV EAX, imm32 with three bytes in the next page.
    let crossing = [0xb8, 0, 0, 0, 0];
    let made = code.translate(&crossing, 2, id(0xffe, HIGH + 0xffe)).unwrap();
    let block = code.enter(id(0xffe, HIGH + 0xffe), Some(0x7000), 2, made);
    assert!(code.is_in(0) && code.is_in(7));
    assert_eq!(code.undo(&[block], None), [0, 7]);
    assert!(!code.is_in(0) && !code.is_in(7));
    let made = code.translate(&crossing, 2, id(0xffe, HIGH + 0xffe)).unwrap();
    code.enter(id(0xffe, HIGH + 0xffe), Some(0x7000), 2, made);
    let gone = code.written(0x7000, 1);
    assert_eq!(code.undo(&gone, Some(7)), [0]);
}

#[test]
fn no_link_leads_to_another_page_or_to_what_goes_on_in_one() {
    let mut code = code();
    enter(&mut code, id(0, HIGH), &NEXT);
    let other = enter(&mut code, id(0x1000, HIGH + 0x1000), &NEXT);
    let made = code.translate(&[0xb8, 0, 0, 0, 0], 2, id(0xffe, HIGH + 0xffe)).unwrap();
    let crossing = code.enter(id(0xffe, HIGH + 0xffe), Some(0x7000), 2, made);
    code.link_in_page(number(0, 0), other);
    code.link_in_page(number(0, 0), crossing);
    assert!([other, crossing].iter().all(|&block| code.regions.block(block).incoming.is_empty()));
}

#[test]
fn a_block_goes_with_the_bytes_that_told_what_flags_it_must_keep() {
    let mut code = code();
    let at = id(0x3100, HIGH + 0x3100);
    // JMP far behind it, to XOR EAX, EAX.
    let mut bytes = [0x90; 0x100];
    bytes[..2].copy_from_slice(&[0xeb, 0x7e]);
    bytes[0x80..0x82].copy_from_slice(&[0x31, 0xc0]);
    let made = code.translate(&bytes, 0x100, at).unwrap();
    let block = code.enter(at, None, 0x100, made);
    assert!(code.written(0x3102, 0x7e).is_empty() && code.written(0x3182, 0x40).is_empty());
    assert_eq!(code.written(0x3181, 1), [block]);
}
