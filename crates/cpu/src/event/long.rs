//! Delivery in long mode (APM vol. 2, 8.9).

use super::entry::{self, Start};
use crate::Cpu;
use crate::Fault;
use crate::cpu::Privilege;
use crate::segmentation::descriptor::{accessed, checked_target, fetch, null_stack};
use crate::segmentation::stack::Stack;
use ireko_nested::Event;
use ireko_x86::descriptor::{Gate, tss};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

pub fn deliver(cpu: &mut Cpu, event: Event, rip: u64) -> Result<(), Fault> {
    let gate = entry::gate(cpu, event)?;
    let target = fetch(cpu, gate.selector, vector::GP)?;
    let (code, cpl) = entry::handler(cpu, &target)?;
    let stack = stack(cpu, &gate, cpl)?;
    let offset = checked_target(cpu, &code, gate.offset)?;
    let old = &cpu.processor.regs;
    let frame = [
        old.seg[seg::SS].selector.into(),
        old.gpr[gpr::RSP],
        entry::flags_image(cpu, event),
        old.seg[seg::CS].selector.into(),
        rip,
        event.error.unwrap_or(0).into(),
    ];
    let values = if event.error.is_some() { 6 } else { 5 };
    let code = accessed(cpu, target, cpl)?;
    let rsp = stack.push_all(cpu, 8, &frame[..values])?;
    let start =
        Start { code, cpl, rip: offset, stack: stack.segment, rsp, clear: entry::interrupt_mask(&gate) };
    entry::commit(cpu, event, &start);
    Ok(())
}

/// From the interrupt stack table, the TSS, or the stack in use; aligned to 16 bytes (APM vol. 2, 8.9.3).
fn stack(cpu: &mut Cpu, gate: &Gate, cpl: u8) -> Result<Stack, Fault> {
    let inner = cpl < cpu.processor.regs.cpl;
    let privilege = if inner { Privilege::System } else { Privilege::Current };
    let segment = if inner { null_stack(cpl) } else { cpu.processor.regs.seg[seg::SS] };
    let pointer = if gate.ist != 0 {
        cpu.load_tss(tss::IST1 + 8 * u64::from(gate.ist - 1), 8)?
    } else if inner {
        Stack::inner(cpu, cpl)?.pointer
    } else {
        cpu.processor.regs.gpr[gpr::RSP]
    };
    Ok(Stack::long(pointer & !15, segment, privilege))
}
