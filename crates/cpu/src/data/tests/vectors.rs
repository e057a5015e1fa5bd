//! Gathers, masked moves and the XSAVE family.

use super::*;
use crate::data::vector;
use crate::processor::x87::{Pointers, Selector};
use iced_x86::Register;
use ireko_x86::Exception;
use ireko_x86::bits::cr0;
use ireko_x86::regs::gpr::{RAX, RBX, RDI, RDX};

/// VPGATHERDD ymm1, [rbx + ymm2*4], ymm3.
const VPGATHERDD: [u8; 6] = [0xc4, 0xe2, 0x65, 0x90, 0x0c, 0x93];
/// VPGATHERQD xmm1, [rbx + xmm2*4], xmm3.
const VPGATHERQD: [u8; 6] = [0xc4, 0xe2, 0x61, 0x91, 0x0c, 0x93];

fn dwords(values: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes
        .chunks_exact_mut(4)
        .zip(values)
        .for_each(|(chunk, value)| chunk.copy_from_slice(&value.to_le_bytes()));
    bytes
}

#[test]
fn a_gather_loads_the_chosen_elements_and_clears_the_mask() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RBX] = 0x3010;
    for n in 0..16u64 {
        poke(&mut cpu, 0x3000 + 4 * n, &(0x100 + n as u32).to_le_bytes());
    }
    vector::write(&mut cpu, Register::XMM1, &[0xee; 32]);
    vector::write(&mut cpu, Register::XMM2, &dwords([0, 1, -1i32 as u32, -4i32 as u32, 5, 6, 7, 8]));
    vector::write(&mut cpu, Register::XMM3, &dwords([u32::MAX, 0, 1 << 31, u32::MAX, 0, 0, 0, 1 << 31]));
    step(&mut cpu, &VPGATHERDD).unwrap();
    let old = 0xeeee_eeee;
    assert_eq!(
        vector::read(&mut cpu, Register::XMM1),
        dwords([0x104, old, 0x103, 0x100, old, old, old, 0x10c])
    );
    assert_eq!(vector::read(&mut cpu, Register::XMM3), [0; 32]);
}

#[test]
fn a_gather_of_two_elements_clears_the_rest() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RBX] = 0x3000;
    poke(&mut cpu, 0x3000, &[1, 0, 0, 0, 2, 0, 0, 0]);
    vector::write(&mut cpu, Register::XMM1, &[0xee; 32]);
    vector::write(&mut cpu, Register::XMM2, &dwords([1, 0, 0, 0, 9, 9, 9, 9]));
    vector::write(&mut cpu, Register::XMM3, &[0xff; 32]);
    step(&mut cpu, &VPGATHERQD).unwrap();
    assert_eq!(vector::read(&mut cpu, Register::XMM1), dwords([2, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!(vector::read(&mut cpu, Register::XMM3), [0; 32]);
}

#[test]
fn a_gather_that_faults_keeps_what_is_done_and_can_go_on() {
    let mut cpu = flat64();
    // Index 1 lies in the canonical hole.
    cpu.processor.regs.gpr[RBX] = 0x7fff_ffff_fffc;
    vector::write(&mut cpu, Register::XMM2, &dwords([0, 1, 0, 0, 0, 0, 0, 0]));
    vector::write(&mut cpu, Register::XMM3, &dwords([u32::MAX; 8]));
    assert_eq!(step(&mut cpu, &VPGATHERDD), Err(Fault::gp(0)));
    let left = dwords([0, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX]);
    assert_eq!(vector::read(&mut cpu, Register::XMM3), left);
}

#[test]
fn a_gather_that_faults_leaves_the_destination_between_its_elements_and_the_vector_length() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RBX] = 0x7fff_ffff_fffc;
    vector::write(&mut cpu, Register::XMM1, &[0x11; 32]);
    vector::write(&mut cpu, Register::XMM2, &dwords([0, 0, 1, 0, 0, 0, 0, 0]));
    vector::write(&mut cpu, Register::XMM3, &[0xff; 32]);
    assert_eq!(step(&mut cpu, &VPGATHERQD), Err(Fault::gp(0)));
    assert_eq!(vector::read(&mut cpu, Register::XMM1)[4..16], [0x11; 12]);
    assert_eq!(vector::read(&mut cpu, Register::XMM3), dwords([0, u32::MAX, u32::MAX, u32::MAX, 0, 0, 0, 0]));
}

