//! String instructions against plain loops over an array.

use super::*;
use ireko_x86::bits::rflags::{DF, TF, ZF};
use ireko_x86::regs::gpr::{RAX, RCX, RDI, RSI};

const REP_MOVSB: [u8; 2] = [0xf3, 0xa4];
const REP_MOVSQ: [u8; 3] = [0xf3, 0x48, 0xa5];

fn set(cpu: &mut Cpu, rsi: u64, rdi: u64, rcx: u64) {
    (cpu.processor.regs.gpr[RSI], cpu.processor.regs.gpr[RDI], cpu.processor.regs.gpr[RCX]) = (rsi, rdi, rcx);
}

fn get(cpu: &Cpu) -> (u64, u64, u64) {
    (cpu.processor.regs.gpr[RSI], cpu.processor.regs.gpr[RDI], cpu.processor.regs.gpr[RCX])
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// What an element-by-element copy would leave in `memory`.
fn reference(memory: &mut [u8], from: i64, to: i64, count: i64, size: i64, down: bool) {
    for n in 0..count {
        let n = if down { -n } else { n } * size;
        let element = memory[(from + n) as usize..(from + n + size) as usize].to_vec();
        memory[(to + n) as usize..(to + n + size) as usize].copy_from_slice(&element);
    }
}

#[test]
fn rep_movs_is_an_element_by_element_copy_however_it_overlaps() {
    let sizes: [(i64, &[u8]); 3] = [(1, &[0xf3, 0xa4]), (4, &[0xf3, 0xa5]), (8, &[0xf3, 0x48, 0xa5])];
    for (size, bytes) in sizes {
        for distance in [-9000i64, -4097, -17, -8, -1, 0, 1, 3, 8, 9, 64, 4095, 4096, 9001] {
            for down in [false, true] {
                let mut cpu = flat64();
                let mut expected = pattern(0x10000);
                poke(&mut cpu, 0x10_0000, &expected);
                let (from, count) = (0x8123, 1000);
                cpu.processor.regs.rflags = 2 | if down { DF } else { 0 };
                set(&mut cpu, 0x10_0000 + from as u64, (0x10_0000 + from + distance) as u64, count as u64);
                finish(&mut cpu, bytes);
                reference(&mut expected, from, from + distance, count, size, down);
                assert!(
                    peek(&mut cpu, 0x10_0000, 0x10000) == expected,
                    "size {size}, {distance}, down {down}"
                );
                assert_eq!(cpu.processor.regs.gpr[RCX], 0);
            }
        }
    }
}

/// With `bytes` over 32 KiB of a large page, a block of code in the fourth page: it is undone, and all is done.
fn runs_over_code(bytes: &[u8]) -> Cpu {
    let (from, to) = (0x10_0000, 0x14_0000);
    let mut cpu = flat64();
    poke(&mut cpu, from, &pattern(0x8000));
    poke(&mut cpu, to + 0x3010, &[0xeb, 0xfe]);
    let rip = std::mem::replace(&mut cpu.processor.regs.rip, to + 0x3010);
    cpu.block(cpu.key()).unwrap();
    cpu.processor.regs.rip = rip;
    cpu.code.undone = false;
    set(&mut cpu, from, to, 0x8000);
    finish(&mut cpu, bytes);
    assert!(cpu.code.undone && get(&cpu).2 == 0);
    cpu
}

#[test]
fn a_long_copy_undoes_the_code_in_its_way() {
    let mut cpu = runs_over_code(&REP_MOVSB);
    assert_eq!(peek(&mut cpu, 0x14_0000, 0x8000), pattern(0x8000));
}

#[test]
fn a_long_fill_undoes_the_code_in_its_way() {
    let mut cpu = runs_over_code(&[0xf3, 0xaa]);
    assert_eq!(peek(&mut cpu, 0x14_0000, 0x8000), [0; 0x8000]);
}

#[test]
fn a_long_rep_movs_lets_interrupts_in() {
    let mut cpu = flat64();
    set(&mut cpu, 0, 0x10_0000, 0x40000 / 8);
    assert_eq!(step(&mut cpu, &REP_MOVSQ), Ok(Next::Jump));
    assert_eq!((cpu.processor.regs.rip, get(&cpu)), (0x1000, (0x10000, 0x11_0000, 0x30000 / 8)));
    assert_eq!(finish(&mut cpu, &REP_MOVSQ), 3);
}

#[test]
fn the_trap_flag_stops_after_every_element() {
    let mut cpu = flat64();
    cpu.processor.regs.rflags |= TF;
    set(&mut cpu, 0x2000, 0x3000, 2);
    assert_eq!(step(&mut cpu, &REP_MOVSB), Ok(Next::Jump));
    assert_eq!(get(&cpu), (0x2001, 0x3001, 1));
    assert_eq!(step(&mut cpu, &REP_MOVSB), Ok(Next::Advance));
}

#[test]
fn a_count_of_zero_touches_nothing() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::ES].limit = 0;
    cpu.processor.regs.seg[seg::ES].attr = 0x493;
    set(&mut cpu, 0x2000, 0x3000, 0);
    assert_eq!(step(&mut cpu, &REP_MOVSB), Ok(Next::Advance));
}

