//! Vector registers in `cpu.fpu` (standard XSAVE form), and when an instruction may use them.

use super::xsave_area as area;
use crate::operand::mask;
use crate::xstate::{XMM, YMM, evex_on};
use crate::{Cpu, Fault};
use iced_x86::{Instruction, Register};
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, cr4};
use std::ops::Range;

/// XCR0 bits of SSE and AVX state, and with those of AVX-512.
const SSE_AVX: u64 = 6;

/// #UD where the operating system has not enabled AVX or the mode has no VEX encodings, #NM with CR0.TS.
pub fn require_avx(cpu: &Cpu) -> Result<(), Fault> {
    let regs = &cpu.processor.regs;
    let enabled = regs.cr4 & cr4::OSXSAVE != 0 && regs.xcr0 & SSE_AVX == SSE_AVX;
    if !enabled || !regs.protected() || regs.v86() {
        return Err(Fault::ud());
    }
    available(cpu)
}

/// #UD where that is not so, #NM with CR0.TS.
pub fn require_evex(cpu: &Cpu) -> Result<(), Fault> {
    if evex_on(&cpu.processor.regs) { available(cpu) } else { Err(Fault::ud()) }
}

/// #UD where the operating system has not enabled SSE, #NM with CR0.TS.
pub fn require_sse(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cr0 & cr0::EM != 0 || cpu.processor.regs.cr4 & cr4::OSFXSR == 0 {
        return Err(Fault::ud());
    }
    available(cpu)
}

/// #UD with CR0.EM, #NM with CR0.TS.
pub fn require_mmx(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cr0 & cr0::EM != 0 {
        return Err(Fault::ud());
    }
    available(cpu)
}

/// #NM with CR0.EM or CR0.TS.
pub fn require_x87(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cr0 & cr0::EM != 0 { Err(Exception::nm().into()) } else { available(cpu) }
}

/// #NM with CR0.TS.
pub fn available(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cr0 & cr0::TS != 0 { Err(Exception::nm().into()) } else { Ok(()) }
}

/// A whole register, with what AVX-512 adds.
pub type Whole = [u8; 64];

/// Where bytes 0 to 15, 16 to 31 and 32 to 63 of register `n` lie in `cpu.fpu`.
fn pieces(n: usize) -> [(usize, Range<usize>); 3] {
    let layout = area::here();
    let at = match n.checked_sub(16) {
        None => [XMM + 16 * n, YMM + 16 * n, layout.zmm_high + 32 * n],
        Some(n) => [0, 16, 32].map(|byte| layout.high_zmm + 64 * n + byte),
    };
    [(at[0], 0..16), (at[1], 16..32), (at[2], 32..64)]
}

/// All 64 bytes of the register that `register` is a part of.
pub fn read_whole(cpu: &mut Cpu, register: Register) -> Whole {
    cpu.fpu_normalise();
    let mut bytes = [0; 64];
    for (at, part) in pieces(register.number() & 31) {
        let size = part.len();
        bytes[part].copy_from_slice(&cpu.processor.fpu.0[at..at + size]);
    }
    bytes
}

pub fn write_whole(cpu: &mut Cpu, register: Register, bytes: &Whole) {
    cpu.fpu_normalise();
    for (at, part) in pieces(register.number() & 31) {
        cpu.processor.fpu.0[at..at + part.len()].copy_from_slice(&bytes[part]);
    }
}

/// The lower 32 bytes of the register that `register` is a part of.
pub fn read(cpu: &mut Cpu, register: Register) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&read_whole(cpu, register)[..32]);
    bytes
}

/// Writes the lower 32 bytes: VEX instructions clear what is above their vector length.
pub fn write(cpu: &mut Cpu, register: Register, bytes: &[u8; 32]) {
    let mut whole = [0; 64];
    whole[..32].copy_from_slice(bytes);
    write_whole(cpu, register, &whole);
}

/// Writes the lower 32 bytes and leaves those above.
pub fn write_lower(cpu: &mut Cpu, register: Register, bytes: &[u8; 32]) {
    let mut whole = read_whole(cpu, register);
    whole[..32].copy_from_slice(bytes);
    write_whole(cpu, register, &whole);
}

/// Writes the lower 16 bytes, as legacy SSE instructions do.
pub fn write_low(cpu: &mut Cpu, register: Register, bytes: &[u8; 16]) {
    cpu.fpu_normalise();
    cpu.processor.fpu.0[XMM + 16 * register.number()..][..16].copy_from_slice(bytes);
}

/// A mask register.
pub fn opmask(cpu: &mut Cpu, register: Register) -> u64 {
    cpu.fpu_normalise();
    let at = area::here().opmask + 8 * register.number();
    u64::from(area::word(&cpu.processor.fpu.0, at))
        | u64::from(area::word(&cpu.processor.fpu.0, at + 4)) << 32
}

pub fn set_opmask(cpu: &mut Cpu, register: Register, value: u64) {
    cpu.fpu_normalise();
    let at = area::here().opmask + 8 * register.number();
    cpu.processor.fpu.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Element `n` of `size` bytes, zero-extended.
pub fn element(bytes: &[u8], n: usize, size: usize) -> u64 {
    let mut value = [0; 8];
    value[..size].copy_from_slice(&bytes[n * size..][..size]);
    u64::from_le_bytes(value)
}

pub fn set_element(bytes: &mut [u8], n: usize, size: usize, value: u64) {
    bytes[n * size..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// The most significant bit of element `n`: what masked moves and gathers look at.
pub fn sign(bytes: &[u8; 32], n: usize, size: usize) -> bool {
    bytes[n * size + size - 1] >> 7 != 0
}

/// Bytes of the address of a VSIB operand: of its base register, or of the mode.
pub fn vsib_address_size(cpu: &Cpu, insn: &Instruction) -> usize {
    match (insn.memory_base(), insn.memory_displ_size(), cpu.processor.regs.code64()) {
        (Register::None, 8, _) => 8,
        (Register::None, 4, _) | (_, _, false) => 4,
        (base, ..) => base.size(),
    }
}

/// Offset of one element: base + sign-extended index * scale + displacement, cut to the address size.
pub fn vsib_offset(cpu: &Cpu, insn: &Instruction, index: u64, index_size: usize) -> u64 {
    let shift = 64 - 8 * index_size as u32;
    let index = ((index << shift) as i64 >> shift) as u64;
    let base = match insn.memory_base() {
        Register::None => 0,
        base => cpu.gpr(base),
    };
    let offset = base
        .wrapping_add(index.wrapping_mul(insn.memory_index_scale().into()))
        .wrapping_add(insn.memory_displacement64());
    offset & mask(vsib_address_size(cpu, insn))
}
