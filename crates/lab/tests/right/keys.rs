//! Protection keys (APM vol. 2, 5.6.7; vol. 3, RDPKRU and WRPKRU).

use super::*;
use ireko_x86::bits::{cr0, cr4};
use ireko_x86::cpuid::PKU;

const KEY: u32 = 3;
const NO_ACCESS: u64 = 1 << (2 * KEY);
const NO_WRITING: u64 = 2 << (2 * KEY);
/// A user page with that key, and one of supervisors.
const KEYED: u64 = 0x60_0000;
const KEYED_AT: u64 = 0x12_0000;
const SUPERVISORS: u64 = 0x60_1000;
const PF: u64 = 14;
/// Bits of #PF's error code.
const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const PK: u64 = 1 << 5;

const READ: [u8; 2] = [0x8b, 0x1f];
const WRITE_IT: [u8; 2] = [0x89, 0x1f];
/// xor ecx, ecx; xor edx, edx; wrpkru.
const WRPKRU: [u8; 7] = [0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef];
const RDPKRU: [u8; 3] = [0x0f, 0x01, 0xee];

fn keyed_board() -> Board {
    let mut board = board_of(changed(&[PKU], &[]));
    board.map(KEYED, KEYED_AT, PRESENT | WRITE | USER | u64::from(KEY) << 59);
    board.map(SUPERVISORS, KEYED_AT, PRESENT | WRITE | u64::from(KEY) << 59);
    board
}

/// Runs `code` with RDI at the page, RAX = `pkru`, and what `prepare` says on top.
fn with_keys(cpl: u8, pkru: u64, code: &[u8], prepare: impl FnOnce(&mut Registers)) -> (Caught, Registers) {
    run_on(&mut keyed_board(), cpl, code, |_, regs| {
        (regs.cr4, regs.xcr0, regs.pkru) = (regs.cr4 | cr4::PKE, 0x207, pkru as u32);
        (regs.gpr[7], regs.gpr[0]) = (KEYED, pkru);
        prepare(regs);
    })
}

/// Error code of the page fault, if there is one.
fn error(cpl: u8, pkru: u64, code: &[u8], prepare: impl FnOnce(&mut Registers)) -> Option<u64> {
    let (caught, _) = with_keys(cpl, pkru, code, prepare);
    (caught.vector == PF).then_some(caught.error)
}

#[test]
fn a_key_forbids_a_program_access_or_writing() {
    let errors =
        [0, NO_ACCESS, NO_WRITING].map(|pkru| [READ, WRITE_IT].map(|it| error(3, pkru, &it, |_| ())));
    assert_eq!(
        errors,
        [[None, None], [Some(P | U | PK), Some(P | W | U | PK)], [None, Some(P | W | U | PK)]]
    );
}

#[test]
fn another_key_forbids_nothing() {
    assert_eq!(error(3, !(3 << (2 * KEY)) & 0xffff_fffc, &WRITE_IT, |_| ()), None);
}

#[test]
fn keys_are_not_heeded_without_cr4_pke() {
    assert_eq!(error(3, NO_ACCESS, &WRITE_IT, |regs| regs.cr4 &= !cr4::PKE), None);
}

/// A supervisor may write in spite of a key unless CR0.WP is set; it may not access what no one may.
#[test]
fn a_supervisor_heeds_the_keys_of_user_pages() {
    let write = |pkru, wp: bool| {
        error(0, pkru, &WRITE_IT, |regs| regs.cr0 = if wp { regs.cr0 } else { regs.cr0 & !cr0::WP })
    };
    assert_eq!((write(NO_WRITING, true), write(NO_WRITING, false)), (Some(P | W | PK), None));
    assert_eq!((write(NO_ACCESS, true), write(NO_ACCESS, false)), (Some(P | W | PK), Some(P | W | PK)));
}

#[test]
fn a_supervisors_page_has_no_key() {
    assert_eq!(error(0, NO_ACCESS | NO_WRITING, &WRITE_IT, |regs| regs.gpr[7] = SUPERVISORS), None);
}

/// The page holds NOPs and UD2.
#[test]
fn a_key_does_not_forbid_fetches() {
    let mut board = keyed_board();
    board.write(KEYED_AT, &[0x90, 0x90, 0x0f, 0x0b]);
    // jmp rdi
    let (caught, _) = run_on(&mut board, 3, &[0xff, 0xe7], |_, regs| {
        (regs.cr4, regs.pkru, regs.gpr[7]) = (regs.cr4 | cr4::PKE, NO_ACCESS as u32, KEYED);
    });
    assert_eq!((caught.vector, caught.rip), (UD, KEYED + 2));
}

