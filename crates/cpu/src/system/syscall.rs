//! SYSCALL, SYSRET, SYSENTER and SYSEXIT as AMD has them (APM vol. 2, 6.1).

use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_x86::bits::{dr6, efer, rflags as flag};
use ireko_x86::descriptor::{ATTR_DPL3, ATTR_FLAT_CODE32, ATTR_FLAT_CODE64, ATTR_FLAT_DATA, RPL, is_null};
use ireko_x86::regs::{gpr, seg};
use ireko_x86::{Exception, Segment};

const fn flat(selector: u16, attr: u16) -> Segment {
    Segment { base: 0, limit: u32::MAX, attr, selector }
}

/// Loads flat segments for privilege level 0 or 3.
fn enter(cpu: &mut Cpu, cpl: u8, code: u16, stack: u16, code_attr: u16) {
    let level = if cpl == 3 { ATTR_DPL3 } else { 0 };
    let rpl = u16::from(cpl);
    cpu.processor.regs.seg[seg::CS] = flat(code & !RPL | rpl, code_attr | level);
    cpu.processor.regs.seg[seg::SS] = flat(stack & !RPL | rpl, ATTR_FLAT_DATA | level);
    cpu.processor.regs.cpl = cpl;
}

pub fn syscall(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    if cpu.processor.regs.efer & efer::SCE == 0 || !cpu.processor.regs.protected() {
        return Err(Fault::ud());
    }
    let back = cpu.following(insn);
    let selector = (cpu.processor.regs.star >> 32) as u16;
    let stack = selector.wrapping_add(8);
    cpu.processor.regs.gpr[gpr::RCX] = back;
    if cpu.processor.regs.long_mode() {
        cpu.processor.regs.rip =
            if cpu.processor.regs.code64() { cpu.processor.regs.lstar } else { cpu.processor.regs.cstar };
        cpu.processor.regs.gpr[11] = cpu.processor.regs.rflags & !flag::RF;
        cpu.processor.regs.rflags &= !(cpu.processor.regs.sfmask | flag::RF | flag::VM);
        enter(cpu, 0, selector, stack, ATTR_FLAT_CODE64);
    } else {
        cpu.processor.regs.rip = cpu.processor.regs.star & 0xffff_ffff;
        cpu.processor.regs.rflags &= !(flag::IF | flag::RF | flag::VM);
        enter(cpu, 0, selector, stack, ATTR_FLAT_CODE32);
    }
    Ok(Next::Jump)
}

/// A return address that is not canonical faults at its fetch, in the caller's privilege, as on AMD's processors.
pub fn sysret(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    if cpu.processor.regs.efer & efer::SCE == 0 {
        return Err(Fault::ud());
    }
    if !cpu.processor.regs.protected() || cpu.processor.regs.v86() {
        return Err(Fault::gp(0));
    }
    cpu.kernel_only()?;
    let wide = insn.code() == Code::Sysretq;
    let base = (cpu.processor.regs.star >> 48) as u16;
    let stack = base.wrapping_add(8);
    let target = cpu.processor.regs.gpr[gpr::RCX];
    if cpu.processor.regs.long_mode() {
        cpu.processor.regs.rflags = cpu.processor.regs.gpr[11] & flag::DEFINED & !(flag::RF | flag::VM) | 2;
    } else {
        cpu.processor.regs.rflags |= flag::IF;
    }
    if wide {
        enter(cpu, 3, base.wrapping_add(16), stack, ATTR_FLAT_CODE64);
        cpu.processor.regs.rip = target;
    } else {
        enter(cpu, 3, base, stack, ATTR_FLAT_CODE32);
        cpu.processor.regs.rip = target & 0xffff_ffff;
    }
    // With TF set, the trap comes at once, at the target (APM vol. 3, SYSRET).
    if cpu.processor.regs.rflags & flag::TF != 0 {
        Err(Exception::debug(dr6::BS).into())
    } else {
        Ok(Next::Jump)
    }
}

/// Not in long mode on AMD's processors.
fn sysenter_allowed(cpu: &Cpu) -> Result<u16, Fault> {
    if cpu.processor.regs.long_mode() {
        return Err(Fault::ud());
    }
    let selector = cpu.processor.regs.sysenter_cs as u16;
    if !cpu.processor.regs.protected() || is_null(selector) {
        return Err(Fault::gp(0));
    }
    Ok(selector)
}

pub fn sysenter(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let selector = sysenter_allowed(cpu)?;
    enter(cpu, 0, selector, selector.wrapping_add(8), ATTR_FLAT_CODE32);
    cpu.processor.regs.rflags &= !(flag::IF | flag::VM | flag::RF);
    cpu.processor.regs.gpr[gpr::RSP] = cpu.processor.regs.sysenter_esp & 0xffff_ffff;
    cpu.processor.regs.rip = cpu.processor.regs.sysenter_eip & 0xffff_ffff;
    Ok(Next::Jump)
}

pub fn sysexit(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let selector = sysenter_allowed(cpu)?;
    cpu.kernel_only()?;
    enter(cpu, 3, selector.wrapping_add(16), selector.wrapping_add(24), ATTR_FLAT_CODE32);
    cpu.processor.regs.gpr[gpr::RSP] = cpu.processor.regs.gpr[gpr::RCX] & 0xffff_ffff;
    cpu.processor.regs.rip = cpu.processor.regs.gpr[gpr::RDX] & 0xffff_ffff;
    Ok(Next::Jump)
}
