//! RDMSR and WRMSR. Start reading at `table::ROWS`.

mod custom;
mod svm;
mod table;

use crate::{Cpu, Fault, Next};
use iced_x86::Instruction;
use ireko_x86::regs::gpr;
use table::Kind;

/// The RDMSR instruction.
pub fn rdmsr(cpu: &mut Cpu, _insn: &Instruction) -> Result<Next, Fault> {
    let number = permitted(cpu, false)?;
    let value = read(cpu, number)?;
    cpu.processor.regs.gpr[gpr::RAX] = value & 0xffff_ffff;
    cpu.processor.regs.gpr[gpr::RDX] = value >> 32;
    Ok(Next::Advance)
}

/// The WRMSR instruction.
pub fn wrmsr(cpu: &mut Cpu, _insn: &Instruction) -> Result<Next, Fault> {
    let number = permitted(cpu, true)?;
    let value = cpu.processor.regs.gpr[gpr::RAX] & 0xffff_ffff | cpu.processor.regs.gpr[gpr::RDX] << 32;
    write(cpu, number, value)
}

/// The MSR in ECX, after the checks that come before its own: CPL, then the permission map.
fn permitted(cpu: &mut Cpu, write: bool) -> Result<u32, Fault> {
    if cpu.processor.regs.cpl != 0 {
        return Err(Fault::gp(0));
    }
    let number = cpu.processor.regs.gpr[gpr::RCX] as u32;
    crate::intercept::msr_intercept(cpu, number, write)?;
    Ok(number)
}

/// What RDMSR gives, without asking who may.
pub fn read(cpu: &mut Cpu, number: u32) -> Result<u64, Fault> {
    let value = match table::kind(number, &cpu.processor.model) {
        Some(Kind::Field(field, _, _)) => Some(*field(cpu)),
        Some(Kind::Constant(value) | Kind::Inert(value)) => Some(*value),
        Some(Kind::Custom(read, _)) => read(cpu, number),
        None => unknown(cpu, number),
    };
    value.ok_or(Fault::gp(0))
}

/// What WRMSR does, without asking who may.
pub fn write(cpu: &mut Cpu, number: u32, value: u64) -> Result<Next, Fault> {
    let next = match table::kind(number, &cpu.processor.model) {
        Some(Kind::Field(field, rule, next)) if rule.takes(value, cpu.processor.model.linear_bits()) => {
            *field(cpu) = rule.keeps(value);
            Some(*next)
        }
        Some(Kind::Inert(_)) => Some(Next::Advance),
        Some(Kind::Custom(_, write)) => write(cpu, number, value),
        Some(_) => None,
        None => unknown(cpu, number),
    };
    next.ok_or(Fault::gp(0))
}

/// Counts an MSR that is not there.
fn unknown<T>(cpu: &mut Cpu, number: u32) -> Option<T> {
    cpu.processor.msrs.unknown += 1;
    cpu.processor.msrs.last_unknown = number;
    None
}

#[cfg(test)]
mod tests;
