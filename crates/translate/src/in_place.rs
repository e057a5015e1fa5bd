//! System instructions that only move words of the processor's state: done in place, without a routine.

use crate::asm::{Mem, reg};
use crate::block::{Emitter, SiteKind};
use crate::ea::{self, Address};
use crate::layout::{Hot, LAST_SLOT};
use crate::liveness::ALL;
use crate::memory::Access;
use crate::relocate::Kind;
use crate::thunk::Reason;
use core::mem::offset_of;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use ireko_x86::regs::seg::{FS, GS};
use ireko_x86::{Registers, Segment};

/// Where a segment's base is in [`Hot`].
fn base_of(segment: usize) -> usize {
    offset_of!(Hot, segment_base) + 8 * segment
}

/// The same of the segment that RDFSBASE and its like are about.
fn base_place(insn: &Instruction) -> usize {
    base_of(if matches!(insn.mnemonic(), Mnemonic::Rdfsbase | Mnemonic::Wrfsbase) { FS } else { GS })
}

impl Emitter<'_> {
    pub(crate) fn swapgs(&mut self) {
        let in_state = Mem::state(offset_of!(Hot, segment_base) + 8 * ireko_x86::regs::seg::GS);
        let gs = offset_of!(ireko_x86::Registers, seg)
            + size_of::<ireko_x86::Segment>() * ireko_x86::regs::seg::GS;
        let kernel = Mem::base(reg::R13, offset_of!(ireko_x86::Registers, kernel_gs_base) as i32);
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, regs)));
        self.asm.load(reg::RCX, in_state);
        self.asm.load(reg::R14, kernel);
        self.asm.store(kernel, reg::RCX);
        self.asm.store(in_state, reg::R14);
        self.asm.store(Mem::base(reg::R13, gs as i32), reg::R14);
    }

    /// STAC, CLAC: RFLAGS.AC, then on under the key that goes with it.
    pub(crate) fn access_check(&mut self, on: bool) {
        let value = if on { 0x40000 } else { 0 };
        self.asm.store_imm64(Mem::state(offset_of!(Hot, alignment_check)), value);
        let key = self.key;
        if key.slot() == LAST_SLOT {
            // The last slot's table is that of one key, which is another from here on.
            self.set_rip(self.insn.next_ip());
            return self.emit_exit(Reason::Attention);
        }
        self.key = key.with_access_check(on);
        self.exit(self.insn.next_ip());
        self.key = key;
    }

    /// RDFSBASE, RDGSBASE.
    pub(crate) fn base(&mut self, insn: &Instruction) {
        self.asm.load(reg::R14, Mem::state(base_place(insn)));
        if insn.op0_register().size() == 4 {
            self.asm.mov32(reg::R14, reg::R14);
        }
        self.store_guest(insn.op0_register(), reg::R14);
    }

    /// WRFSBASE, WRGSBASE: the routine faults if the base is not canonical.
    pub(crate) fn set_base(&mut self, insn: &Instruction) {
        let (good, done) = (self.asm.label(), self.asm.label());
        let segment = if base_place(insn) == base_of(FS) { FS } else { GS };
        let state = offset_of!(Registers, seg) + size_of::<Segment>() * segment;
        self.load_guest(reg::R14, insn.op0_register());
        if insn.op0_register().size() == 4 {
            self.asm.mov32(reg::R14, reg::R14);
        }
        self.asm.imm(reg::R13, 47);
        self.asm.put(&[0xc4, 0xc2, 0x92, 0xf7, 0xce]); // SARX RCX, R14, R13
        self.asm.jrcxz(good);
        self.asm.lea(reg::RCX, Mem::base(reg::RCX, 1));
        self.asm.jrcxz(good);
        self.call_system(SiteKind::System);
        self.asm.jmp_short(done);
        self.asm.bind(good);
        self.asm.store(Mem::state(base_of(segment)), reg::R14);
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, regs)));
        self.asm.store(Mem::base(reg::R13, state as i32), reg::R14);
        self.asm.bind(done);
    }

    /// RDPKRU: the routine faults if ECX is not 0, or without CR4.PKE. Systems read PKRU at every switch of tasks.
    pub(crate) fn pkru(&mut self) {
        let (good, done) = (self.asm.label(), self.asm.label());
        self.load_guest(reg::RCX, Register::RCX);
        self.asm.mov32(reg::RCX, reg::RCX);
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, pkru_refused)));
        self.asm.lea(reg::RCX, Mem { base: Some(reg::RCX), index: Some((reg::R13, 1)), disp: 0 });
        self.asm.jrcxz(good);
        self.call_system(SiteKind::System);
        self.asm.jmp_short(done);
        self.asm.bind(good);
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, regs)));
        self.asm.load_sized(4, reg::RAX, Mem::base(reg::R13, offset_of!(Registers, pkru) as i32));
        self.asm.imm(reg::RDX, 0);
        self.asm.bind(done);
    }

    /// MOV from a segment register.
    pub(crate) fn selector(&mut self, insn: &Instruction, live: u8) {
        let index = ea::segment_index(insn.op1_register());
        if insn.op0_kind() == OpKind::Register {
            self.selector_of(index);
            return self.store_guest(insn.op0_register(), reg::R13);
        }
        let access = Access { read: false, write: true, size: 2, segment: ea::segment(insn), live };
        let offset = ea::offset(self.asm, insn, self.key);
        self.access(offset, access, |e| {
            e.selector_of(index);
            let host = Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 };
            e.asm.store_sized(2, host, reg::R13);
        });
    }

    /// A segment's selector, in R13.
    pub(crate) fn selector_of(&mut self, segment: usize) -> u8 {
        let place =
            offset_of!(Registers, seg) + size_of::<Segment>() * segment + offset_of!(Segment, selector);
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, regs)));
        self.asm.load_sized(2, reg::R13, Mem::base(reg::R13, place as i32));
        reg::R13
    }

    /// MOV from CR0, CR2, CR3 or CR4.
    pub(crate) fn control(&mut self, insn: &Instruction) {
        let place = match insn.op1_register() {
            Register::CR0 => offset_of!(Registers, cr0),
            Register::CR2 => offset_of!(Registers, cr2),
            Register::CR3 => offset_of!(Registers, cr3),
            _ => offset_of!(Registers, cr4),
        };
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, regs)));
        self.asm.load(reg::R13, Mem::base(reg::R13, place as i32));
        self.store_guest(insn.op0_register(), reg::R13);
    }

    /// XSAVEC, XSAVES, XRSTOR, XRSTORS: by the thunk, else by the routine.
    pub(crate) fn state(&mut self, insn: &Instruction) {
        let done = self.asm.label();
        if let Address::Constant(value) = ea::offset(self.asm, insn, self.key) {
            self.asm.imm(reg::R14, value);
        }
        let kind = match insn.mnemonic() {
            Mnemonic::Xrstor64 => 1,
            Mnemonic::Xrstors64 => 2,
            _ => 0,
        };
        let thunks = offset_of!(Hot, state_thunk) + 8 * crate::state::KINDS * self.key.mmu();
        self.asm.call_mem(Mem::state(thunks + 8 * kind));
        self.asm.jrcxz(done);
        self.call_system(SiteKind::System);
        self.asm.bind(done);
    }

    /// REP MOVS, REP STOS: by the thunk, else by the routine.
    pub(crate) fn repeat(&mut self, insn: &Instruction) {
        let kind = match insn.mnemonic() {
            Mnemonic::Movsb => 0,
            Mnemonic::Movsq => 1,
            Mnemonic::Stosb => 2,
            _ => 3,
        };
        let done = self.asm.label();
        let thunks = offset_of!(Hot, repeat_thunk) + 8 * crate::repeat::KINDS * self.key.mmu();
        self.asm.call_mem(Mem::state(thunks + 8 * kind));
        self.asm.jrcxz(done);
        self.call_system(SiteKind::System);
        self.asm.bind(done);
    }

    /// SYSCALL, SYSRET: a thunk does them, or hands on to their routine.
    pub(crate) fn jump_by(&mut self, thunk: usize) {
        let site = self.push_site(SiteKind::System, 0, 0);
        self.asm.store_number(Mem::state(offset_of!(Hot, site)), Kind::Site, site);
        self.address(reg::R14, self.insn.next_ip());
        self.asm.jmp_mem(Mem::state(thunk));
    }

    /// The host's counter plus the offset, in EDX:EAX; no flags.
    pub(crate) fn rdtsc(&mut self) {
        self.asm.put(&[0x0f, 0x31]);
        self.asm.imm(reg::RCX, 32);
        self.asm.put(&[0xc4, 0x62, 0xf1, 0xf7, 0xea]); // SHLX R13, RDX, RCX
        self.asm.lea(reg::R13, Mem { base: Some(reg::R13), index: Some((reg::RAX, 1)), disp: 0 });
        self.asm.load(reg::R14, Mem::state(offset_of!(Hot, tsc_offset)));
        self.asm.lea(reg::R13, Mem { base: Some(reg::R13), index: Some((reg::R14, 1)), disp: 0 });
        self.asm.mov32(reg::RAX, reg::R13);
        self.asm.put(&[0xc4, 0xc2, 0xf3, 0xf7, 0xd5]); // SHRX RDX, R13, RCX
    }

    /// RFLAGS from its three places: the host's arithmetic flags, IF and AC at hand, the rest in `Registers`.
    pub(crate) fn pushf(&mut self) {
        const RFLAGS: i32 = offset_of!(ireko_x86::Registers, rflags) as i32;
        self.asm.put(&[0x9c, 0x59]); // PUSHFQ; POP RCX
        self.asm.store(ea::temp(0), reg::RAX);
        self.asm.lahf();
        self.asm.seto_al();
        self.asm.and32_imm(reg::RCX, 0x8d5);
        self.asm.load(reg::R13, Mem::state(offset_of!(Hot, regs)));
        self.asm.load(reg::R14, Mem::base(reg::R13, RFLAGS));
        self.asm.and32_imm(reg::R14, !(0x8d5 | 0x200 | 0x40000 | 0x10000 | 0x20000));
        for source in
            [Mem::state(offset_of!(Hot, interrupt_flag)), Mem::state(offset_of!(Hot, alignment_check))]
        {
            self.asm.rm(true, &[0x0b], reg::R14, source); // OR
        }
        self.asm.rr(true, &[0x0b], reg::R14, reg::RCX);
        self.asm.store(ea::temp(3), reg::R14);
        self.asm.restore_of();
        self.asm.sahf();
        self.asm.load(reg::RAX, ea::temp(0));
        self.push_value(8, ALL, Self::saved_operand);
    }

    /// Behind the instruction after STI: leaves if an interrupt has been waiting for IF, or has come since.
    pub(crate) fn check_waiting(&mut self, next: u64) {
        self.difference = None;
        let (waits, on) = (self.asm.label(), self.asm.label());
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, nothing_waits)));
        self.asm.jrcxz(waits);
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, attention)));
        self.asm.jrcxz(waits);
        self.asm.jmp_short(on);
        self.asm.bind(waits);
        self.set_rip(next);
        self.emit_exit(Reason::Attention);
        self.asm.bind(on);
    }
}
