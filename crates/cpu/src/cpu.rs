//! One logical processor at work: what it has, and what routines ask of it.

// UNSAFETY: machine code saves x87 and vector state; what `Platform::armed` points to is a bank of this processor.

use crate::Fault;
use crate::apic::Apic;
use crate::inspect::Instruments;
use crate::mmu::Mmu;
use crate::pending::Handoff;
use crate::platform::Platform;
use crate::processor::MwaitWait;
use crate::processor::x87::{Pointers, Selector};
use crate::tsc::Tsc;
use crate::xstate::{self, Vectors};
use ireko_nested::{Control, Exit, Intercept};
use ireko_translate::layout::X87Pointers;
use ireko_translate::{state, thunk};
use ireko_x86::regs::seg;
use ireko_x86::smram;
use std::sync::atomic::Ordering;

pub use crate::mmu::view::Privilege;
pub use crate::processor::{Processor, World, XsaveArea};

/// In the bank: a selector is that of [`Selector::Loaded`].
const LOADED: u32 = 1 << 31;

pub struct Cpu {
    /// What the processor is, as plain data.
    pub processor: Processor,
    pub mmu: Mmu,
    pub(crate) code: crate::code::Code,
    pub platform: Platform,
    pub(crate) handoff: Handoff,
    pub(crate) vectors: Vectors,
    pub instruments: Instruments,
    /// Direct execution, where it can be had.
    pub(crate) direct: Option<crate::direct::Direct>,
}

