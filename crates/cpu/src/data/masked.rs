//! Masked moves: only the elements that the mask chooses are accessed, and only they can fault.

use super::vector::{self, element, set_element, sign};
use crate::cpu::Privilege;
use crate::operand::{mask, segment_index};
use crate::xstate::ST;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use ireko_x86::exception::{Exception, vector as number};
use ireko_x86::regs::gpr;

/// VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ: a load where the destination is a register, else a store.
pub fn vmaskmov(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    vector::require_avx(cpu)?;
    let size = if matches!(insn.mnemonic(), Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd) { 4 } else { 8 };
    let chosen = vector::read(cpu, insn.op1_register());
    let count = insn.op1_register().size() / size;
    let (segment, offset) = cpu.effective(insn);
    let wide = mask(vector_address_size(cpu, insn));
    let at = |n: usize| offset.wrapping_add((n * size) as u64) & wide;
    let elements = (0..count).filter(|n| sign(&chosen, *n, size)).map(|n| (n, at(n)));
    if insn.op0_kind() == OpKind::Register {
        let mut value = [0; 32];
        for (n, offset) in elements {
            let address = cpu.linear(segment, offset, size as u64, false)?;
            set_element(&mut value, n, size, cpu.load_element(address, size)?);
        }
        vector::write(cpu, insn.op0_register(), &value);
    } else {
        let source = vector::read(cpu, insn.op2_register());
        store_elements(cpu, segment, size, elements.map(|(n, at)| (at, element(&source, n, size))))?;
    }
    Ok(Next::Advance)
}

/// Address size of an ordinary memory operand with or without registers.
fn vector_address_size(cpu: &Cpu, insn: &Instruction) -> usize {
    let register =
        if insn.memory_base() == Register::None { insn.memory_index() } else { insn.memory_base() };
    match register {
        Register::None if insn.memory_displ_size() == 2 => 2,
        Register::None => {
            if cpu.processor.regs.code64() {
                8
            } else {
                4
            }
        }
        register => register.size(),
    }
}

/// Stores (offset, value) pairs of `size` bytes, all checked before the first is written.
fn store_elements(
    cpu: &mut Cpu,
    segment: usize,
    size: usize,
    elements: impl Iterator<Item = (u64, u64)> + Clone,
) -> Result<(), Fault> {
    for (offset, _) in elements.clone() {
        let address = cpu.linear(segment, offset, size as u64, true)?;
        cpu.probe_write(address, size, Privilege::Current)?;
    }
    for (offset, value) in elements {
        let address = cpu.linear(segment, offset, size as u64, true)?;
        cpu.store_element(address, size, value)?;
    }
    Ok(())
}

/// Stores the bytes of `data` that `chosen` selects at segment:rDI.
fn store_bytes(cpu: &mut Cpu, insn: &Instruction, data: &[u8], chosen: &[u8]) -> Result<Next, Fault> {
    let width = match insn.op0_kind() {
        OpKind::MemorySegDI => 2,
        OpKind::MemorySegEDI => 4,
        _ => 8,
    };
    let segment = segment_index(insn.memory_segment());
    let base = cpu.processor.regs.gpr[gpr::RDI];
    let start = cpu.processor.regs.seg[segment].base.wrapping_add(base & mask(width));
    cpu.check_alignment(start, 8)?;
    let bytes = data.iter().zip(chosen).enumerate().filter(|(_, (_, chosen))| **chosen >> 7 != 0);
    let bytes = bytes.map(|(n, (byte, _))| (base.wrapping_add(n as u64) & mask(width), u64::from(*byte)));
    store_elements(cpu, segment, 1, bytes)?;
    Ok(Next::Advance)
}

pub fn maskmovdqu(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    if insn.mnemonic() == Mnemonic::Vmaskmovdqu {
        vector::require_avx(cpu)?
    } else {
        vector::require_sse(cpu)?
    }
    let data = vector::read(cpu, insn.op1_register());
    let chosen = vector::read(cpu, insn.op2_register());
    store_bytes(cpu, insn, &data[..16], &chosen[..16])
}

/// An MMX instruction: it makes the x87 stack empty of meaning (TOP 0, all tags valid; APM vol. 1, 5.15).
pub fn maskmovq(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    vector::require_mmx(cpu)?;
    cpu.fpu_normalise();
    if cpu.processor.fpu.0[2] & 0x80 != 0 {
        return Err(Exception::new(number::MF).into());
    }
    let (data, chosen) = (mmx(cpu, insn.op1_register()), mmx(cpu, insn.op2_register()));
    // Silicon does so before the stores, so a fault finds it done.
    enter_mmx(cpu);
    store_bytes(cpu, insn, &data, &chosen)
}

/// TOP in the x87 status word.
fn top(cpu: &Cpu) -> usize {
    usize::from(cpu.processor.fpu.0[3] >> 3 & 7)
}

/// MMn is physical register n; the area holds the stack from TOP on.
fn mmx(cpu: &Cpu, register: Register) -> [u8; 8] {
    let slot = (register.number() + 8 - top(cpu)) % 8;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&cpu.processor.fpu.0[ST + 16 * slot..][..8]);
    bytes
}

fn enter_mmx(cpu: &mut Cpu) {
    let top = top(cpu);
    cpu.processor.fpu.0[ST..ST + 128].rotate_right(16 * top);
    cpu.processor.fpu.0[3] &= !0x38;
    cpu.processor.fpu.0[4] = 0xff;
}
