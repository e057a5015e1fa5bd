//! Delivery in protected mode, from virtual-8086 mode too (APM vol. 2, 8.7 and 8.8).

use super::entry::{self, Start};
use super::v86;
use crate::segmentation::descriptor::{accessed, checked_target, fetch};
use crate::segmentation::stack::Stack;
use crate::segmentation::task::{self, Cause};
use crate::{Cpu, Fault};
use ireko_nested::{Event, EventKind};
use ireko_x86::Segment;
use ireko_x86::bits::rflags;
use ireko_x86::descriptor::{Gate, kind};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// Segments that a frame from virtual-8086 mode saves, in push order.
const SAVED: [usize; 4] = [seg::GS, seg::FS, seg::DS, seg::ES];

pub fn deliver(cpu: &mut Cpu, event: Event, rip: u64) -> Result<(), Fault> {
    let v86 = cpu.processor.regs.v86();
    if v86 && event.kind == EventKind::SoftwareInterrupt {
        if v86::redirected(cpu, event.vector)? {
            return v86::deliver(cpu, event, rip);
        }
        if cpu.processor.regs.rflags & rflags::IOPL != rflags::IOPL {
            return Err(Fault::gp(0));
        }
    }
    let gate = entry::gate(cpu, event)?;
    if gate.kind == kind::TASK {
        let flags = entry::flags_image(cpu, event);
        task::switch(cpu, gate.selector, Cause::Event(event.error), rip, flags)?;
        entry::entered(cpu, event);
        return Ok(());
    }
    let target = fetch(cpu, gate.selector, vector::GP)?;
    let (code, cpl) = entry::handler(cpu, &target)?;
    // From virtual-8086 mode only to privilege level 0 (APM vol. 2, 8.8.1).
    if v86 && cpl != 0 {
        return Err(target.fault(vector::GP));
    }
    let stack = if cpl < cpu.processor.regs.cpl { Stack::inner(cpu, cpl)? } else { Stack::current(cpu) };
    let offset = checked_target(cpu, &code, gate.offset)?;
    let code = accessed(cpu, target, cpl)?;
    let rsp = push_frame(cpu, event, &gate, &stack, cpl, rip)?;
    let start =
        Start { code, cpl, rip: offset, stack: stack.segment, rsp, clear: entry::interrupt_mask(&gate) };
    entry::commit(cpu, event, &start);
    if v86 {
        SAVED.iter().for_each(|&index| cpu.processor.regs.seg[index] = Segment::default());
    }
    Ok(())
}

fn push_frame(
    cpu: &mut Cpu,
    event: Event,
    gate: &Gate,
    stack: &Stack,
    cpl: u8,
    rip: u64,
) -> Result<u64, Fault> {
    let mut frame = [0; 10];
    let mut count = 0;
    let mut push = |value: u64| {
        frame[count] = value;
        count += 1;
    };
    let regs = &cpu.processor.regs;
    if regs.v86() {
        SAVED.iter().for_each(|&index| push(regs.seg[index].selector.into()));
    }
    if cpl < regs.cpl {
        push(regs.seg[seg::SS].selector.into());
        push(regs.gpr[gpr::RSP]);
    }
    push(entry::flags_image(cpu, event));
    push(regs.seg[seg::CS].selector.into());
    push(rip);
    if let Some(error) = event.error {
        push(error.into());
    }
    stack.push_all(cpu, if gate.wide() { 4 } else { 2 }, &frame[..count])
}
