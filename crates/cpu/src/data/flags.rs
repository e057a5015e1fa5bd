//! Arithmetic flags of the few instructions that Rust computes.

use crate::Cpu;
use crate::operand::mask;
use ireko_x86::bits::rflags::{AF, ARITHMETIC, CF, OF, PF, SF, ZF};

/// SF, ZF and PF of a result of `size` bytes.
pub fn of_result(value: u64, size: usize) -> u64 {
    let value = value & mask(size);
    let sign = if value >> (8 * size - 1) & 1 != 0 { SF } else { 0 };
    let zero = if value == 0 { ZF } else { 0 };
    let parity = if (value as u8).count_ones().is_multiple_of(2) { PF } else { 0 };
    sign | zero | parity
}

/// All arithmetic flags of `a - b`, as CMP sets them.
pub fn of_compare(a: u64, b: u64, size: usize) -> u64 {
    let (a, b) = (a & mask(size), b & mask(size));
    let result = a.wrapping_sub(b) & mask(size);
    let borrow = if a < b { CF } else { 0 };
    let adjust = if (a ^ b ^ result) & 0x10 != 0 { AF } else { 0 };
    let overflow = if ((a ^ b) & (a ^ result)) >> (8 * size - 1) & 1 != 0 { OF } else { 0 };
    of_result(result, size) | borrow | adjust | overflow
}

/// Replaces all arithmetic flags.
pub fn set(cpu: &mut Cpu, flags: u64) {
    cpu.processor.regs.rflags = cpu.processor.regs.rflags & !ARITHMETIC | flags;
}

/// `flag` if `on`.
pub fn when(on: bool, flag: u64) -> u64 {
    if on { flag } else { 0 }
}
