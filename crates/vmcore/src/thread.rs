//! What the threads of a machine do, for whoever confines them.

use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static VCPU: Cell<u32> = const { Cell::new(0) };
}

/// This thread runs a vCPU from now on.
pub fn runs_vcpu(id: u32) {
    VCPU.set(id);
}

/// The vCPU whose access a device serves on this thread; the first one on others' threads.
pub fn vcpu() -> u32 {
    VCPU.get()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Runs guest code, and what that asks of devices at once.
    Vcpu,
    /// Calls back when timers of devices and local APICs are due.
    Timers,
    /// Carries frames between a switch's port and a network adapter.
    Network,
    /// Reads and writes a disk.
    Disk,
    /// Serves a device that needs memory alone, and descriptors that are open.
    Device,
    /// Uses names of files for the others.
    Broker,
}

/// What every thread of a machine does first. By default nothing.
#[derive(Clone, Default)]
pub struct OnThread(Option<Arc<dyn Fn(Work) + Send + Sync>>);

impl OnThread {
    pub fn new(first: impl Fn(Work) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(first)))
    }

    /// Called by the thread itself.
    pub fn begin(&self, work: Work) {
        self.0.iter().for_each(|first| first(work));
    }
}

impl std::fmt::Debug for OnThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "OnThread(confined)" } else { "OnThread" })
    }
}