impl Cpu {
    /// x87 and MXCSR as after RESET (FNINIT and MXCSR = 1F80h).
    pub(crate) fn fpu_reset(&mut self) {
        self.processor.fpu.0.fill(0);
        self.processor.fpu.0[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        self.processor.fpu.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        self.processor.fpu.0[thunk::IN_MEMORY] = 1;
        self.processor.mm = self.processor.mm.map(|_| false);
        self.set_x87(Pointers::default());
    }

    /// Brings all x87, SSE and AVX state into `fpu`; what runs next may use those registers.
    #[allow(unsafe_code)]
    pub(crate) fn fpu_sync(&mut self) {
        if !self.fpu_is_home() {
            // SAFETY: the word says that this thread holds the rest in its registers.
            unsafe { thunk::save_rest(self.processor.fpu.0.as_mut_ptr(), self.vectors.held) };
            self.fetch_x87();
        }
    }

    /// Whether x87 and vector state are all in `processor`.
    pub(crate) fn fpu_is_home(&self) -> bool {
        self.processor.fpu.0[thunk::IN_MEMORY..][..8] != [0; 8]
    }

    /// x87's pointers and IGNNE#, as translated code has left them in its bank.
    fn fetch_x87(&mut self) {
        let bank = self.mmu.banks.current().hot_mut().x87;
        self.processor.ignne = bank.ignores != 0;
        if (X87Pointers { ignores: bank.ignores, ..X87Pointers::default() }) == bank {
            self.processor.x87 = Pointers::default();
            return;
        }
        let Pointers { code, segment, .. } = self.processor.x87;
        let selector = |from: u32, number: usize, loaded: Selector| match from & LOADED {
            0 => Selector::Of(number as u8),
            _ => loaded,
        };
        self.processor.x87 = Pointers {
            opcode: (bank.code >> 12) as u16 & 0x7ff,
            instruction: bank.page | u64::from(bank.code & 0xfff),
            code: selector(bank.code, seg::CS, code),
            data: bank.data,
            segment: selector(bank.segment, (bank.segment as usize).min(seg::GS), segment),
        };
    }

    /// Translated code goes on from what `processor` has of x87's pointers and IGNNE#.
    pub(crate) fn lend_x87(&mut self) {
        let Pointers { opcode, instruction, code, data, segment } = self.processor.x87;
        let none = self.processor.x87 == Pointers::default();
        let selector = |from: Selector| match from {
            Selector::Of(number) => number.into(),
            Selector::Loaded(_) if none => 0,
            Selector::Loaded(_) => LOADED,
        };
        self.mmu.banks.current().hot_mut().x87 = X87Pointers {
            ignores: self.processor.ignne.into(),
            page: instruction & !0xfff,
            code: (instruction & 0xfff) as u32 | u32::from(opcode & 0x7ff) << 12 | selector(code) & LOADED,
            segment: selector(segment),
            data,
        };
    }

    /// x87's pointers are these from here on. The rest of its state is home.
    pub(crate) fn set_x87(&mut self, pointers: Pointers) {
        self.processor.x87 = pointers;
        self.lend_x87();
    }

    /// The bytes of the pointers in `fpu` say what they are, in the 64-bit form: without selectors.
    fn show_x87_pointers(&mut self) {
        let Pointers { opcode, instruction, data, .. } = self.processor.x87;
        self.processor.fpu.0[6..8].copy_from_slice(&opcode.to_le_bytes());
        self.processor.fpu.0[8..16].copy_from_slice(&instruction.to_le_bytes());
        self.processor.fpu.0[16..24].copy_from_slice(&data.to_le_bytes());
    }

    /// Brings all state into `fpu`, and makes the bytes of components in their initial state say so.
    pub fn fpu_normalise(&mut self) {
        self.fpu_sync();
        let absent = !u64::from(self.processor.fpu.0[512]) & self.vectors.held;
        let area = &mut self.processor.fpu.0;
        if absent & xstate::X87 != 0 {
            area[..6].fill(0);
            area[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
            area[32..160].fill(0);
        }
        let vectors = xstate::vectors().into_iter().filter(|part| absent & part.component != 0);
        vectors.for_each(|part| area[part.here()].fill(0));
        area[512] = self.vectors.held as u8;
        self.show_x87_pointers();
    }

    /// Which components there are now.
    pub(crate) fn components(&self) -> state::Components {
        state::Components {
            guest: self.processor.regs.xcr0,
            host: self.vectors.host_xcr0,
            held: self.vectors.held,
            moved: xstate::moved(),
        }
    }

    /// The controls in force, in a guest world.
    pub fn control(&self) -> Option<&Control> {
        self.processor.control()
    }

    /// Gives control to the hypervisor if this guest's hypervisor asked for it.
    pub fn intercept(&self, what: Intercept) -> Result<(), Fault> {
        match self.control() {
            Some(control) if control.has(what) => Err(Fault::Exit(Exit::Plain(what))),
            _ => Ok(()),
        }
    }

    /// Number of the current world's address spaces; 0 is the processor's own.
    pub(crate) fn asid(&self) -> u32 {
        self.control().map_or(0, |control| control.asid)
    }

    /// This vCPU itself wants to look around soon.
    pub(crate) fn request_attention(&mut self) {
        self.mmu.banks.current().hot_mut().attention.store(0, Ordering::Relaxed);
    }

    /// The page that relative code is run at, or was.
    pub(crate) fn code_page(&mut self) -> u64 {
        self.mmu.banks.current().hot_mut().page
    }

    /// Drops a commit whose instruction did not happen.
    pub(crate) fn forget_pending(&mut self) {
        self.handoff.pending = None;
        self.mmu.banks.current().hot_mut().pending = 0;
    }

    /// Waits for an interrupt, after MWAIT for other things as well.
    pub(crate) fn halt(&mut self, wait: Option<MwaitWait>) {
        self.processor.halted = true;
        self.processor.wait = wait;
    }

    /// A processor that pauses waits for another, which may want this one's time to come on: there may be fewer of the host's than of the guest's.
    pub(crate) fn let_others_run(&mut self) {
        /// What a lock is waited for before its holder is likely not to run.
        const PAUSES: u32 = 32;
        if self.platform.seat.is_one_of_many() {
            self.platform.pauses += 1;
            if self.platform.pauses.is_multiple_of(PAUSES) {
                std::thread::yield_now();
            }
        }
    }

    /// Memory for the mode alone is there in it only (APM vol. 2, 10.2.5).
    pub(crate) fn see_smram(&mut self) {
        self.mmu.physical.manage(self.processor.smm.is_some());
        let (addr, mask) = (self.processor.regs.smm_addr, self.processor.regs.smm_mask);
        self.mmu.physical.close(
            if self.processor.smm.is_some() { 0 } else { mask & smram::VALID },
            addr,
            mask & !0x1_ffff,
        );
    }

    /// The machine's clock may have stood still since the last run; so has the processor's counter.
    pub(crate) fn follow_clock(&mut self) {
        if self.platform.counter.follow(self.platform.clock.counter_offset()) {
            self.apic().tsc_moved();
        }
    }

    /// The time-stamp counter of the processor's own world.
    pub fn own_tsc(&self) -> Tsc {
        Tsc { counter: self.platform.counter, adjust: self.processor.msrs.tsc_adjust }
    }

    /// The local APIC at work.
    pub fn apic(&mut self) -> Apic<'_> {
        let tsc = self.own_tsc();
        let nmi_blocked = self.processor.nmi_blocked;
        Apic { regs: &mut self.processor.apic, wires: &self.platform.apic, tsc, nmi_blocked }
    }

    /// The guest's time-stamp counter (offset and ratio of the current world applied).
    pub fn tsc(&self) -> u64 {
        crate::tsc::in_world(self.control(), self.own_tsc().read())
    }
}

#[allow(unsafe_code)]
// SAFETY: `Platform::armed` points into a bank that the processor owns; everything else is Send.
unsafe impl Send for Cpu {}
