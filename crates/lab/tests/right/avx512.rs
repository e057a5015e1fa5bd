//! AVX-512 on the whole processor (SDM vol. 1, chapter 15, and vol. 2, 2.7). On a host without it most of this says that it
//! did not run; docs/avx512.md has a processor that can be had anywhere.

use super::*;
use ireko_cpu::cpuid::host::Host;
use ireko_cpu::data::xsave_area as area;
use ireko_cpu::host;
use ireko_x86::bits::{cr0, cr4};
use ireko_x86::cpuid::EBX;

/// VPTERNLOGD ZMM31, ZMM31, ZMM31, FFh (all ones); VPBROADCASTD ZMM5, EBX; KXNORW K1, K1, K1.
const FILL: &[u8] =
    &[0x62, 3, 5, 0x40, 0x25, 0xff, 0xff, 0x62, 0xf2, 0x7d, 0x48, 0x7c, 0xeb, 0xc5, 0xf4, 0x46, 0xc9];
/// VPXORD ZMM31, ZMM31, ZMM31; VPXORD ZMM5, ZMM5, ZMM5; KXORW K1, K1, K1.
const CLEAR: &[u8] =
    &[0x62, 1, 5, 0x40, 0xef, 0xff, 0x62, 0xf1, 0x55, 0x48, 0xef, 0xed, 0xc5, 0xf4, 0x47, 0xc9];
/// VMOVDQU64 [RSI], ZMM31; VMOVDQU64 [RSI + 40h], ZMM5; KMOVW [RSI + 80h], K1.
const STORE: &[u8] = &[
    0x62, 0x61, 0xfe, 0x48, 0x7f, 0x3e, 0x62, 0xf1, 0xfe, 0x48, 0x7f, 0x6e, 1, 0xc5, 0xf8, 0x91, 0x8e, 0x80,
    0, 0, 0,
];
/// MOV [RDI], RBX: its page is known to the TLB then.
const TOUCH: &[u8] = &[0x48, 0x89, 0x1f];
const XSAVEC: &[u8] = &[0x48, 0x0f, 0xc7, 0x27];
const XSAVE: &[u8] = &[0x48, 0x0f, 0xae, 0x27];
const XRSTOR: &[u8] = &[0x48, 0x0f, 0xae, 0x2f];
/// KMOVW K2, ECX; VMOVDQU32 [RDI] {K2}, ZMM31; VMOVDQU32 ZMM5 {K2}{z}, [RDI]; VPCOMPRESSD [RDI] {K2}, ZMM31.
const MASK: &[u8] = &[0xc5, 0xf8, 0x92, 0xd1];
const MASKED_STORE: &[u8] = &[0x62, 0x61, 0x7e, 0x4a, 0x7f, 0x3f];
const MASKED_LOAD: &[u8] = &[0x62, 0xf1, 0x7e, 0xca, 0x6f, 0x2f];
const COMPRESS: &[u8] = &[0x62, 0x62, 0x7d, 0x4a, 0x8b, 0x3f];

/// Where STORE puts what it stores.
const RESULT: u64 = 0xc00;
const PATTERN: u64 = 0x1234_5678;
/// Behind it there is nothing.
const EDGE: u64 = DATA + 0x1000;

/// By routine, and by assembly where the host's own XSAVEC can be relied on. Bochs 2.7 says the size of the standard form for the
/// compacted one, in which it leaves AVX-512's components out.
fn ways() -> Vec<[&'static str; 1]> {
    let sizes = [0, 1].map(|n| host::cpuid(0xd, n)[EBX]);
    if area::moved() != 0 && sizes[0] == sizes[1] {
        println!("not run by assembly: this host's XSAVEC does not compact");
        return vec![["xsave=off"]];
    }
    vec![["xsave=off"], ["xsave=on"]]
}

/// Whether the host has AVX-512; else a sentence.
fn here() -> bool {
    let here = Host::native().avx512();
    if !here {
        println!("not run: this host has no AVX-512 (see docs/avx512.md)");
    }
    here
}

