//! The guest of a guest, as KVM gives it (struct kvm_nested_state): a header, and of AMD's virtualization a page.

use crate::request::NESTED_HEADER;
use kvm_bindings::KVM_STATE_NESTED_FORMAT_SVM;
use std::ops::Range;

/// Where a state has its format.
const FORMAT: Range<usize> = 2..4;
/// In the page, behind the controls: the registers with which the guest's hypervisor waits.
const REGISTERS: usize = 0x400;
/// What KVM takes back of those (svm_copy_vmrun_state), which is what #VMEXIT loads (APM vol. 2, 15.6, with the places of table B-2): ES, CS, SS, DS;
/// GDTR; IDTR; EFER; CR4, CR3, CR0; RFLAGS, RIP; RSP, S_CET, SSP, ISST_ADDR, RAX; DEBUGCTL and last branches. The rest is what it happened to be.
const TAKEN: [Range<usize>; 8] =
    [0..0x40, 0x60..0x70, 0x80..0x90, 0xd0..0xd8, 0x148..0x160, 0x170..0x180, 0x1d8..0x1e0, 0x1f8..0x200];

/// A state without what is not taken back, so that it is the same where it was loaded.
pub fn taken_back(mut state: Vec<u8>) -> Vec<u8> {
    if state[FORMAT] == (KVM_STATE_NESTED_FORMAT_SVM as u16).to_le_bytes() {
        let registers = state.iter_mut().skip(NESTED_HEADER + REGISTERS).enumerate();
        let others = registers.filter(|(at, _)| !TAKEN.iter().any(|range| range.contains(at)));
        others.for_each(|(_, byte)| *byte = 0);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(format: u8) -> Vec<u8> {
        let mut state = vec![7; NESTED_HEADER + 0x1000];
        state[FORMAT].copy_from_slice(&[format, 0]);
        state
    }

    #[test]
    fn of_a_hypervisors_registers_those_stay_that_an_exit_loads() {
        let kept = taken_back(state(1));
        let register = |at: usize| kept[NESTED_HEADER + REGISTERS + at];
        assert_eq!((register(0x178), register(0x1f8), register(0x158)), (7, 7, 7));
        assert_eq!((register(0x168), register(0x40), register(0x200)), (0, 0, 0));
        assert_eq!(kept[..NESTED_HEADER + REGISTERS], state(1)[..NESTED_HEADER + REGISTERS]);
    }

    #[test]
    fn another_vendors_state_stays_as_it_is() {
        assert_eq!(taken_back(state(0)), state(0));
    }
}
