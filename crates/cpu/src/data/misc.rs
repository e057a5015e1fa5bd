//! Cache control and hints. Guest memory is coherent, so nothing is done beyond the checks.

use crate::cpu::Privilege;
use crate::operand::{mask, segment_index};
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction, Register};
use ireko_x86::regs::{gpr, seg};

/// CLFLUSH, CLFLUSHOPT and CLWB fault as a read of one byte does, but do not read (a device would notice).
pub fn cache_line(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let address = cpu.operand_address(insn, 1, false)?;
    let mode = cpu.processor.mmu_mode(Privilege::Current);
    cpu.target(address, false, mode)?;
    // To breakpoints it is a read (seen on family 1Ah).
    cpu.watch(address, 1, crate::breakpoints::Touch::Read);
    Ok(Next::Advance)
}

/// CLZERO clears the line that rAX points into; it is ordered and checked like a write of all of it (APM vol. 3, CLZERO).
pub fn clear_line(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    const LINE: u64 = 64;
    // F2 and F3 make other instructions of its opcode, none of which is defined (seen on family 1Ah).
    if insn.has_rep_prefix() || insn.has_repne_prefix() {
        return Err(Fault::ud());
    }
    let width = match insn.code() {
        Code::Clzerow => 2,
        Code::Clzerod => 4,
        _ => 8,
    };
    let segment = match insn.segment_prefix() {
        Register::None => seg::DS,
        register => segment_index(register),
    };
    let address = cpu.linear(segment, cpu.processor.regs.gpr[gpr::RAX] & mask(width), 1, true)?;
    cpu.write_linear(address & !(LINE - 1), &[0; LINE as usize], Privilege::Current)?;
    Ok(Next::Advance)
}

/// Prefetches never fault.
pub fn hint(_: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    Ok(Next::Advance)
}
