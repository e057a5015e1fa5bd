//! Instructions on RFLAGS: CLI, STI, PUSHF, POPF, STAC, CLAC, CLD, STD. There is no VME and no PVI here, so that below
//! IOPL these fault.

use crate::operand::mask;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_nested::Intercept;
use ireko_x86::bits::rflags as flag;

fn iopl(cpu: &Cpu) -> u8 {
    (cpu.regs.rflags >> 12 & 3) as u8
}

/// CPL may change IF. In real mode CPL is 0.
fn may_mask(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.regs.cpl <= iopl(cpu) { Ok(()) } else { Err(Fault::gp(0)) }
}

/// PUSHF and POPF in virtual-8086 mode need IOPL 3 (APM vol. 2, 10.3).
fn v86_iopl(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.regs.v86() { may_mask(cpu) } else { Ok(()) }
}

pub fn cli(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    may_mask(cpu)?;
    cpu.regs.rflags &= !flag::IF;
    Ok(Next::Advance)
}

/// Interrupts stay held off until after the next instruction, if they were off.
pub fn sti(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    may_mask(cpu)?;
    cpu.shadow |= cpu.regs.rflags & flag::IF == 0;
    cpu.regs.rflags |= flag::IF;
    Ok(Next::Resync)
}

pub fn cld(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.regs.rflags &= !flag::DF;
    Ok(Next::Resync)
}

pub fn std(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.regs.rflags |= flag::DF;
    Ok(Next::Resync)
}

pub fn stac(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    access_check(cpu, flag::AC)
}

pub fn clac(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    access_check(cpu, 0)
}

/// #UD, not #GP, above privilege level 0 (APM vol. 3, STAC).
fn access_check(cpu: &mut Cpu, value: u64) -> Result<Next, Fault> {
    if cpu.regs.cpl != 0 {
        return Err(Fault::ud());
    }
    cpu.regs.rflags = cpu.regs.rflags & !flag::AC | value;
    Ok(Next::Resync)
}

fn size(insn: &Instruction) -> usize {
    match insn.code() {
        Code::Pushfw | Code::Popfw => 2,
        Code::Pushfd | Code::Popfd => 4,
        _ => 8,
    }
}

pub fn pushf(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Pushf)?;
    v86_iopl(cpu)?;
    cpu.push(size(insn), cpu.regs.rflags & !(flag::VM | flag::RF))?;
    Ok(Next::Advance)
}

pub fn popf(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Popf)?;
    v86_iopl(cpu)?;
    let size = size(insn);
    let image = cpu.pop(size)?;
    let always = flag::ARITHMETIC | flag::TF | flag::DF | flag::NT | flag::AC | flag::ID;
    let interrupt = if may_mask(cpu).is_ok() { flag::IF } else { 0 };
    let level = if cpu.regs.cpl == 0 { flag::IOPL } else { 0 };
    let open = (always | interrupt | level) & mask(size);
    // VIF and VIP are kept; RF is cleared (APM vol. 3, POPF).
    let old = cpu.regs.rflags;
    let new = old & !(open | flag::RF) | image & open;
    cpu.regs.rflags = new;
    Ok(if matters(old, new) { Next::Resync } else { Next::Advance })
}

/// Translated code depends on these flags, or an interrupt may be waiting for them.
fn matters(old: u64, new: u64) -> bool {
    (old ^ new) & (flag::TF | flag::DF | flag::AC) != 0 || new & !old & flag::IF != 0
}