/// Runs the pieces at CPL 3 with RDI = `at`, ECX = `mask`, EDX:EAX = `components`.
fn ends(board: &mut Board, pieces: &[&[u8]], at: u64, mask: u64, components: u64) -> (u64, u64, u64) {
    (0..4096 / 8).for_each(|n| board.poke(DATA_AT + 8 * n, 0));
    let (caught, regs) = run_on(board, 3, &pieces.concat(), |_, regs| {
        (regs.gpr[0], regs.gpr[1], regs.gpr[2], regs.gpr[3]) = (components, mask, 0, PATTERN);
        (regs.gpr[6], regs.gpr[7]) = (DATA + RESULT, at);
    });
    (caught.vector, caught.rip - CODE, regs.cr2)
}

fn length(pieces: &[&[u8]]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// By assembly and by routine, in either form: ZMM31, ZMM5, K1 afterwards, and their images.
#[test]
fn its_state_goes_to_memory_and_comes_back() {
    if !here() {
        return;
    }
    let twice = PATTERN << 32 | PATTERN;
    let expected = [u64::MAX, u64::MAX, twice, twice, 0xffff, 0xffff, twice, u64::MAX];
    for options in &ways() {
        let mut board = board_with(options);
        for save in [XSAVE, XSAVEC] {
            let pieces = [FILL, TOUCH, save, CLEAR, XRSTOR, STORE];
            assert_eq!(ends(&mut board, &pieces, DATA, 0, 0xe7), (UD, length(&pieces), 0), "{options:?}");
            let word = |at: u64| board.peek(DATA_AT + at);
            let results = [0, 56, 64, 120, 128].map(|at| word(RESULT + at));
            let seen = [results.as_slice(), &[word(840), word(1056), word(2368)]].concat();
            assert_eq!(seen, expected, "{options:?} {save:x?} {:#x} {:#x}", word(0x200), word(0x208));
        }
    }
}

/// Only what RFBM asks for is saved and loaded: without Hi16_ZMM (bit 7), ZMM31 stays cleared.
#[test]
fn components_go_one_by_one() {
    if !here() {
        return;
    }
    for options in &ways() {
        let mut board = board_with(options);
        ends(&mut board, &[FILL, TOUCH, XSAVEC, CLEAR, XRSTOR, STORE], DATA, 0, 0x67);
        let seen = [0, 120, 128].map(|at| board.peek(DATA_AT + RESULT + at));
        assert_eq!(seen, [0, PATTERN << 32 | PATTERN, 0xffff], "{options:?}");
        assert_eq!(board.peek(DATA_AT + 0x208), 1 << 63 | 0x67);
    }
}

/// Of an operand across the end of what is mapped, on the fast path and by routine.
#[test]
fn what_is_masked_off_does_not_fault() {
    if !here() {
        return;
    }
    for options in [&["plain=off"], &["plain=on"]] {
        let mut board = board_with(options);
        for access in [MASKED_STORE, MASKED_LOAD, COMPRESS] {
            let pieces = [FILL, MASK, access];
            let fine = (UD, length(&pieces), 0);
            assert_eq!(ends(&mut board, &pieces, EDGE - 32, 0xff, 0), fine, "{access:x?}");
            assert_eq!(ends(&mut board, &pieces, EDGE, 0, 0), fine, "{access:x?}");
            let beyond = ends(&mut board, &pieces, EDGE - 32, 0x1ff, 0);
            assert_eq!(beyond, (14, length(&[FILL, MASK]), EDGE), "{access:x?}");
        }
        // Compressed, nine elements whatever their places reach beyond; eight do not.
        let pieces = [FILL, MASK, COMPRESS];
        assert_eq!(ends(&mut board, &pieces, EDGE - 32, 0xff00, 0), (UD, length(&pieces), 0));
    }
}

/// Of a block that is used again and again, silicon reads the elements that one turn or another wants.
#[test]
fn a_broadcast_block_is_read_where_it_is_wanted() {
    if !here() {
        return;
    }
    // VBROADCASTI32X4 ZMM5 {K2}{z}, [RDI], whose upper two elements are behind the edge.
    const BLOCK: &[u8] = &[0x62, 0xf2, 0x7d, 0xca, 0x5a, 0x2f];
    for options in [&["plain=off"], &["plain=on"]] {
        let pieces = [FILL, MASK, BLOCK];
        let of = |mask| ends(&mut board_with(options), &pieces, EDGE - 8, mask, 0).0;
        assert_eq!([0x3333, 0x0020, 0x0040, 0x8000].map(of), [UD, UD, 14, 14], "{options:?}");
    }
}

/// VMOVDQA32 of an address that is no multiple of 64, with an element chosen and with none.
#[test]
fn where_nothing_is_chosen_nothing_is_misaligned() {
    if !here() {
        return;
    }
    const STORE: &[u8] = &[0x62, 0x61, 0x7d, 0x4a, 0x7f, 0x3f];
    const LOAD: &[u8] = &[0x62, 0xf1, 0x7d, 0xca, 0x6f, 0x2f];
    for (options, access) in
        [("plain=off", STORE), ("plain=off", LOAD), ("plain=on", STORE), ("plain=on", LOAD)]
    {
        let mut board = board_with(&[options]);
        // The second time the page is in the TLB.
        let pieces = [TOUCH, FILL, MASK, access, access];
        let of = |mask| ends(&mut board, &pieces, DATA + 32, mask, 0).0;
        assert_eq!([0x8000, 0].map(of), [GP, UD], "{options} {access:x?}");
    }
}

#[test]
fn what_is_masked_off_is_not_written() {
    if !here() {
        return;
    }
    let mut board = board();
    ends(&mut board, &[FILL, MASK, MASKED_STORE], EDGE - 32, 0b101, 0);
    let seen = [32, 24, 16].map(|back| board.peek(DATA_AT + 0x1000 - back));
    assert_eq!(seen, [0xffff_ffff, 0xffff_ffff, 0]);
}

/// A masked store over the next instruction, a NOP of four bytes: FFFF is no instruction.
#[test]
fn a_masked_store_into_code_is_seen() {
    if !here() {
        return;
    }
    const NOP: &[u8] = &[0x0f, 0x1f, 0x40, 0];
    let pieces = [FILL, MASK, MASKED_STORE, NOP];
    let nop = length(&pieces[..3]);
    let of = |mask| ends(&mut board(), &pieces, CODE + nop, mask, 0);
    assert_eq!([of(1), of(0)], [(UD, nop, 0), (UD, nop + 4, 0)]);
}

/// Without XCR0's components or CR4.OSXSAVE: #UD. With CR0.TS: #NM, if it is there at all.
#[test]
fn it_is_there_only_with_its_state_switched_on() {
    let of = |prepare: fn(&mut Registers)| {
        let (caught, _) = run(3, FILL, |_, regs| prepare(regs));
        (caught.vector, caught.rip - CODE)
    };
    assert_eq!(of(|regs| regs.xcr0 = 7), (UD, 0));
    assert_eq!(of(|regs| regs.cr4 &= !cr4::OSXSAVE), (UD, 0));
    let there = Host::native().avx512();
    assert_eq!(of(|regs| regs.cr0 |= cr0::TS), (if there { 7 } else { UD }, 0));
    assert_eq!(of(|_| ()), (UD, if there { FILL.len() as u64 } else { 0 }));
}

/// XOR ECX, ECX; XSETBV at CPL 0.
#[test]
fn xcr0_takes_its_bits_where_the_host_has_it() {
    let code = [0x31, 0xc9, 0x0f, 0x01, 0xd1];
    let of = |value| {
        let (caught, _) = run(0, &code, |_, regs| (regs.gpr[0], regs.gpr[2]) = (value, 0));
        (caught.vector, caught.rip - CODE)
    };
    let there = if Host::native().avx512() { (UD, 5) } else { (GP, 2) };
    assert_eq!([of(7), of(0xe7), of(0x67)], [(UD, 5), there, (GP, 2)]);
}