#[test]
fn a_fault_leaves_the_registers_at_the_faulting_element() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::ES].limit = 0x3009;
    cpu.processor.regs.seg[seg::ES].attr = 0x493;
    set(&mut cpu, 0x2000, 0x3000, 16);
    poke(&mut cpu, 0x2000, &pattern(16));
    assert_eq!(step(&mut cpu, &REP_MOVSB), Err(Fault::gp(0)));
    assert_eq!(get(&cpu), (0x200a, 0x300a, 6));
    assert_eq!(peek(&mut cpu, 0x3000, 11), [&pattern(10)[..], &[0]].concat());
}

#[test]
fn sixteen_bit_offsets_wrap_between_elements() {
    let mut cpu = real();
    set(&mut cpu, 0xdead_fffe, 0x2000, 0x0bad_0004);
    poke(&mut cpu, 0xfffe, &[1, 2]);
    poke(&mut cpu, 0, &[3, 4]);
    assert_eq!(step(&mut cpu, &REP_MOVSB), Ok(Next::Advance));
    assert_eq!(peek(&mut cpu, 0x2000, 4), [1, 2, 3, 4]);
    assert_eq!(get(&cpu), (0xdead_0002, 0x2004, 0x0bad_0000));
}

#[test]
fn a_word_across_the_segment_end_faults() {
    let mut cpu = real();
    set(&mut cpu, 0xffff, 0x2000, 1);
    assert_eq!(step(&mut cpu, &[0xa5]), Err(Fault::gp(0)));
}

#[test]
fn thirty_two_bit_addresses_in_64_bit_mode_clear_the_upper_halves() {
    let mut cpu = flat64();
    set(&mut cpu, 0xffff_ffff_0000_2000, 0xffff_ffff_0000_3000, 0xffff_ffff_0000_0002);
    finish(&mut cpu, &[0x67, 0xf3, 0xa4]);
    assert_eq!(get(&cpu), (0x2002, 0x3002, 0));
}

#[test]
fn a_segment_override_moves_the_source_only() {
    let mut cpu = flat64();
    cpu.processor.regs.seg[seg::FS].base = 0x5000;
    poke(&mut cpu, 0x5010, &[0x77]);
    set(&mut cpu, 0x10, 0x20, 0);
    step(&mut cpu, &[0x64, 0xa4]).unwrap();
    assert_eq!(peek(&mut cpu, 0x20, 1), [0x77]);
}

#[test]
fn rep_stos_fills_across_pages_in_both_directions() {
    for (down, first) in [(false, 0x3ff2u64), (true, 0x3ff2 + 4 * 2999)] {
        let mut cpu = flat32();
        cpu.processor.regs.rflags = 2 | if down { DF } else { 0 };
        cpu.processor.regs.gpr[RAX] = 0x4433_2211;
        set(&mut cpu, 0, first, 3000);
        finish(&mut cpu, &[0xf3, 0xab]);
        assert_eq!(peek(&mut cpu, 0x3ff2, 12000), [0x11, 0x22, 0x33, 0x44].repeat(3000));
        assert_eq!((peek(&mut cpu, 0x3ff1, 1), peek(&mut cpu, 0x3ff2 + 12000, 1)), (vec![0], vec![0]));
    }
}

