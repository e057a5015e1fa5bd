//! Control transfers, and the ways out of a block: links, jump tables, attention.

use crate::asm::{Label, Mem, reg};
use crate::block::{Emitter, Link, SiteKind};
use crate::ea;
use crate::key::Key;
use crate::layout::{Hot, JUMP_CODES, JUMP_ROTATE, JUMP_SLOT_BYTES, JUMP_TAGS, jump_index};
use crate::length::LONGEST;
use crate::liveness::ALL;
use crate::relocate::Kind;
use crate::thunk::Reason;
use core::mem::offset_of;
use iced_x86::{Code, FlowControl, Instruction, OpKind, Register};

/// Bytes of the instruction pointer that a near jump, call or return loads.
pub(crate) fn branch_bytes(insn: &Instruction) -> usize {
    match insn.op0_kind() {
        _ if insn.flow_control() == FlowControl::Return => match insn.code() {
            Code::Retnw | Code::Retnw_imm16 => 2,
            Code::Retnd | Code::Retnd_imm16 => 4,
            _ => 8,
        },
        OpKind::NearBranch16 => 2,
        OpKind::NearBranch32 => 4,
        OpKind::NearBranch64 => 8,
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    }
}

/// The count register of LOOP and JRCXZ, which the address size selects.
pub(crate) fn counter(insn: &Instruction) -> Register {
    use Code::*;
    match insn.code() {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Jcxz_rel8_16 | Jcxz_rel8_32 => Register::CX,
        Loop_rel8_16_RCX | Loop_rel8_64_RCX | Jrcxz_rel8_16 | Jrcxz_rel8_64 => Register::RCX,
        _ => Register::ECX,
    }
}

