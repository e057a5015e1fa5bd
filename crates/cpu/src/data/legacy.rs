//! Instructions that 64-bit mode does not have: BCD arithmetic, BOUND, SALC; and XLAT, whose address is AL's.
//! Flags that the manual leaves undefined are those of the result in AL, with OF clear.

use super::flags::{self, of_result, when};
use crate::operand::mask;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Register};
use ireko_x86::bits::rflags::{AF, CF};
use ireko_x86::exception::{Exception, vector};

fn flag(cpu: &Cpu, bit: u64) -> bool {
    cpu.processor.regs.rflags & bit != 0
}

/// The low digit needs adjusting.
fn adjusts(cpu: &Cpu) -> bool {
    cpu.gpr(Register::AL) & 0xf > 9 || flag(cpu, AF)
}

/// AAA and AAS add or subtract 106h; AX keeps only the low digit of AL.
fn unpacked(cpu: &mut Cpu, delta: u64) -> Result<Next, Fault> {
    let adjust = adjusts(cpu);
    let ax = cpu.gpr(Register::AX).wrapping_add(if adjust { delta } else { 0 }) & 0xff0f;
    cpu.set_gpr(Register::AX, ax);
    flags::set(cpu, of_result(ax, 1) | when(adjust, AF | CF));
    Ok(Next::Advance)
}

pub fn aaa(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    unpacked(cpu, 0x106)
}

pub fn aas(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    unpacked(cpu, 0x106u64.wrapping_neg())
}

pub fn daa(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let old = cpu.gpr(Register::AL);
    let low = adjusts(cpu);
    let high = old > 0x99 || flag(cpu, CF);
    let al = old.wrapping_add(when(low, 0x06)).wrapping_add(when(high, 0x60)) & 0xff;
    cpu.set_gpr(Register::AL, al);
    flags::set(cpu, of_result(al, 1) | when(low, AF) | when(high, CF));
    Ok(Next::Advance)
}

pub fn das(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let old = cpu.gpr(Register::AL);
    let low = adjusts(cpu);
    let high = old > 0x99 || flag(cpu, CF);
    // Unlike DAA, the low digit's own borrow sets CF (SDM vol. 2, DAS).
    let borrow = low && old < 6;
    let al = old.wrapping_sub(when(low, 0x06)).wrapping_sub(when(high, 0x60)) & 0xff;
    cpu.set_gpr(Register::AL, al);
    flags::set(cpu, of_result(al, 1) | when(low, AF) | when(high || borrow, CF));
    Ok(Next::Advance)
}

pub fn aam(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let base = u64::from(insn.immediate8());
    if base == 0 {
        return Err(Exception::new(vector::DE).into());
    }
    let al = cpu.gpr(Register::AL);
    cpu.set_gpr(Register::AX, ((al / base) << 8) | (al % base));
    flags::set(cpu, of_result(al % base, 1));
    Ok(Next::Advance)
}

pub fn aad(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let ax = cpu.gpr(Register::AX);
    let al = ((ax & 0xff) + (ax >> 8) * u64::from(insn.immediate8())) & 0xff;
    cpu.set_gpr(Register::AX, al);
    flags::set(cpu, of_result(al, 1));
    Ok(Next::Advance)
}

pub fn bound(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = insn.op0_register().size();
    let address = cpu.operand_address(insn, 2 * size as u64, false)?;
    cpu.check_alignment(address, size)?;
    let pair = cpu.load_element(address, 2 * size)?;
    let signed = |value: u64| (value << (64 - 8 * size)) as i64;
    let index = signed(cpu.gpr(insn.op0_register()));
    if index < signed(pair & mask(size)) || index > signed(pair >> (8 * size)) {
        return Err(Exception::new(vector::BR).into());
    }
    Ok(Next::Advance)
}

pub fn salc(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let value = when(flag(cpu, CF), 0xff);
    cpu.set_gpr(Register::AL, value);
    Ok(Next::Advance)
}

/// The memory operand is rBX plus AL.
pub fn xlat(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let value = cpu.read_operand(insn, 0, 1)?;
    cpu.set_gpr(Register::AL, value);
    Ok(Next::Advance)
}
