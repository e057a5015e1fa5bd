//! INT n, INT3, INTO and INT1.

use crate::event;
use crate::intercept::software_interrupt_intercept;
use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_nested::{Event, EventKind, Intercept};
use ireko_x86::bits::rflags;
use ireko_x86::exception::vector;

pub fn int(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let vector = insn.immediate8();
    software_interrupt_intercept(cpu, vector)?;
    cpu.processor.regs.rflags &= !rflags::RF;
    let event = Event { kind: EventKind::SoftwareInterrupt, vector, error: None };
    event::deliver(cpu, event, cpu.following(insn))?;
    Ok(Next::Jump)
}

pub fn int3(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    event::ask(cpu, vector::BP, cpu.following(insn))?;
    Ok(Next::Jump)
}

pub fn into(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    if cpu.processor.regs.rflags & rflags::OF == 0 {
        return Ok(Next::Advance);
    }
    event::ask(cpu, vector::OF, cpu.following(insn))?;
    Ok(Next::Jump)
}

/// INT1 (ICEBP): #DB without a bit in DR6.
pub fn int1(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Icebp)?;
    event::ask_int1(cpu, cpu.following(insn))?;
    Ok(Next::Jump)
}
