//! Model-specific registers as they are kept; what RDMSR and WRMSR make of them is in [`crate::msr`].

use super::counters::Counters;
use super::mtrr::Mtrrs;
use ireko_x86::msr::HWCR_TSC_FREQ_SEL;

/// MSRs that are not in [`ireko_x86::Registers`], the APIC, the TSC or AMD-V's own state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msrs {
    pub mtrrs: Mtrrs,
    pub counters: Counters,
    pub tsc_adjust: u64,
    pub mcg_status: u64,
    pub syscfg: u64,
    pub hwcr: u64,
    pub de_cfg: u64,
    pub spec_ctrl: u64,
    /// What a system lets CPUID show, where it has said so: MSRs C001_1002 to C001_1005.
    pub levelling: [Option<u64>; 4],
    /// Accesses to MSRs that are not there, and the last of them.
    pub unknown: u64,
    pub last_unknown: u32,
}

impl Default for Msrs {
    fn default() -> Self {
        Self {
            mtrrs: Mtrrs::default(),
            counters: Counters::default(),
            tsc_adjust: 0,
            mcg_status: 0,
            syscfg: 0,
            hwcr: HWCR_TSC_FREQ_SEL,
            // LFENCE is serializing, as CPUID says.
            de_cfg: 1 << 1,
            spec_ctrl: 0,
            levelling: [None; 4],
            unknown: 0,
            last_unknown: 0,
        }
    }
}
