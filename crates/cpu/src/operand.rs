//! Operands of a decoded instruction: effective addresses, segmentation checks, reading and writing.

use crate::cpu::Privilege;
use crate::{Cpu, Fault};
use iced_x86::{Instruction, OpKind, Register};
use ireko_x86::Segment;
use ireko_x86::exception::{Exception, vector};
use ireko_x86::paging::canonicalize;
use ireko_x86::regs::seg;

/// Segment index (ES CS SS DS FS GS) of an iced segment register.
pub fn segment_index(register: Register) -> usize {
    register as usize - Register::ES as usize
}

impl Cpu {
    /// The offset of the next instruction, cut to the code's size.
    pub fn following(&self, insn: &Instruction) -> u64 {
        self.processor.regs.behind(self.processor.regs.rip, insn.len())
    }

    /// Whether a base that is loaded into a register is canonical for the widest addresses that this processor has, whatever
    /// paging is on.
    pub fn implements(&self, base: u64) -> bool {
        canonicalize(base, self.processor.model.linear_bits()) == base
    }

    /// A general register of any width, zero-extended.
    pub fn gpr(&self, register: Register) -> u64 {
        let full = self.processor.regs.gpr[register.full_register().number()];
        match register.size() {
            1 if is_high_byte(register) => self.processor.regs.gpr[register.number() - 4] >> 8 & 0xff,
            1 => full & 0xff,
            2 => full & 0xffff,
            4 => full & 0xffff_ffff,
            _ => full,
        }
    }

    /// Writes a general register with the architecture's rules: 32-bit writes zero the upper half.
    pub fn set_gpr(&mut self, register: Register, value: u64) {
        if is_high_byte(register) {
            let slot = &mut self.processor.regs.gpr[register.number() - 4];
            *slot = *slot & !0xff00 | (value & 0xff) << 8;
            return;
        }
        let slot = &mut self.processor.regs.gpr[register.full_register().number()];
        *slot = match register.size() {
            1 => *slot & !0xff | value & 0xff,
            2 => *slot & !0xffff | value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        };
    }

    /// Segment index and offset (cut to the address size) of the memory operand.
    pub fn effective(&self, insn: &Instruction) -> (usize, u64) {
        let base = insn.memory_base();
        let index = insn.memory_index();
        let mut offset = insn.memory_displacement64();
        let width = address_size(insn, self.processor.regs.code64());
        if base != Register::None && base != Register::RIP && base != Register::EIP {
            offset = offset.wrapping_add(self.gpr(base));
        }
        if index != Register::None {
            offset = offset.wrapping_add(self.gpr(index).wrapping_mul(insn.memory_index_scale().into()));
        }
        let offset = match width {
            2 => offset & 0xffff,
            4 => offset & 0xffff_ffff,
            _ => offset,
        };
        (segment_index(insn.memory_segment()), offset)
    }

    /// Linear address of `size` bytes at `segment:offset`, after the checks of segmentation (APM vol. 2, 4.12) or, in
    /// 64-bit mode, of canonical form.
    pub fn linear(&self, segment: usize, offset: u64, size: u64, write: bool) -> Result<u64, Fault> {
        let descriptor = &self.processor.regs.seg[segment];
        let fault = || {
            let vector = if segment == seg::SS { vector::SS } else { vector::GP };
            Fault::from(Exception::with_error(vector, 0))
        };
        if self.processor.regs.code64() {
            let base = if segment == seg::FS || segment == seg::GS { descriptor.base } else { 0 };
            let address = base.wrapping_add(offset);
            let last = address.wrapping_add(size.max(1) - 1);
            return if self.processor.regs.canonical(address) && self.processor.regs.canonical(last) {
                Ok(address)
            } else {
                Err(fault())
            };
        }
        if self.processor.regs.protected() && !self.processor.regs.v86() {
            if !descriptor.present() {
                return Err(fault());
            }
            let forbidden = if descriptor.is_code() {
                write || !descriptor.readable()
            } else {
                write && !descriptor.writable()
            };
            if forbidden {
                return Err(fault());
            }
        }
        if within(descriptor, offset, size) {
            Ok(descriptor.base.wrapping_add(offset) & 0xffff_ffff)
        } else {
            Err(fault())
        }
    }

    /// Linear address of the instruction's memory operand.
    pub fn operand_address(&self, insn: &Instruction, size: u64, write: bool) -> Result<u64, Fault> {
        let (segment, offset) = self.effective(insn);
        self.linear(segment, offset, size, write)
    }

