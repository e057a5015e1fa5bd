//! AVX-512's gathers and scatters, and its state in the XSAVE family. What is not in memory but in the host's registers takes a
//! host that has it; these run everywhere.

use super::*;
use crate::data::vector;
use crate::data::xsave_area as area;
use iced_x86::Register;
use ireko_x86::Exception;
use ireko_x86::regs::gpr::{RAX, RBX, RCX, RDX};

/// VPGATHERDD ZMM1 {K1}, [RBX + ZMM18*4]; VPSCATTERDD [RBX + ZMM18*4] {K1}, ZMM1; VPGATHERQD YMM1 {K1}, [RBX + ZMM18*4].
const GATHER: [u8; 7] = [0x62, 0xf2, 0x7d, 0x41, 0x90, 0x0c, 0x93];
const SCATTER: [u8; 7] = [0x62, 0xf2, 0x7d, 0x41, 0xa0, 0x0c, 0x93];
const GATHER_HALF: [u8; 7] = [0x62, 0xf2, 0x7d, 0x41, 0x91, 0x0c, 0x93];

fn cpu(mask: u64, indices: [i32; 16]) -> Cpu {
    let mut cpu = flat64();
    cpu.processor.regs.xcr0 = 0xe7;
    cpu.processor.regs.gpr[RBX] = 0x3000;
    (0..16u64).for_each(|n| poke(&mut cpu, 0x3000 + 4 * n, &(0x100 + n as u32).to_le_bytes()));
    vector::set_opmask(&mut cpu, Register::K1, mask);
    let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    vector::write_whole(&mut cpu, Register::ZMM18, bytes.as_slice().try_into().unwrap());
    vector::write_whole(&mut cpu, Register::ZMM1, &[0xee; 64]);
    cpu
}

fn dwords(cpu: &mut Cpu, register: Register) -> [u32; 16] {
    let bytes = vector::read_whole(cpu, register);
    std::array::from_fn(|n| vector::element(&bytes, n, 4) as u32)
}

