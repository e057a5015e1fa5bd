//! Into translated code and back: what is readied before, how one instruction is done alone, and what a host signal in it means.

// UNSAFETY: enters translated code, which works on this processor through raw pointers.
#![allow(unsafe_code)]

use crate::cpu::Cpu;
use crate::fault::Fault;
use crate::{signal, slow};
use ireko_translate::layout::JUMP_MASK;
use ireko_translate::thunk::{self, Reason};
use ireko_translate::{Key, lookup, privilege, refill, repeat, state};
use ireko_x86::Exception;
use ireko_x86::bits::{cr4, debugctl, rflags};
use ireko_x86::exception::vector;
use std::sync::atomic::Ordering;

impl Cpu {
    /// Readies the current bank for translated code of the current mode.
    pub(crate) fn arm(&mut self) -> *mut ireko_translate::Hot {
        let context = std::ptr::from_mut(self) as u64;
        let regs = std::ptr::from_mut(&mut self.processor.regs) as u64;
        let fpu = self.processor.fpu.0.as_mut_ptr() as u64;
        let bases = self.processor.regs.seg.map(|s| s.base);
        let tsc_offset = self.own_tsc().offset().wrapping_add(self.control().map_or(0, |c| c.tsc_offset));
        let nothing_waits = u64::from(!self.handoff.waits);
        let pkru_refused = u64::from(self.processor.regs.cr4 & cr4::PKE == 0);
        let jump_ids = self.jump_ids();
        let components = self.components();
        if self.fpu_is_home() {
            self.lend_x87();
        }
        let ((jump_table, jump_buckets), code_base) = (self.code.jumps.table(), self.code.base());
        let (second_level, jump_cache) = (self.platform.tuning.second_level, self.platform.tuning.jump_cache);
        let (own, xsavec) = (self.instruments.inspect.is_none(), self.platform.tuning.xsavec);
        let (syscalls, xsavec, strings) =
            (self.platform.tuning.syscalls && own, xsavec && own, self.platform.tuning.strings && own);
        let hot = self.mmu.banks.current().hot_mut();
        if hot.access_thunk == 0 {
            thunk::prepare(hot, slow::access, slow::commit, slow::system);
            refill::prepare(hot, second_level);
            lookup::prepare(hot, jump_cache);
            privilege::prepare(hot, syscalls);
            state::prepare(hot, xsavec);
            repeat::prepare(hot, strings);
        }
        hot.context = context;
        hot.regs = regs;
        hot.fpu = fpu;
        hot.segment_base = bases;
        hot.tsc_offset = tsc_offset;
        hot.nothing_waits = nothing_waits;
        state::components(hot, &components);
        hot.pkru_refused = pkru_refused;
        hot.pending = 0;
        (hot.jump_ids, hot.code_base) = (jump_ids, code_base);
        (hot.jump_cache, hot.jump_buckets) = (jump_table, jump_buckets);
        // The exchange orders it before the look at `wanted` below: a wake that comes between the two is either seen there or
        // puts the 0 back.
        hot.attention.swap(JUMP_MASK, Ordering::SeqCst);
        let hot = std::ptr::from_mut(hot);
        if self.platform.armed != hot {
            self.platform.armed = hot;
            signal::arm(hot);
            // SAFETY: `hot` is the current bank.
            self.platform.wake.attach(unsafe { &raw const (*hot).attention });
        }
        if self.platform.wake.wanted() {
            self.request_attention();
        }
        hot
    }

    /// Enters code at RIP, and gives why it left.
    ///
    /// # Safety
    /// The bank at `hot` is armed, and the code is that of RIP for the current key.
    pub(crate) unsafe fn enter(&self, hot: *mut ireko_translate::Hot, code: *const u8) -> Reason {
        // SAFETY: the caller keeps to it; nobody else uses the bank now.
        unsafe {
            (*hot).rip = self.processor.regs.rip;
            thunk::enter(hot, code)
        }
    }

    /// Where code goes on that has left with `rip` and `site`.
    pub(crate) fn goes_on_at(&mut self, reason: Reason, rip: u64, site: u64) -> u64 {
        match reason {
            Reason::Link | Reason::Ungrouped | Reason::LinkAttention => {
                let page = self.code_page();
                self.code.target(site as u32, page)
            }
            _ => rip,
        }
    }

    /// The guest's RIP of an instruction in translated code.
    pub(crate) fn locate(&mut self, host: u64) -> Option<u64> {
        let page = self.code_page();
        self.code.locate(host as usize, page)
    }

    /// The guest's exception behind a host signal.
    pub(crate) fn signalled(&mut self, host: u64, trap: u64) -> Fault {
        self.forget_pending();
        let Some(rip) = self.locate(host) else {
            return Fault::Engine(format!("a host fault at {host:#x}, outside all blocks"));
        };
        self.processor.regs.rip = rip;
        match trap as u8 {
            vector::GP => Fault::gp(0),
            trap @ (vector::DE | vector::UD | vector::MF) => Exception::new(trap).into(),
            vector::XM if self.processor.regs.cr4 & cr4::OSXMMEXCPT == 0 => Fault::ud(),
            vector::XM => Exception::new(vector::XM).into(),
            trap => {
                let address = self.mmu.banks.current().hot_mut().temp[0];
                Fault::Engine(format!(
                    "host exception {trap} in translated code at host address {host:#x}, accessing {address:#x}"
                ))
            }
        }
    }

    /// Runs the instruction at RIP alone, under the current key with `bits` on, and gives its block.
    pub(crate) fn run_alone(&mut self, bits: u32) -> Result<u32, Fault> {
        let key = Key(self.key().0 | Key::SINGLE | bits);
        let block = self.block(key)?;
        let hot = self.arm();
        self.code.synchronize();
        // SAFETY: as in `run_blocks`.
        let reason = unsafe { self.enter(hot, self.code.entry(block)) };
        // SAFETY: as in `run_blocks`.
        let (rip, site) = unsafe { ((*hot).rip, (*hot).site) };
        match reason {
            Reason::Routine => {
                if let Some(fault) = self.handoff.outcome.take() {
                    return Err(fault);
                }
            }
            Reason::Signal => return Err(self.signalled(rip, site)),
            _ => self.processor.regs.rip = rip,
        }
        Ok(block)
    }

    /// Something keeps translated code from just going on after a routine.
    pub(crate) fn must_look(&self) -> bool {
        self.handoff.waits
            || !self.mmu.unwatched.is_empty()
            || self.single()
            || self.processor.halted
            || self.platform.wake.wanted()
    }

    /// The next instruction must be done alone.
    pub(crate) fn single(&self) -> bool {
        let recorded = self.processor.regs.debugctl & debugctl::LBR != 0;
        self.processor.shadow.is_on()
            || recorded
            || self.control().is_some_and(|control| control.monitor_trap)
            || self.processor.msrs.counters.exact()
            || self.processor.regs.rflags & (rflags::TF | rflags::RF) != 0
            || crate::breakpoints::armed(self)
    }
}
