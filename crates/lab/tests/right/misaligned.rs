//! MXCSR.MM (APM vol. 1, 4.3.2), as the host has it and as it is done where the host lacks it.

use super::*;

const MM: u64 = 1 << 17;
const DEFAULT: u64 = 0x1f80;
const ODD: u64 = DATA + 0x41;
/// LDMXCSR [rsi]; ADDPS xmm0, [rdi]; MOVUPS [rbx], xmm0; STMXCSR [rsi]; MOVAPS xmm0, [rdi].
const LDMXCSR: [u8; 3] = [0x0f, 0xae, 0x16];
const ADDPS: [u8; 3] = [0x0f, 0x58, 0x07];
const MOVUPS: [u8; 3] = [0x0f, 0x11, 0x03];
const STMXCSR: [u8; 3] = [0x0f, 0xae, 0x1e];
const MOVAPS: [u8; 3] = [0x0f, 0x28, 0x07];
/// FXSAVE [rbx]; FXRSTOR [rbx].
const FXSAVE: [u8; 3] = [0x0f, 0xae, 0x03];
const FXRSTOR: [u8; 3] = [0x0f, 0xae, 0x0b];

/// Vector, offset of RIP, the word at DATA and the one at DATA + 100h, of the host's way and of ours.
fn both(code: &[&[u8]], mxcsr: u64) -> [(u64, u64, u64, u64); 2] {
    let code = code.concat();
    [&["mm=on"], &["mm=off"]].map(|options| {
        let mut board = board_with(options);
        let (caught, _) = run_on(&mut board, 3, &code, |board, regs| {
            board.poke(DATA_AT, mxcsr);
            [0x41, 0x49].iter().for_each(|at| board.poke(DATA_AT + at, 0x4000_0000_3f80_0000));
            (regs.gpr[6], regs.gpr[7], regs.gpr[3]) = (DATA, ODD, DATA + 0x100);
        });
        let word = |at| board.peek(DATA_AT + at) & 0xffff_ffff;
        (caught.vector, caught.rip - CODE, word(0), word(0x100))
    })
}

#[test]
fn with_mm_operands_need_no_alignment() {
    // Adding 1.0 to 0.0.
    let with = both(&[&LDMXCSR, &ADDPS, &MOVUPS], DEFAULT | MM);
    assert_eq!(with, [(UD, 9, DEFAULT | MM, 0x3f80_0000); 2]);
    assert_eq!(both(&[&LDMXCSR, &ADDPS], DEFAULT), [(GP, 3, DEFAULT, 0); 2]);
}

#[test]
fn moves_that_say_that_they_are_aligned_are() {
    assert_eq!(both(&[&LDMXCSR, &MOVAPS], DEFAULT | MM), [(GP, 3, DEFAULT | MM, 0); 2]);
}

#[test]
fn mm_is_where_mxcsr_is_stored() {
    // mov dword [rsi], 0, between the two.
    let code: [&[u8]; 3] = [&LDMXCSR, &[0xc7, 0x06, 0, 0, 0, 0], &STMXCSR];
    assert_eq!(both(&code, DEFAULT | MM), [(UD, 12, DEFAULT | MM, 0); 2]);
}

/// At DATA + 118h of the image.
#[test]
fn fxsave_and_fxrstor_have_it() {
    // Switched off in between: mov dword [rsi], 1f80h; ldmxcsr; fxrstor; addps.
    let off = [0xc7, 0x06, 0x80, 0x1f, 0, 0];
    let code: [&[u8]; 6] = [&LDMXCSR, &FXSAVE, &off, &LDMXCSR, &FXRSTOR, &ADDPS];
    let ends = both(&code, DEFAULT | MM).map(|(vector, rip, ..)| (vector, rip));
    assert_eq!(ends, [(UD, 21); 2]);
    let ends = both(&code[..4], DEFAULT | MM).map(|(vector, rip, ..)| (vector, rip));
    assert_eq!(ends, [(UD, 15); 2]);
    let ends =
        both(&[code[0], code[1], code[2], code[3], code[5]], DEFAULT | MM).map(|(v, rip, ..)| (v, rip));
    assert_eq!(ends, [(GP, 15); 2]);
}

#[test]
fn other_bits_are_a_general_protection_fault() {
    assert_eq!(both(&[&LDMXCSR], DEFAULT | 1 << 16), [(GP, 0, DEFAULT | 1 << 16, 0); 2]);
}
