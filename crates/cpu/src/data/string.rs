//! MOVS, STOS, LODS, CMPS and SCAS. Repeated ones go a page at a time where both sides are memory; device registers
//! are accessed element by element with the instruction's own width.

use super::bulk;
use super::repeat::{Form, Step};
use crate::cpu::Privilege;
use crate::operand::mask;
use crate::pending::Target;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Register};
use ireko_x86::regs::{gpr, seg};

/// Bytes that CMPS and SCAS read at once; most end early.
const CHUNK: usize = 256;

fn form(cpu: &Cpu, insn: &Instruction) -> Form {
    Form::new(cpu, insn, insn.memory_size().size())
}

/// The host address of a byte of memory; `None` for a device register.
fn ram(cpu: &mut Cpu, address: u64, write: bool) -> Result<Option<usize>, Fault> {
    let mode = cpu.processor.mmu_mode(Privilege::Current);
    Ok(match cpu.target(address, write, mode)? {
        Target::Ram(host) => Some(host as usize),
        Target::Mmio(_) => None,
    })
}

pub fn movs(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    form(cpu, insn).run(cpu, |cpu, form, limit| {
        let mut moved = bulk::copy(cpu, form, limit)?;
        if moved == 0 {
            moved = move_some(cpu, form, limit)?;
        }
        form.advance(cpu, gpr::RSI, moved);
        form.advance(cpu, gpr::RDI, moved);
        Ok(Step::of(moved))
    })
}

/// Moves at least one element, in any mode and direction.
fn move_some(cpu: &mut Cpu, form: &Form, limit: u64) -> Result<u64, Fault> {
    let source = form.source(cpu)?;
    let destination = form.destination(cpu, true)?;
    let elements = limit
        .min(form.reach(source, form.offset(cpu, gpr::RSI)))
        .min(form.reach(destination, form.offset(cpu, gpr::RDI)));
    if elements > 1 {
        let moved = move_run(cpu, form, source, destination, elements)?;
        if moved != 0 {
            return Ok(moved);
        }
    }
    let value = cpu.load(source, form.size, Privilege::Current)?;
    cpu.store(destination, form.size, value, Privilege::Current)?;
    Ok(1)
}

/// Copies up to `elements` within one page on each side; returns how many. An element that an earlier element of the
/// run would write is not part of the run, whichever linear addresses lead to it.
fn move_run(cpu: &mut Cpu, form: &Form, source: u64, destination: u64, elements: u64) -> Result<u64, Fault> {
    let Some(from) = ram(cpu, source, false)? else { return Ok(0) };
    let Some(to) = ram(cpu, destination, true)? else { return Ok(0) };
    let ahead = if form.down { from.wrapping_sub(to) } else { to.wrapping_sub(from) } as u64;
    let size = form.size as u64;
    let elements = if ahead != 0 && ahead < elements * size { ahead / size } else { elements };
    if elements == 0 {
        return Ok(0);
    }
    let (rsi, rdi) = (form.offset(cpu, gpr::RSI), form.offset(cpu, gpr::RDI));
    let Some(low) = form.span(cpu, form.segment, rsi, elements, false) else { return Ok(0) };
    let Some(target) = form.span(cpu, seg::ES, rdi, elements, true) else { return Ok(0) };
    let mut bytes = [0; 4096];
    let bytes = &mut bytes[..(elements * size) as usize];
    cpu.read_elements(low, form.size, bytes)?;
    cpu.write_elements(target, form.size, bytes)?;
    Ok(elements)
}

pub fn stos(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    form(cpu, insn).run(cpu, |cpu, form, limit| {
        let mut stored = bulk::fill(cpu, form, limit)?;
        if stored == 0 {
            stored = store_some(cpu, form, limit)?;
        }
        form.advance(cpu, gpr::RDI, stored);
        Ok(Step::of(stored))
    })
}

/// Stores at least one element, in any mode and direction.
fn store_some(cpu: &mut Cpu, form: &Form, limit: u64) -> Result<u64, Fault> {
    let destination = form.destination(cpu, true)?;
    let elements = limit.min(form.reach(destination, form.offset(cpu, gpr::RDI)));
    if elements > 1 {
        let stored = store_run(cpu, form, destination, elements)?;
        if stored != 0 {
            return Ok(stored);
        }
    }
    cpu.store(destination, form.size, cpu.processor.regs.gpr[gpr::RAX], Privilege::Current)?;
    Ok(1)
}

