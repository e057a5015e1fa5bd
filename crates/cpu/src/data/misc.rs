//! Cache control and hints. Guest memory is coherent, so nothing is done beyond the checks.

use crate::cpu::Privilege;
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;

/// CLFLUSH, CLFLUSHOPT and CLWB fault as a read of one byte does, but do not read (a device would notice).
pub fn cache_line(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let address = cpu.operand_address(insn, 1, false)?;
    let mode = cpu.mmu_mode(Privilege::Current);
    cpu.place(address, false, mode)?;
    Ok(Next::Advance)
}

/// Prefetches never fault.
pub fn hint(_: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    Ok(Next::Advance)
}
