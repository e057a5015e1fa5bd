//! PUSH, POP and LEAVE in 64-bit mode, and the host address of an operand.

use crate::asm::{Mem, reg};
use crate::block::Emitter;
use crate::ea::{self, Address};
use crate::layout::PINNED;
use crate::memory::{Access, GroupPlace};
use iced_x86::{Instruction, OpKind, Register};

impl Emitter<'_> {
    pub(crate) fn stack_access(&self, size: usize, write: bool, live: u8) -> Access {
        Access { read: !write, write, size, segment: ireko_x86::regs::seg::SS, live }
    }

    /// Stores the host register that `value` gives below the stack pointer, and moves that.
    pub(crate) fn push_value(&mut self, live: u8, value: impl FnOnce(&mut Self) -> u8) {
        let access = self.stack_access(8, true, live);
        let address = |e: &mut Self| {
            e.asm.lea(reg::R14, Mem::base(reg::R10, -8));
            Address::InR14
        };
        self.grouped_access(GroupPlace::Host(reg::R10, -8), access, address, |e| {
            let value = value(e);
            e.asm.store(e.host(), value);
            e.asm.lea(reg::R10, Mem::base(reg::R10, -8));
        });
    }

    pub(crate) fn push(&mut self, insn: &Instruction, live: u8) {
        match insn.op0_kind() {
            OpKind::Register => {
                let register = insn.op0_register();
                self.push_value(live, |e| e.guest(register));
            }
            OpKind::Memory => {
                self.load_operand(insn, live);
                let member = self.member.take();
                self.push_value(live, Self::saved_operand);
                self.member = member;
            }
            _ => {
                let value = insn.immediate(0);
                self.push_value(live, |e| e.constant(value));
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

    /// Reads the instruction's 64-bit memory operand into temporary 3.
    pub(crate) fn load_operand(&mut self, insn: &Instruction, live: u8) {
        let offset = ea::offset(self.asm, insn, self.key);
        let access = Access { read: true, write: false, size: 8, segment: ea::segment(insn), live };
        self.access(offset, access, |e| {
            e.asm.load(reg::R13, Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 });
            e.asm.store(ea::temp(3), reg::R13);
        });
    }

    /// Reads the top of the stack into R13; the stack pointer does not move yet.
    pub(crate) fn top(&mut self, base: u8, live: u8) {
        let access = self.stack_access(8, false, live);
        let address = |e: &mut Self| {
            e.asm.lea(reg::R14, Mem::base(base, 0));
            Address::InR14
        };
        self.grouped_access(GroupPlace::Host(base, 0), access, address, |e| e.asm.load(reg::R13, e.host()));
    }

    pub(crate) fn pop(&mut self, insn: &Instruction, live: u8) {
        self.top(reg::R10, live);
        if insn.op0_kind() == OpKind::Register {
            self.asm.lea(reg::R10, Mem::base(reg::R10, 8));
            return self.store_guest(insn.op0_register(), reg::R13);
        }
        self.asm.store(ea::temp(3), reg::R13);
        // POP [RSP+x] computes its address with the stack pointer already moved (APM vol. 3, POP).
        let mut moved = *insn;
        if insn.memory_base().full_register() == Register::RSP {
            moved.set_memory_displacement64(insn.memory_displacement64().wrapping_add(8));
        }
        let offset = ea::offset(self.asm, &moved, self.key);
        let access = Access { read: false, write: true, size: 8, segment: ea::segment(insn), live };
        self.access(offset, access, |e| {
            e.asm.load(reg::R13, ea::temp(3));
            e.asm.store(Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 }, reg::R13);
            e.asm.lea(reg::R10, Mem::base(reg::R10, 8));
        });
    }

    pub(crate) fn leave(&mut self, live: u8) {
        const RBP: u8 = 5;
        self.top(RBP, live);
        self.asm.lea(reg::R10, Mem::base(RBP, 8));
        self.asm.mov(RBP, reg::R13);
    }
}
