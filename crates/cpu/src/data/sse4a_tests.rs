//! SSE4A's routines, with what silicon of family 19h gives. (The manual leaves the high quadword undefined, and fields that
//! reach beyond bit 63.)

use super::*;
use crate::system::bench;
use ireko_x86::bits::cr4;
use ireko_x86::regs::gpr;

const VALUE: u64 = 0xfedc_ba98_7654_3210;
const SOURCE: u64 = 0x1122_3344_5566_7788;
const DATA: u64 = 0x6000;

/// XMM0 after an instruction on it and XMM1.
fn after(code: &[u8], one: [u64; 2]) -> [u64; 2] {
    let mut cpu = cpu([VALUE, 0x0123_4567_89ab_cdef], one);
    run(&mut cpu, code).unwrap();
    let bytes = vector::read(&mut cpu, iced_x86::Register::XMM0);
    [element(&bytes, 0, 8), element(&bytes, 1, 8)]
}

fn cpu(zero: [u64; 2], one: [u64; 2]) -> Cpu {
    let mut cpu = bench::long();
    cpu.processor.regs.cr4 |= cr4::OSFXSR;
    let words = [zero, one].concat().into_iter().flat_map(u64::to_le_bytes);
    cpu.fpu_normalise();
    cpu.processor.fpu.0[crate::xstate::XMM..].iter_mut().zip(words).for_each(|(byte, new)| *byte = new);
    cpu.processor.regs.gpr[gpr::RAX] = DATA;
    cpu
}

fn run(cpu: &mut Cpu, code: &[u8]) -> Result<Next, Fault> {
    let insn = bench::decode(cpu, code);
    missing(insn.code()).expect("a routine")(cpu, &insn)
}

#[test]
fn extrq_takes_a_field() {
    for (length, index, value) in [
        (12, 4, 0x321),
        (0, 0, VALUE),
        (0, 8, VALUE >> 8),
        (32, 40, 0xfe_dcba),
        (63, 63, 1),
        (200, 100, 0xa9),
    ] {
        assert_eq!(after(&[0x66, 0x0f, 0x78, 0xc0, length, index], [0; 2]), [value, 0], "{length}, {index}");
        let control = u64::from(length) | u64::from(index) << 8;
        assert_eq!(after(&[0x66, 0x0f, 0x79, 0xc1], [control, 0x77]), [value, 0], "{length}, {index}");
    }
}

#[test]
fn insertq_puts_one_in() {
    for (length, index, value) in [
        (12, 4, 0xfedc_ba98_7654_7880),
        (0, 0, SOURCE),
        (0, 8, 0x2233_4455_6677_8810),
        (32, 40, 0x6677_8898_7654_3210),
        (200, 100, 0xfedc_b888_7654_3210),
        (63, 63, 0x7edc_ba98_7654_3210),
    ] {
        let code = [0xf2, 0x0f, 0x78, 0xc1, length, index];
        assert_eq!(after(&code, [SOURCE, 0]), [value, 0], "{length}, {index}");
        let control = u64::from(length) | u64::from(index) << 8;
        assert_eq!(after(&[0xf2, 0x0f, 0x79, 0xc1], [SOURCE, control]), [value, 0], "{length}, {index}");
    }
}

#[test]
fn the_scalar_stores_store_as_much_as_they_say() {
    for (prefix, value) in [(0xf3, VALUE & 0xffff_ffff), (0xf2, VALUE)] {
        let mut cpu = cpu([VALUE, 0], [0; 2]);
        run(&mut cpu, &[prefix, 0x0f, 0x2b, 0x00]).unwrap();
        assert_eq!(bench::read64(&mut cpu, DATA), value);
    }
}

#[test]
fn without_osfxsr_they_are_undefined() {
    let mut cpu = cpu([0; 2], [0; 2]);
    cpu.processor.regs.cr4 &= !cr4::OSFXSR;
    assert_eq!(run(&mut cpu, &[0x66, 0x0f, 0x78, 0xc0, 1, 1]), Err(Fault::ud()));
}