#[test]
fn a_gather_with_equal_registers_is_undefined() {
    let mut cpu = flat64();
    let bytes = [0xc4, 0xe2, 0x6d, 0x90, 0x0c, 0x93];
    let insn = Decoder::new(64, &bytes, DecoderOptions::NO_INVALID_CHECK).decode();
    assert_eq!(super::super::gather::gather(&mut cpu, &insn), Err(Fault::ud()));
}

#[test]
fn avx_without_osxsave_is_undefined_and_with_ts_not_available() {
    let mut cpu = flat64();
    cpu.processor.regs.cr0 |= cr0::TS;
    assert_eq!(step(&mut cpu, &VPGATHERDD), Err(Exception::nm().into()));
    cpu.processor.regs.cr4 = 0;
    assert_eq!(step(&mut cpu, &VPGATHERDD), Err(Fault::ud()));
}

#[test]
fn a_masked_load_does_not_touch_what_is_not_chosen() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RAX] = 0x7fff_ffff_fff0;
    vector::write(&mut cpu, Register::XMM1, &[0xee; 32]);
    vector::write(&mut cpu, Register::XMM2, &dwords([0, 0, 0, 0, 0, 0, 0, 0]));
    // VPMASKMOVD ymm1, ymm2, [rax]: the upper half is not canonical.
    step(&mut cpu, &[0xc4, 0xe2, 0x6d, 0x8c, 0x08]).unwrap();
    assert_eq!(vector::read(&mut cpu, Register::XMM1), [0; 32]);
}

#[test]
fn a_masked_store_writes_the_chosen_elements_or_nothing() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RAX] = 0x3000;
    vector::write(&mut cpu, Register::XMM1, &dwords([1, 2, 3, 4, 5, 6, 7, 8]));
    vector::write(&mut cpu, Register::XMM2, &dwords([u32::MAX, 0, 0, 0, 0, 0, 0, 1 << 31]));
    // VPMASKMOVD [rax], ymm2, ymm1.
    step(&mut cpu, &[0xc4, 0xe2, 0x6d, 0x8e, 0x08]).unwrap();
    assert_eq!(peek(&mut cpu, 0x3000, 32), dwords([1, 0, 0, 0, 0, 0, 0, 8]));
}

#[test]
fn maskmovdqu_writes_bytes_at_rdi() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RDI] = 0x3000;
    vector::write(&mut cpu, Register::XMM1, &[0x55; 32]);
    let mut mask = [0; 32];
    (mask[0], mask[15], mask[16]) = (0x80, 0xff, 0xff);
    vector::write(&mut cpu, Register::XMM2, &mask);
    // MASKMOVDQU xmm1, xmm2.
    step(&mut cpu, &[0x66, 0x0f, 0xf7, 0xca]).unwrap();
    let mut expected = vec![0; 17];
    (expected[0], expected[15]) = (0x55, 0x55);
    assert_eq!(peek(&mut cpu, 0x3000, 17), expected);
}

const XSAVE64: [u8; 4] = [0x48, 0x0f, 0xae, 0x20];
const XSAVE64_RBX: [u8; 4] = [0x48, 0x0f, 0xae, 0x23];
const XRSTOR64_RBX: [u8; 4] = [0x48, 0x0f, 0xae, 0x2b];
const XSAVEC64_RBX: [u8; 4] = [0x48, 0x0f, 0xc7, 0x23];
const XSAVEOPT64_RBX: [u8; 4] = [0x48, 0x0f, 0xae, 0x33];
const FXSAVE64_RBX: [u8; 4] = [0x48, 0x0f, 0xae, 0x03];
const FXRSTOR_RBX: [u8; 3] = [0x0f, 0xae, 0x0b];

