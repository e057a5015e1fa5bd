//! The neutral control structure: what the processor must heed while a guest runs. Built once at entry by copying,
//! so that a hypervisor which changes its own (a VMCB) meanwhile changes nothing.

use crate::msr_list::MsrLists;
use crate::{Event, Intercept, InterceptSet, IoExit};
use ireko_x86::Exception;
use ireko_x86::exception::vector;

/// Guest-physical to system-physical translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    /// nCR3; the table address of an EPT pointer.
    pub root: u64,
    pub tables: Stage2Tables,
}

/// The format of those tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage2Tables {
    /// The processor's own under these control registers, which the hypervisor had at VMRUN (APM vol. 2, 15.25.3).
    Own { cr4: u64, efer: u64 },
    /// Extended page tables of four or five levels (SDM vol. 3, 29.3). `dirty`: A and D bits are kept, and the guest's own
    /// tables are written as far as these are concerned.
    Extended { five_levels: bool, dirty: bool },
}

impl Stage2 {
    /// Whether a read of one of the guest's own tables counts as a write.
    pub const fn writes_tables(&self) -> bool {
        match self.tables {
            Stage2Tables::Own { .. } => true,
            Stage2Tables::Extended { dirty, .. } => dirty,
        }
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

/// Bits of a control register that are the hypervisor's: the guest reads them from `shadow`, and a write that would
/// change one there exits (SDM vol. 3, 25.6.6 and 26.3). AMD-V has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnedBits {
    pub mask: u64,
    pub shadow: u64,
}

impl OwnedBits {
    /// What the guest reads where the register has `value`.
    pub const fn shown(self, value: u64) -> u64 {
        value & !self.mask | self.shadow & self.mask
    }
    /// Whether the guest may not write `value`.
    pub const fn refuses(self, value: u64) -> bool {
        (value ^ self.shadow) & self.mask != 0
    }
    /// What the register has after the guest wrote `value`.
    pub const fn written(self, old: u64, value: u64) -> u64 {
        old & self.mask | value & !self.mask
    }
}

/// How the bitmaps of MSRs are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MsrLayout {
    /// Two bits an MSR, for reading and writing; three ranges (APM vol. 2, 15.11).
    #[default]
    Pairs,
    /// A bitmap each for reading low, reading high, writing low, writing high (SDM vol. 3, 25.6.9).
    Quarters,
}

/// The PAUSE filter's counter (APM vol. 2, 15.14.4), which begins anew at each entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    pub left: u16,
    pub last: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub intercepts: InterceptSet,
    /// Bit n: exception vector n exits; a page fault as `page_faults` says.
    pub exceptions: u32,
    /// A page fault whose error code has these bits so counts as bit 14 says, any other the other way
    /// (SDM vol. 3, 26.2).
    pub page_faults: PageFaultFilter,
    /// Bit n: CRn / DRn.
    pub cr_read: u16,
    pub cr_write: u16,
    pub dr_read: u16,
    pub dr_write: u16,
    /// Bit n: a write to CRn exits after it is done.
    pub cr_write_trap: u16,
    pub cr0: OwnedBits,
    pub cr4: OwnedBits,
    /// Values that may be written to CR3 whatever `cr_write` says.
    pub cr3_targets: [Option<u64>; 4],
    /// System-physical addresses of the permission maps: of I/O ports below and from 8000h, and of MSRs.
    pub io_maps: [u64; 2],
    pub msr_map: u64,
    pub msr_layout: MsrLayout,
    pub msr_lists: MsrLists,
    pub stage2: Option<Stage2>,
    /// ASID; VPID. 0 is the processor's own.
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
    /// That NMIs are blocked is the guest's affair: physical ones come through (SDM vol. 3, 25.6.1).
    pub virtual_nmis: bool,
    /// Exits as soon as the guest could take an interrupt, or an NMI.
    pub interrupt_window: bool,
    pub nmi_window: bool,
    /// Exits after every instruction (SDM vol. 3, 26.5.2).
    pub monitor_trap: bool,
    /// Exits when the processor's own time-stamp counter gets there (SDM vol. 3, 26.5.1).
    pub preempt_at: Option<u64>,
    pub virtual_vmload_vmsave: bool,
    /// The guest has DEBUGCTL and last-branch records of its own.
    pub virtual_lbr: bool,
    /// Event to inject at entry.
    pub inject: Option<Event>,
    /// The guest begins in an interrupt shadow: VMRUN itself may end the one that it was executed in.
    pub entry_shadow: Shadow,
    /// What an injected software interrupt or exception pushes as its return address; `None`: RIP.
    pub inject_return: Option<u64>,
    pub pause_count: u16,
    pub pause_threshold: u16,
    pub pause: Pause,
}

