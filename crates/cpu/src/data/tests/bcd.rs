//! BCD instructions over every AX, with CF and AF clear and set.

use super::*;
use ireko_x86::bits::rflags::{AF, CF, PF, SF, ZF};
use ireko_x86::exception::{Exception, vector};

/// Instruction bytes, the flags that it defines, and the digest of AX and those flags over all inputs as a Xeon gave
/// it in 32-bit mode (4 times 65536 runs each).
const SILICON: [(&str, &[u8], u64, u32); 8] = [
    ("DAA", &[0x27], SF | ZF | PF | AF | CF, 0xfcca_fc84),
    ("DAS", &[0x2f], SF | ZF | PF | AF | CF, 0x1a59_8e35),
    ("AAA", &[0x37], AF | CF, 0xedc1_e00b),
    ("AAS", &[0x3f], AF | CF, 0xece8_c69a),
    ("AAM", &[0xd4, 10], SF | ZF | PF, 0x2a67_4270),
    ("AAD", &[0xd5, 10], SF | ZF | PF, 0x5b77_0935),
    ("AAM 7", &[0xd4, 7], SF | ZF | PF, 0x520e_9466),
    ("AAD 7", &[0xd5, 7], SF | ZF | PF, 0xe6c9_bfef),
];

fn digest(bytes: &[u8], defined: u64) -> u32 {
    let mut cpu = flat32();
    let insn = Decoder::new(32, bytes, DecoderOptions::NONE).decode();
    let routine = crate::routines::routine(insn.code()).unwrap();
    let mut digest = 0x811c_9dc5u32;
    for (flags, ax) in (0..4u64).flat_map(|flags| (0..0x10000u64).map(move |ax| (flags, ax))) {
        cpu.processor.regs.gpr[0] = ax;
        cpu.processor.regs.rflags = 2 | flags & 1 | (flags & 2) << 3;
        routine(&mut cpu, &insn).unwrap();
        let result =
            (cpu.processor.regs.gpr[0] & 0xffff | (cpu.processor.regs.rflags & defined) << 16) as u32;
        digest = (digest.rotate_left(5) ^ result).wrapping_mul(0x9e37_79b1);
    }
    digest
}

#[test]
fn bcd_instructions_do_what_silicon_does_for_every_input() {
    for (name, bytes, defined, expected) in SILICON {
        assert_eq!(digest(bytes, defined), expected, "{name}");
    }
}

#[test]
fn aam_by_zero_is_a_divide_error() {
    let mut cpu = flat32();
    assert_eq!(step(&mut cpu, &[0xd4, 0]), Err(Exception::new(vector::DE).into()));
}

#[test]
fn salc_spreads_the_carry() {
    let mut cpu = flat32();
    cpu.processor.regs.rflags = 2 | CF;
    step(&mut cpu, &[0xd6]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[0] & 0xff, 0xff);
}

#[test]
fn xlat_takes_al_without_sign() {
    let mut cpu = flat32();
    poke(&mut cpu, 0x30f0, &[0x5a]);
    (cpu.processor.regs.gpr[0], cpu.processor.regs.gpr[3]) = (0x12f0, 0x3000);
    step(&mut cpu, &[0xd7]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[0], 0x125a);
}

#[test]
fn bound_compares_with_signs() {
    let bounds = [&(-5i32).to_le_bytes()[..], &7i32.to_le_bytes()[..]].concat();
    for (index, inside) in [(-6i32, false), (-5, true), (7, true), (8, false)] {
        let mut cpu = flat32();
        poke(&mut cpu, 0x3000, &bounds);
        (cpu.processor.regs.gpr[0], cpu.processor.regs.gpr[3]) = (index as u32 as u64, 0x3000);
        let expected = if inside { Ok(Next::Advance) } else { Err(Exception::new(vector::BR).into()) };
        assert_eq!(step(&mut cpu, &[0x62, 0x03]), expected, "{index}");
    }
}
