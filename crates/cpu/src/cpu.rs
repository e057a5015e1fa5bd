//! One logical processor at work: what it has, and what routines ask of it.

// UNSAFETY: machine code saves x87 and vector state; what `Platform::armed` points to is a bank of this processor.

use crate::Fault;
use crate::apic::Apic;
use crate::inspect::Instruments;
use crate::mmu::Mmu;
use crate::mmu::bank::{Root, Tag};
use crate::pending::Handoff;
use crate::platform::Platform;
use crate::tsc::Tsc;
use crate::xstate::{self, Vectors};
use ireko_nested::{Control, Exit, Flush, Intercept};
use ireko_translate::{state, thunk};

pub use crate::mmu::view::Privilege;
pub use crate::processor::{Processor, World, XsaveArea};

pub struct Cpu {
    /// What the processor is, as plain data.
    pub processor: Processor,
    pub mmu: Mmu,
    pub(crate) code: crate::code::Code,
    pub platform: Platform,
    pub(crate) handoff: Handoff,
    pub(crate) vectors: Vectors,
    pub instruments: Instruments,
}

impl Cpu {
    /// x87 and MXCSR as after RESET (FNINIT and MXCSR = 1F80h).
    pub(crate) fn fpu_reset(&mut self) {
        self.processor.fpu.0.fill(0);
        self.processor.fpu.0[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        self.processor.fpu.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        self.processor.fpu.0[thunk::IN_MEMORY] = 1;
        self.processor.mm = self.processor.mm.map(|_| false);
    }

    /// Brings all x87, SSE and AVX state into `fpu`; what runs next may use those registers.
    #[allow(unsafe_code)]
    pub(crate) fn fpu_sync(&mut self) {
        let in_memory = &self.processor.fpu.0[thunk::IN_MEMORY..][..8];
        if in_memory == [0; 8] {
            // SAFETY: the word says that this thread holds the rest in its registers.
            unsafe { thunk::save_rest(self.processor.fpu.0.as_mut_ptr(), self.vectors.held) };
        }
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

    // ---- memory by linear address: see access.rs; faults are #PF or a nested page fault exit ----

    /// Reads 1, 2, 4 or 8 bytes, zero-extended.
    pub fn load(&mut self, address: u64, size: usize, privilege: Privilege) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read_linear(address, &mut bytes[..size], privilege)?;
        Ok(u64::from_le_bytes(bytes))
    }
    /// Writes the low 1, 2, 4 or 8 bytes of `value`.
    pub fn store(
        &mut self,
        address: u64,
        size: usize,
        value: u64,
        privilege: Privilege,
    ) -> Result<(), Fault> {
        self.write_linear(address, &value.to_le_bytes()[..size], privilege)
    }

    // ---- translation caches ----

    /// After CR0, CR4 or EFER changes: forgets translations of this world. `keep_global` keeps global pages.
    pub fn flush_tlb(&mut self, keep_global: bool) {
        self.instruments.counters.flushes += 1;
        let asid = self.asid();
        if !keep_global {
            self.forget_shared(asid);
        }
        self.mmu.flush_world(&self.processor, asid, keep_global);
    }
    /// INVLPG: forgets one page of the current world, of other PCIDs only if it is global (APM vol. 3, INVLPG).
    pub fn flush_page(&mut self, address: u64) {
        let Tag { asid, pcid, .. } = Tag::of(&self.processor);
        self.forget_shared_at(asid, address);
        self.mmu.flush_page(asid, Some(pcid), address);
    }
    /// MOV to CR3 has set `regs.cr3` to a new value; `no_flush` is bit 63 of the operand with PCIDs on.
    pub fn cr3_loaded(&mut self, no_flush: bool) {
        self.instruments.counters.flushes += u64::from(!no_flush);
        self.mmu.load_root(&self.processor, no_flush);
    }
    /// INVPCID of one PCID (`None`: all), optionally sparing global pages.
    pub fn flush_pcid(&mut self, pcid: Option<u16>, keep_global: bool) {
        self.instruments.counters.flushes += 1;
        let asid = self.asid();
        if !keep_global {
            self.forget_shared(asid);
        }
        self.mmu.flush_pcid(asid, pcid, keep_global);
    }
    /// What a hypervisor asks to forget.
    pub fn flush_asid(&mut self, what: Flush) {
        self.instruments.counters.flushes += 1;
        match what {
            Flush::All => {
                self.forget_shared(0);
                self.mmu.flush_all();
            }
            Flush::Asid { asid, keep_global } => {
                let spare = self.platform.tuning.spare_flushes;
                self.instruments.counters.spared_flushes += self.mmu.flush_asid(asid, keep_global, spare);
            }
            Flush::Page { asid, address } => {
                self.forget_shared_at(asid, address);
                self.mmu.flush_page(asid, None, address);
            }
        }
    }
    /// The world changed (VMRUN, #VMEXIT), and with it the address space. Nothing is flushed, unless the bank's
    /// translations were made with other roots or modes.
    pub fn world_switched(&mut self) {
        self.handoff.waits = true;
        self.processor.monitored = None;
        self.mmu.select(&self.processor);
        if self.mmu.banks.current().root != Root::of(&self.processor) {
            self.forget_shared(self.asid());
            self.mmu.renew(&self.processor);
        }
    }

    /// Number of the current world's address spaces; 0 is the processor's own.
    pub(crate) fn asid(&self) -> u32 {
        self.control().map_or(0, |control| control.asid)
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
        Apic { regs: &mut self.processor.apic, wires: &self.platform.apic, tsc }
    }

    /// The guest's time-stamp counter (offset and ratio of the current world applied).
    pub fn tsc(&self) -> u64 {
        crate::tsc::in_world(self.control(), self.own_tsc().read())
    }
}

#[allow(unsafe_code)]
// SAFETY: `Platform::armed` points into a bank that the processor owns; everything else is Send.
unsafe impl Send for Cpu {}
