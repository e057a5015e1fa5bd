//! Far JMP, CALL and RET (APM vol. 2, 4.11 and 4.12.3): direct, through memory, and through call gates.

use crate::event::jump_real;
use crate::operand::mask;
use crate::segmentation::descriptor::{Entry, accessed, checked_code, checked_target, fetch, upper};
use crate::segmentation::stack::Stack;
use crate::segmentation::task::{self, Cause};
use crate::system::iret::{commit, return_code, return_stack};
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction, OpKind};
use ireko_x86::Segment;
use ireko_x86::descriptor::{Gate, RPL, is_null, kind};
use ireko_x86::exception::vector;
use ireko_x86::regs::{gpr, seg};

/// Parameters that a call gate can copy.
const PARAMETERS: usize = 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transfer {
    Jump,
    Call,
}

/// A far pointer and the operand size it came with.
struct Pointer {
    selector: u16,
    offset: u64,
    size: usize,
}

pub fn jmp(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    transfer(cpu, insn, Transfer::Jump)
}

pub fn call(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    transfer(cpu, insn, Transfer::Call)
}

fn transfer(cpu: &mut Cpu, insn: &Instruction, how: Transfer) -> Result<Next, Fault> {
    let pointer = pointer(cpu, insn)?;
    let back = cpu.following(insn);
    if !cpu.processor.regs.protected() || cpu.processor.regs.v86() {
        real(cpu, &pointer, how, back)?;
        return Ok(Next::Jump);
    }
    let target = fetch(cpu, pointer.selector, vector::GP)?;
    if target.segment().is_user() {
        direct(cpu, target, &pointer, how, back)?;
    } else {
        system(cpu, &target, how, back)?;
    }
    Ok(Next::Jump)
}

fn pointer(cpu: &mut Cpu, insn: &Instruction) -> Result<Pointer, Fault> {
    match insn.op0_kind() {
        OpKind::FarBranch16 => {
            Ok(Pointer { selector: insn.far_branch_selector(), offset: insn.far_branch16().into(), size: 2 })
        }
        OpKind::FarBranch32 => {
            Ok(Pointer { selector: insn.far_branch_selector(), offset: insn.far_branch32().into(), size: 4 })
        }
        _ => {
            let size = match insn.code() {
                Code::Jmp_m1616 | Code::Call_m1616 => 2,
                Code::Jmp_m1632 | Code::Call_m1632 => 4,
                _ => 8,
            };
            let (selector, offset) = load_pointer(cpu, insn, size)?;
            Ok(Pointer { selector, offset, size })
        }
    }
}

/// The far pointer in the instruction's memory operand, with an offset of `size` bytes.
pub fn load_pointer(cpu: &mut Cpu, insn: &Instruction, size: usize) -> Result<(u16, u64), Fault> {
    let total = size + 2;
    let address = cpu.operand_address(insn, total as u64, false)?;
    let mut bytes = [0; 16];
    cpu.check_alignment(address, size)?;
    cpu.read_unaligned(address, &mut bytes[..total])?;
    let whole = u128::from_le_bytes(bytes);
    Ok(((whole >> (8 * size)) as u16, whole as u64 & mask(size)))
}

fn real(cpu: &mut Cpu, pointer: &Pointer, how: Transfer, back: u64) -> Result<(), Fault> {
    let code = cpu.processor.regs.seg[seg::CS];
    if pointer.offset > code.limit.into() {
        return Err(Fault::gp(0));
    }
    if how == Transfer::Call {
        let frame = [code.selector.into(), back];
        cpu.processor.regs.gpr[gpr::RSP] = Stack::current(cpu).push_all(cpu, pointer.size, &frame)?;
    }
    jump_real(cpu, pointer.selector, pointer.offset);
    Ok(())
}

/// To a code segment of the same privilege, or a conforming one.
fn direct(cpu: &mut Cpu, target: Entry, pointer: &Pointer, how: Transfer, back: u64) -> Result<(), Fault> {
    let code = checked_code(cpu, &target)?;
    let (cpl, rpl) = (cpu.processor.regs.cpl, (pointer.selector & RPL) as u8);
    let allowed = if code.conforming() { code.dpl() <= cpl } else { rpl <= cpl && code.dpl() == cpl };
    if !allowed {
        return Err(target.fault(vector::GP));
    }
    if !code.present() {
        return Err(target.fault(vector::NP));
    }
    let rip = checked_target(cpu, &code, pointer.offset)?;
    let code = accessed(cpu, target, cpl)?;
    if how == Transfer::Call {
        let frame = [cpu.processor.regs.seg[seg::CS].selector.into(), back];
        cpu.processor.regs.gpr[gpr::RSP] = Stack::current(cpu).push_all(cpu, pointer.size, &frame)?;
    }
    cpu.processor.regs.seg[seg::CS] = code;
    cpu.processor.regs.rip = rip;
    Ok(())
}

