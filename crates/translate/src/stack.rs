//! PUSH, POP and LEAVE of every size in every mode, and the host address of an operand.

use crate::asm::{Mem, reg};
use crate::block::Emitter;
use crate::ea::{self, Address};
use crate::key::Key;
use crate::layout::PINNED;
use crate::memory::{Access, GroupAddress};
use iced_x86::{Code, Instruction, OpKind, Register};

/// The address that a check leaves.
const HOST: Mem = Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 };

/// Bytes that a PUSH or POP moves.
fn stack_bytes(insn: &Instruction) -> usize {
    insn.stack_pointer_increment().unsigned_abs() as usize
}

/// The host register of a POP of 64 bits, unless it is the stack pointer's.
fn whole_register(insn: &Instruction) -> Option<u8> {
    let register = insn.op0_register();
    let whole = insn.op0_kind() == OpKind::Register && register.is_gpr64() && register != Register::RSP;
    if whole { PINNED[register.number()] } else { None }
}

impl Emitter<'_> {
    pub(crate) fn stack_access(&self, size: usize, write: bool, live: u8) -> Access {
        Access { read: !write, write, size, segment: ireko_x86::regs::seg::SS, live }
    }

    /// Bytes of the stack pointer in use: SS.B says so outside of 64-bit mode (APM vol. 2, 4.7.3).
    fn stack_width(&self) -> usize {
        match (self.key.has(Key::CODE64), self.key.has(Key::STACK32)) {
            (true, _) => 8,
            (_, true) => 4,
            _ => 2,
        }
    }

    /// Puts the offset in the stack segment that is `by` behind a pointer into R14.
    fn stack_offset(&mut self, pointer: u8, by: i32) {
        let sum = Mem::base(pointer, by);
        match self.stack_width() {
            8 => self.asm.lea(reg::R14, sum),
            4 => self.asm.lea32(reg::R14, sum),
            _ => {
                self.asm.lea32(reg::R14, sum);
                self.asm.movzx16(reg::R14, reg::R14);
            }
        }
    }

    /// Makes the stack pointer what is `by` behind `pointer`. Clobbers RCX, no flags.
    pub(crate) fn move_stack(&mut self, pointer: u8, by: i32) {
        let sum = Mem::base(pointer, by);
        match self.stack_width() {
            8 => self.asm.lea(reg::R10, sum),
            4 => self.asm.lea32(reg::R10, sum),
            _ => {
                self.asm.lea32(reg::RCX, sum);
                self.asm.mov16(reg::R10, reg::RCX);
            }
        }
    }

    /// Stores `size` bytes of the host register that `value` gives below the stack pointer, and moves that.
    pub(crate) fn push_value(&mut self, size: usize, live: u8, value: impl FnOnce(&mut Self) -> u8) {
        let access = self.stack_access(size, true, live);
        let below = -(size as i32);
        let address = |e: &mut Self| {
            e.stack_offset(reg::R10, below);
            Address::InR14
        };
        self.grouped_access(GroupAddress::Host(reg::R10, below), access, address, |e| {
            let value = value(e);
            let host = e.host();
            e.asm.store_sized(size, host, value);
            e.move_stack(reg::R10, below);
        });
    }

    pub(crate) fn push(&mut self, insn: &Instruction, live: u8) {
        let size = stack_bytes(insn);
        match insn.op0_kind() {
            OpKind::Register if insn.op0_register().is_segment_register() => {
                let segment = ea::segment_index(insn.op0_register());
                self.push_value(size, live, |e| e.selector_of(segment));
            }
            OpKind::Register => {
                let register = insn.op0_register();
                self.push_value(size, live, |e| e.guest(register));
            }
            OpKind::Memory => {
                self.load_operand(insn, size, live);
                let member = self.member.take();
                self.push_value(size, live, Self::saved_operand);
                self.member = member;
            }
            _ => {
                let value = insn.immediate(0);
                self.push_value(size, live, |e| e.constant(value));
            }
        }
    }

    pub(crate) fn saved_operand(&mut self) -> u8 {
        self.asm.load(reg::R13, ea::temp(3));
        reg::R13
    }

    pub(crate) fn constant(&mut self, value: u64) -> u8 {
        self.asm.imm(reg::R13, value);
        reg::R13
    }

    /// A host register with all 64 bits of a guest register: its own, or R13.
    pub(crate) fn guest(&mut self, register: Register) -> u8 {
        let gpr = register.full_register().number();
        PINNED[gpr].unwrap_or_else(|| {
            self.asm.load(reg::R13, ea::parked(gpr));
            reg::R13
        })
    }

    /// The checked host address.
    pub(crate) fn host(&self) -> Mem {
        Mem { base: Some(self.pointer.0), index: Some((reg::RCX, 1)), disp: self.pointer.1 }
    }

    pub(crate) fn insn_ip(&self) -> u64 {
        self.insn.ip()
    }

    /// Reads the instruction's memory operand of `size` bytes into R13 and temporary 3, with zeros above it.
    pub(crate) fn load_operand(&mut self, insn: &Instruction, size: usize, live: u8) {
        self.load_operand_in(reg::R13, insn, size, live);
        self.asm.store(ea::temp(3), reg::R13);
    }

    /// The same, into one register. (The slow half comes back in front of the load.)
    pub(crate) fn load_operand_in(&mut self, to: u8, insn: &Instruction, size: usize, live: u8) {
        let offset = ea::offset(self.asm, insn, self.key);
        let access = Access { read: true, write: false, size, segment: ea::segment(insn), live };
        self.access(offset, access, |e| e.asm.load_sized(size, to, HOST));
    }

    /// Reads the top of the stack into R13; the stack pointer does not move yet.
    pub(crate) fn top(&mut self, base: u8, size: usize, live: u8) {
        self.top_in(reg::R13, base, size, live);
    }

    /// The same, into another register.
    pub(crate) fn top_in(&mut self, to: u8, base: u8, size: usize, live: u8) {
        let access = self.stack_access(size, false, live);
        let address = |e: &mut Self| {
            e.stack_offset(base, 0);
            Address::InR14
        };
        self.grouped_access(GroupAddress::Host(base, 0), access, address, |e| {
            let host = e.host();
            e.asm.load_sized(size, to, host);
        });
    }

    pub(crate) fn pop(&mut self, insn: &Instruction, live: u8) {
        let size = stack_bytes(insn);
        if let Some(host) = whole_register(insn) {
            self.top_in(host, reg::R10, size, live);
            return self.move_stack(reg::R10, size as i32);
        }
        self.top(reg::R10, size, live);
        if insn.op0_kind() == OpKind::Register {
            self.move_stack(reg::R10, size as i32);
            return self.store_sized_guest(insn.op0_register(), reg::R13);
        }
        self.asm.store(ea::temp(3), reg::R13);
        // POP [RSP+x] computes its address with the stack pointer already moved (APM vol. 3, POP).
        let mut moved = *insn;
        if insn.memory_base().full_register() == Register::RSP {
            moved.set_memory_displacement64(insn.memory_displacement64().wrapping_add(size as u64));
        }
        let offset = ea::offset(self.asm, &moved, self.key);
        let access = Access { read: false, write: true, size, segment: ea::segment(insn), live };
        self.access(offset, access, |e| {
            e.asm.load(reg::R13, ea::temp(3));
            e.asm.store_sized(size, HOST, reg::R13);
            e.move_stack(reg::R10, size as i32);
        });
    }

    pub(crate) fn leave(&mut self, insn: &Instruction, live: u8) {
        const RBP: u8 = 5;
        let (size, register) = match insn.code() {
            Code::Leavew => (2, Register::BP),
            Code::Leaved => (4, Register::EBP),
            _ => (8, Register::RBP),
        };
        self.top(RBP, size, live);
        self.move_stack(RBP, size as i32);
        self.store_sized_guest(register, reg::R13);
    }
}