/// What the TLB has is not what PKRU allowed before: allowed, forbidden, allowed, and so on, around a loop.
#[test]
fn wrpkru_holds_for_the_next_access() {
    // mov [rdi], ebx; wrpkru; mov [rdi], ebx
    let code = [&WRITE_IT[..], &WRPKRU, &WRITE_IT].concat();
    let (caught, _) = with_keys(3, 0, &code, |regs| regs.gpr[0] = NO_WRITING);
    assert_eq!((caught.vector, caught.error, caught.rip), (PF, P | W | U | PK, CODE + 9));
    // With reading allowed the other way round, and for key 0, too: the page of data.
    let (caught, _) =
        with_keys(3, NO_WRITING, &[&READ[..], &WRPKRU, &WRITE_IT].concat(), |regs| regs.gpr[0] = 0);
    assert_eq!((caught.vector, caught.rip), (UD, CODE + 11));
    let (caught, _) = with_keys(3, 0, &code, |regs| (regs.gpr[0], regs.gpr[7]) = (2, DATA));
    assert_eq!((caught.vector, caught.rip), (PF, CODE + 9));
}

#[test]
fn rdpkru_reads_what_wrpkru_wrote() {
    let code = [&WRPKRU[..], &[0x31, 0xc0, 0xf7, 0xd2], &RDPKRU].concat();
    let (caught, regs) = with_keys(3, 0, &code, |regs| regs.gpr[0] = 0x5555_5554);
    assert_eq!((caught.vector, regs.gpr[0], regs.gpr[2]), (UD, 0x5555_5554, 0));
}

#[test]
fn pkru_has_one_register_of_32_bits() {
    for (code, rcx, rdx, vector) in [
        (&RDPKRU, 1, 0, GP),
        (&RDPKRU, 0, 1, UD),
        (&[0x0f, 0x01, 0xef], 1, 0, GP),
        (&[0x0f, 0x01, 0xef], 0, 1, GP),
    ] {
        let (caught, _) = with_keys(3, 0, code, |regs| (regs.gpr[1], regs.gpr[2]) = (rcx, rdx));
        assert_eq!(caught.vector, vector, "{code:x?} with {rcx}, {rdx}");
    }
}

#[test]
fn without_cr4_pke_there_are_no_instructions_for_it() {
    for code in [RDPKRU, [0x0f, 0x01, 0xef]] {
        let (caught, _) = with_keys(3, 0, &code, |regs| regs.cr4 &= !cr4::PKE);
        assert_eq!((caught.vector, caught.rip), (UD, CODE));
    }
}

/// RDPKRU is done in place, and still sees CR4 as it is.
#[test]
fn clearing_cr4_pke_takes_its_instructions_away() {
    // rdpkru; mov cr4, rbx; rdpkru
    let code = [&RDPKRU[..], &[0x0f, 0x22, 0xe3], &RDPKRU].concat();
    let (caught, regs) = with_keys(0, 0x30, &code, |regs| regs.gpr[3] = regs.cr4 & !cr4::PKE);
    assert_eq!((caught.vector, caught.rip, regs.gpr[0]), (UD, CODE + 6, 0x30));
}

/// XSAVE-family `code` of the area at RDI in a data page, with RDX:RAX all ones and PKRU = `pkru`; gives the page and PKRU then.
fn state(code: &[u8], pkru: u32, area: &[(u64, u64)]) -> (Vec<u8>, u32) {
    let mut board = keyed_board();
    let mut bytes = vec![0; 4096];
    area.iter().for_each(|&(offset, value)| board.poke(DATA_AT + offset, value));
    let (caught, regs) = run_on(&mut board, 0, code, |_, regs| {
        (regs.cr4, regs.xcr0, regs.pkru) = (regs.cr4 | cr4::PKE, 0x207, pkru);
        (regs.gpr[7], regs.gpr[0], regs.gpr[2]) = (DATA, u32::MAX.into(), u32::MAX.into());
    });
    assert_eq!((caught.vector, caught.rip - CODE), (UD, code.len() as u64));
    board.read(DATA_AT, &mut bytes);
    (bytes, regs.pkru)
}

fn quad(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().expect("within the area"))
}