/// RFBM in EDX:EAX, the area at 4000h.
fn xsave_cpu(requested: u64) -> Cpu {
    let mut cpu = flat64();
    (cpu.processor.regs.gpr[RAX], cpu.processor.regs.gpr[RDX], cpu.processor.regs.gpr[RBX]) =
        (requested, 0, 0x4000);
    cpu
}

#[test]
fn xsave_writes_state_bits_of_what_is_in_use_and_keeps_the_others() {
    let mut cpu = xsave_cpu(0x4);
    poke(&mut cpu, 0x4200, &3u64.to_le_bytes());
    vector::write(&mut cpu, Register::XMM9, &[0x99; 32]);
    step(&mut cpu, &XSAVE64_RBX).unwrap();
    assert_eq!(quad(&mut cpu, 0x4200), 7);
    assert_eq!(peek(&mut cpu, 0x4240 + 9 * 16, 16), [0x99; 16]);
    assert_eq!(peek(&mut cpu, 0x40a0 + 9 * 16, 16), [0; 16], "SSE was not asked for");
}

#[test]
fn xsaveopt_and_xsavec_leave_components_in_their_initial_state_out() {
    for (bytes, format) in [(XSAVEOPT64_RBX, 0), (XSAVEC64_RBX, 1 << 63 | 7)] {
        let mut cpu = xsave_cpu(7);
        poke(&mut cpu, 0x4240, &[0xcc; 256]);
        vector::write(&mut cpu, Register::XMM2, &dwords([1, 0, 0, 0, 0, 0, 0, 0]));
        step(&mut cpu, &bytes).unwrap();
        assert_eq!((quad(&mut cpu, 0x4200), quad(&mut cpu, 0x4208)), (2, format));
        assert_eq!(peek(&mut cpu, 0x4240, 256), [0xcc; 256]);
    }
}

#[test]
fn xrstor_brings_back_what_xsave_and_xsavec_saved() {
    for bytes in [XSAVE64_RBX, XSAVEC64_RBX, XSAVEOPT64_RBX] {
        let mut cpu = xsave_cpu(7);
        vector::write(&mut cpu, Register::XMM5, &[0x42; 32]);
        cpu.processor.fpu.0[..10].copy_from_slice(&[0x7f, 2, 0, 0x38, 0x80, 0, 0, 0, 0, 0]);
        cpu.processor.fpu.0[24..28].copy_from_slice(&0x9fc0u32.to_le_bytes());
        let saved = cpu.processor.fpu.0;
        step(&mut cpu, &bytes).unwrap();
        cpu.processor.fpu.0[..416].fill(0xdd);
        cpu.processor.fpu.0[28..32].fill(0);
        cpu.processor.fpu.0[576..832].fill(0xdd);
        step(&mut cpu, &XRSTOR64_RBX).unwrap();
        cpu.fpu_normalise();
        let differs = (0..832).find(|&at| cpu.processor.fpu.0[at] != saved[at]);
        assert_eq!(differs, None, "{bytes:x?}");
    }
}

#[test]
fn xrstor_initialises_components_without_a_state_bit() {
    let mut cpu = xsave_cpu(4);
    poke(&mut cpu, 0x4018, &0x1f80u32.to_le_bytes());
    vector::write(&mut cpu, Register::XMM5, &[0x42; 32]);
    step(&mut cpu, &XRSTOR64_RBX).unwrap();
    let value = vector::read(&mut cpu, Register::XMM5);
    assert_eq!((&value[..16], &value[16..]), (&[0x42; 16][..], &[0; 16][..]));
}

