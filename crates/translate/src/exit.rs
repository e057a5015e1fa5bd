//! Control transfers, and the ways out of a block: links, jump tables, attention.

use crate::asm::{Label, Mem, reg};
use crate::block::{Emitter, Link};
use crate::ea;
use crate::key::Key;
use crate::layout::{Hot, JUMP_CODES, JUMP_ROTATE, JUMP_SLOT_BYTES, JUMP_TAGS, jump_index};
use crate::liveness::ALL;
use crate::thunk::Reason;
use core::mem::offset_of;
use iced_x86::{Instruction, OpKind};

impl Emitter<'_> {
    pub(crate) fn call(&mut self, target: u64, live: u8) {
        self.push_return(live);
        self.exit(target);
    }

    pub(crate) fn push_return(&mut self, live: u8) {
        let back = self.insn.next_ip();
        self.may_leave = false;
        self.push_value(live, |e| e.constant(back));
    }

    pub(crate) fn call_indirect(&mut self, insn: &Instruction) {
        if insn.op0_kind() == OpKind::Memory {
            self.load_operand(insn, ALL);
        } else {
            self.load_guest(reg::R14, insn.op0_register());
            self.asm.store(ea::temp(3), reg::R14);
        }
        self.push_return(ALL);
        self.asm.load(reg::R14, ea::temp(3));
        self.exit_indirect();
    }

    pub(crate) fn jump_indirect(&mut self, insn: &Instruction) {
        if insn.op0_kind() == OpKind::Memory {
            self.load_operand(insn, ALL);
            self.asm.mov(reg::R14, reg::R13);
            // The slow half comes back behind the load, with R13 set by it, too.
        } else {
            self.load_guest(reg::R14, insn.op0_register());
        }
        self.exit_indirect();
    }

    pub(crate) fn ret(&mut self, insn: &Instruction) {
        self.top(reg::R10, ALL);
        let extra = if insn.op_count() > 0 { insn.immediate16().into() } else { 0 };
        self.asm.lea(reg::R10, Mem::base(reg::R10, 8 + extra));
        self.asm.mov(reg::R14, reg::R13);
        self.exit_indirect();
    }

    /// Jcc: the taken side leaves the main line, the other goes on.
    pub(crate) fn branch(&mut self, insn: &Instruction) {
        // iced numbers the conditions from 1 in encoding order.
        let code = insn.condition_code() as u8 - 1;
        let target = insn.near_branch_target();
        if (self.linkable(target) || self.far(target)) && target > insn.ip() {
            let stub = self.asm.label();
            self.asm.jcc(code, stub);
            self.note_link(stub, target);
        } else {
            let exit = self.asm.label();
            self.asm.jcc(code, exit);
            self.exits.push((exit, target));
        }
    }

    pub(crate) fn jump_if_zero(&mut self, insn: &Instruction) {
        self.asm.mov(reg::RCX, reg::R11);
        self.branch_if_rcx_zero(insn.near_branch_target());
    }

    pub(crate) fn branch_if_rcx_zero(&mut self, target: u64) {
        let (taken, on, exit) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.jrcxz(taken);
        self.asm.jmp_short(on);
        self.asm.bind(taken);
        self.asm.jmp(exit);
        self.asm.bind(on);
        self.exits.push((exit, target));
    }

    pub(crate) fn count_down(&mut self, insn: &Instruction) {
        self.asm.lea(reg::R11, Mem::base(reg::R11, -1));
        self.asm.mov(reg::RCX, reg::R11);
        let (done, exit) = (self.asm.label(), self.asm.label());
        self.asm.jrcxz(done);
        self.asm.jmp(exit);
        self.asm.bind(done);
        self.exits.push((exit, insn.near_branch_target()));
    }

    /// A target in the same page is at the same physical page as this block.
    pub(crate) fn linkable(&self, target: u64) -> bool {
        let start = self.request.rip.wrapping_sub(self.request.page_offset as u64);
        let crosses = self.request.bytes.len() > self.request.in_page;
        !self.key.has(Key::SINGLE) && !crosses && target.wrapping_sub(start) < 4096
    }

    pub(crate) fn note_link(&mut self, stub: Label, target: u64) {
        self.note(stub, target, Reason::Link);
    }

    pub(crate) fn note_twin(&mut self, stub: Label, target: u64) {
        self.note(stub, target, Reason::Twin);
    }

    pub(crate) fn note(&mut self, stub: Label, target: u64, reason: Reason) {
        let patch = self.asm.here() as u32 - 4;
        let number = self.links.len();
        let far = self.far(target).then_some(0);
        self.links.push(Link { patch, stub: 0, target, far });
        self.stubs.push((stub, number, reason));
    }

    pub(crate) fn set_rip(&mut self, target: u64) {
        self.asm.imm(reg::RCX, target);
        self.asm.store(Mem::state(offset_of!(Hot, rip)), reg::RCX);
    }

    pub(crate) fn depart(&mut self, reason: Reason) {
        self.asm.store_imm64(Mem::state(offset_of!(Hot, reason)), reason as i32);
        self.asm.jmp_mem(Mem::state(offset_of!(Hot, leave_thunk)));
    }

    /// Goes on at `target`.
    pub(crate) fn exit(&mut self, target: u64) {
        if self.key.has(Key::SINGLE) {
            self.set_rip(target);
            return self.depart(Reason::Lookup);
        }
        let linkable = self.linkable(target) || self.far(target);
        if target <= self.insn.ip() || !linkable {
            self.check_attention(target);
        }
        if linkable {
            let stub = self.asm.label();
            self.asm.jmp(stub);
            return self.note_link(stub, target);
        }
        self.jump_by_table(target);
    }

    /// A jump to another page that the user may link after all.
    fn far(&self, target: u64) -> bool {
        let not = Key::SINGLE | Key::PLAIN | Key::BACKWARD;
        let may = self.key.has(Key::CODE64) && self.key.has(Key::KERNEL) && self.key.has(Key::FAR);
        may && self.key.0 & not == 0 && !self.linkable(target)
    }

    pub(crate) fn jump_by_table(&mut self, target: u64) {
        let table = JUMP_TAGS + self.key.slot() * JUMP_SLOT_BYTES;
        let entry = table + 16 * jump_index(target);
        let hit = self.asm.label();
        self.asm.imm(reg::R14, target);
        self.asm.load(reg::RCX, Mem::state(entry));
        self.asm.lea(reg::RCX, Mem { base: Some(reg::RCX), index: Some((reg::R14, 1)), disp: 0 });
        self.asm.jrcxz(hit);
        self.look_up();
        self.asm.bind(hit);
        self.asm.jmp_mem(Mem::state(entry + JUMP_CODES));
    }

    /// The jump table does not know the address in R14. A call, which does not come back, so that it is known from where.
    fn look_up(&mut self) {
        self.mark();
        self.asm.call_mem(Mem::state(offset_of!(Hot, lookup_thunk) + 8 * self.key.slot()));
    }

    /// Leaves for `target` if somebody wants attention. Keeps flags.
    pub(crate) fn check_attention(&mut self, target: u64) {
        let (wanted, on) = (self.asm.label(), self.asm.label());
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, attention)));
        self.asm.jrcxz(wanted);
        self.asm.jmp_short(on);
        self.asm.bind(wanted);
        self.set_rip(target);
        self.depart(Reason::Attention);
        self.asm.bind(on);
    }

    /// Goes on at the address in R14.
    pub(crate) fn exit_indirect(&mut self) {
        let table = JUMP_TAGS + self.key.slot() * JUMP_SLOT_BYTES;
        let (wanted, hit) = (self.asm.label(), self.asm.label());
        let at = |offset: usize, index: u8| Mem {
            base: Some(reg::RSP),
            index: Some((index, 8)),
            disp: offset as i32,
        };
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, attention)));
        self.asm.jrcxz(wanted);
        self.asm.put(&[0xc4, 0x43, 0xfb, 0xf0, 0xee, JUMP_ROTATE]); // RORX R13, R14, JUMP_ROTATE
        self.asm.lea(reg::R13, Mem { base: Some(reg::R13), index: Some((reg::R14, 1)), disp: 0 });
        self.asm.pdep(reg::R13, reg::R13, Mem::state(offset_of!(Hot, jump_mask)));
        self.asm.load(reg::RCX, at(table, reg::R13));
        self.asm.lea(reg::RCX, Mem { base: Some(reg::RCX), index: Some((reg::R14, 1)), disp: 0 });
        self.asm.jrcxz(hit);
        self.look_up();
        self.asm.bind(hit);
        self.asm.jmp_mem(at(table + JUMP_CODES, reg::R13));
        self.asm.bind(wanted);
        self.mark();
        self.asm.call_mem(Mem::state(offset_of!(Hot, attention_thunk)));
    }
}