#[test]
fn lods_loads_and_keeps_the_rest_of_the_accumulator() {
    let mut cpu = flat64();
    poke(&mut cpu, 0x2000, &[0xaa, 0xbb]);
    cpu.processor.regs.gpr[RAX] = 0x1111_1111_1111_1111;
    set(&mut cpu, 0x2000, 0, 0);
    step(&mut cpu, &[0x66, 0xad]).unwrap();
    assert_eq!((cpu.processor.regs.gpr[RAX], cpu.processor.regs.gpr[RSI]), (0x1111_1111_1111_bbaa, 0x2002));
}

#[test]
fn repe_cmps_stops_after_the_first_difference() {
    let mut cpu = flat64();
    let mut bytes = pattern(9000);
    poke(&mut cpu, 0x4001, &bytes);
    bytes[7777] ^= 1;
    poke(&mut cpu, 0x8003, &bytes);
    set(&mut cpu, 0x4001, 0x8003, 9000);
    finish(&mut cpu, &[0xf3, 0xa6]);
    assert_eq!(get(&cpu), (0x4001 + 7778, 0x8003 + 7778, 9000 - 7778));
    assert_eq!(cpu.processor.regs.rflags & ZF, 0);
}

#[test]
fn repe_cmps_of_equal_strings_ends_with_zf() {
    let mut cpu = flat64();
    set(&mut cpu, 0x4000, 0x8000, 9000);
    finish(&mut cpu, &[0xf3, 0xa6]);
    assert_eq!((get(&cpu).2, cpu.processor.regs.rflags & ZF), (0, ZF));
}

#[test]
fn repne_scas_finds_a_byte_going_down() {
    let mut cpu = flat32();
    poke(&mut cpu, 0x3456, &[0x99]);
    cpu.processor.regs.rflags = 2 | DF;
    cpu.processor.regs.gpr[RAX] = 0x99;
    set(&mut cpu, 0, 0x5678, u64::from(u32::MAX));
    finish(&mut cpu, &[0xf2, 0xae]);
    assert_eq!(cpu.processor.regs.gpr[RDI], 0x3455);
    assert_eq!(cpu.processor.regs.rflags & ZF, ZF);
}

#[test]
fn compare_flags_are_those_of_cmp() {
    // (a, b, size, CF PF AF ZF SF OF as CMP gives them)
    let table = [
        (0u64, 0u64, 1, 0x44),
        (0, 1, 1, 0x95),
        (0x80, 1, 1, 0x810),
        (0x7f, 0x80, 1, 0x885),
        (0x8000, 1, 2, 0x814),
        (1, 2, 4, 0x95),
        (0x8000_0000_0000_0000, 1, 8, 0x814),
        (0x10, 1, 8, 0x14),
    ];
    for (a, b, size, flags) in table {
        let computed = super::super::flags::of_compare(a, b, size);
        assert_eq!(computed, flags, "{a:#x} - {b:#x}, {size}");
    }
}

#[test]
fn a_comparison_that_faults_leaves_the_flags_of_before() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::ES].limit = 0x3009;
    cpu.processor.regs.seg[seg::ES].attr = 0x493;
    set(&mut cpu, 0x2000, 0x3000, 16);
    assert_eq!(step(&mut cpu, &[0xf3, 0xa6]), Err(Fault::gp(0)));
    assert_eq!((get(&cpu), cpu.processor.regs.rflags & ZF), ((0x200a, 0x300a, 6), 0));
}

#[test]
fn rep_stos_stores_every_size_and_value() {
    let forms: [(usize, &[u8]); 4] =
        [(1, &[0xf3, 0xaa]), (2, &[0x66, 0xf3, 0xab]), (4, &[0xf3, 0xab]), (8, &[0xf3, 0x48, 0xab])];
    for (size, bytes) in forms {
        for value in [0x1122_3344_5566_7788u64, 0, 0x7777_7777_7777_7777] {
            for count in [1, 2, 7, 1000] {
                let mut cpu = flat64();
                cpu.processor.regs.gpr[RAX] = value;
                set(&mut cpu, 0, 0x10_0ffb, count as u64);
                finish(&mut cpu, bytes);
                let expected = value.to_le_bytes()[..size].repeat(count);
                assert_eq!(peek(&mut cpu, 0x10_0ffb, size * count), expected, "{size} {value:x} {count}");
                assert_eq!(quad(&mut cpu, 0x10_0ffb + (size * count) as u64), 0);
                assert_eq!(cpu.processor.regs.gpr[RDI], 0x10_0ffb + (size * count) as u64);
            }
        }
    }
}
