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
    cpu.regs.seg[seg::CS] = flat(code & !RPL | rpl, code_attr | level);
    cpu.regs.seg[seg::SS] = flat(stack & !RPL | rpl, ATTR_FLAT_DATA | level);
    cpu.regs.cpl = cpl;
}

pub fn syscall(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    if cpu.regs.efer & efer::SCE == 0 || !cpu.regs.protected() {
        return Err(Fault::ud());
    }
    let back = cpu.following(insn);
    let selector = (cpu.regs.star >> 32) as u16;
    let stack = selector.wrapping_add(8);
    cpu.regs.gpr[gpr::RCX] = back;
    if cpu.regs.long_mode() {
        cpu.regs.rip = if cpu.regs.code64() { cpu.regs.lstar } else { cpu.regs.cstar };
        cpu.regs.gpr[11] = cpu.regs.rflags & !flag::RF;
        cpu.regs.rflags &= !(cpu.regs.sfmask | flag::RF | flag::VM);
        enter(cpu, 0, selector, stack, ATTR_FLAT_CODE64);
    } else {
        cpu.regs.rip = cpu.regs.star & 0xffff_ffff;
        cpu.regs.rflags &= !(flag::IF | flag::RF | flag::VM);
        enter(cpu, 0, selector, stack, ATTR_FLAT_CODE32);
    }
    Ok(Next::Jump)
}

/// A return address that is not canonical faults at its fetch, in the caller's privilege, as on AMD's processors.
pub fn sysret(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    if cpu.regs.efer & efer::SCE == 0 {
        return Err(Fault::ud());
    }
    if !cpu.regs.protected() || cpu.regs.v86() {
        return Err(Fault::gp(0));
    }
    cpu.kernel_only()?;
    let wide = insn.code() == Code::Sysretq;
    let base = (cpu.regs.star >> 48) as u16;
    let stack = base.wrapping_add(8);
    let target = cpu.regs.gpr[gpr::RCX];
    if cpu.regs.long_mode() {
        cpu.regs.rflags = cpu.regs.gpr[11] & flag::DEFINED & !(flag::RF | flag::VM) | 2;
    } else {
        cpu.regs.rflags |= flag::IF;
    }
    if wide {
        enter(cpu, 3, base.wrapping_add(16), stack, ATTR_FLAT_CODE64);
        cpu.regs.rip = target;
    } else {
        enter(cpu, 3, base, stack, ATTR_FLAT_CODE32);
        cpu.regs.rip = target & 0xffff_ffff;
    }
    // With TF set, the trap comes at once, at the target (APM vol. 3, SYSRET).
    if cpu.regs.rflags & flag::TF != 0 { Err(Exception::debug(dr6::BS).into()) } else { Ok(Next::Jump) }
}

/// Not in long mode on AMD's processors.
fn sysenter_allowed(cpu: &Cpu) -> Result<u16, Fault> {
    if cpu.regs.long_mode() {
        return Err(Fault::ud());
    }
    let selector = cpu.regs.sysenter_cs as u16;
    if !cpu.regs.protected() || is_null(selector) {
        return Err(Fault::gp(0));
    }
    Ok(selector)
}

pub fn sysenter(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let selector = sysenter_allowed(cpu)?;
    enter(cpu, 0, selector, selector.wrapping_add(8), ATTR_FLAT_CODE32);
    cpu.regs.rflags &= !(flag::IF | flag::VM | flag::RF);
    cpu.regs.gpr[gpr::RSP] = cpu.regs.sysenter_esp & 0xffff_ffff;
    cpu.regs.rip = cpu.regs.sysenter_eip & 0xffff_ffff;
    Ok(Next::Jump)
}

pub fn sysexit(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    let selector = sysenter_allowed(cpu)?;
    cpu.kernel_only()?;
    enter(cpu, 3, selector.wrapping_add(16), selector.wrapping_add(24), ATTR_FLAT_CODE32);
    cpu.regs.gpr[gpr::RSP] = cpu.regs.gpr[gpr::RCX] & 0xffff_ffff;
    cpu.regs.rip = cpu.regs.gpr[gpr::RDX] & 0xffff_ffff;
    Ok(Next::Jump)
}
