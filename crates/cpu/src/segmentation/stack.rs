//! Stack frames: many values pushed at once, on the current stack or on one that is not yet loaded. Nothing is
//! written before all of the frame is checked, and no register changes.

use crate::cpu::Privilege;
use crate::operand::{mask, within};
use crate::segmentation::descriptor::{checked_stack, fault, null_stack};
use crate::{Cpu, Fault};
use ireko_x86::Segment;
use ireko_x86::descriptor::{kind, tss};
use ireko_x86::exception::{Exception, vector};
use ireko_x86::regs::{gpr, seg};

/// Bytes of the longest frame: a call gate's 31 parameters and four values of four bytes.
const LONGEST: usize = 160;

#[derive(Clone, Copy, Debug)]
pub struct Stack {
    pub segment: Segment,
    /// The whole stack-pointer register.
    pub pointer: u64,
    /// Bytes of the stack pointer in use: 2, 4 or 8.
    pub width: usize,
    pub privilege: Privilege,
    /// Error code of a stack fault: the selector of a stack that is not yet loaded, else 0.
    error: u32,
}

impl Stack {
    pub fn current(cpu: &Cpu) -> Self {
        Self {
            segment: cpu.processor.regs.seg[seg::SS],
            pointer: cpu.processor.regs.gpr[gpr::RSP],
            width: cpu.stack_size(),
            privilege: Privilege::Current,
            error: 0,
        }
    }

    /// A stack of 64-bit mode.
    pub fn long(pointer: u64, segment: Segment, privilege: Privilege) -> Self {
        Self { segment, pointer, width: 8, privilege, error: 0 }
    }

    /// The stack that the TSS has for privilege `dpl` (APM vol. 2, 12.2.4 and 12.2.5).
    pub fn inner(cpu: &mut Cpu, dpl: u8) -> Result<Self, Fault> {
        let level = u64::from(dpl);
        if cpu.processor.regs.long_mode() {
            let pointer = cpu.load_tss(tss::RSP0 + 8 * level, 8)?;
            return Ok(Self::long(pointer, null_stack(dpl), Privilege::System));
        }
        let wide = matches!(cpu.processor.regs.tr.kind(), kind::TSS32_AVAILABLE | kind::TSS32_BUSY);
        let (at, size) = if wide { (tss::STACK32 + 8 * level, 4) } else { (tss::STACK16 + 4 * level, 2) };
        let pointer = cpu.load_tss(at, size)?;
        let selector = cpu.load_tss(at + size as u64, 2)? as u16;
        let segment = checked_stack(cpu, selector, dpl, vector::TS)?;
        let width = if segment.big() { 4 } else { 2 };
        let error = u32::from(selector & !3);
        Ok(Self { segment, pointer, width, privilege: Privilege::System, error })
    }

    /// Pushes `values`, first to last, as `size` bytes each. Gives the stack pointer to commit.
    pub fn push_all(&self, cpu: &mut Cpu, size: usize, values: &[u64]) -> Result<u64, Fault> {
        let total = size * values.len();
        let bottom = self.pointer.wrapping_sub(total as u64) & mask(self.width);
        if self.width < 8 && bottom + total as u64 > mask(self.width) + 1 {
            self.push_around(cpu, size, values)?;
        } else {
            let mut bytes = [0; LONGEST];
            for (slot, value) in bytes.chunks_exact_mut(size).zip(values.iter().rev()) {
                slot.copy_from_slice(&value.to_le_bytes()[..size]);
            }
            let address = self.address(cpu, bottom, total as u64)?;
            cpu.write_linear(address, &bytes[..total], self.privilege)?;
        }
        Ok(self.moved(bottom))
    }

    /// A frame that wraps around the end of a 16- or 32-bit stack, value by value.
    fn push_around(&self, cpu: &mut Cpu, size: usize, values: &[u64]) -> Result<(), Fault> {
        let mut pointer = self.pointer;
        for value in values {
            pointer = pointer.wrapping_sub(size as u64) & mask(self.width);
            let address = self.address(cpu, pointer, size as u64)?;
            cpu.write_linear(address, &value.to_le_bytes()[..size], self.privilege)?;
        }
        Ok(())
    }

    /// The whole register with its used part set to `bottom`.
    fn moved(&self, bottom: u64) -> u64 {
        if self.width == 2 { self.pointer & 0xffff_0000 | bottom } else { bottom }
    }

    fn address(&self, cpu: &Cpu, offset: u64, size: u64) -> Result<u64, Fault> {
        if self.width == 8 {
            let fits = cpu.processor.regs.canonical(offset)
                && cpu.processor.regs.canonical(offset.wrapping_add(size - 1));
            return if fits { Ok(offset) } else { Err(fault(vector::SS, 0)) };
        }
        if within(&self.segment, offset, size) {
            Ok(self.segment.base.wrapping_add(offset) & 0xffff_ffff)
        } else {
            Err(Exception::with_error(vector::SS, self.error).into())
        }
    }
}

/// Reads values of `size` bytes from the top of the current stack, without moving it.
pub fn peek_all(cpu: &mut Cpu, size: usize, values: &mut [u64]) -> Result<(), Fault> {
    if cpu.processor.regs.code64() {
        let mut bytes = [0; LONGEST];
        let total = size * values.len();
        let address = cpu.linear(seg::SS, cpu.processor.regs.gpr[gpr::RSP], total as u64, false)?;
        cpu.read_linear(address, &mut bytes[..total], Privilege::Current)?;
        for (value, slot) in values.iter_mut().zip(bytes.chunks_exact(size)) {
            let mut whole = [0; 8];
            whole[..size].copy_from_slice(slot);
            *value = u64::from_le_bytes(whole);
        }
        return Ok(());
    }
    for (n, value) in values.iter_mut().enumerate() {
        *value = cpu.peek((n * size) as u64, size)?;
    }
    Ok(())
}
