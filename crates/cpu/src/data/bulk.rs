//! String operations in 64-bit mode, upwards, from memory to memory: directly on host memory, a page at a time, or
//! many where the guest has large ones.
//!
//! Every function does nothing and says so where it is not for it (segment limits, downwards, devices, elements across
//! pages); the caller then goes element by element.

// UNSAFETY: reads and writes guest memory by host pointer; an intermediate copy would double the cost.
#![allow(unsafe_code)]

use super::repeat::Form;
use crate::cpu::Privilege;
use crate::pending::Target;
use crate::{Cpu, Fault, single_copy};
use ireko_x86::regs::{gpr, seg};

/// How many elements fit between an address and the end of its page.
fn room(form: &Form, address: u64) -> u64 {
    (4096 - (address & 0xfff)) >> form.shift()
}

/// Linear address of the operand in RSI; faults are for the slow way to raise.
fn source(cpu: &Cpu, form: &Form) -> Option<u64> {
    let base =
        if matches!(form.segment, seg::FS | seg::GS) { cpu.processor.regs.seg[form.segment].base } else { 0 };
    let address = base.wrapping_add(cpu.processor.regs.gpr[gpr::RSI]);
    cpu.processor.regs.canonical(address).then_some(address)
}

fn destination(cpu: &Cpu) -> Option<u64> {
    let address = cpu.processor.regs.gpr[gpr::RDI];
    cpu.processor.regs.canonical(address).then_some(address)
}

/// Host memory to write, and whether its page may hold translated code: a page with code has no write entry in the TLB.
fn writable(cpu: &mut Cpu, address: u64, mode: usize) -> Result<Option<(*mut u8, bool)>, Fault> {
    if let Some(host) = cpu.mmu.banks.current().lookup(mode, address, true) {
        return Ok(Some((host, false)));
    }
    Ok(match cpu.target(address, true, mode)? {
        Target::Ram(host) => Some((host, true)),
        Target::Mmio(_) => None,
    })
}

/// Host memory of a large page from `address` on, and how many of `bytes` can be reached there without a look at each page.
fn large(cpu: &mut Cpu, mode: usize, address: u64, bytes: u64, write: bool) -> Option<(*mut u8, u64)> {
    let (host, room, writable) = cpu.mmu.banks.current().find_large(mode, address)?;
    let bytes = bytes.min(room);
    if !write {
        return Some((host, bytes));
    }
    let physical = cpu.mmu.physical.guest(host).filter(|_| writable)?;
    let watch = cpu.mmu.physical.memory().watch();
    let last = (physical + bytes - 1) >> 12;
    let watched = (physical >> 12..=last).find(|&frame| watch.watched(frame));
    Some((host, watched.map_or(bytes, |frame| (frame << 12).saturating_sub(physical))))
}

/// MOVS: moves up to `limit` elements and returns how many. RSI and RDI are the caller's to advance.
pub fn copy(cpu: &mut Cpu, form: &Form, limit: u64) -> Result<u64, Fault> {
    let (true, Some(source), Some(destination)) = (form.plain, source(cpu, form), destination(cpu)) else {
        return Ok(0);
    };
    let elements = limit.min(room(form, source)).min(room(form, destination));
    let mode = cpu.processor.mmu_mode(Privilege::Current);
    let all = limit << form.shift();
    if elements < limit
        && let Some((from, readable)) = large(cpu, mode, source, all, false)
        && let Some((to, writable)) = large(cpu, mode, destination, readable, true)
        && writable >> form.shift() > elements
    {
        let elements = writable >> form.shift();
        // SAFETY: both runs lie in large pages, which are memory from end to end.
        unsafe { single_copy::copy(form.size, from, to, elements as usize) };
        return Ok(elements);
    }
    if elements == 0 {
        return Ok(0);
    }
    let Target::Ram(from) = cpu.target(source, false, mode)? else { return Ok(0) };
    let Some((to, code)) = writable(cpu, destination, mode)? else { return Ok(0) };
    // SAFETY: places are valid to the end of their pages, and `room` keeps both runs inside.
    unsafe { single_copy::copy(form.size, from, to, elements as usize) };
    if code {
        cpu.wrote_code(to, (elements << form.shift()) as usize);
    }
    Ok(elements)
}

/// STOS: stores rAX up to `limit` times and returns how many. RDI is the caller's to advance.
pub fn fill(cpu: &mut Cpu, form: &Form, limit: u64) -> Result<u64, Fault> {
    let (true, Some(destination)) = (form.plain, destination(cpu)) else { return Ok(0) };
    let elements = limit.min(room(form, destination));
    let mode = cpu.processor.mmu_mode(Privilege::Current);
    let value = cpu.processor.regs.gpr[gpr::RAX];
    if elements < limit
        && let Some((to, writable)) = large(cpu, mode, destination, limit << form.shift(), true)
        && writable >> form.shift() > elements
    {
        let elements = writable >> form.shift();
        // SAFETY: the run lies in a large page, which is memory from end to end.
        unsafe { single_copy::fill(form.size, value, to, elements as usize) };
        return Ok(elements);
    }
    if elements == 0 {
        return Ok(0);
    }
    let Some((to, code)) = writable(cpu, destination, mode)? else { return Ok(0) };
    // SAFETY: a place is valid to the end of its page, and `room` keeps the run inside.
    unsafe { single_copy::fill(form.size, value, to, elements as usize) };
    if code {
        cpu.wrote_code(to, (elements << form.shift()) as usize);
    }
    Ok(elements)
}

/// LODS: the element in memory. `None` where this is not for it.
pub fn element(cpu: &mut Cpu, form: &Form) -> Result<Option<u64>, Fault> {
    let (true, Some(source)) = (form.plain, source(cpu, form)) else { return Ok(None) };
    if room(form, source) == 0 {
        return Ok(None);
    }
    let mode = cpu.processor.mmu_mode(Privilege::Current);
    let Target::Ram(from) = cpu.target(source, false, mode)? else { return Ok(None) };
    // SAFETY: a place is valid to the end of its page, and there is room for an element.
    Ok(Some(unsafe {
        match form.size {
            1 => from.read().into(),
            2 => from.cast::<u16>().read_unaligned().into(),
            4 => from.cast::<u32>().read_unaligned().into(),
            _ => from.cast::<u64>().read_unaligned(),
        }
    }))
}
