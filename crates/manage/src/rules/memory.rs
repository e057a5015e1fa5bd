//! Amounts of memory (reference: 1.4 and 2.2).

use crate::state::State;
use crate::store::Memory;
use crate::store::config::MIB;
use ireko_machine::MemoryState;

const STEP: u64 = 2 * MIB;
const LEAST: u64 = 32 * MIB;
/// WS2016's limit for a generation 2 VM.
const MOST: u64 = 12 << 40;

/// How much more than at its start a static VM can have while it runs.
const GROWTH: u64 = 16;

/// The most that a VM can ever have without a new start: its devices leave room for it. With dynamic memory that is Maximum,
/// otherwise a multiple of Startup; in both cases no more than the host has.
pub fn most(memory: &Memory, host: u64) -> u64 {
    let wanted = if memory.dynamic { memory.maximum } else { memory.startup.saturating_mul(GROWTH) };
    (wanted.min(host) / STEP * STEP).max(memory.startup)
}

/// The most that a VM has with these settings.
pub fn allowed(memory: &Memory) -> u64 {
    if memory.dynamic { memory.maximum.max(memory.startup) } else { memory.startup }
}

/// What to tell of a Maximum that was raised while the VM runs, if it is above what its devices can give and the host has.
pub fn beyond(new: &Memory, reachable: u64, host: u64) -> Option<String> {
    (new.dynamic && most(new, host) > reachable).then(|| {
        format!(
            "It was started with room for {} MB, and a Maximum of {} MB counts from its next start on.",
            reachable / MIB,
            new.maximum / MIB
        )
    })
}

/// Whether the running VM `now` can have `startup` bytes, with `free` bytes on the host.
pub fn check_resize(startup: u64, now: &MemoryState, free: u64) -> Result<(), String> {
    let (assigned, reachable) = (now.assigned(), now.base + now.room);
    let refuse = |why: String| Err(format!("Failed to modify device 'Memory'. {why}"));
    let missing = if startup > now.base { (!now.can_grow).then_some("virtio-mem") } else { None };
    let missing = missing.or_else(|| (startup < assigned && !now.can_shrink).then_some("virtio-balloon"));
    if startup > reachable {
        return refuse(format!(
            "The virtual machine can have {} MB at most while it runs, and {} MB were asked for; use Stop-VM first.",
            reachable / MIB,
            startup / MIB
        ));
    }
    if startup.saturating_sub(assigned) > free {
        return refuse(format!(
            "Not enough memory in the system: {} megabytes more were asked for and {} megabytes are free; use less.",
            (startup - assigned) / MIB,
            free / MIB
        ));
    }
    match missing {
        Some(driver) => refuse(format!(
            "The guest has no driver for {driver} yet, so its memory stays at {} MB; load that driver in it, wait until it is up, or use Stop-VM first.",
            assigned / MIB
        )),
        None => Ok(()),
    }
}

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
    let refuse = |why: String| Err(format!("Failed to modify device 'Memory'. {why}"));
    if old.startup != new.startup && old.dynamic {
        return refuse("With dynamic memory, Startup memory changes only while the virtual machine is Off; use Stop-VM first, or change Maximum or Minimum.".into());
    }
    if old.dynamic && (new.minimum > old.minimum || new.maximum < old.maximum) {
        return refuse(format!(
            "While a virtual machine with dynamic memory runs, its Maximum ({} MB) can only be raised and its Minimum ({} MB) only lowered; use Stop-VM first.",
            old.maximum / MIB,
            old.minimum / MIB
        ));
    }
    if old.startup != new.startup && hypervisor == Some(true) {
        return refuse("A hypervisor runs inside the virtual machine, so its memory stays constant; unload that hypervisor in the guest, or use Stop-VM first.".into());
    }
    if old.startup != new.startup && state != State::Running {
        return refuse(format!(
            "The memory of a virtual machine that is {state} does not change; use Resume-VM or Stop-VM first."
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
    fn a_running_static_vm_is_resized_and_a_paused_one_is_not() {
        assert!(check_change(&of(1 << 30), &of(2 << 30), State::Running, Some(false)).is_ok());
        assert!(check_change(&of(1 << 30), &of(2 << 30), State::Paused, None).is_err());
    }

    #[test]
    fn running_dynamic_memory_widens_and_does_not_narrow() {
        let old = Memory { dynamic: true, maximum: 2 << 30, ..Memory::default() };
        let change = |new: Memory| check_change(&old, &new, State::Running, Some(true));
        assert!(change(Memory { maximum: 4 << 30, ..old.clone() }).is_ok());
        assert!(change(Memory { minimum: 256 * MIB, buffer: 50, ..old.clone() }).is_ok());
        assert!(change(Memory { maximum: 1 << 30, ..old.clone() }).unwrap_err().contains("only be raised"));
        assert!(change(Memory { minimum: 768 * MIB, ..old.clone() }).unwrap_err().contains("only lowered"));
        assert!(change(Memory { startup: 768 * MIB, ..old.clone() }).unwrap_err().contains("Startup"));
    }

    const NOW: MemoryState = MemoryState {
        base: 512 * MIB,
        plugged: 0,
        room: 1024 * MIB,
        ballooned: 0,
        can_grow: true,
        can_shrink: true,
        statistics: None,
    };

    #[test]
    fn a_resize_needs_room_memory_and_a_driver() {
        let check = |startup: u64, now: MemoryState| check_resize(startup * MIB, &now, 300 * MIB);
        assert!(check(768, NOW).is_ok());
        assert!(check(256, NOW).is_ok());
        assert!(check(2048, NOW).unwrap_err().contains("1536 MB at most"));
        assert!(check(1024, NOW).unwrap_err().contains("512 megabytes more"));
        let bare = MemoryState { can_grow: false, can_shrink: false, ..NOW };
        assert!(check(768, bare).unwrap_err().contains("virtio-mem"));
        assert!(check(256, bare).unwrap_err().contains("virtio-balloon"));
        assert!(check(512, MemoryState { ballooned: 128 * MIB, can_grow: false, ..NOW }).is_ok());
    }

    #[test]
    fn the_most_is_what_dynamic_memory_may_need_and_the_host_has() {
        assert_eq!(most(&of(1 << 30), 64 << 30), 16 << 30);
        assert_eq!(most(&of(1 << 30), (8 << 30) + 4096), 8 << 30);
        assert_eq!(most(&Memory { dynamic: true, ..of(1 << 30) }, 64 << 30), 64 << 30);
        assert_eq!(most(&of(16 << 30), 8 << 30), 16 << 30);
    }

    #[test]
    fn maximum_bounds_what_can_ever_be_had() {
        let dynamic = |maximum| Memory { dynamic: true, maximum, ..of(1 << 30) };
        assert_eq!(most(&dynamic(2 << 30), 64 << 30), 2 << 30);
        assert_eq!((allowed(&dynamic(2 << 30)), allowed(&of(1 << 30))), (2 << 30, 1 << 30));
    }

    #[test]
    fn a_maximum_above_the_room_of_the_start_is_told() {
        let raised = Memory { dynamic: true, maximum: 4 << 30, ..of(1 << 30) };
        assert!(beyond(&raised, 2 << 30, 64 << 30).unwrap().contains("2048 MB"));
        assert_eq!(beyond(&raised, 4 << 30, 64 << 30), None);
        assert_eq!(beyond(&raised, 2 << 30, 2 << 30), None);
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