/// Which page faults are meant: `error & mask == wanted`. All, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFaultFilter {
    pub mask: u32,
    pub wanted: u32,
}

/// What holds interrupts off for one instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shadow {
    #[default]
    None,
    /// STI turned interrupts on.
    Sti,
    /// SS was loaded.
    MovSs,
}

impl Shadow {
    pub fn is_on(self) -> bool {
        self != Self::None
    }
}

impl Control {
    pub const fn has(&self, what: Intercept) -> bool {
        self.intercepts.has(what)
    }

    /// Whether an exception exits.
    pub fn takes(&self, exception: &Exception) -> bool {
        let on = exception.vector < 32 && self.exceptions >> exception.vector & 1 != 0;
        let PageFaultFilter { mask, wanted } = self.page_faults;
        let other = exception.vector == vector::PF && exception.error.unwrap_or(0) & mask != wanted;
        on != other
    }

    /// What the guest's RDTSC gives: the scale first, then the offset (APM vol. 2, 15.30.5).
    pub const fn guest_tsc(&self, own: u64) -> u64 {
        let scaled = (own as u128 * self.tsc_scale.multiplier as u128) >> (self.tsc_scale.fraction & 63);
        (scaled as u64).wrapping_add(self.tsc_offset)
    }

    /// Where the I/O permission map has the bits of an access, and which bits of two bytes (APM vol. 2, 15.10.1).
    pub const fn io_bits(&self, io: &IoExit) -> (u64, u16) {
        let ones = match io.size {
            1 => 1,
            2 => 3,
            _ => 0xf_u16,
        };
        let byte = (io.port & 0x7fff) as u64 / 8;
        (self.io_maps[(io.port >> 15) as usize].wrapping_add(byte), ones << (io.port & 7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_sees_and_keeps_its_own_bits_of_a_control_register() {
        let owned = OwnedBits { mask: 0xf0, shadow: 0x3c };
        assert_eq!(owned.shown(0xabc1), 0xab31);
        assert!(owned.refuses(0xab41) && !owned.refuses(0xab3f));
        assert_eq!(owned.written(0xabc1, 0xff3e), 0xffce);
    }

    #[test]
    fn bits_that_nobody_owns_are_the_guests() {
        let owned = OwnedBits::default();
        assert_eq!((owned.shown(7), owned.refuses(9), owned.written(7, 9)), (7, false, 9));
    }

    /// SDM vol. 3, 26.2: with a match the bit counts, without one its opposite.
    #[test]
    fn page_faults_are_told_apart_by_their_error_codes() {
        let write = Exception::page_fault(0, 2);
        let read = Exception::page_fault(0, 0);
        let page_faults = PageFaultFilter { mask: 2, wanted: 2 };
        let on = Control { exceptions: 1 << 14, page_faults, ..Control::default() };
        assert!(on.takes(&write) && !on.takes(&read));
        let off = Control { exceptions: 0, page_faults, ..Control::default() };
        assert!(!off.takes(&write) && off.takes(&read));
        assert!(!off.takes(&Exception::gp(2)));
    }

    #[test]
    fn a_scale_of_48_fraction_bits_is_the_other_vendors() {
        let tsc_scale = TscScale { multiplier: 3 << 47, fraction: 48 };
        assert_eq!(Control { tsc_scale, ..Control::default() }.guest_tsc(1000), 1500);
        assert!(TscScale { multiplier: 1 << 48, fraction: 48 }.is_one() && !tsc_scale.is_one());
    }
}
