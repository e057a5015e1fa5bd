//! Amounts of memory (reference: 1.4 and 2.2).

use crate::state::State;
use crate::store::Memory;
use crate::store::config::MIB;

const STEP: u64 = 2 * MIB;
const LEAST: u64 = 32 * MIB;
/// WS2016's limit for a generation 2 VM.
const MOST: u64 = 12 << 40;

/// Every amount is a multiple of 2 MiB, and Minimum <= Startup <= Maximum where memory is dynamic.
pub fn check(memory: &Memory) -> Result<(), String> {
    for (what, amount) in
        [("Startup", memory.startup), ("Minimum", memory.minimum), ("Maximum", memory.maximum)]
    {
        if amount % STEP != 0 {
            return Err(format!(
                "Failed to modify device 'Memory'. {what} memory is {amount} bytes, which is no multiple of 2 MB; round it to {}.",
                amount.div_ceil(STEP).saturating_mul(STEP)
            ));
        }
        if !(LEAST..=MOST).contains(&amount) {
            return Err(format!(
                "Failed to modify device 'Memory'. {what} memory is {} MB; it must be from {} MB to {} MB.",
                amount / MIB,
                LEAST / MIB,
                MOST / MIB
            ));
        }
    }
    if memory.dynamic && !(memory.minimum <= memory.startup && memory.startup <= memory.maximum) {
        return Err(format!(
            "Failed to modify device 'Memory'. Minimum ({} MB) <= Startup ({} MB) <= Maximum ({} MB) must hold with dynamic memory.",
            memory.minimum / MIB,
            memory.startup / MIB,
            memory.maximum / MIB
        ));
    }
    Ok(())
}

/// Whether memory may change from `old` to `new` now. `hypervisor`: one runs inside (None: not known).
pub fn check_change(
    old: &Memory,
    new: &Memory,
    state: State,
    hypervisor: Option<bool>,
) -> Result<(), String> {
    if state == State::Off || old == new {
        return Ok(());
    }
    if old.dynamic != new.dynamic {
        return Err(
            "Failed to modify device 'Memory'. Dynamic memory is switched on and off only while the virtual machine is Off; use Stop-VM first.".into(),
        );
    }
    if old.startup != new.startup && hypervisor == Some(true) {
        return Err(
            "Failed to modify device 'Memory'. A hypervisor runs inside the virtual machine, so its memory stays constant; turn the virtual machine off, or unload that hypervisor.".into(),
        );
    }
    if (old.startup, old.minimum, old.maximum) != (new.startup, new.minimum, new.maximum) {
        return Err(format!(
            "Failed to modify device 'Memory'. Changing the memory of a virtual machine that is {state} is not there yet; use Stop-VM first."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(startup: u64) -> Memory {
        Memory { startup, ..Memory::default() }
    }

    #[test]
    fn memory_is_a_multiple_of_two_mebibytes() {
        assert!(check(&of(512 * MIB)).is_ok());
        assert!(check(&of(513 * MIB)).unwrap_err().contains(&(514 * MIB).to_string()));
    }

    #[test]
    fn absurd_amounts_are_refused() {
        for amount in [0, u64::MAX - 1, 1 << 62] {
            assert!(check(&of(amount)).is_err(), "{amount}");
        }
    }

    #[test]
    fn dynamic_memory_keeps_its_order() {
        let wrong = Memory { dynamic: true, startup: 256 * MIB, ..Memory::default() };
        assert!(check(&wrong).is_err());
        assert!(check(&Memory { dynamic: false, ..wrong }).is_ok());
    }

    #[test]
    fn a_running_vm_with_a_hypervisor_inside_says_why_it_keeps_its_memory() {
        let error = check_change(&of(1 << 30), &of(2 << 30), State::Running, Some(true)).unwrap_err();
        assert!(error.contains("hypervisor runs inside"));
    }

    #[test]
    fn an_unchanged_value_is_no_change() {
        assert!(check_change(&of(1 << 30), &of(1 << 30), State::Running, Some(true)).is_ok());
    }

    #[test]
    fn dynamic_memory_is_switched_only_off() {
        let dynamic = Memory { dynamic: true, ..Memory::default() };
        assert!(check_change(&Memory::default(), &dynamic, State::Running, None).is_err());
        assert!(check_change(&Memory::default(), &dynamic, State::Off, None).is_ok());
    }
}
