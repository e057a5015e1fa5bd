//! System instructions that only move words of the processor's state: done in place, without a routine.

use crate::asm::{Mem, reg};
use crate::block::{Emitter, SiteKind};
use crate::ea;
use crate::layout::Hot;
use crate::liveness::ALL;
use crate::thunk::Reason;
use core::mem::offset_of;

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
        self.key = key.with_access_check(on);
        self.exit(self.insn.next_ip());
        self.key = key;
    }

    /// SYSCALL, SYSRET: a thunk does them, or hands on to their routine.
    pub(crate) fn leap(&mut self, thunk: usize) {
        let site = self.push_site(SiteKind::System, 0, 0);
        self.asm.store_imm32(Mem::state(offset_of!(Hot, site)), site as i32);
        self.asm.imm(reg::R14, self.insn.next_ip());
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
        self.push_value(ALL, Self::saved_operand);
    }

    /// Behind the instruction after STI: leaves if an interrupt has been waiting for IF.
    pub(crate) fn check_waiting(&mut self, next: u64) {
        let (waits, on) = (self.asm.label(), self.asm.label());
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, nothing_waits)));
        self.asm.jrcxz(waits);
        self.asm.jmp_short(on);
        self.asm.bind(waits);
        self.set_rip(next);
        self.depart(Reason::Attention);
        self.asm.bind(on);
    }
}
