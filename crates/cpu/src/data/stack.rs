//! PUSH, POP, PUSHA, POPA, ENTER and LEAVE of every size in every mode.

use crate::cpu::Privilege;
use crate::operand::{mask, segment_index};
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction, OpKind, Register};
use ireko_x86::regs::{gpr, seg};

/// Bytes that a PUSH or POP moves.
fn width(insn: &Instruction) -> usize {
    insn.stack_pointer_increment().unsigned_abs() as usize
}

/// PUSH of the stack pointer stores its old value.
pub fn push(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = width(insn);
    let value = cpu.read_operand(insn, 0, size)?;
    cpu.push(size, value)?;
    Ok(Next::Advance)
}

/// Selectors are zero-extended to the operand size (APM vol. 3, PUSH).
pub fn push_segment(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let selector = cpu.processor.regs.seg[segment_index(insn.op0_register())].selector;
    cpu.push(width(insn), selector.into())?;
    Ok(Next::Advance)
}

/// A memory destination is addressed with the stack pointer as it is after the pop.
pub fn pop(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = width(insn);
    let before = cpu.processor.regs.gpr[gpr::RSP];
    let value = cpu.pop(size)?;
    let written = cpu.write_operand(insn, 0, size, value);
    if written.is_err() && insn.op0_kind() != OpKind::Register {
        cpu.processor.regs.gpr[gpr::RSP] = before;
    }
    written.map(|()| Next::Advance)
}

/// Runs pushes that become visible in the stack pointer only if all of them went well.
fn all_or_nothing(cpu: &mut Cpu, pushes: impl FnOnce(&mut Cpu) -> Result<(), Fault>) -> Result<Next, Fault> {
    let (rsp, rbp) = (cpu.processor.regs.gpr[gpr::RSP], cpu.processor.regs.gpr[gpr::RBP]);
    pushes(cpu).map(|()| Next::Advance).inspect_err(|_| {
        cpu.processor.regs.gpr[gpr::RSP] = rsp;
        cpu.processor.regs.gpr[gpr::RBP] = rbp;
    })
}

pub fn pusha(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = if insn.code() == Code::Pushaw { 2 } else { 4 };
    let values = cpu.processor.regs.gpr;
    all_or_nothing(cpu, |cpu| values[..8].iter().try_for_each(|value| cpu.push(size, *value)))
}

/// The stored stack pointer is skipped.
pub fn popa(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let (size, first) = if insn.code() == Code::Popaw { (2, Register::AX) } else { (4, Register::EAX) };
    let mut values = [0; 8];
    for (slot, value) in values.iter_mut().enumerate() {
        *value = cpu.peek((slot * size) as u64, size)?;
    }
    for (number, value) in values.iter().rev().enumerate().filter(|(number, _)| *number != gpr::RSP) {
        cpu.set_gpr(first + number as u32, *value);
    }
    cpu.set_stack_pointer(cpu.processor.regs.gpr[gpr::RSP].wrapping_add(8 * size as u64));
    Ok(Next::Advance)
}

/// rBP of `size` bytes.
fn frame_register(size: usize) -> Register {
    match size {
        2 => Register::BP,
        4 => Register::EBP,
        _ => Register::RBP,
    }
}

pub fn enter(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = match insn.code() {
        Code::Enterw_imm16_imm8 => 2,
        Code::Enterd_imm16_imm8 => 4,
        _ => 8,
    };
    let (bytes, level) = (u64::from(insn.immediate16()), insn.immediate8_2nd() & 31);
    all_or_nothing(cpu, |cpu| frame(cpu, size, bytes, level))
}

/// APM vol. 3, ENTER: the old frame pointer, `level - 1` outer frame pointers, the new one, then room.
fn frame(cpu: &mut Cpu, size: usize, bytes: u64, level: u8) -> Result<(), Fault> {
    let wide = mask(cpu.stack_size());
    let mut outer = cpu.processor.regs.gpr[gpr::RBP];
    cpu.push(size, outer)?;
    let frame = cpu.processor.regs.gpr[gpr::RSP];
    for _ in 1..level {
        outer = outer.wrapping_sub(size as u64);
        let address = cpu.linear(seg::SS, outer & wide, size as u64, false)?;
        let pointer = cpu.load(address, size, Privilege::Current)?;
        cpu.push(size, pointer)?;
    }
    if level > 0 {
        cpu.push(size, frame)?;
    }
    let bottom = cpu.processor.regs.gpr[gpr::RSP].wrapping_sub(bytes);
    // A write at the final stack pointer must be possible (SDM vol. 2, ENTER).
    let address = cpu.linear(seg::SS, bottom & wide, size as u64, true)?;
    cpu.probe_write(address, size, Privilege::Current)?;
    cpu.check_alignment(address, size)?;
    cpu.set_stack_pointer(bottom);
    cpu.set_gpr(frame_register(size), frame);
    Ok(())
}

pub fn leave(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = match insn.code() {
        Code::Leavew => 2,
        Code::Leaved => 4,
        _ => 8,
    };
    let pointer = cpu.processor.regs.gpr[gpr::RBP] & mask(cpu.stack_size());
    let address = cpu.linear(seg::SS, pointer, size as u64, false)?;
    let value = cpu.load(address, size, Privilege::Current)?;
    cpu.set_stack_pointer(pointer.wrapping_add(size as u64));
    cpu.set_gpr(frame_register(size), value);
    Ok(Next::Advance)
}
