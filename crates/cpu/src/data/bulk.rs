//! String operations in 64-bit mode, upwards, from memory to memory: directly on host memory, a page at a time.
//!
//! Every function does nothing and says so where it is not for it (segment limits, downwards, devices, elements across
//! pages); the caller then goes element by element.

// UNSAFETY: reads and writes guest memory by host pointer; an intermediate copy would double the cost.
#![allow(unsafe_code)]

use super::repeat::Form;
use crate::access::Place;
use crate::cpu::Privilege;
use crate::operand::mask;
use crate::{Cpu, Fault};
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
    if let Some(host) = cpu.banks.current().lookup(mode, address, true) {
        return Ok(Some((host, false)));
    }
    Ok(match cpu.place(address, true, mode)? {
        Place::Ram(host) => Some((host, true)),
        Place::Mmio(_) => None,
    })
}

/// MOVS: moves up to `limit` elements and returns how many. RSI and RDI are the caller's to advance.
pub fn copy(cpu: &mut Cpu, form: &Form, limit: u64) -> Result<u64, Fault> {
    let (true, Some(source), Some(destination)) = (form.plain, source(cpu, form), destination(cpu)) else {
        return Ok(0);
    };
    let elements = limit.min(room(form, source)).min(room(form, destination));
    if elements == 0 {
        return Ok(0);
    }
    let mode = cpu.mmu_mode(Privilege::Current);
    let Place::Ram(from) = cpu.place(source, false, mode)? else { return Ok(0) };
    let Some((to, code)) = writable(cpu, destination, mode)? else { return Ok(0) };
    let bytes = (elements << form.shift()) as usize;
    let ahead = (to as usize).wrapping_sub(from as usize);
    // SAFETY: places are valid to the end of their pages, and `room` keeps both runs inside.
    unsafe {
        if elements == 1 || (ahead != 0 && ahead < bytes) {
            // An element that an earlier one of the run wrote is read as written.
            match form.size {
                1 => move_each::<u8>(from, to, elements as usize),
                2 => move_each::<u16>(from, to, elements as usize),
                4 => move_each::<u32>(from, to, elements as usize),
                _ => move_each::<u64>(from, to, elements as usize),
            }
        } else {
            std::ptr::copy(from, to, bytes);
        }
    }
    if code {
        cpu.wrote_code(to, bytes);
    }
    Ok(elements)
}

/// Moves element after element.
///
/// # Safety
/// `elements` elements can be read at `from` and written at `to`.
unsafe fn move_each<T: Copy>(from: *const u8, to: *mut u8, elements: usize) {
    let (from, to) = (from.cast::<T>(), to.cast::<T>());
    for n in 0..elements {
        // SAFETY: the caller's promise.
        unsafe { to.add(n).write_unaligned(from.add(n).read_unaligned()) };
    }
}

/// STOS: stores rAX up to `limit` times and returns how many. RDI is the caller's to advance.
pub fn fill(cpu: &mut Cpu, form: &Form, limit: u64) -> Result<u64, Fault> {
    let (true, Some(destination)) = (form.plain, destination(cpu)) else { return Ok(0) };
    let elements = limit.min(room(form, destination));
    if elements == 0 {
        return Ok(0);
    }
    let mode = cpu.mmu_mode(Privilege::Current);
    let Some((to, code)) = writable(cpu, destination, mode)? else { return Ok(0) };
    let bytes = (elements << form.shift()) as usize;
    let value = cpu.processor.regs.gpr[gpr::RAX];
    // SAFETY: a place is valid to the end of its page, and `room` keeps the run inside.
    unsafe {
        match form.size {
            _ if elements > 1 && one_byte(value, form.size) => to.write_bytes(value as u8, bytes),
            1 => to.write(value as u8),
            2 => store_each(to, value as u16, elements as usize),
            4 => store_each(to, value as u32, elements as usize),
            _ => store_each(to, value, elements as usize),
        }
    }
    if code {
        cpu.wrote_code(to, bytes);
    }
    Ok(elements)
}

/// All `size` bytes of the value are the same.
fn one_byte(value: u64, size: usize) -> bool {
    let cut = mask(size);
    value & cut == (value & 0xff).wrapping_mul(0x0101_0101_0101_0101) & cut
}

/// # Safety
/// `elements` elements can be written at `to`.
unsafe fn store_each<T: Copy>(to: *mut u8, value: T, elements: usize) {
    for n in 0..elements {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<T>().add(n).write_unaligned(value) };
    }
}

/// LODS: the element in memory. `None` where this is not for it.
pub fn element(cpu: &mut Cpu, form: &Form) -> Result<Option<u64>, Fault> {
    let (true, Some(source)) = (form.plain, source(cpu, form)) else { return Ok(None) };
    if room(form, source) == 0 {
        return Ok(None);
    }
    let mode = cpu.mmu_mode(Privilege::Current);
    let Place::Ram(from) = cpu.place(source, false, mode)? else { return Ok(None) };
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