#[test]
fn xrstor_refuses_what_the_manual_forbids() {
    // (offset, bytes, why)
    let cases: [(u64, u64, &str); 6] = [
        (0x200, 8, "a component that XCR0 has not"),
        (0x208, 1, "XCOMP_BV without bit 63"),
        (0x210, 1, "header bytes 23:16"),
        (0x208, 1 << 63 | 8, "a compacted component that XCR0 has not"),
        (0x018, 0x1_0000, "MXCSR bit 16"),
        (0x208, 1 << 63, "nothing: an empty compacted image is fine"),
    ];
    for (offset, value, why) in cases {
        let mut cpu = xsave_cpu(7);
        poke(&mut cpu, 0x4000 + offset, &value.to_le_bytes());
        let result = step(&mut cpu, &XRSTOR64_RBX);
        let expected = if why.starts_with("nothing") { Ok(Next::Advance) } else { Err(Fault::gp(0)) };
        assert_eq!(result, expected, "{why}");
    }
}

#[test]
fn the_xsave_area_must_be_aligned() {
    let mut cpu = xsave_cpu(7);
    cpu.processor.regs.gpr[RBX] = 0x4020;
    assert_eq!(step(&mut cpu, &XSAVE64_RBX), Err(Fault::gp(0)));
    cpu.processor.regs.cr4 &= !cr4::OSXSAVE;
    assert_eq!(step(&mut cpu, &XSAVE64), Err(Fault::ud()));
}

#[test]
fn the_32_bit_form_cuts_pointers_and_registers() {
    let mut cpu = flat32();
    (cpu.processor.regs.gpr[RBX], cpu.processor.regs.gpr[RAX]) = (0x4000, 7);
    vector::write(&mut cpu, Register::XMM7, &[7; 32]);
    vector::write(&mut cpu, Register::XMM8, &[8; 32]);
    // A pending exception, for without one there are no pointers.
    cpu.processor.fpu.0[2] = 0x84;
    let (instruction, data) = (u64::MAX, u64::MAX);
    let [code, segment] = [8, 0x10].map(Selector::Loaded);
    cpu.set_x87(Pointers { instruction, data, code, segment, opcode: 0x7ff });
    step(&mut cpu, &[0x0f, 0xae, 0x03]).unwrap();
    let pointers = [0xff, 0xff, 0xff, 0xff, 8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 0, 0];
    assert_eq!(peek(&mut cpu, 0x4008, 16), pointers);
    assert_eq!(peek(&mut cpu, 0x40a0 + 7 * 16, 32), [[7; 16], [0; 16]].concat());
}

#[test]
fn fxrstor_brings_back_what_fxsave_saved_except_ymm() {
    let mut cpu = xsave_cpu(7);
    vector::write(&mut cpu, Register::XMM15, &[0x42; 32]);
    step(&mut cpu, &FXSAVE64_RBX).unwrap();
    vector::write(&mut cpu, Register::XMM15, &[0x24; 32]);
    step(&mut cpu, &FXRSTOR_RBX).unwrap();
    let value = vector::read(&mut cpu, Register::XMM15);
    assert_eq!((&value[..16], &value[16..]), (&[0x42; 16][..], &[0x24; 16][..]));
}

#[test]
fn fxsave_tells_the_mask_of_mxcsr() {
    let mut cpu = xsave_cpu(7);
    step(&mut cpu, &FXSAVE64_RBX).unwrap();
    let misaligned = if cpu.processor.model.has(ireko_x86::cpuid::MISALIGNED_SSE) { 2 } else { 0 };
    assert_eq!(peek(&mut cpu, 0x4018, 8), [0x80, 0x1f, 0, 0, 0xff, 0xff, misaligned, 0]);
}

#[test]
fn clflush_checks_the_address_but_a_prefetch_does_not() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RBX] = 1 << 63;
    assert_eq!(step(&mut cpu, &[0x0f, 0xae, 0x3b]), Err(Fault::gp(0)));
    assert_eq!(step(&mut cpu, &[0x0f, 0x18, 0x0b]), Ok(Next::Advance));
}
