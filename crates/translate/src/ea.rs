//! Effective addresses: where the guest's memory operand is, in R14.

use crate::asm::{Asm, Mem, reg};
use crate::key::Key;
use crate::layout::{Hot, PINNED, parked_index};
use core::mem::offset_of;
use iced_x86::{Instruction, Register};
use ireko_x86::regs::seg;

/// An address as code has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Known at translation; not in a register yet.
    Constant(u64),
    /// In R14.
    InR14,
}

/// State field of a parked register.
pub fn parked(gpr: usize) -> Mem {
    Mem::state(offset_of!(Hot, parked) + 8 * parked_index(gpr))
}

pub fn temp(index: usize) -> Mem {
    Mem::state(offset_of!(Hot, temp) + 8 * index)
}

fn segment_base(index: usize) -> Mem {
    Mem::state(offset_of!(Hot, segment_base) + 8 * index)
}

/// Segment index of the memory operand.
pub fn segment(insn: &Instruction) -> usize {
    segment_index(insn.memory_segment())
}

/// Index of a segment register.
pub fn segment_index(register: Register) -> usize {
    register as usize - Register::ES as usize
}

/// Host register that holds a guest register: its own, or `scratch` loaded from its place.
fn register_in(asm: &mut Asm, register: Register, scratch: u8) -> u8 {
    let gpr = register.full_register().number();
    match PINNED[gpr] {
        Some(host) => host,
        None => {
            asm.load(scratch, parked(gpr));
            scratch
        }
    }
}

fn present(register: Register) -> bool {
    !matches!(register, Register::None | Register::RIP | Register::EIP)
}

/// Bytes of the address size.
pub fn address_size(insn: &Instruction, key: Key) -> usize {
    let register =
        if insn.memory_base() != Register::None { insn.memory_base() } else { insn.memory_index() };
    match register {
        Register::None if key.has(Key::CODE64) => {
            if insn.memory_displ_size() == 4 {
                4
            } else {
                8
            }
        }
        Register::None => {
            if insn.memory_displ_size() == 2 {
                2
            } else {
                4
            }
        }
        register => register.size(),
    }
}

/// Puts the offset of the memory operand, cut to the address size, into R14 (or finds it constant).
pub fn offset(asm: &mut Asm, insn: &Instruction, key: Key) -> Address {
    offset_in(asm, insn, key, reg::R14)
}

/// The same, into another register.
pub fn offset_in(asm: &mut Asm, insn: &Instruction, key: Key, to: u8) -> Address {
    let (base, index) = (insn.memory_base(), insn.memory_index());
    let displacement = insn.memory_displacement64();
    if !present(base) && index == Register::None {
        if base == Register::None || !key.relative() {
            return Address::Constant(displacement);
        }
        of_page(asm, to, displacement);
        if base == Register::EIP {
            asm.mov32(to, to);
        }
        return Address::InR14;
    }
    let index = (index != Register::None).then(|| {
        let host = register_in(asm, index, reg::RCX);
        (host, insn.memory_index_scale() as u8)
    });
    let base = present(base).then(|| register_in(asm, base, reg::R14));
    let mem = Mem { base, index, disp: displacement as i32 };
    match address_size(insn, key) {
        8 => asm.lea(to, mem),
        4 => asm.lea32(to, mem),
        _ => {
            asm.lea32(to, mem);
            asm.movzx16(to, to);
        }
    }
    Address::InR14
}

/// An address in relative code, which is `offset` from its page, in a register. One that is 2 GiB away costs RCX, or R13.
pub fn of_page(asm: &mut Asm, to: u8, offset: u64) {
    asm.load(to, Mem::state(offset_of!(Hot, page)));
    match i32::try_from(offset as i64) {
        Ok(near) => asm.lea(to, Mem::base(to, near)),
        Err(_) => {
            let scratch = if to == reg::RCX { reg::R13 } else { reg::RCX };
            asm.imm(scratch, offset);
            asm.lea(to, Mem { base: Some(to), index: Some((scratch, 1)), disp: 0 });
        }
    }
}

/// Adds the segment's base to an offset: the linear address.
pub fn linear(asm: &mut Asm, address: Address, segment: usize, key: Key) -> Address {
    let long = key.has(Key::CODE64);
    let based = if long { segment == seg::FS || segment == seg::GS } else { !key.zero_base(segment) };
    if !based {
        return address;
    }
    if let Address::Constant(value) = address {
        asm.imm(reg::R14, value);
    }
    asm.load(reg::RCX, segment_base(segment));
    let sum = Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 };
    if long {
        asm.lea(reg::R14, sum)
    } else {
        asm.lea32(reg::R14, sum)
    }
    Address::InR14
}