/// XSAVE64, XSAVEC64, XSAVES64, XRSTOR64, XRSTORS64 of [rdi].
const XSAVE: [u8; 4] = [0x48, 0x0f, 0xae, 0x27];
const XSAVEC: [u8; 4] = [0x48, 0x0f, 0xc7, 0x27];
const XSAVES: [u8; 4] = [0x48, 0x0f, 0xc7, 0x2f];
const XRSTOR: [u8; 4] = [0x48, 0x0f, 0xae, 0x2f];
const XRSTORS: [u8; 4] = [0x48, 0x0f, 0xc7, 0x1f];
const PKRU_BIT: u64 = 1 << 9;
const COMPACTED: u64 = 1 << 63;

/// APM vol. 2, 11.5.3: where CPUID says that it is in standard form, and behind AVX in compacted form.
#[test]
fn the_xsave_family_saves_pkru() {
    let (area, _) = state(&XSAVE, 0x1234_5678, &[]);
    assert_eq!((quad(&area, 512) & PKRU_BIT, quad(&area, 0x980)), (PKRU_BIT, 0x1234_5678));
    for code in [XSAVEC, XSAVES] {
        // Twice: the second time the page is in the TLB.
        let (area, _) = state(&[code, code].concat(), 0x1234_5678, &[]);
        assert_eq!((quad(&area, 512) & PKRU_BIT, quad(&area, 832)), (PKRU_BIT, 0x1234_5678));
        assert_eq!(quad(&area, 520), COMPACTED | PKRU_BIT | 7);
    }
}

#[test]
fn a_pkru_of_zero_is_the_initial_state() {
    for code in [XSAVEC, XSAVES] {
        let (area, _) = state(&[code, code].concat(), 0, &[(832, 99)]);
        assert_eq!((quad(&area, 512) & PKRU_BIT, quad(&area, 832)), (0, 99));
        assert_eq!(quad(&area, 520), COMPACTED | PKRU_BIT | 7);
    }
}

#[test]
fn without_avx_in_the_area_it_is_where_avx_would_be() {
    // mov eax, 203h; xsavec, after one that fills the TLB.
    let code = [&XSAVEC[..], &[0xb8, 3, 2, 0, 0], &XSAVEC].concat();
    let (area, _) = state(&code, 0x1234_5678, &[]);
    assert_eq!((quad(&area, 520), quad(&area, 576)), (COMPACTED | 0x203, 0x1234_5678));
}

#[test]
fn xrstor_loads_pkru_or_its_initial_state() {
    let standard = [(24, 0x1f80), (512, PKRU_BIT), (0x980, 0x8765_4320)];
    assert_eq!(state(&XRSTOR, 0x50, &standard).1, 0x8765_4320);
    assert_eq!(state(&XRSTOR, 0x50, &[(24, 0x1f80)]).1, 0);
    let compacted = [(512, PKRU_BIT), (520, COMPACTED | PKRU_BIT | 7), (832, 0x8765_4320)];
    for code in [XRSTOR, XRSTORS] {
        assert_eq!(state(&[code, code].concat(), 0x50, &compacted).1, 0x8765_4320);
    }
}

/// As a kernel does that keeps PKRU by WRPKRU.
#[test]
fn xrstor_leaves_pkru_alone_when_told_to() {
    // mov rax, [rdi] for the TLB; mov eax, 7; xor edx, edx; xrstors
    let code = [&[0x48, 0x8b, 0x07, 0xb8, 7, 0, 0, 0, 0x31, 0xd2][..], &XRSTORS].concat();
    let area = [(512, PKRU_BIT), (520, COMPACTED | PKRU_BIT | 7), (832, 0x8765_4320)];
    assert_eq!(state(&code, 0x50, &area).1, 0x50);
}

#[test]
fn what_xrstor_loads_holds_for_the_next_access() {
    let mut board = keyed_board();
    board.poke(DATA_AT + 512, PKRU_BIT);
    board.poke(DATA_AT + 24, 0x1f80);
    board.poke(DATA_AT + 0x980, NO_ACCESS);
    // mov ecx, [rsi]; xrstor [rdi]; mov ecx, [rsi]
    let code = [&[0x8b, 0x0e][..], &XRSTOR, &[0x8b, 0x0e]].concat();
    let (caught, _) = run_on(&mut board, 3, &code, |_, regs| {
        (regs.cr4, regs.xcr0) = (regs.cr4 | cr4::PKE, 0x207);
        (regs.gpr[6], regs.gpr[7], regs.gpr[0]) = (KEYED, DATA, PKRU_BIT);
    });
    assert_eq!((caught.vector, caught.error, caught.rip), (PF, P | U | PK, CODE + 6));
}
