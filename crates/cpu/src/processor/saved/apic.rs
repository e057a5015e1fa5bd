//! The local APIC.

use super::SavedProcessor;
use crate::processor::apic::{ApicTimer, LocalApic, entry};
use crate::processor::vectors::Vectors;
use ireko_vmcore::saved::{RestoreError, ensure};
use ireko_x86::apic::base;
use serde::{Deserialize, Serialize};

/// Registers by their names in the manuals; times are the machine's clock's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedApic {
    pub id: u32,
    /// IA32_APIC_BASE.
    pub base: u64,
    pub tpr: u8,
    pub ldr: u32,
    pub dfr: u32,
    pub svr: u32,
    pub irr: [u64; 4],
    pub isr: [u64; 4],
    pub tmr: [u64; 4],
    /// Errors since the last write of ESR, and those that it shows.
    pub errors: u32,
    pub esr: u32,
    pub icr: u64,
    /// Timer, thermal, performance, LINT0, LINT1, error.
    pub lvt: [u32; entry::COUNT],
    pub timer_initial: u32,
    pub timer_divide: u32,
    /// When the count reaches zero.
    pub timer_zero_at: Option<u64>,
    pub timer_deadline: u64,
    // What came and was not taken.
    /// At most two.
    pub nmis: u8,
    pub smi: bool,
    pub init: bool,
    pub startup: Option<u8>,
    pub extint: bool,
}

/// Later than any time there is.
const END: u64 = 1 << 60;

impl SavedApic {
    pub(super) fn of(apic: &LocalApic) -> Self {
        Self {
            id: apic.id,
            base: apic.base,
            tpr: apic.tpr,
            ldr: apic.ldr,
            dfr: apic.dfr,
            svr: apic.svr,
            irr: apic.irr.0,
            isr: apic.isr.0,
            tmr: apic.tmr.0,
            errors: apic.errors,
            esr: apic.esr,
            icr: apic.icr,
            lvt: apic.lvt,
            timer_initial: apic.timer.initial,
            timer_divide: apic.timer.divide,
            timer_zero_at: apic.timer.zero_at,
            timer_deadline: apic.timer.deadline,
            nmis: apic.nmis,
            smi: apic.smi,
            init: apic.init,
            startup: apic.startup,
            extint: apic.extint,
        }
    }

    pub(super) fn apic(self, own: LocalApic) -> Result<LocalApic, RestoreError> {
        ensure::<SavedProcessor>(self.id == own.id, format!("it has the APIC ID {}", self.id))?;
        let known = base::BSP | base::EN | base::EXTD | base::ADDRESS;
        let mode = self.base & (base::EN | base::EXTD) != base::EXTD;
        ensure::<SavedProcessor>(self.base & !known == 0 && mode, format!("APIC_BASE is {:#x}", self.base))?;
        let zero_at = self.timer_zero_at;
        ensure::<SavedProcessor>(zero_at.unwrap_or(0) < END, format!("its timer ends at {zero_at:?}"))?;
        Ok(LocalApic {
            id: self.id,
            base: self.base,
            tpr: self.tpr,
            ldr: self.ldr,
            dfr: self.dfr,
            svr: self.svr,
            irr: Vectors(self.irr),
            isr: Vectors(self.isr),
            tmr: Vectors(self.tmr),
            errors: self.errors,
            esr: self.esr,
            icr: self.icr,
            lvt: self.lvt,
            timer: ApicTimer {
                initial: self.timer_initial,
                divide: self.timer_divide & 0xb,
                zero_at,
                deadline: self.timer_deadline,
            },
            nmis: self.nmis.min(2),
            smi: self.smi,
            init: self.init,
            startup: self.startup,
            extint: self.extint,
        })
    }
}
