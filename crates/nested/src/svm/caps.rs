//! What of AMD-V this processor has, as CPUID tells it.

use ireko_x86::bits::{cr4, efer};
use ireko_x86::vmcb::feature;

/// Facts of the processor model that entry checks and address checks depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// MAXPHYADDR.
    pub physical_bits: u8,
    /// Number of ASIDs, 0 being the processor's own.
    pub asids: u32,
    /// Bits of CR4 that may be set.
    pub cr4: u64,
    /// Bits of EFER that may be set.
    pub efer: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self { physical_bits: 48, asids: 0x8000, cr4: CR4, efer: EFER }
    }
}

const CR4: u64 = cr4::VME
    | cr4::PVI
    | cr4::TSD
    | cr4::DE
    | cr4::PSE
    | cr4::PAE
    | cr4::MCE
    | cr4::PGE
    | cr4::PCE
    | cr4::OSFXSR
    | cr4::OSXMMEXCPT
    | cr4::UMIP
    | cr4::FSGSBASE
    | cr4::PCIDE
    | cr4::OSXSAVE
    | cr4::SMEP
    | cr4::SMAP
    | cr4::PKE;

const EFER: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE | efer::SVME | efer::FFXSR | efer::TCE;

/// What is really done, and nothing else.
pub const FEATURES: u32 = feature::NP
    | feature::LBR_VIRT
    | feature::SVML
    | feature::NRIPS
    | feature::TSC_RATE_MSR
    | feature::VMCB_CLEAN
    | feature::FLUSH_BY_ASID
    | feature::DECODE_ASSISTS
    | feature::PAUSE_FILTER
    | feature::PAUSE_FILTER_THRESHOLD
    | feature::VIRTUAL_VMLOAD_VMSAVE
    | feature::VGIF;

/// SVM revision (Fn8000_000A EAX).
const REVISION: u32 = 1;

/// CPUID Fn8000_000A: EAX EBX ECX EDX (APM vol. 3, E.4.9).
pub const fn leaf(caps: &Caps) -> [u32; 4] {
    [REVISION, caps.asids, 0, FEATURES]
}

impl Caps {
    /// Whether a physical address has no bit above MAXPHYADDR.
    pub const fn reaches(&self, address: u64) -> bool {
        address >> self.physical_bits == 0
    }
    /// What VMRUN, VMLOAD and VMSAVE want of rAX, else #GP.
    pub const fn vmcb_address(&self, address: u64) -> bool {
        address & 0xfff == 0 && self.reaches(address)
    }
}