fn store_run(cpu: &mut Cpu, form: &Form, destination: u64, elements: u64) -> Result<u64, Fault> {
    if ram(cpu, destination, true)?.is_none() {
        return Ok(0);
    }
    let offset = form.offset(cpu, gpr::RDI);
    let Some(low) = form.span(cpu, seg::ES, offset, elements, true) else { return Ok(0) };
    let value = cpu.processor.regs.gpr[gpr::RAX].to_le_bytes();
    let mut bytes = [0; 4096];
    let bytes = &mut bytes[..elements as usize * form.size];
    bytes.chunks_exact_mut(form.size).for_each(|element| element.copy_from_slice(&value[..form.size]));
    cpu.write_elements(low, form.size, bytes)?;
    Ok(elements)
}

pub fn lods(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    form(cpu, insn).run(cpu, |cpu, form, _| {
        let value = match bulk::element(cpu, form)? {
            Some(value) => value,
            None => {
                let source = form.source(cpu)?;
                cpu.load(source, form.size, Privilege::Current)?
            }
        };
        cpu.set_gpr(accumulator(form.size), value);
        form.advance(cpu, gpr::RSI, 1);
        Ok(Step::ONE)
    })
}

fn accumulator(size: usize) -> Register {
    match size {
        1 => Register::AL,
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    }
}

pub fn cmps(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    form(cpu, insn).run(cpu, |cpu, form, limit| {
        let first = form.source(cpu)?;
        let second = form.destination(cpu, false)?;
        let (rsi, rdi) = (form.offset(cpu, gpr::RSI), form.offset(cpu, gpr::RDI));
        let elements =
            limit.min(form.reach(first, rsi)).min(form.reach(second, rdi)).min(CHUNK as u64 >> form.shift());
        let (mut a, mut b) = ([0; CHUNK], [0; CHUNK]);
        let step = if elements > 1
            && read_run(cpu, form, (form.segment, rsi, first), elements, &mut a)?
            && read_run(cpu, form, (seg::ES, rdi, second), elements, &mut b)?
        {
            compare_run(cpu, form, elements, |n| {
                (form.element(&a, elements, n), form.element(&b, elements, n))
            })
        } else {
            let a = cpu.load(first, form.size, Privilege::Current)?;
            let b = cpu.load(second, form.size, Privilege::Current)?;
            Step { elements: 1, stop: form.compared(cpu, a, b) }
        };
        form.advance(cpu, gpr::RSI, step.elements);
        form.advance(cpu, gpr::RDI, step.elements);
        Ok(step)
    })
}

pub fn scas(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    form(cpu, insn).run(cpu, |cpu, form, limit| {
        let address = form.destination(cpu, false)?;
        let offset = form.offset(cpu, gpr::RDI);
        let sought = cpu.processor.regs.gpr[gpr::RAX] & mask(form.size);
        let elements = limit.min(form.reach(address, offset)).min(CHUNK as u64 >> form.shift());
        let mut bytes = [0; CHUNK];
        let step = if elements > 1 && read_run(cpu, form, (seg::ES, offset, address), elements, &mut bytes)? {
            compare_run(cpu, form, elements, |n| (sought, form.element(&bytes, elements, n)))
        } else {
            let value = cpu.load(address, form.size, Privilege::Current)?;
            Step { elements: 1, stop: form.compared(cpu, sought, value) }
        };
        form.advance(cpu, gpr::RDI, step.elements);
        Ok(step)
    })
}

/// Reads a run at (segment, offset, linear address of the first element) within one page of memory; `false` if it
/// must go element by element. Reading past the element where a comparison stops has no effect in memory.
fn read_run(
    cpu: &mut Cpu,
    form: &Form,
    (segment, offset, first): (usize, u64, u64),
    elements: u64,
    bytes: &mut [u8; CHUNK],
) -> Result<bool, Fault> {
    if ram(cpu, first, false)?.is_none() {
        return Ok(false);
    }
    let Some(low) = form.span(cpu, segment, offset, elements, false) else { return Ok(false) };
    cpu.read_elements(low, form.size, &mut bytes[..elements as usize * form.size])?;
    Ok(true)
}

/// Compares pair after pair until the repeat prefix ends; the flags are the last comparison's.
fn compare_run(cpu: &mut Cpu, form: &Form, elements: u64, pair: impl Fn(u64) -> (u64, u64)) -> Step {
    let ends = |n: &u64| {
        let (a, b) = pair(*n);
        (a == b) == form.repne
    };
    let last = (0..elements).find(ends).unwrap_or(elements - 1);
    let (a, b) = pair(last);
    Step { elements: last + 1, stop: form.compared(cpu, a, b) }
}
