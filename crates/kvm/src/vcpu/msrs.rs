//! MSRs, as far as they are not among a vCPU's other registers.

use super::saved::SavedVcpu;
use crate::state::{failed, read_msr, write_msr};
use ireko_vmcore::saved::ensure;
use ireko_vmcore::{HvError, Memory};
use ireko_x86::msr;
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use std::ops::RangeInclusive;
use vm_memory::{Bytes, GuestAddress};

/// What KVM keeps of a guest and does not list: memory types, machine-check banks, what a hypervisor may be forbidden, and a processor's own.
const MORE: [RangeInclusive<u32>; 9] = [
    msr::DEBUGCTL..=msr::DEBUGCTL,
    msr::MTRR_VARIABLE_FIRST..=msr::MTRR_VARIABLE_LAST,
    msr::MTRR_FIXED_64K..=msr::MTRR_FIXED_64K,
    msr::MTRR_FIXED_16K_FIRST..=msr::MTRR_FIXED_16K_LAST,
    msr::MTRR_FIXED_4K_FIRST..=msr::MTRR_FIXED_4K_LAST,
    msr::MTRR_DEF_TYPE..=msr::MTRR_DEF_TYPE,
    0x400..=0x47f,
    msr::VM_CR..=msr::VM_CR,
    msr::DE_CFG..=msr::DE_CFG,
];

/// Those that are saved by another way (a paused guest's time), and Hyper-V's, which no guest of ours is shown.
const OTHERWISE: [RangeInclusive<u32>; 3] =
    [msr::TSC..=msr::TSC, msr::TSC_DEADLINE..=msr::TSC_DEADLINE, 0x4000_0000..=0x4000_01ff];

/// A write of these puts the time of day into the guest's memory (Documentation/virt/kvm/x86/msr.rst): so many bytes.
const WALL_CLOCKS: [u32; 2] = [0x11, 0x4b56_4d00];
const WALL_CLOCK_SIZE: usize = 12;

/// Entries of one request; the kernel takes fewer than 256.
const AT_ONCE: usize = 128;

/// In the order of `listed`, which is that of KVM's list.
fn numbers(listed: &[u32]) -> Vec<u32> {
    let other = |number: &u32| OTHERWISE.iter().any(|range| range.contains(number));
    let listed = listed.iter().copied().filter(|number| !other(number));
    let more = MORE.iter().cloned().flatten().filter(|more| !listed.clone().any(|number| number == *more));
    more.chain(listed.clone()).collect()
}

/// What those have that this vCPU has.
pub fn read(vcpu: &VcpuFd, listed: &[u32]) -> Result<Vec<(u32, u64)>, HvError> {
    let (numbers, mut values) = (numbers(listed), Vec::new());
    let mut rest = &numbers[..];
    while !rest.is_empty() {
        let asked = &rest[..rest.len().min(AT_ONCE)];
        let entries: Vec<_> =
            asked.iter().map(|n| kvm_msr_entry { index: *n, ..Default::default() }).collect();
        let mut msrs = Msrs::from_entries(&entries)
            .map_err(|e| HvError::Unsupported(format!("a list of MSRs: {e:?}")))?;
        // It ends in front of the first that is not there.
        let count = vcpu.get_msrs(&mut msrs).map_err(failed("KVM_GET_MSRS"))?.min(asked.len());
        values.extend(msrs.as_slice()[..count].iter().map(|entry| (entry.index, entry.data)));
        rest = &rest[(count + usize::from(count < asked.len()))..];
    }
    Ok(values)
}

/// Writes those that have another value.
pub fn write(vcpu: &VcpuFd, listed: &[u32], values: &[(u32, u64)], memory: &Memory) -> Result<(), HvError> {
    let numbers = numbers(listed);
    for (number, value) in values.iter().copied() {
        let known = numbers.contains(&number);
        let now = if known { read_msr(vcpu, number) } else { None };
        if now.unwrap_or(0) == value {
            continue;
        }
        let takes = now.is_some() && write_one(vcpu, number, value, memory);
        ensure::<SavedVcpu>(takes, format!("this KVM does not take {value:#x} for MSR {number:#x}"))?;
    }
    Ok(())
}

fn write_one(vcpu: &VcpuFd, number: u32, value: u64, memory: &Memory) -> bool {
    if !WALL_CLOCKS.contains(&number) {
        return write_msr(vcpu, number, value);
    }
    // Memory is as it was saved, and the guest has read there what it asked for.
    let (at, mut was) = (GuestAddress(value), [0; WALL_CLOCK_SIZE]);
    let there = memory.ram().read_slice(&mut was, at).is_ok();
    let takes = write_msr(vcpu, number, value);
    if there {
        let _ = memory.ram().write_slice(&was, at);
    }
    takes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_list_in_its_order_without_times_and_with_what_it_leaves_out() {
        let numbers = numbers(&[0x174, msr::TSC, 0x4000_0021, msr::DE_CFG, msr::STAR, msr::TSC_DEADLINE]);
        let listed: Vec<_> = numbers.iter().copied().filter(|n| [0x174, msr::STAR].contains(n)).collect();
        assert_eq!(listed, [0x174, msr::STAR]);
        assert!(!numbers.contains(&msr::TSC) && !numbers.contains(&0x4000_0021));
        assert_eq!(numbers.iter().filter(|n| **n == msr::DE_CFG).count(), 1);
        assert!(numbers.contains(&msr::MTRR_DEF_TYPE) && numbers.contains(&0x400));
    }
}
