//! What is around a processor: devices, time, its interrupt controller, and who wakes it.

use crate::apic::Apic;
use crate::cpu::BusRef;
use crate::tsc::Tsc;
use crate::wake::Wake;
use ireko_vmcore::Clock;
use std::sync::Arc;

pub struct Platform {
    /// The machine's device space, set while the vCPU runs.
    pub bus: Option<BusRef>,
    pub clock: Clock,
    /// The time-stamp counter of the processor's own world.
    pub tsc: Tsc,
    pub apic: Apic,
    /// How others get this vCPU's attention.
    pub wake: Arc<Wake>,
    /// The only vCPU of its partition.
    pub(crate) lone: bool,
}