/// Through a system descriptor: a call gate, or what would switch tasks.
fn system(cpu: &mut Cpu, target: &Entry, how: Transfer, back: u64) -> Result<(), Fault> {
    let long = cpu.processor.regs.long_mode();
    let (cpl, rpl) = (cpu.processor.regs.cpl, (target.selector & RPL) as u8);
    let descriptor = target.segment();
    let known = match descriptor.kind() {
        kind::CALL32 => true,
        kind::CALL16 | kind::TASK | kind::TSS16_AVAILABLE | kind::TSS32_AVAILABLE => !long,
        _ => false,
    };
    if !known || descriptor.dpl() < cpl.max(rpl) {
        return Err(target.fault(vector::GP));
    }
    if !descriptor.present() {
        return Err(target.fault(vector::NP));
    }
    if let Some(selector) = task::named(target) {
        let cause = if how == Transfer::Jump { Cause::Jump } else { Cause::Call };
        return task::switch(cpu, selector, cause, back, cpu.processor.regs.rflags);
    }
    let high = if long { upper(cpu, target, vector::GP)? } else { 0 };
    gate(cpu, &Gate::new(target.raw, high), how, back)
}

fn gate(cpu: &mut Cpu, gate: &Gate, how: Transfer, back: u64) -> Result<(), Fault> {
    if is_null(gate.selector) {
        return Err(Fault::gp(0));
    }
    let cpl = cpu.processor.regs.cpl;
    let target = fetch(cpu, gate.selector, vector::GP)?;
    let code = checked_code(cpu, &target)?;
    let inner = how == Transfer::Call && !code.conforming() && code.dpl() < cpl;
    let allowed =
        if code.conforming() || how == Transfer::Call { code.dpl() <= cpl } else { code.dpl() == cpl };
    if !allowed || (cpu.processor.regs.long_mode() && !code.long()) {
        return Err(target.fault(vector::GP));
    }
    if !code.present() {
        return Err(target.fault(vector::NP));
    }
    let rip = checked_target(cpu, &code, gate.offset)?;
    let level = if inner { code.dpl() } else { cpl };
    let code = accessed(cpu, target, level)?;
    if how == Transfer::Call {
        call_frame(cpu, gate, level, back)?;
    }
    enter(cpu, code, level, rip);
    Ok(())
}

fn enter(cpu: &mut Cpu, code: Segment, cpl: u8, rip: u64) {
    cpu.processor.regs.seg[seg::CS] = code;
    cpu.processor.regs.cpl = cpl;
    cpu.processor.regs.rip = rip;
}

/// Pushes the return address of a gated call, on the inner stack with the old one and the parameters before it, and
/// commits the stack. Nothing faults after this.
fn call_frame(cpu: &mut Cpu, gate: &Gate, level: u8, back: u64) -> Result<(), Fault> {
    let size = match (cpu.processor.regs.long_mode(), gate.wide()) {
        (true, _) => 8,
        (_, true) => 4,
        _ => 2,
    };
    let mut frame = [0; PARAMETERS + 4];
    let mut count = 0;
    let mut push = |value: u64| {
        frame[count] = value;
        count += 1;
    };
    let stack = if level < cpu.processor.regs.cpl {
        push(cpu.processor.regs.seg[seg::SS].selector.into());
        push(cpu.processor.regs.gpr[gpr::RSP]);
        let parameters = if cpu.processor.regs.long_mode() { 0 } else { u64::from(gate.count) };
        for n in (0..parameters).rev() {
            push(cpu.peek(n * size as u64, size)?);
        }
        Stack::inner(cpu, level)?
    } else {
        Stack::current(cpu)
    };
    push(cpu.processor.regs.seg[seg::CS].selector.into());
    push(back);
    let rsp = stack.push_all(cpu, size, &frame[..count])?;
    cpu.processor.regs.gpr[gpr::RSP] = rsp;
    cpu.processor.regs.seg[seg::SS] = stack.segment;
    Ok(())
}

pub fn ret(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let size = match insn.code() {
        Code::Retfw | Code::Retfw_imm16 => 2,
        Code::Retfd | Code::Retfd_imm16 => 4,
        _ => 8,
    };
    let release = if insn.op_count() == 0 { 0 } else { u64::from(insn.immediate16()) };
    let ip = cpu.peek(0, size)?;
    let cs = cpu.peek(size as u64, size)? as u16;
    let popped = 2 * size as u64 + release;
    if !cpu.processor.regs.protected() || cpu.processor.regs.v86() {
        if ip > cpu.processor.regs.seg[seg::CS].limit.into() {
            return Err(Fault::gp(0));
        }
        cpu.set_stack_pointer(cpu.processor.regs.gpr[gpr::RSP].wrapping_add(popped));
        jump_real(cpu, cs, ip);
        return Ok(Next::Jump);
    }
    let (entry, code) = return_code(cpu, cs)?;
    let rpl = (cs & RPL) as u8;
    let stack = if rpl > cpu.processor.regs.cpl {
        Some(outer_stack(cpu, popped, size, release, rpl, &code)?)
    } else {
        None
    };
    let ip = checked_target(cpu, &code, ip)?;
    let code = accessed(cpu, entry, rpl)?;
    commit(cpu, code, rpl, ip, stack, popped);
    Ok(Next::Jump)
}

/// The stack that a far return to an outer level goes back to, with the parameters released there too.
fn outer_stack(
    cpu: &mut Cpu,
    at: u64,
    size: usize,
    release: u64,
    rpl: u8,
    code: &Segment,
) -> Result<(Segment, u64), Fault> {
    let pointer = cpu.peek(at, size)?;
    let selector = cpu.peek(at + size as u64, size)? as u16;
    let segment = return_stack(cpu, selector, rpl, code)?;
    Ok((segment, pointer.wrapping_add(release)))
}
