//! The neutral control structure: what the processor must heed while a guest runs. Built once at entry by copying,
//! so that a hypervisor which changes its VMCB meanwhile changes nothing.

use crate::{Intercept, InterceptSet, IoExit};

/// Guest-physical to system-physical translation: nested paging (APM vol. 2, 15.25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    /// nCR3.
    pub root: u64,
    /// The host's CR4 and EFER at VMRUN decide the format and NXE (15.25.3).
    pub cr0: u64,
    pub cr4: u64,
    pub efer: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    External,
    Nmi,
    Exception,
    SoftwareInterrupt,
}

/// An event to deliver, or one that was being delivered when an exit came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub vector: u8,
    pub error: Option<u32>,
}

/// As EVENTINJ and EXITINTINFO have it, in words.
impl std::fmt::Display for Event {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            EventKind::External => write!(out, "INTR {:#x}", self.vector)?,
            EventKind::Nmi => write!(out, "NMI")?,
            EventKind::Exception => write!(out, "{}", ireko_x86::exception::name(self.vector))?,
            EventKind::SoftwareInterrupt => write!(out, "INT {:#x}", self.vector)?,
        }
        self.error.map_or(Ok(()), |error| write!(out, " error {error:#x}"))
    }
}

/// By what a guest's time-stamp counter runs faster than the processor's own: a fixed-point number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscScale {
    pub multiplier: u64,
    /// Bits of it behind the point.
    pub fraction: u8,
}

impl TscScale {
    pub const ONE: Self = Self { multiplier: 1 << 32, fraction: 32 };

    pub const fn is_one(self) -> bool {
        self.multiplier == 1 << (self.fraction & 63)
    }
}

impl Default for TscScale {
    fn default() -> Self {
        Self::ONE
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub intercepts: InterceptSet,
    /// Bit n: exception vector n exits.
    pub exceptions: u32,
    /// Bit n: CRn / DRn.
    pub cr_read: u16,
    pub cr_write: u16,
    pub dr_read: u16,
    pub dr_write: u16,
    /// Bit n: a write to CRn exits after it is done.
    pub cr_write_trap: u16,
    /// System-physical addresses of the permission maps.
    pub io_map: u64,
    pub msr_map: u64,
    pub stage2: Option<Stage2>,
    pub asid: u32,
    pub tsc_offset: u64,
    pub tsc_scale: TscScale,
    /// V_INTR_MASKING: the guest's IF masks virtual interrupts only; physical ones heed the host's IF.
    pub virtual_interrupts: bool,
    /// RFLAGS.IF of the host at VMRUN, which masks physical interrupts while `virtual_interrupts`.
    pub host_if: bool,
    pub v_tpr: u8,
    pub v_irq: bool,
    pub v_intr_priority: u8,
    pub v_ignore_tpr: bool,
    pub v_intr_vector: u8,
    /// Virtual GIF offered, and its value.
    pub vgif_enabled: bool,
    pub vgif: bool,
    pub virtual_vmload_vmsave: bool,
    /// The guest has DEBUGCTL and last-branch records of its own.
    pub virtual_lbr: bool,
    /// Event to inject at entry.
    pub inject: Option<Event>,
    /// The guest begins in an interrupt shadow: VMRUN itself may end the one that it was executed in.
    pub entry_shadow: bool,
    /// What an injected software interrupt, #BP or #OF pushes as its return address; `None`: RIP.
    pub inject_return: Option<u64>,
    pub pause_count: u16,
    pub pause_threshold: u16,
}

impl Control {
    pub const fn has(&self, what: Intercept) -> bool {
        self.intercepts.has(what)
    }
    pub const fn exception(&self, vector: u8) -> bool {
        vector < 32 && self.exceptions >> vector & 1 != 0
    }
    /// What the guest's RDTSC gives: the scale first, then the offset (APM vol. 2, 15.30.5).
    pub const fn guest_tsc(&self, own: u64) -> u64 {
        let scaled = (own as u128 * self.tsc_scale.multiplier as u128) >> (self.tsc_scale.fraction & 63);
        (scaled as u64).wrapping_add(self.tsc_offset)
    }
    /// The byte offset in the I/O permission map and the two-byte mask to test (APM vol. 2, 15.10.1).
    pub const fn io_bits(io: &IoExit) -> (u64, u16) {
        let ones = match io.size {
            1 => 1,
            2 => 3,
            _ => 0xf_u16,
        };
        (io.port as u64 / 8, ones << (io.port & 7))
    }
}
