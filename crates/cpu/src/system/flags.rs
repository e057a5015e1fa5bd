//! Instructions on RFLAGS: CLI, STI, PUSHF, POPF, STAC, CLAC, CLD, STD. Programs that IOPL does not let change IF have VIF
//! instead where the system says so (APM vol. 2, 8.10: virtual-mode extensions and protected-mode virtual interrupts).

use crate::event::virtual_image;
use crate::operand::mask;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_nested::Intercept;
use ireko_nested::Shadow;
use ireko_x86::bits::{cr4, rflags as flag};

fn iopl(cpu: &Cpu) -> u8 {
    (cpu.processor.regs.rflags >> 12 & 3) as u8
}

/// CPL may change IF. In real mode CPL is 0.
fn may_mask(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.processor.regs.cpl <= iopl(cpu) { Ok(()) } else { Err(Fault::gp(0)) }
}

/// Virtual-8086 mode without IOPL 3 has 16-bit images of the flags, with VIF for IF (APM vol. 2, 8.10.1).
pub fn v86_virtual(cpu: &Cpu, size: usize) -> Result<bool, Fault> {
    if !cpu.processor.regs.v86() || may_mask(cpu).is_ok() {
        return Ok(false);
    }
    if cpu.processor.regs.cr4 & cr4::VME != 0 && size == 2 { Ok(true) } else { Err(Fault::gp(0)) }
}

/// Loads such an image, in which IF is VIF's. #GP if the system has to know: TF, or interrupts on while one is pending.
pub fn load_virtual(cpu: &mut Cpu, image: u64) {
    const OPEN: u64 = (flag::ARITHMETIC | flag::TF | flag::DF | flag::NT) & 0xffff;
    let interrupt = if image & flag::IF != 0 { flag::VIF } else { 0 };
    cpu.processor.regs.rflags =
        cpu.processor.regs.rflags & !(OPEN | flag::VIF | flag::RF) | image & OPEN | interrupt;
}

pub fn check_virtual(cpu: &Cpu, image: u64) -> Result<(), Fault> {
    let pending = image & flag::IF != 0 && cpu.processor.regs.rflags & flag::VIP != 0;
    if pending || image & flag::TF != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

/// Whether CLI and STI are for VIF here; #GP if they are for nothing.
fn masks_virtually(cpu: &Cpu) -> Result<bool, Fault> {
    if may_mask(cpu).is_ok() {
        return Ok(false);
    }
    let extension = if cpu.processor.regs.v86() { cr4::VME } else { cr4::PVI };
    if cpu.processor.regs.cr4 & extension != 0 && cpu.processor.regs.cpl == 3 {
        Ok(true)
    } else {
        Err(Fault::gp(0))
    }
}

pub fn cli(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let flag = if masks_virtually(cpu)? { flag::VIF } else { flag::IF };
    cpu.processor.regs.rflags &= !flag;
    Ok(Next::Advance)
}

/// Interrupts stay held off until after the next instruction, if they were off.
pub fn sti(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    if masks_virtually(cpu)? {
        check_virtual(cpu, flag::IF)?;
        cpu.processor.regs.rflags |= flag::VIF;
        return Ok(Next::Advance);
    }
    if cpu.processor.regs.rflags & flag::IF == 0 {
        cpu.processor.shadow = Shadow::Sti;
    }
    cpu.processor.regs.rflags |= flag::IF;
    Ok(Next::Resync)
}

pub fn cld(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.processor.regs.rflags &= !flag::DF;
    Ok(Next::Resync)
}

pub fn std(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.processor.regs.rflags |= flag::DF;
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
    if cpu.processor.regs.cpl != 0 {
        return Err(Fault::ud());
    }
    cpu.processor.regs.rflags = cpu.processor.regs.rflags & !flag::AC | value;
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
    let flags = if v86_virtual(cpu, size(insn))? { virtual_image(cpu) } else { cpu.processor.regs.rflags };
    cpu.push(size(insn), flags & !(flag::VM | flag::RF))?;
    Ok(Next::Advance)
}

pub fn popf(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Popf)?;
    let size = size(insn);
    if v86_virtual(cpu, size)? {
        let image = cpu.peek(0, size)?;
        check_virtual(cpu, image)?;
        let image = cpu.pop(size)?;
        load_virtual(cpu, image);
        return Ok(Next::Resync);
    }
    let image = cpu.pop(size)?;
    let always = flag::ARITHMETIC | flag::TF | flag::DF | flag::NT | flag::AC | flag::ID;
    let interrupt = if may_mask(cpu).is_ok() { flag::IF } else { 0 };
    let level = if cpu.processor.regs.cpl == 0 { flag::IOPL } else { 0 };
    let open = (always | interrupt | level) & mask(size);
    // VIF and VIP are kept; RF is cleared (APM vol. 3, POPF).
    let old = cpu.processor.regs.rflags;
    let new = old & !(open | flag::RF) | image & open;
    cpu.processor.regs.rflags = new;
    Ok(if matters(old, new) { Next::Resync } else { Next::Advance })
}

/// Translated code depends on these flags, or an interrupt may be waiting for them.
fn matters(old: u64, new: u64) -> bool {
    (old ^ new) & (flag::TF | flag::DF | flag::AC) != 0 || new & !old & flag::IF != 0
}
