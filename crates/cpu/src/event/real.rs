//! Delivery in real mode, through the table of far pointers (APM vol. 2, 8.6).

use super::entry;
use crate::cpu::Privilege;
use crate::segmentation::stack::Stack;
use crate::{Cpu, Fault};
use ireko_nested::Event;
use ireko_x86::bits::rflags;
use ireko_x86::regs::{gpr, seg};

pub fn deliver(cpu: &mut Cpu, event: Event, rip: u64) -> Result<(), Fault> {
    let offset = u64::from(event.vector) * 4;
    if offset + 3 > cpu.processor.regs.idtr.limit.into() {
        return Err(Fault::gp(0));
    }
    let address = cpu.system_linear(cpu.processor.regs.idtr.base.wrapping_add(offset));
    let pointer = cpu.load(address, 4, Privilege::System)?;
    // The old flags with RF are of no use here: the frame has 16 of them.
    let frame = [cpu.processor.regs.rflags, cpu.processor.regs.seg[seg::CS].selector.into(), rip];
    let rsp = Stack::current(cpu).push_all(cpu, 2, &frame)?;
    cpu.processor.regs.gpr[gpr::RSP] = rsp;
    cpu.processor.regs.rflags &= !(rflags::IF | rflags::TF | rflags::AC | rflags::RF);
    jump(cpu, (pointer >> 16) as u16, pointer & 0xffff);
    entry::entered(cpu, event);
    Ok(())
}

/// To a far pointer of real or virtual-8086 mode. In real mode the segment's limit and rights stay.
pub fn jump(cpu: &mut Cpu, selector: u16, offset: u64) {
    let code = &mut cpu.processor.regs.seg[seg::CS];
    code.selector = selector;
    code.base = u64::from(selector) << 4;
    cpu.processor.regs.rip = offset;
}