impl Emitter<'_> {
    pub(crate) fn call(&mut self, insn: &Instruction, live: u8) {
        self.push_return(branch_bytes(insn), live);
        self.exit(insn.near_branch_target());
    }

    pub(crate) fn push_return(&mut self, size: usize, live: u8) {
        let back = self.insn.next_ip();
        self.may_leave = false;
        self.push_value(size, live, |e| {
            e.address(reg::R13, back);
            reg::R13
        });
    }

    pub(crate) fn call_indirect(&mut self, insn: &Instruction) {
        let size = self.load_target(insn, reg::R13);
        self.asm.store(ea::temp(3), reg::R13);
        self.reach(size);
        self.push_return(size, ALL);
        self.asm.load(reg::R14, ea::temp(3));
        self.exit_indirect();
    }

    pub(crate) fn jump_indirect(&mut self, insn: &Instruction) {
        // A routine may yet want it in R13 elsewhere.
        let to = if self.key.has(Key::CODE64) { reg::R14 } else { reg::R13 };
        let size = self.load_target(insn, to);
        self.reach(size);
        self.asm.mov(reg::R14, to);
        self.exit_indirect();
    }

    /// Puts the operand of an indirect jump or call into a register, with zeros above it, and gives how many bytes it has.
    fn load_target(&mut self, insn: &Instruction, to: u8) -> usize {
        let size = branch_bytes(insn);
        if insn.op0_kind() == OpKind::Memory {
            self.load_operand_in(to, insn, size, ALL);
        } else {
            self.load_guest(to, insn.op0_register());
            match size {
                2 => self.asm.movzx16(to, to),
                4 => self.asm.mov32(to, to),
                _ => {}
            }
        }
        size
    }

    /// 16-bit code does not reach beyond 64 KiB: if R13 does, the routine raises #GP. (Where a jump in place is in 32-bit code, it
    /// reaches everything.)
    fn reach(&mut self, size: usize) {
        if self.key.bitness() != 16 || size == 2 {
            return;
        }
        let near = self.asm.label();
        self.asm.high_half(reg::RCX, reg::R13);
        self.asm.jrcxz(near);
        self.call_system(SiteKind::System);
        self.asm.bind(near);
    }

    pub(crate) fn ret(&mut self, insn: &Instruction) {
        let size = branch_bytes(insn);
        // A routine may yet want it in R13 elsewhere.
        let to = if self.key.has(Key::CODE64) { reg::R14 } else { reg::R13 };
        self.top_in(to, reg::R10, size, ALL);
        self.reach(size);
        let extra = if insn.op_count() > 0 { i32::from(insn.immediate16()) } else { 0 };
        self.move_stack(reg::R10, size as i32 + extra);
        self.asm.mov(reg::R14, to);
        self.exit_indirect();
    }

    /// Jcc: the taken side leaves the main line, the other goes on.
    pub(crate) fn branch(&mut self, insn: &Instruction) {
        // iced numbers the conditions from 1 in encoding order.
        self.branch_to(insn.condition_code() as u8 - 1, insn.near_branch_target(), insn);
    }

    /// Jcc whose taken side goes on here: the other leaves.
    pub(crate) fn branch_unless(&mut self, insn: &Instruction) {
        self.branch_to((insn.condition_code() as u8 - 1) ^ 1, insn.next_ip(), insn);
    }

    fn branch_to(&mut self, code: u8, target: u64, insn: &Instruction) {
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
        self.load_count(counter(insn));
        self.branch_if_rcx_zero(insn.near_branch_target());
    }

    /// The count in RCX.
    fn load_count(&mut self, register: Register) {
        match register.size() {
            2 => self.asm.movzx16(reg::RCX, reg::R11),
            4 => self.asm.mov32(reg::RCX, reg::R11),
            _ => self.asm.mov(reg::RCX, reg::R11),
        }
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
        let register = counter(insn);
        self.asm.lea(reg::R14, Mem::base(reg::R11, -1));
        match register.size() {
            2 => self.asm.mov16(reg::R11, reg::R14),
            4 => self.asm.mov32(reg::R11, reg::R14),
            _ => self.asm.mov(reg::R11, reg::R14),
        }
        self.load_count(register);
        let (done, exit) = (self.asm.label(), self.asm.label());
        self.asm.jrcxz(done);
        self.asm.jmp(exit);
        self.asm.bind(done);
        self.exits.push((exit, insn.near_branch_target()));
    }

    /// A target in the same page is at the same physical page as this block. An instruction that begins near the page's end may go on
    /// in the next page, which is another for each address space: who jumps there looks it up.
    pub(crate) fn linkable(&self, target: u64) -> bool {
        const LAST: u64 = (4096 - LONGEST) as u64;
        let start = self.request.rip.wrapping_sub(self.request.page_offset as u64);
        let crosses = self.request.bytes.len() > self.request.in_page;
        !self.key.has(Key::SINGLE) && !crosses && target.wrapping_sub(start) <= LAST
    }

    pub(crate) fn note_link(&mut self, stub: Label, target: u64) {
        self.note(stub, target, Reason::Link);
    }

    pub(crate) fn note_ungrouped(&mut self, stub: Label, target: u64) {
        self.note(stub, target, Reason::Ungrouped);
    }

    pub(crate) fn note(&mut self, stub: Label, target: u64, reason: Reason) {
        let patch = self.asm.here() as u32 - 4;
        let number = self.links.len();
        let far = self.far(target).then_some(0);
        self.links.push(Link { patch, stub: 0, target, far });
        self.stubs.push((stub, number, reason, self.key));
    }

    /// Outside of 64-bit mode code goes on at 0 behind 4 GiB.
    fn in_mode(&self, address: u64) -> u64 {
        if self.key.has(Key::CODE64) { address } else { address & 0xffff_ffff }
    }

    /// An address in the code's own address space, in a register.
    pub(crate) fn address(&mut self, to: u8, address: u64) {
        let address = self.in_mode(address);
        if self.key.relative() { ea::of_page(self.asm, to, address) } else { self.asm.imm(to, address) }
    }

    /// The beginning of relative code, which is entered with its address in R14.
    pub(crate) fn note_page(&mut self) {
        self.asm.lea(reg::RCX, Mem::base(reg::R14, -(self.request.page_offset as i32)));
        self.asm.store(Mem::state(offset_of!(Hot, page)), reg::RCX);
    }

    pub(crate) fn set_rip(&mut self, target: u64) {
        self.address(reg::RCX, target);
        self.asm.store(Mem::state(offset_of!(Hot, rip)), reg::RCX);
    }

    pub(crate) fn emit_exit(&mut self, reason: Reason) {
        self.asm.store_imm64(Mem::state(offset_of!(Hot, reason)), reason as i32);
        self.asm.jmp_mem(Mem::state(offset_of!(Hot, leave_thunk)));
    }

    /// Goes on at `target`.
    pub(crate) fn exit(&mut self, target: u64) {
        let target = self.in_mode(target);
        if self.key.has(Key::SINGLE) {
            self.set_rip(target);
            return self.emit_exit(Reason::Lookup);
        }
        if !self.linkable(target) && !self.far(target) {
            self.address(reg::R14, target);
            return self.jump_by_table(target);
        }
        let stub = self.asm.label();
        let wanted = (target <= self.insn.ip()).then(|| self.look_for_attention());
        let number = self.links.len();
        self.asm.jmp(stub);
        self.note_link(stub, target);
        if let Some(wanted) = wanted {
            self.asm.bind(wanted);
            self.leave_by(number, Reason::LinkAttention);
        }
    }

    /// Leaves by a link, whose target it goes on at.
    pub(crate) fn leave_by(&mut self, link: usize, reason: Reason) {
        let number = self.request.first_link + link as u32;
        self.asm.store_number(Mem::state(offset_of!(Hot, site)), Kind::Link, number);
        let thunk = match reason {
            Reason::Link => 0,
            Reason::Ungrouped => 1,
            _ => 2,
        };
        self.asm.jmp_mem(Mem::state(offset_of!(Hot, link_thunk) + 8 * thunk));
    }

    /// A jump to another page that the user may link after all.
    fn far(&self, target: u64) -> bool {
        let not = Key::SINGLE | Key::PLAIN | Key::BACKWARD;
        let may = self.key.has(Key::CODE64) && self.key.has(Key::KERNEL) && self.key.has(Key::FAR);
        let start = self.request.rip.wrapping_sub(self.request.page_offset as u64);
        may && self.key.0 & not == 0 && target.wrapping_sub(start) >= 4096
    }

    /// Goes on at `target`, which is in R14, by the jump table, or leaves for it if somebody wants attention.
    pub(crate) fn jump_by_table(&mut self, target: u64) {
        if self.key.relative() {
            return self.exit_indirect();
        }
        let wanted = self.look_for_attention();
        self.jump_by_entry(target);
        self.asm.bind(wanted);
        self.mark();
        self.asm.call_mem(Mem::state(offset_of!(Hot, attention_thunk)));
    }

    /// Goes on at `target`, which is in R14 and known now, by its entry of the jump table.
    fn jump_by_entry(&mut self, target: u64) {
        let table = JUMP_TAGS + self.key.slot() * JUMP_SLOT_BYTES;
        let entry = table + 16 * jump_index(target);
        let hit = self.asm.label();
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

    /// Goes to a label nearby, which is given, if somebody wants attention. Keeps flags.
    fn look_for_attention(&mut self) -> Label {
        let wanted = self.asm.label();
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, attention)));
        self.asm.jrcxz(wanted);
        wanted
    }

    /// Goes on at the address in R14 by the jump table. Where somebody wants attention the mask is 0, and nothing is found.
    pub(crate) fn exit_indirect(&mut self) {
        let table = JUMP_TAGS + self.key.slot() * JUMP_SLOT_BYTES;
        let hit = self.asm.label();
        let at = |offset: usize, index: u8| Mem {
            base: Some(reg::RSP),
            index: Some((index, 8)),
            disp: offset as i32,
        };
        self.asm.rorx(reg::R13, reg::R14, JUMP_ROTATE);
        self.asm.lea(reg::R13, Mem { base: Some(reg::R13), index: Some((reg::R14, 1)), disp: 0 });
        self.asm.pdep(reg::R13, reg::R13, Mem::state(offset_of!(Hot, attention)));
        self.asm.load(reg::RCX, at(table, reg::R13));
        self.asm.lea(reg::RCX, Mem { base: Some(reg::RCX), index: Some((reg::R14, 1)), disp: 0 });
        self.asm.jrcxz(hit);
        self.look_up();
        self.asm.bind(hit);
        self.asm.jmp_mem(at(table + JUMP_CODES, reg::R13));
    }
}
