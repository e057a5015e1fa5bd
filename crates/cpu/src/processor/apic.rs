//! The registers of the local APIC (APM vol. 2, chapter 16). What connects them to other processors and to time is an
//! `Apic`, which works on them.

use super::vectors::Vectors;
use ireko_x86::apic::{SVR_ENABLE, base, lvt};

/// Index in the local vector table, in the order of the registers.
pub mod entry {
    pub const TIMER: usize = 0;
    pub const LINT0: usize = 3;
    pub const ERROR: usize = 5;
    pub const COUNT: usize = 6;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalApic {
    pub(crate) id: u32,
    pub(crate) base: u64,
    pub(crate) tpr: u8,
    /// Logical destination and destination format of the xAPIC.
    pub(crate) ldr: u32,
    pub(crate) dfr: u32,
    pub(crate) svr: u32,
    pub(crate) irr: Vectors,
    pub(crate) isr: Vectors,
    pub(crate) tmr: Vectors,
    /// Errors since the last write of ESR, and those that were shown by it.
    pub(crate) errors: u32,
    pub(crate) esr: u32,
    pub(crate) icr: u64,
    pub(crate) lvt: [u32; entry::COUNT],
    pub(crate) timer: ApicTimer,
    // What came and was not taken yet.
    /// NMIs: one that is to be taken, and one that came before it was. While one is being served a single one waits.
    pub(crate) nmis: u8,
    pub(crate) smi: bool,
    pub(crate) init: bool,
    pub(crate) startup: Option<u8>,
    /// An ExtINT message came (from an IOAPIC in that mode).
    pub(crate) extint: bool,
}

/// What the timer is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApicTimer {
    pub(crate) initial: u32,
    /// The divide configuration register.
    pub(crate) divide: u32,
    /// When the count reaches zero, in nanoseconds of the machine's clock.
    pub(crate) zero_at: Option<u64>,
    /// IA32_TSC_DEADLINE; 0: not armed.
    pub(crate) deadline: u64,
}

impl LocalApic {
    /// That of processor `id` after RESET.
    pub fn new(id: u32) -> Self {
        let bsp = if id == 0 { base::BSP } else { 0 };
        let mut lvt = [lvt::MASKED; entry::COUNT];
        // As firmware leaves it ("virtual wire"), because kernels are started without firmware.
        if id == 0 {
            lvt[entry::LINT0] = lvt::MODE_EXTINT;
        }
        Self {
            id,
            base: base::DEFAULT | base::EN | bsp,
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: 0xff,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            errors: 0,
            esr: 0,
            icr: 0,
            lvt,
            timer: ApicTimer::default(),
            nmis: 0,
            smi: false,
            init: false,
            startup: None,
            extint: false,
        }
    }

    /// INIT: all registers but ID and base as after RESET. A STARTUP that came with it stays.
    pub fn reset(&mut self) {
        *self = Self { base: self.base, startup: self.startup, ..Self::new(self.id) };
    }

    pub fn id(&self) -> u32 {
        self.id
    }
    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }
    pub fn enabled(&self) -> bool {
        self.base & base::EN != 0
    }
    pub fn x2apic(&self) -> bool {
        self.base & base::EXTD != 0
    }
    pub fn software_enabled(&self) -> bool {
        self.enabled() && self.svr & SVR_ENABLE != 0
    }
    /// x2APIC's logical ID: cluster in the high half, one bit in the low.
    pub fn x2apic_ldr(&self) -> u32 {
        (self.id >> 4) << 16 | 1 << (self.id & 0xf)
    }
    pub fn deadline_mode(&self) -> bool {
        self.lvt[entry::TIMER] & lvt::TIMER_MODE == lvt::TSC_DEADLINE
    }

    pub fn tpr(&self) -> u8 {
        self.tpr
    }
    pub fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
    }
    pub fn cr8(&self) -> u64 {
        (self.tpr >> 4).into()
    }
    pub fn set_cr8(&mut self, value: u64) {
        self.tpr = (value as u8) << 4;
    }
    /// Processor priority (APM vol. 2, 16.6.4).
    pub fn ppr(&self) -> u8 {
        let served = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= served { self.tpr } else { served }
    }

    /// Offset in the xAPIC page, if `physical` is in it and the page is there (APIC on, not in x2APIC mode).
    #[inline]
    pub fn decode(&self, physical: u64) -> Option<u32> {
        let there = self.enabled() && !self.x2apic() && physical & !0xfff == self.base & base::ADDRESS;
        there.then_some(physical as u32 & 0xfff)
    }

    /// Whether the APIC's page lies in a range of physical addresses, enabled or not.
    pub fn within(&self, start: u64, size: u64) -> bool {
        (self.base & base::ADDRESS).wrapping_sub(start) < size
    }
}
