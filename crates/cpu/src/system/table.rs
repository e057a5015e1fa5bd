//! LGDT, LIDT, SGDT, SIDT.

use crate::cpu::Privilege;
use crate::operand::mask;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_nested::Intercept;
use ireko_x86::Table;

pub fn lgdt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.processor.regs.gdtr = load(cpu, insn, Intercept::GdtrWrite)?;
    Ok(Next::Advance)
}

pub fn lidt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.processor.regs.idtr = load(cpu, insn, Intercept::IdtrWrite)?;
    Ok(Next::Advance)
}

pub fn sgdt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    store(cpu, insn, Intercept::GdtrRead, |cpu| cpu.processor.regs.gdtr)
}

pub fn sidt(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    store(cpu, insn, Intercept::IdtrRead, |cpu| cpu.processor.regs.idtr)
}

fn load(cpu: &mut Cpu, insn: &Instruction, intercept: Intercept) -> Result<Table, Fault> {
    cpu.kernel_only()?;
    cpu.intercept(intercept)?;
    let size = if cpu.processor.regs.code64() { 8 } else { 4 };
    let total = size + 2;
    let address = cpu.operand_address(insn, total as u64, false)?;
    let mut bytes = [0; 16];
    cpu.read_linear(address, &mut bytes[..total], Privilege::Current)?;
    let whole = u128::from_le_bytes(bytes);
    // With a 16-bit operand size the base has 24 bits.
    let short = matches!(insn.code(), Code::Lgdt_m1632_16 | Code::Lidt_m1632_16);
    let base = (whole >> 16) as u64 & if short { 0xff_ffff } else { mask(size) };
    if !cpu.implements(base) {
        return Err(Fault::gp(0));
    }
    Ok(Table { base, limit: whole as u16 })
}

fn store(
    cpu: &mut Cpu,
    insn: &Instruction,
    intercept: Intercept,
    which: fn(&Cpu) -> Table,
) -> Result<Next, Fault> {
    cpu.umip()?;
    cpu.intercept(intercept)?;
    let table = which(cpu);
    let total = if cpu.processor.regs.code64() { 10 } else { 6 };
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&table.base.to_le_bytes());
    let address = cpu.operand_address(insn, total as u64, true)?;
    cpu.write_linear(address, &bytes[..total], Privilege::Current)?;
    Ok(Next::Advance)
}
