//! MOVS, STOS, LODS, CMPS and SCAS of one element: loads and stores that move rSI and rDI.

use crate::asm::{Mem, reg};
use crate::block::Emitter;
use crate::ea::{self, Address};
use crate::key::Key;
use crate::memory::Access;
use iced_x86::{Instruction, Mnemonic, OpKind};
use ireko_x86::regs::seg;

const RSI: u8 = 6;
const RDI: u8 = 7;

/// The address that a check leaves.
const HOST: Mem = Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 };

/// Bytes of rSI and rDI that are in use.
fn address_bytes(insn: &Instruction) -> usize {
    let of = |kind| match kind {
        OpKind::MemorySegSI | OpKind::MemoryESDI => Some(2),
        OpKind::MemorySegESI | OpKind::MemoryESEDI => Some(4),
        _ => None,
    };
    of(insn.op0_kind()).or_else(|| of(insn.op1_kind())).unwrap_or(8)
}

impl Emitter<'_> {
    pub(crate) fn string(&mut self, insn: &Instruction, live: u8) {
        use Mnemonic::*;
        let size = insn.memory_size().size();
        match insn.mnemonic() {
            Movsb | Movsw | Movsd | Movsq => self.move_element(insn, size, live),
            Stosb | Stosw | Stosd | Stosq => self.store_element(insn, size, live),
            Lodsb | Lodsw | Lodsd | Lodsq => self.load_element(insn, size, live),
            Cmpsb | Cmpsw | Cmpsd | Cmpsq => self.compare_elements(insn, size, live),
            _ => self.scan_element(insn, size, live),
        }
    }

    /// The element at rSI, in temporary 3.
    fn fetch_element(&mut self, insn: &Instruction, size: usize, live: u8) {
        let offset = self.element_offset(insn, RSI);
        self.access(offset, source(insn, size, live), |e| {
            e.asm.load_sized(size, reg::R13, HOST);
            e.asm.store(ea::temp(3), reg::R13);
        });
    }

    fn move_element(&mut self, insn: &Instruction, size: usize, live: u8) {
        self.fetch_element(insn, size, live);
        let offset = self.element_offset(insn, RDI);
        self.access(offset, destination(size, true, live), |e| {
            e.asm.load(reg::R13, ea::temp(3));
            e.asm.store_sized(size, HOST, reg::R13);
            e.advance(insn, RSI, size);
            e.advance(insn, RDI, size);
        });
    }

    fn store_element(&mut self, insn: &Instruction, size: usize, live: u8) {
        let offset = self.element_offset(insn, RDI);
        self.access(offset, destination(size, true, live), |e| {
            e.asm.store_sized(size, HOST, reg::RAX);
            e.advance(insn, RDI, size);
        });
    }

    /// Of one or two bytes, the accumulator's others stay.
    fn load_element(&mut self, insn: &Instruction, size: usize, live: u8) {
        let offset = self.element_offset(insn, RSI);
        self.access(offset, source(insn, size, live), |e| match size {
            1 => e.asm.rm(false, &[0x8a], reg::RAX, HOST),
            2 => {
                e.asm.byte(0x66);
                e.asm.rm(false, &[0x8b], reg::RAX, HOST);
            }
            _ => e.asm.load_sized(size, reg::RAX, HOST),
        });
        self.advance(insn, RSI, size);
    }

    fn compare_elements(&mut self, insn: &Instruction, size: usize, live: u8) {
        self.fetch_element(insn, size, live);
        let offset = self.element_offset(insn, RDI);
        self.access(offset, destination(size, false, live), |e| {
            e.asm.load_sized(size, reg::R13, HOST);
            e.asm.load(reg::RCX, ea::temp(3));
            e.asm.cmp_sized(size, reg::RCX, reg::R13);
        });
        self.advance(insn, RSI, size);
        self.advance(insn, RDI, size);
    }

    fn scan_element(&mut self, insn: &Instruction, size: usize, live: u8) {
        let offset = self.element_offset(insn, RDI);
        self.access(offset, destination(size, false, live), |e| {
            e.asm.load_sized(size, reg::R13, HOST);
            e.asm.cmp_sized(size, reg::RAX, reg::R13);
        });
        self.advance(insn, RDI, size);
    }

    /// rSI or rDI, cut to the address size, in R14.
    fn element_offset(&mut self, insn: &Instruction, pointer: u8) -> Address {
        match address_bytes(insn) {
            2 => self.asm.movzx16(reg::R14, pointer),
            4 => self.asm.mov32(reg::R14, pointer),
            _ => self.asm.mov(reg::R14, pointer),
        }
        Address::InR14
    }

    /// Moves rSI or rDI over an element in the direction. Clobbers RCX, no flags.
    fn advance(&mut self, insn: &Instruction, pointer: u8, size: usize) {
        let by = if self.key.has(Key::BACKWARD) { -(size as i32) } else { size as i32 };
        let next = Mem::base(pointer, by);
        match address_bytes(insn) {
            2 => {
                self.asm.lea32(reg::RCX, next);
                self.asm.mov16(pointer, reg::RCX);
            }
            4 => self.asm.lea32(pointer, next),
            _ => self.asm.lea(pointer, next),
        }
    }
}

fn source(insn: &Instruction, size: usize, live: u8) -> Access {
    Access { read: true, write: false, size, segment: ea::segment(insn), live }
}

/// No prefix moves it out of ES.
fn destination(size: usize, write: bool, live: u8) -> Access {
    Access { read: !write, write, size, segment: seg::ES, live }
}