    /// Operand `n` (register, memory or immediate) as `size` bytes, zero-extended.
    pub fn read_operand(&mut self, insn: &Instruction, n: u32, size: usize) -> Result<u64, Fault> {
        match insn.op_kind(n) {
            OpKind::Register => Ok(self.gpr(insn.op_register(n)) & mask(size)),
            OpKind::Memory => {
                let address = self.operand_address(insn, size as u64, false)?;
                self.load(address, size, Privilege::Current)
            }
            _ => Ok(insn.immediate(n) & mask(size)),
        }
    }

    /// Writes operand `n` (general register or memory).
    pub fn write_operand(
        &mut self,
        insn: &Instruction,
        n: u32,
        size: usize,
        value: u64,
    ) -> Result<(), Fault> {
        if insn.op_kind(n) == OpKind::Register {
            self.set_gpr(insn.op_register(n), value);
            return Ok(());
        }
        let address = self.operand_address(insn, size as u64, true)?;
        self.store(address, size, value, Privilege::Current)
    }

    /// Bytes of stack pointer in use: 8 in 64-bit mode, else by SS.B.
    pub fn stack_size(&self) -> usize {
        match (self.processor.regs.code64(), self.processor.regs.seg[seg::SS].big()) {
            (true, _) => 8,
            (_, true) => 4,
            _ => 2,
        }
    }

    /// Sets SP, ESP or RSP by the stack size, leaving the bits above a 16-bit SP.
    pub fn set_stack_pointer(&mut self, value: u64) {
        let slot = &mut self.processor.regs.gpr[4];
        match (
            self.processor.regs.efer >> 10 & 1 != 0 && self.processor.regs.seg[seg::CS].long(),
            self.processor.regs.seg[seg::SS].big(),
        ) {
            (true, _) => *slot = value,
            (_, true) => *slot = value & 0xffff_ffff,
            _ => *slot = *slot & !0xffff | value & 0xffff,
        }
    }

    /// Pushes `size` bytes on the current stack with the current privilege.
    pub fn push(&mut self, size: usize, value: u64) -> Result<(), Fault> {
        let pointer = self.processor.regs.gpr[4].wrapping_sub(size as u64) & mask(self.stack_size());
        let address = self.linear(seg::SS, pointer, size as u64, true)?;
        self.store(address, size, value, Privilege::Current)?;
        self.set_stack_pointer(pointer);
        Ok(())
    }

    /// Pops `size` bytes. The stack pointer moves only on success.
    pub fn pop(&mut self, size: usize) -> Result<u64, Fault> {
        let value = self.peek(0, size)?;
        self.set_stack_pointer(self.processor.regs.gpr[4].wrapping_add(size as u64));
        Ok(value)
    }

    /// Reads `size` bytes at the stack pointer plus `offset`.
    pub fn peek(&mut self, offset: u64, size: usize) -> Result<u64, Fault> {
        let pointer = self.processor.regs.gpr[4].wrapping_add(offset) & mask(self.stack_size());
        let address = self.linear(seg::SS, pointer, size as u64, false)?;
        self.load(address, size, Privilege::Current)
    }
}

/// Whether `size` bytes at `offset` lie within the segment's limit (APM vol. 2, 4.7.1; expand-down 4.7.3).
pub fn within(segment: &Segment, offset: u64, size: u64) -> bool {
    let last = offset.saturating_add(size.max(1) - 1);
    let limit = u64::from(segment.limit);
    if segment.is_code() || !segment.expand_down() {
        return last <= limit;
    }
    let top = if segment.big() { 0xffff_ffff } else { 0xffff };
    offset > limit && last <= top
}

/// All ones in the low `size` bytes.
pub fn mask(size: usize) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * size)) - 1 }
}

fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

/// Bytes of the address: of the memory operand's registers, or by mode for a bare displacement.
fn address_size(insn: &Instruction, code64: bool) -> usize {
    let register =
        if insn.memory_base() != Register::None { insn.memory_base() } else { insn.memory_index() };
    match register {
        Register::None => match insn.memory_displ_size() {
            2 => 2,
            8 => 8,
            _ if code64 => 8,
            _ => 4,
        },
        register if register.is_vector_register() => {
            if code64 {
                8
            } else {
                4
            }
        }
        register => register.size(),
    }
}