const OLD: u32 = 0xeeee_eeee;
const UP: [i32; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

#[test]
fn a_gather_loads_what_the_mask_register_chooses_and_clears_it() {
    let mut cpu = cpu(0xffff_0000_0000_8003, UP);
    step(&mut cpu, &GATHER).unwrap();
    let mut expected = [OLD; 16];
    (expected[0], expected[1], expected[15]) = (0x10f, 0x10e, 0x100);
    assert_eq!((dwords(&mut cpu, Register::ZMM1), vector::opmask(&mut cpu, Register::K1)), (expected, 0));
}

#[test]
fn a_gather_that_faults_keeps_what_is_done_and_its_bits_of_the_mask() {
    let mut indices = UP;
    indices[2] = i32::MIN;
    let mut cpu = cpu(0x800f, indices);
    // Index 2 leads from the lowest canonical address of the upper half into the hole.
    cpu.processor.regs.gpr[RBX] = 0xffff_8000_0000_3000;
    let result = step(&mut cpu, &GATHER);
    assert_eq!(result, Err(Fault::gp(0)));
    assert_eq!(vector::opmask(&mut cpu, Register::K1), 0x800c);
    assert_eq!(dwords(&mut cpu, Register::ZMM1)[2..], [OLD; 14]);
}

#[test]
fn a_gather_of_fewer_elements_clears_the_rest() {
    let mut cpu = cpu(0xff, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0]);
    step(&mut cpu, &GATHER_HALF).unwrap();
    let expected = [0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107, 0x108, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(dwords(&mut cpu, Register::ZMM1), expected);
}

/// VPGATHERDD ZMM18 {K1}, [RBX + ZMM18*4].
#[test]
fn a_gather_into_its_own_indices_is_undefined() {
    let insn = [0x62, 0xe2, 0x7d, 0x41, 0x90, 0x14, 0x93];
    let decoded = Decoder::new(64, &insn, DecoderOptions::AMD).decode();
    let refused = decoded.is_invalid() || step(&mut cpu(1, UP), &insn) == Err(Fault::ud());
    assert!(refused, "{decoded:?}");
}

#[test]
fn of_two_elements_at_one_place_the_higher_is_stored() {
    let mut cpu = cpu(0b111, [3, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let bytes: Vec<u8> = (1..=64).collect();
    vector::write_whole(&mut cpu, Register::ZMM1, bytes.as_slice().try_into().unwrap());
    step(&mut cpu, &SCATTER).unwrap();
    let seen = [3u64, 4, 5].map(|n| peek(&mut cpu, 0x3000 + 4 * n, 4));
    assert_eq!(seen, [vec![5, 6, 7, 8], vec![4, 1, 0, 0], vec![9, 10, 11, 12]]);
    assert_eq!(vector::opmask(&mut cpu, Register::K1), 0);
}

#[test]
fn without_its_state_they_are_undefined_and_with_ts_not_available() {
    for insn in [GATHER, SCATTER] {
        let mut cpu = cpu(1, UP);
        cpu.processor.regs.cr0 |= cr0::TS;
        assert_eq!(step(&mut cpu, &insn), Err(Exception::nm().into()));
        cpu.processor.regs.xcr0 = 7;
        assert_eq!(step(&mut cpu, &insn), Err(Fault::ud()));
    }
}

/// VEX instructions clear all above their vector length, AVX-512's part as well; those of SSE leave it.
#[test]
fn a_vex_write_clears_the_upper_half_of_zmm() {
    let mut cpu = cpu(0, UP);
    vector::write_low(&mut cpu, Register::XMM1, &[1; 16]);
    assert_eq!(vector::read_whole(&mut cpu, Register::ZMM1)[16..], [0xee; 48]);
    vector::write(&mut cpu, Register::XMM1, &[2; 32]);
    assert_eq!(vector::read_whole(&mut cpu, Register::ZMM1)[32..], [0; 32]);
}

const XSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x23];
const XSAVEC64: [u8; 4] = [0x48, 0x0f, 0xc7, 0x23];
const XRSTOR64: [u8; 4] = [0x48, 0x0f, 0xae, 0x2b];
const XSAVE: [u8; 3] = [0x0f, 0xae, 0x23];

/// With something in every register, and a save area at 4000h.
fn full(requested: u64) -> Cpu {
    let mut cpu = cpu(0, UP);
    (cpu.processor.regs.gpr[RBX], cpu.processor.regs.gpr[RAX], cpu.processor.regs.gpr[RDX]) =
        (0x4000, requested, 0);
    for n in 0..32u32 {
        vector::write_whole(
            &mut cpu,
            Register::ZMM0 + n,
            &std::array::from_fn(|at| (at as u8) ^ (n as u8) << 3),
        );
    }
    for n in 0..8u32 {
        vector::set_opmask(&mut cpu, Register::K0 + n, 0x0101_0101_0101_0101 * u64::from(n + 1));
    }
    cpu
}

/// K7, the upper half of ZMM15 and ZMM31, as `full` has them.
fn saved(cpu: &mut Cpu, at: [u64; 3]) -> bool {
    let value = |n: u8, from: u8| (from..64).map(|at| at ^ n << 3).collect::<Vec<u8>>();
    let [k7, high15, zmm31] = at;
    peek(cpu, k7, 8) == [8; 8]
        && peek(cpu, high15, 32) == value(15, 32)
        && peek(cpu, zmm31, 64) == value(31, 0)
}

/// AMD's places: 832, 896 and 1408 (Fn0000_000D, subleaves 5 to 7).
#[test]
fn in_standard_form_it_is_where_cpuid_says() {
    let mut cpu = full(0xe7);
    step(&mut cpu, &XSAVE64).unwrap();
    assert!(saved(&mut cpu, [0x4000 + 832 + 56, 0x4000 + 896 + 480, 0x4000 + 1408 + 960]));
    assert_eq!(quad(&mut cpu, 0x4200) & 0xe0, 0xe0);
}

/// Without AVX everything moves up by its 256 bytes.
#[test]
fn in_compacted_form_one_is_behind_the_other() {
    for (requested, moved) in [(0xe7, 0), (0xe3, 256)] {
        let mut cpu = full(requested);
        step(&mut cpu, &XSAVEC64).unwrap();
        assert_eq!(quad(&mut cpu, 0x4208), 1 << 63 | requested);
        let at = [832 + 56, 896 + 480, 1408 + 960].map(|at| 0x4000 + at - moved);
        assert!(saved(&mut cpu, at), "{requested:#x}");
    }
}

#[test]
fn both_forms_bring_it_back() {
    for insn in [XSAVE64, XSAVEC64] {
        let mut cpu = full(0xe7);
        let before = cpu.processor.fpu.0[..3072].to_vec();
        step(&mut cpu, &insn).unwrap();
        (0..32).for_each(|n| vector::write_whole(&mut cpu, Register::ZMM0 + n, &[0x55; 64]));
        (0..8).for_each(|n| vector::set_opmask(&mut cpu, Register::K0 + n, 0x55));
        step(&mut cpu, &XRSTOR64).unwrap();
        assert!(cpu.processor.fpu.0[..3072] == before[..]);
    }
}

#[test]
fn components_in_their_initial_state_are_cleared() {
    let mut cpu = full(0xe0);
    poke(&mut cpu, 0x4200, &[0; 64]);
    step(&mut cpu, &XRSTOR64).unwrap();
    let seen =
        [Register::ZMM3, Register::ZMM30].map(|zmm| vector::read_whole(&mut cpu, zmm)[32..] == [0; 32]);
    assert_eq!((seen, vector::opmask(&mut cpu, Register::K3)), ([true; 2], 0));
    assert_eq!(vector::read(&mut cpu, Register::XMM3)[1], 1 ^ 3 << 3);
    assert_eq!(area::in_use(&cpu) & 0xe4, 4);
}

/// Outside of 64-bit mode, ZMM8 and up are neither saved nor restored (SDM vol. 1, 13.5.5 and 13.5.6).
#[test]
fn the_32_bit_form_leaves_high_registers_out() {
    let mut cpu = full(0xe7);
    cpu.processor.regs.efer = 0;
    cpu.processor.regs.seg[seg::CS].attr = 0xc9b;
    poke(&mut cpu, 0x4000, &[0x77; 2440]);
    poke(&mut cpu, 0x4200, &[0; 64]);
    step(&mut cpu, &XSAVE).unwrap();
    assert_eq!(peek(&mut cpu, 0x4000 + 832 + 56, 8), [8; 8]);
    assert_eq!(peek(&mut cpu, 0x4000 + 896 + 7 * 32, 2)[0], 32 ^ 7 << 3);
    assert_eq!(peek(&mut cpu, 0x4000 + 896 + 256, 1024 + 256), [0x77; 1024 + 256]);
}

/// XSETBV takes all three of its components or none, and only with AVX (SDM vol. 1, 13.3).
#[test]
fn xcr0_has_all_of_it_or_none() {
    fn everything(leaf: u32, _: u32) -> [u32; 4] {
        if leaf & 0x7fff_ffff == 0 { [0x8000_0021 & leaf | 0x20, 0, 0, 0] } else { [u32::MAX; 4] }
    }
    let host = crate::cpuid::host::Host { cpuid: everything, xcr0: 0xe7 };
    let spec = crate::cpuid::ModelSpec {
        named: None,
        nested: false,
        vcpus: 1,
        tsc_khz: 1,
        changes: Default::default(),
    };
    let mut cpu = flat64();
    cpu.processor.model = std::sync::Arc::new(crate::cpuid::Model::amd_on(&host, &spec));
    let mut set = |value: u64| {
        (cpu.processor.regs.gpr[RAX], cpu.processor.regs.gpr[RCX], cpu.processor.regs.gpr[RDX]) =
            (value, 0, 0);
        crate::system::xcr::xsetbv(&mut cpu, &Default::default()).is_ok()
    };
    assert_eq!([0xe7, 7, 0x27, 0x67, 0xe3, 0xc7].map(&mut set), [true, true, false, false, false, false]);
    let mut cpu = flat64();
    (cpu.processor.regs.gpr[RAX], cpu.processor.regs.gpr[RDX]) = (0xe7, 0);
    let here = cpu.processor.model.xcr0() & 0xe0 != 0;
    assert_eq!(crate::system::xcr::xsetbv(&mut cpu, &Default::default()).is_ok(), here);
}
