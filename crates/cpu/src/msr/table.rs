//! The MSRs that there are, and what each takes.

use super::custom as c;
use crate::processor::model::Model;
use crate::{Cpu, Next};
use ireko_x86::bits::debugctl;
use ireko_x86::cpuid::{self as f, Feature};
use ireko_x86::msr as m;
use ireko_x86::paging::canonicalize;
use ireko_x86::regs::seg;

/// One MSR, or several in a row that are alike.
pub struct Row {
    pub first: u32,
    pub last: u32,
    pub kind: Kind,
    /// It is there with any of these features; always if there are none.
    needs: &'static [Feature],
}

impl Row {
    const fn of(self, needs: &'static [Feature]) -> Self {
        Self { needs, ..self }
    }

    /// Whether a processor of this model has it.
    pub fn there(&self, model: &Model) -> bool {
        self.needs.is_empty() || self.needs.iter().any(|feature| model.has(*feature))
    }
}

pub enum Kind {
    /// A field, what it takes, and where execution goes on after a write.
    Field(fn(&mut Cpu) -> &mut u64, Rule, Next),
    /// Reads as this; a write is #GP.
    Constant(u64),
    /// Reads as this; a write does nothing: configuration of parts that are not here.
    Inert(u64),
    /// Routines; `None` is #GP.
    Custom(fn(&mut Cpu, u32) -> Option<u64>, fn(&mut Cpu, u32, u64) -> Option<Next>),
}

/// What a field takes; anything else is #GP.
#[derive(Clone, Copy)]
pub enum Rule {
    Any,
    Canonical,
    Bits(u64),
    /// Anything, of which the low half is kept.
    Low,
    /// Eight memory types, UC, WC, WT, WP, WB or UC- (APM vol. 2, 7.8).
    Pat,
}

impl Rule {
    /// What a field keeps of a value that it takes.
    pub fn keeps(self, value: u64) -> u64 {
        if matches!(self, Self::Low) { value & 0xffff_ffff } else { value }
    }

    /// `bits` is the width of the processor's linear addresses.
    pub fn takes(self, value: u64, bits: u32) -> bool {
        match self {
            Self::Any | Self::Low => true,
            Self::Canonical => canonicalize(value, bits) == value,
            Self::Bits(bits) => value & !bits == 0,
            Self::Pat => value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4 | 5 | 6 | 7)),
        }
    }
}

const fn row(number: u32, kind: Kind) -> Row {
    Row { first: number, last: number, kind, needs: &[] }
}
const fn rows(first: u32, last: u32, kind: Kind) -> Row {
    Row { first, last, kind, needs: &[] }
}

use Kind::{Constant, Custom, Field, Inert};
use Next::{Advance, Resync};
use Rule::{Any, Bits, Canonical, Low};

const LOW: Rule = Bits(0xffff_ffff);
/// What KVM tells its guests, too: no real part's revision.
const PATCH: u64 = 0x0100_0065;

