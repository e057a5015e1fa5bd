//! What is around a processor: devices, time, its interrupt controller, and who wakes it.

// UNSAFETY: the bus is lent by reference for the time of a run; see `BusRef`.

use crate::apic::Wires;
use crate::siblings::Seat;
use crate::tsc::Counter;
use crate::tuning::Tuning;
use crate::wake::Wake;
use ireko_vmcore::{Bus, Clock};
use std::sync::Arc;

pub struct Platform {
    /// The machine's device space, set while the vCPU runs.
    pub bus: Option<BusRef>,
    pub clock: Clock,
    pub counter: Counter,
    /// What the local APIC is wired to.
    pub apic: Wires,
    /// How others get this vCPU's attention.
    pub wake: Arc<Wake>,
    /// Wakes the processor when a guest's hypervisor wants to hear of the time.
    pub(crate) alarm: ireko_vmcore::Timer,
    /// Its place among the machine's processors.
    pub(crate) seat: Seat,
    /// PAUSEs since this thread last gave its time to others.
    pub(crate) pauses: u32,
    /// Which short cuts the engine takes.
    pub(crate) tuning: Tuning,
    /// The bank whose `attention` others know.
    pub(crate) armed: *mut ireko_translate::Hot,
}

impl Platform {
    /// Wakes the processor after so many ticks of its counter.
    pub fn wake_after(&self, ticks: u64) {
        self.alarm.arm(self.clock.now().saturating_add(self.counter.nanoseconds(ticks)));
    }
}

/// The bus that `Vcpu::run` lends, for as long as it runs.
#[derive(Clone, Copy)]
pub struct BusRef(*const dyn Bus);

#[allow(unsafe_code)]
// SAFETY: a bus is Sync, so a reference to it may go anywhere; `new` promises that it lives.
unsafe impl Send for BusRef {}

#[allow(unsafe_code)]
impl BusRef {
    /// # Safety
    /// The result must not be used after `bus` is gone.
    pub unsafe fn new(bus: &dyn Bus) -> Self {
        // SAFETY: only the lifetime changes; the caller keeps to it.
        Self(unsafe { std::mem::transmute::<*const (dyn Bus + '_), *const (dyn Bus + 'static)>(bus) })
    }
}

#[allow(unsafe_code)]
impl std::ops::Deref for BusRef {
    type Target = dyn Bus;
    fn deref(&self) -> &Self::Target {
        // SAFETY: `new`'s caller promised that the bus lives.
        unsafe { &*self.0 }
    }
}
