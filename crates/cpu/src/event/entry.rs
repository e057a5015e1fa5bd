//! What protected-mode and long-mode delivery share: the gate, the flags, and the commit.

use super::rules;
use crate::cpu::Privilege;
use crate::segmentation::descriptor::Entry;
use crate::{Cpu, Fault};
use ireko_nested::{Event, EventKind, Shadow};
use ireko_x86::Segment;
use ireko_x86::bits::rflags;
use ireko_x86::descriptor::{ERROR_IDT, Gate, kind};
use ireko_x86::exception::{Exception, vector};
use ireko_x86::regs::{gpr, seg};

/// A fault that names the interrupt gate (EXT is added later).
pub fn gate_fault(fault: u8, event: Event) -> Fault {
    Exception::with_error(fault, u32::from(event.vector) * 8 + ERROR_IDT).into()
}

/// The gate of the event, with its DPL checked for software interrupts and its present bit.
pub fn gate(cpu: &mut Cpu, event: Event) -> Result<Gate, Fault> {
    let size: u64 = if cpu.processor.regs.long_mode() { 16 } else { 8 };
    let offset = u64::from(event.vector) * size;
    if offset + size - 1 > cpu.processor.regs.idtr.limit.into() {
        return Err(gate_fault(vector::GP, event));
    }
    let address = cpu.system_linear(cpu.processor.regs.idtr.base.wrapping_add(offset));
    let mut bytes = [0; 16];
    cpu.read_linear(address, &mut bytes[..size as usize], Privilege::System)?;
    let whole = u128::from_le_bytes(bytes);
    let (low, high) = (whole as u64, (whole >> 64) as u64);
    let gate = Gate::new(low, high);
    let good = match gate.kind {
        kind::INTERRUPT32 | kind::TRAP32 => true,
        kind::INTERRUPT16 | kind::TRAP16 | kind::TASK => !cpu.processor.regs.long_mode(),
        _ => false,
    };
    if !good || !Gate::is_system(low) || (event.is_software() && gate.dpl < cpu.processor.regs.cpl) {
        return Err(gate_fault(vector::GP, event));
    }
    if !gate.present {
        return Err(gate_fault(vector::NP, event));
    }
    Ok(gate)
}

/// Checks the handler's code segment and gives it with the privilege it runs at.
pub fn handler(cpu: &Cpu, entry: &Entry) -> Result<(Segment, u8), Fault> {
    let code = entry.segment();
    let long = cpu.processor.regs.long_mode();
    let wrong_size = long && (!code.long() || code.big());
    if !code.is_code() || code.dpl() > cpu.processor.regs.cpl || wrong_size {
        return Err(entry.fault(vector::GP));
    }
    if !code.present() {
        return Err(entry.fault(vector::NP));
    }
    Ok((code, if code.conforming() { cpu.processor.regs.cpl } else { code.dpl() }))
}

/// RFLAGS as the frame has it.
pub fn flags_image(cpu: &Cpu, event: Event) -> u64 {
    cpu.processor.regs.rflags | if rules::pushes_resume(event) { rflags::RF } else { 0 }
}

/// Where a handler starts.
pub struct Start {
    pub code: Segment,
    pub cpl: u8,
    pub rip: u64,
    pub stack: Segment,
    pub rsp: u64,
    /// Flags that are cleared apart from TF, NT, RF and VM: IF for an interrupt gate.
    pub clear: u64,
}

/// Nothing can fault any more: enters the handler.
pub fn commit(cpu: &mut Cpu, event: Event, start: &Start) {
    let regs = &mut cpu.processor.regs;
    regs.seg[seg::CS] = start.code;
    regs.seg[seg::SS] = start.stack;
    regs.cpl = start.cpl;
    regs.gpr[gpr::RSP] = start.rsp;
    regs.rip = start.rip;
    regs.rflags &= !(rflags::TF | rflags::NT | rflags::RF | rflags::VM | start.clear);
    entered(cpu, event);
}

/// What every delivered event does besides: it ends HLT, shadows and monitoring, and an NMI blocks NMIs.
pub fn entered(cpu: &mut Cpu, event: Event) {
    cpu.processor.shadow = Shadow::None;
    cpu.processor.halted = false;
    cpu.processor.monitored = None;
    cpu.processor.nmi_blocked |= event.kind == EventKind::Nmi;
}

/// IF is cleared by an interrupt gate, not by a trap gate.
pub fn interrupt_mask(gate: &Gate) -> u64 {
    let interrupt = matches!(gate.kind, kind::INTERRUPT16 | kind::INTERRUPT32);
    if interrupt { rflags::IF } else { 0 }
}