/// Ascending.
pub static ROWS: &[Row] = &[
    row(m::TSC, Custom(c::read_tsc, c::write_tsc)).of(&[f::TSC]),
    row(m::APIC_BASE, Custom(c::read_apic_base, c::write_apic_base)).of(&[f::APIC]),
    row(m::TSC_ADJUST, Custom(c::read_tsc_adjust, c::write_tsc_adjust)).of(&[f::TSC_ADJUST]),
    row(m::SPEC_CTRL, Custom(c::read_speculation, c::write_speculation)).of(&[f::IBRS, f::STIBP, f::SSBD]),
    row(m::PRED_CMD, Custom(c::read_prediction, c::write_prediction)).of(&[f::IBPB]),
    row(m::PATCH_LEVEL, Inert(PATCH)),
    row(m::MTRR_CAP, Constant(crate::processor::mtrr::CAP)).of(&[f::MTRR]),
    row(m::SYSENTER_CS, Field(|cpu| &mut cpu.processor.regs.sysenter_cs, Any, Advance)).of(&[f::SEP]),
    // AMD's have 32 bits: the rest is not kept (APM vol. 2, 6.1.2).
    row(m::SYSENTER_ESP, Field(|cpu| &mut cpu.processor.regs.sysenter_esp, Low, Advance)).of(&[f::SEP]),
    row(m::SYSENTER_EIP, Field(|cpu| &mut cpu.processor.regs.sysenter_eip, Low, Advance)).of(&[f::SEP]),
    // No machine-check banks.
    row(m::MCG_CAP, Constant(0)).of(&[f::MCA]),
    row(m::MCG_STATUS, Field(|cpu| &mut cpu.processor.msrs.mcg_status, Bits(7), Advance)).of(&[f::MCA]),
    row(m::DEBUGCTL, Field(|cpu| &mut cpu.processor.regs.debugctl, Bits(debugctl::WRITABLE), Resync)),
    rows(m::LBR_FIRST, m::LBR_LAST, Custom(c::read_lbr, c::write_lbr)),
    rows(m::MTRR_VARIABLE_FIRST, m::MTRR_VARIABLE_LAST, Custom(c::read_mtrr, c::write_mtrr)).of(&[f::MTRR]),
    row(m::MTRR_FIXED_64K, Custom(c::read_mtrr, c::write_mtrr)).of(&[f::MTRR]),
    rows(m::MTRR_FIXED_16K_FIRST, m::MTRR_FIXED_16K_LAST, Custom(c::read_mtrr, c::write_mtrr)).of(&[f::MTRR]),
    rows(m::MTRR_FIXED_4K_FIRST, m::MTRR_FIXED_4K_LAST, Custom(c::read_mtrr, c::write_mtrr)).of(&[f::MTRR]),
    row(m::PAT, Field(|cpu| &mut cpu.processor.regs.pat, Rule::Pat, Advance)).of(&[f::PAT]),
    row(m::MTRR_DEF_TYPE, Custom(c::read_mtrr, c::write_mtrr)).of(&[f::MTRR]),
    row(m::TSC_DEADLINE, Custom(c::read_deadline, c::write_deadline)).of(&[f::TSC_DEADLINE]),
    rows(m::X2APIC_FIRST, m::X2APIC_LAST, Custom(c::read_x2apic, c::write_x2apic)).of(&[f::X2APIC]),
    row(m::XSS, Custom(c::read_xss, c::write_xss)).of(&[f::XSAVES]),
    row(m::EFER, Custom(c::read_efer, c::write_efer)),
    row(m::STAR, Field(|cpu| &mut cpu.processor.regs.star, Any, Advance)).of(&[f::SYSCALL]),
    row(m::LSTAR, Field(|cpu| &mut cpu.processor.regs.lstar, Canonical, Advance)).of(&[f::LM]),
    row(m::CSTAR, Field(|cpu| &mut cpu.processor.regs.cstar, Canonical, Advance)).of(&[f::LM]),
    row(m::SFMASK, Field(|cpu| &mut cpu.processor.regs.sfmask, LOW, Advance)).of(&[f::SYSCALL]),
    row(m::FS_BASE, Field(|cpu| &mut cpu.processor.regs.seg[seg::FS].base, Canonical, Resync)).of(&[f::LM]),
    row(m::GS_BASE, Field(|cpu| &mut cpu.processor.regs.seg[seg::GS].base, Canonical, Resync)).of(&[f::LM]),
    row(m::KERNEL_GS_BASE, Field(|cpu| &mut cpu.processor.regs.kernel_gs_base, Canonical, Advance))
        .of(&[f::LM]),
    row(m::TSC_AUX, Field(|cpu| &mut cpu.processor.regs.tsc_aux, LOW, Advance)).of(&[f::RDTSCP, f::RDPID]),
    row(m::TSC_RATIO, Custom(c::read_svm, c::write_svm)).of(&[f::SVM]),
    rows(m::PERF_EVENT_FIRST, m::PERF_CTR_LAST, Custom(c::read_counter, c::write_counter)),
    row(m::SYSCFG, Field(|cpu| &mut cpu.processor.msrs.syscfg, Bits(m::SYSCFG_BITS), Advance)),
    row(m::HWCR, Custom(c::read_hwcr, c::write_hwcr)),
    row(m::TOP_MEM, Inert(0)),
    row(m::TOP_MEM2, Inert(0)),
    row(m::NB_CFG, Inert(0)),
    row(m::INT_PENDING, Inert(0)),
    // One P-state.
    row(m::PSTATE_LIMIT, Constant(0)),
    row(m::PSTATE_CONTROL, Inert(0)),
    row(m::PSTATE_STATUS, Constant(0)),
    row(m::PSTATE_0, Custom(c::read_pstate, c::write_pstate)),
    rows(m::SMM_BASE, m::SMM_MASK, Custom(c::read_smm, c::write_smm)),
    rows(m::VM_CR, m::SVM_KEY, Custom(c::read_svm, c::write_svm)).of(&[f::SVM]),
    // No errata.
    rows(m::OSVW_FIRST, m::OSVW_LAST, Inert(0)).of(&[f::OSVW]),
    rows(m::PERF_CORE_FIRST, m::PERF_CORE_LAST, Custom(c::read_core_counter, c::write_core_counter))
        .of(&[f::PERFCTR_CORE]),
    rows(m::CPUID_7, m::CPUID_EXTENDED, Custom(c::read_levelling, c::write_levelling)),
    rows(m::LS_CFG, m::TW_CFG, Inert(0)),
    row(m::DE_CFG, Field(|cpu| &mut cpu.processor.msrs.de_cfg, Any, Advance)),
    row(m::BU_CFG2, Inert(0)),
];

/// The row of an MSR, of whatever model.
fn find(number: u32) -> Option<&'static Row> {
    let n = ROWS.partition_point(|row| row.last < number);
    ROWS.get(n).filter(|row| row.first <= number)
}

/// What an MSR of this model's is; `None`: it has none of that number.
pub fn kind(number: u32, model: &Model) -> Option<&'static Kind> {
    find(number).filter(|row| row.there(model)).map(|row| &row.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_do_not_overlap() {
        assert!(ROWS.windows(2).all(|pair| pair[0].last < pair[1].first));
        assert!(ROWS.iter().all(|row| row.first <= row.last));
    }

    #[test]
    fn an_msr_inside_a_range_is_found_and_one_between_is_not() {
        assert!(find(m::X2APIC_FIRST + 0x30).is_some());
        assert!(find(m::STAR + 0x10).is_none() && find(u32::MAX).is_none() && find(0).is_none());
    }

    #[test]
    fn pat_takes_no_reserved_type() {
        assert!(Rule::Pat.takes(0x0007_0406_0007_0406, 48));
        assert!(!Rule::Pat.takes(0x0002_0406_0007_0406, 48));
    }
}
