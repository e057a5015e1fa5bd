//! Control registers: MOV CR, LMSW, SMSW, CLTS, and what their values must agree on (APM vol. 2, 3.1 and 14.6).

use crate::control_registers::{write_cr0, write_cr3, write_cr4};
use crate::intercept::{
    cr_intercept, cr0_selective_intercept, cr3_intercept, lmsw_intercept, owned_bits_intercept, read_cr8,
    write_cr8,
};
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, OpKind, Register};
use ireko_nested::CrAccess;
use ireko_x86::bits::cr0;

fn number(register: Register) -> Result<u8, Fault> {
    match register as usize - Register::CR0 as usize {
        n @ (0 | 2 | 3 | 4 | 8) => Ok(n as u8),
        _ => Err(Fault::ud()),
    }
}

pub fn mov_from(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let number = number(insn.op1_register())?;
    cpu.kernel_only()?;
    cr_intercept(cpu, number, CrAccess::From(insn.op0_register().number() as u8))?;
    let value = match number {
        0 => shown_cr0(cpu),
        2 => cpu.processor.regs.cr2,
        3 => cpu.processor.regs.cr3,
        4 => cpu.control().map_or(cpu.processor.regs.cr4, |c| c.cr4.shown(cpu.processor.regs.cr4)),
        _ => read_cr8(cpu).into(),
    };
    cpu.set_gpr(insn.op0_register(), value);
    Ok(Next::Advance)
}

pub fn mov_to(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let number = number(insn.op0_register())?;
    cpu.kernel_only()?;
    let gpr = insn.op1_register().number() as u8;
    let value = cpu.gpr(insn.op1_register());
    let access = CrAccess::To(gpr);
    match number {
        3 => cr3_intercept(cpu, value, access)?,
        _ => cr_intercept(cpu, number, access)?,
    }
    match number {
        0 => {
            cr0_selective_intercept(cpu, value, gpr)?;
            owned_bits_intercept(cpu, 0, value, access)?;
            let old = cpu.processor.regs.cr0;
            let value = cpu.control().map_or(value, |control| control.cr0.written(old, value));
            write_cr0(cpu, value)?;
        }
        2 => cpu.processor.regs.cr2 = value,
        3 => write_cr3(cpu, value)?,
        4 => {
            owned_bits_intercept(cpu, 4, value, access)?;
            let old = cpu.processor.regs.cr4;
            let value = cpu.control().map_or(value, |control| control.cr4.written(old, value));
            write_cr4(cpu, value)?;
        }
        _ => {
            let priority = u8::try_from(value).ok().filter(|&priority| priority < 16).ok_or(Fault::gp(0))?;
            write_cr8(cpu, priority);
        }
    }
    Ok(Next::Resync)
}

/// CR0 as the guest sees it.
fn shown_cr0(cpu: &Cpu) -> u64 {
    cpu.control().map_or(cpu.processor.regs.cr0, |control| control.cr0.shown(cpu.processor.regs.cr0))
}

/// LMSW loads the low four bits of CR0, but cannot clear PE.
pub fn lmsw(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    const LOADED: u64 = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    cpu.kernel_only()?;
    cr_intercept(cpu, 0, CrAccess::Lmsw(0))?;
    lmsw_intercept(cpu)?;
    let source = cpu.read_operand(insn, 0, 2)?;
    let word = source & LOADED;
    let old = cpu.processor.regs.cr0;
    // As the guest would write it by MOV: what it sees, with the four bits.
    let wanted = shown_cr0(cpu) & !(LOADED & !cr0::PE) | word;
    owned_bits_intercept(cpu, 0, wanted, CrAccess::Lmsw(source as u16))?;
    let new = old & !(LOADED & !cr0::PE) | word;
    let new = cpu.control().map_or(new, |control| control.cr0.written(old, new));
    write_cr0(cpu, new)?;
    Ok(Next::Resync)
}

pub fn smsw(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.umip()?;
    cr_intercept(cpu, 0, CrAccess::Smsw)?;
    let size = if insn.op0_kind() == OpKind::Register { 8 } else { 2 };
    cpu.write_operand(insn, 0, size, shown_cr0(cpu))?;
    Ok(Next::Advance)
}

pub fn clts(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.kernel_only()?;
    cr_intercept(cpu, 0, CrAccess::Clts)?;
    let old = cpu.processor.regs.cr0;
    owned_bits_intercept(cpu, 0, shown_cr0(cpu) & !cr0::TS, CrAccess::Clts)?;
    cpu.processor.regs.cr0 = cpu.control().map_or(old & !cr0::TS, |c| c.cr0.written(old, old & !cr0::TS));
    Ok(Next::Resync)
}
