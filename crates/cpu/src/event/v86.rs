//! INT n in virtual-8086 mode that stays there: by a bitmap in the task-state segment (APM vol. 2, 8.10.2).

use super::entry;
use super::real::jump;
use crate::cpu::Privilege;
use crate::segmentation::stack::Stack;
use crate::{Cpu, Fault};
use ireko_nested::Event;
use ireko_x86::bits::{cr4, rflags};
use ireko_x86::descriptor::tss;
use ireko_x86::regs::{gpr, seg};

/// The flags as a program without IOPL 3 sees them: IOPL 3, and VIF where IF is.
pub fn virtual_image(cpu: &Cpu) -> u64 {
    let flags = cpu.processor.regs.rflags;
    let interrupt = if flags & rflags::VIF != 0 { rflags::IF } else { 0 };
    flags & !rflags::IF | interrupt | rflags::IOPL
}

/// Bytes of the bitmap, which ends where the I/O map begins.
const BITMAP: u64 = 32;

/// Whether the vector goes through the program's own table of far pointers: its bit is clear.
pub fn redirected(cpu: &mut Cpu, vector: u8) -> Result<bool, Fault> {
    if cpu.processor.regs.cr4 & cr4::VME == 0 {
        return Ok(false);
    }
    let limit = u64::from(cpu.processor.regs.tr.limit);
    if limit < tss::IO_MAP_BASE + 1 {
        return Err(Fault::gp(0));
    }
    let map = cpu.load_tss(tss::IO_MAP_BASE, 2)?;
    let at = (map + u64::from(vector / 8)).checked_sub(BITMAP).filter(|&at| at <= limit);
    let byte = cpu.load_tss(at.ok_or_else(|| Fault::gp(0))?, 1)?;
    Ok(byte >> (vector & 7) & 1 == 0)
}

/// As in real mode; below IOPL 3 the program's IF is VIF.
pub fn deliver(cpu: &mut Cpu, event: Event, rip: u64) -> Result<(), Fault> {
    let pointer = cpu.load(u64::from(event.vector) * 4, 4, Privilege::Current)?;
    let own = cpu.processor.regs.rflags & rflags::IOPL == rflags::IOPL;
    let flags = if own { cpu.processor.regs.rflags } else { virtual_image(cpu) };
    if pointer & 0xffff > cpu.processor.regs.seg[seg::CS].limit.into() {
        return Err(Fault::gp(0));
    }
    let frame = [flags, cpu.processor.regs.seg[seg::CS].selector.into(), rip];
    cpu.processor.regs.gpr[gpr::RSP] = Stack::current(cpu).push_all(cpu, 2, &frame)?;
    let interrupt = if own { rflags::IF } else { rflags::VIF };
    cpu.processor.regs.rflags &= !(interrupt | rflags::TF | rflags::RF | rflags::NT);
    jump(cpu, (pointer >> 16) as u16, pointer & 0xffff);
    entry::entered(cpu, event);
    Ok(())
}
