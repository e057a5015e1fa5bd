//! A partition's clocks while its machine is paused. They are KVM's and go on with the host's: so they are read when the machine comes to rest,
//! and set back to that when it goes on.

use crate::request;
use crate::state::{failed, read_msr, refused, write_msr};
use ireko_vmcore::HvError;
use ireko_x86::msr;
use kvm_bindings::{
    KVM_PIT_FLAGS_HPET_LEGACY, kvm_clock_data, kvm_lapic_state, kvm_pit_channel_state, kvm_pit_state2,
};
use kvm_ioctls::{VcpuFd, VmFd};
use std::collections::BTreeMap;

/// What the clocks showed when they were stopped.
#[derive(Clone)]
pub struct Stopped {
    /// KVM's clock for guests, in nanoseconds.
    pub clock: u64,
    pub pit: Pit,
    /// By the vCPU's number.
    pub vcpus: BTreeMap<u32, Times>,
}

/// One vCPU's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub tsc: u64,
    /// Of the local APIC's timer: the TSC at which it is due, or 0; and the current count.
    pub deadline: u64,
    pub count: u32,
}

/// The interval timer.
#[derive(Clone, Copy, Debug)]
pub struct Pit {
    pub state: kvm_pit_state2,
    /// It was not stopped.
    pub goes: bool,
}

pub type Vcpus = BTreeMap<u32, VcpuFd>;

impl Stopped {
    /// Of a machine whose vCPUs do not run.
    pub fn now(vm: &VmFd, vcpus: &Vcpus) -> Result<Self, HvError> {
        // One reading for all of them, so that they stay as far apart as they are.
        let base = base(vcpus)?;
        let times = vcpus.iter().map(|(id, vcpu)| Ok((*id, Times::of(vcpu, base)?)));
        let vcpus = times.collect::<Result<_, HvError>>()?;
        let clock = vm.get_clock().map_err(failed("KVM_GET_CLOCK"))?.clock;
        let pit = Pit::stop(vm).map_err(failed("KVM_GET_PIT2"))?;
        Ok(Self { clock, pit, vcpus })
    }

    /// They go on from there. Nothing may interrupt the vCPUs meanwhile: their local APICs are written.
    pub fn go_on(&self, vm: &VmFd, vcpus: &Vcpus) -> Result<(), HvError> {
        let base = base(vcpus)?;
        let known = || vcpus.iter().filter_map(|(id, vcpu)| Some((vcpu, self.vcpus.get(id)?)));
        for (vcpu, times) in known() {
            request::set_tsc_offset(vcpu, times.tsc.wrapping_sub(base))
                .map_err(refused("KVM_VCPU_TSC_OFFSET"))?;
        }
        let clock = kvm_clock_data { clock: self.clock, ..Default::default() };
        vm.set_clock(&clock).map_err(failed("KVM_SET_CLOCK"))?;
        known().try_for_each(|(vcpu, times)| times.start(vcpu))?;
        self.pit.start(vm).map_err(failed("KVM_SET_PIT2"))
    }
}

/// The host's TSC at the guest's rate: what every vCPU's offset is added to.
fn base(vcpus: &Vcpus) -> Result<u64, HvError> {
    let Some(vcpu) = vcpus.values().next() else { return Ok(0) };
    let unknown = || HvError::Unsupported("this KVM does not tell a guest's TSC".into());
    let tsc = read_msr(vcpu, msr::TSC).ok_or_else(unknown)?;
    Ok(tsc.wrapping_sub(request::tsc_offset(vcpu).map_err(refused("KVM_VCPU_TSC_OFFSET"))?))
}

/// Registers of a local APIC by their place in its page (SDM vol. 3, table 12-1), and the timer's mode in the first.
mod lapic {
    pub const LVT_TIMER: usize = 0x320;
    pub const CURRENT_COUNT: usize = 0x390;
    pub const MODES: u32 = 3 << 17;
    pub const DEADLINE: u32 = 2 << 17;
}

fn register(page: &kvm_lapic_state, at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| page.regs[at + n] as u8))
}

/// Puts the timer's current count into a local APIC's page.
pub fn set_count(page: &mut kvm_lapic_state, count: u32) {
    for (register, byte) in page.regs[lapic::CURRENT_COUNT..].iter_mut().zip(count.to_le_bytes()) {
        *register = byte as _;
    }
}

/// What a page says of it.
pub fn count(page: &kvm_lapic_state) -> u32 {
    register(page, lapic::CURRENT_COUNT)
}

impl Times {
    fn of(vcpu: &VcpuFd, base: u64) -> Result<Self, HvError> {
        let offset = request::tsc_offset(vcpu).map_err(refused("KVM_VCPU_TSC_OFFSET"))?;
        let page = vcpu.get_lapic().map_err(failed("KVM_GET_LAPIC"))?;
        Ok(Self {
            tsc: base.wrapping_add(offset),
            deadline: read_msr(vcpu, msr::TSC_DEADLINE).unwrap_or(0),
            count: count(&page),
        })
    }

    /// Starts the timer anew. One that is due and not yet heard of has a deadline, still; of one that counts down KVM does not tell, and leaves it
    /// pending as long as it is not started.
    fn start(&self, vcpu: &VcpuFd) -> Result<(), HvError> {
        let mut page = vcpu.get_lapic().map_err(failed("KVM_GET_LAPIC"))?;
        if register(&page, lapic::LVT_TIMER) & lapic::MODES == lapic::DEADLINE {
            if self.deadline != 0 {
                write_msr(vcpu, msr::TSC_DEADLINE, self.deadline);
            }
        } else if self.count != 0 {
            set_count(&mut page, self.count);
            vcpu.set_lapic(&page).map_err(failed("KVM_SET_LAPIC"))?;
        }
        Ok(())
    }
}

impl Pit {
    /// KVM runs no timer for channel 0 while an HPET is in its place.
    fn stop(vm: &VmFd) -> Result<Self, kvm_ioctls::Error> {
        let state = vm.get_pit2()?;
        let goes = counts_once(&state.channels[0]);
        if !goes {
            vm.set_pit2(&kvm_pit_state2 { flags: state.flags | KVM_PIT_FLAGS_HPET_LEGACY, ..state })?;
        }
        Ok(Self { state, goes })
    }

    /// Each channel counts anew: KVM takes no time at which it was loaded.
    fn start(&self, vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
        if self.goes { Ok(()) } else { vm.set_pit2(&self.state) }
    }
}

/// In modes 0, 1 and 4 (8254, modes of operation). KVM does not tell whether it has, and loaded anew it would do so again.
fn counts_once(channel: &kvm_pit_channel_state) -> bool {
    matches!(channel.mode, 0 | 1 | 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_where_the_manual_has_it() {
        let mut page = kvm_lapic_state::default();
        set_count(&mut page, 0x8234_5678);
        assert_eq!((count(&page), page.regs[0x390], page.regs[0x393]), (0x8234_5678, 0x78, -126));
    }
}
