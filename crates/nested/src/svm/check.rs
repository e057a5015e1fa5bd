//! What VMRUN refuses with VMEXIT_INVALID, as data (APM vol. 2, 15.5.1, "Canonicalization and Consistency Checks",
//! 15.16, 15.20 and 15.25).

use super::{Caps, Vmcb, event};
use crate::Intercept;
use ireko_x86::Registers;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::vmcb::{control, save, tlb_control};

/// What a check looks at.
pub struct Subject<'a> {
    pub vmcb: &'a Vmcb,
    pub caps: &'a Caps,
    /// Registers of the processor at VMRUN.
    pub host: &'a Registers,
    /// Page-directory-pointer entries of a guest with PAE legacy paging of its own, else zeroes.
    pub pdpte: [u64; 4],
}

/// One reason to refuse.
pub struct Check {
    pub name: &'static str,
    /// Section of the APM vol. 2.
    pub section: &'static str,
    pub fails: fn(&Subject) -> bool,
}

const fn check(name: &'static str, section: &'static str, fails: fn(&Subject) -> bool) -> Check {
    Check { name, section, fails }
}

/// All of them, in the order in which they are made.
pub static CHECKS: [Check; 21] = [
    check("EFER.SVME is zero", "15.5.1", |s| s.efer() & efer::SVME == 0),
    check("CR0.CD is zero and CR0.NW is set", "15.5.1", |s| s.cr0() & (cr0::CD | cr0::NW) == cr0::NW),
    check("CR0[63:32] are not zero", "15.5.1", |s| s.cr0() >> 32 != 0),
    check("CR3 has a bit set that must be zero", "15.5.1", |s| !s.caps.reaches(s.cr3())),
    check("CR4 has a bit set that must be zero", "15.5.1", |s| s.cr4() & !s.caps.cr4 != 0),
    check("DR6[63:32] are not zero", "15.5.1", |s| s.vmcb.u64(save::DR6) >> 32 != 0),
    check("DR7[63:32] are not zero", "15.5.1", |s| s.vmcb.u64(save::DR7) >> 32 != 0),
    check("EFER has a bit set that must be zero", "15.5.1", |s| {
        s.efer() & !s.caps.efer & EFER_MUST_BE_ZERO != 0
    }),
    check("EFER.LME and CR0.PG are set and CR4.PAE is zero", "15.5.1", |s| {
        s.long() && s.cr4() & cr4::PAE == 0
    }),
    check("EFER.LME and CR0.PG are set and CR0.PE is zero", "15.5.1", |s| s.long() && s.cr0() & cr0::PE == 0),
    check("EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set", "15.5.1", |s| {
        s.long()
            && s.cr4() & cr4::PAE != 0
            && s.vmcb.segment(save::CS).long()
            && s.vmcb.segment(save::CS).big()
    }),
    check("the VMRUN intercept is clear", "15.5.1", |s| !s.vmcb.intercepts().has(Intercept::Vmrun)),
    check("the MSR permission map reaches beyond physical memory", "15.5.1", |s| {
        s.vmcb.intercepts().has(Intercept::Msr) && s.map_outside(control::MSRPM_BASE, MSRPM_SIZE)
    }),
    check("the I/O permission map reaches beyond physical memory", "15.5.1", |s| {
        s.vmcb.intercepts().has(Intercept::Io) && s.map_outside(control::IOPM_BASE, IOPM_SIZE)
    }),
    check("EVENTINJ has an illegal type or vector", "15.20", |s| {
        event::illegal(s.vmcb.u64(control::EVENTINJ), s.long() && s.vmcb.segment(save::CS).long())
    }),
    check("ASID is zero", "15.5.1", |s| s.vmcb.u32(control::ASID) == 0),
    check("TLB_CONTROL has a reserved encoding", "15.16.1", |s| {
        !TLB_CONTROLS.contains(&s.vmcb.u8(control::TLB_CONTROL))
    }),
    check("nested paging with paging off in the host", "15.25.3", |s| {
        s.vmcb.nested_paging() && s.host.cr0 & cr0::PG == 0
    }),
    check("nCR3 has a bit set that must be zero", "15.25.3", |s| {
        s.vmcb.nested_paging() && !s.caps.reaches(s.vmcb.u64(control::N_CR3))
    }),
    check("G_PAT has an unsupported memory type", "15.25.8", |s| {
        s.vmcb.nested_paging()
            && !s.vmcb.u64(save::G_PAT).to_le_bytes().iter().all(|kind| PAT_TYPES.contains(kind))
    }),
    check("a page-directory-pointer entry has a reserved bit set", "15.5.1", |s| {
        s.pdpte
            .iter()
            .any(|entry| entry & 1 != 0 && entry & (PDPE_RESERVED | u64::MAX << s.caps.physical_bits) != 0)
    }),
];

/// EFER[63:16] and [9] must be zero, and feature bits that the processor does not have; [7:1] are read as zero.
const EFER_MUST_BE_ZERO: u64 = !0xfe;
/// Two pages each: the maps' bytes in use (15.10.1, 15.11). The last three bits of I/O lie in a third page, and processors refuse
/// an MSR map without such a page behind it, too.
const MSRPM_SIZE: u64 = 0x3000;
const IOPM_SIZE: u64 = 0x3000;
const TLB_CONTROLS: [u8; 4] =
    [tlb_control::NOTHING, tlb_control::FLUSH_ALL, tlb_control::FLUSH_ASID, tlb_control::FLUSH_ASID_LOCAL];
/// Reserved bits of a PDPE below the address (5.2.3).
const PDPE_RESERVED: u64 = 0x1e6;
/// UC, WC, WT, WP, WB, UC- (7.8.1).
const PAT_TYPES: [u8; 6] = [0, 1, 4, 5, 6, 7];

impl Subject<'_> {
    fn cr0(&self) -> u64 {
        self.vmcb.u64(save::CR0)
    }
    fn cr3(&self) -> u64 {
        self.vmcb.u64(save::CR3)
    }
    fn cr4(&self) -> u64 {
        self.vmcb.u64(save::CR4)
    }
    fn efer(&self) -> u64 {
        self.vmcb.u64(save::EFER)
    }
    /// Long mode is on in the guest.
    fn long(&self) -> bool {
        self.efer() & efer::LME != 0 && self.cr0() & cr0::PG != 0
    }
    fn map_outside(&self, field: usize, size: u64) -> bool {
        let base = self.vmcb.u64(field) & !0xfff;
        base.checked_add(size - 1).is_none_or(|last| !self.caps.reaches(last))
    }
}

/// The first check that fails.
pub fn refusal(subject: &Subject) -> Option<usize> {
    CHECKS.iter().position(|check| (check.fails)(subject))
}
