//! The MSRs of AMD-V (APM vol. 2, 15.30 and 15.31).

use super::State;
use crate::TscScale;
use ireko_x86::msr::{TSC_RATIO, VM_CR, VM_HSAVE_PA};
use ireko_x86::vmcb::vm_cr::{DEFINED, LOCK, SVMDIS};
use ireko_x86::vmcb::{MSR_SVM_KEY, TSC_RATIO_RESERVED};

/// IGNNE: nothing here has a FERR# pin, so it reads as zero.
const IGNNE: u32 = 0xc001_0115;

/// What TSC_RATIO says: 8.32 fixed point (15.30.5).
pub const fn tsc_scale(ratio: u64) -> TscScale {
    TscScale { multiplier: ratio, fraction: 32 }
}

/// A write that is #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// `None`: not one of ours.
pub fn read(state: &State, msr: u32) -> Option<u64> {
    match msr {
        VM_CR => Some(state.vm_cr),
        VM_HSAVE_PA => Some(state.hsave_pa),
        TSC_RATIO => Some(state.tsc_ratio),
        MSR_SVM_KEY | IGNNE => Some(0),
        _ => None,
    }
}

/// `None`: not one of ours. `svme` is EFER.SVME.
pub fn write(state: &mut State, msr: u32, value: u64, svme: bool) -> Option<Result<(), Refused>> {
    let allowed = match msr {
        VM_CR => return Some(write_vm_cr(state, value, svme)),
        VM_HSAVE_PA => state.caps.vmcb_address(value),
        TSC_RATIO => value & TSC_RATIO_RESERVED == 0,
        MSR_SVM_KEY | IGNNE => true,
        _ => return None,
    };
    if !allowed {
        return Some(Err(Refused));
    }
    match msr {
        VM_HSAVE_PA => state.hsave_pa = value,
        TSC_RATIO => state.tsc_ratio = value,
        MSR_SVM_KEY => write_key(state, value),
        _ => {}
    }
    Some(Ok(()))
}

/// While LOCK is set, LOCK and SVMDIS stay as they are. SVMDIS cannot be set while EFER.SVME is.
fn write_vm_cr(state: &mut State, value: u64, svme: bool) -> Result<(), Refused> {
    if value & !DEFINED != 0 {
        return Err(Refused);
    }
    let fixed = if state.vm_cr & LOCK != 0 { LOCK | SVMDIS } else { 0 };
    let value = value & !fixed | state.vm_cr & fixed;
    if svme && value & !state.vm_cr & SVMDIS != 0 {
        return Err(Refused);
    }
    state.vm_cr = value;
    Ok(())
}

/// Sets the key while VM_CR is not locked; unlocks with the same key, unless that is zero.
fn write_key(state: &mut State, value: u64) {
    if state.vm_cr & LOCK == 0 {
        state.key = value;
    } else if state.key != 0 && state.key == value {
        state.vm_cr &= !LOCK;
    }
}
