//! What runs inside a VM, of all its vCPUs together.

use ireko_vmcore::{Nesting, Vcpu, Window};
use std::time::Duration;

/// How long a vCPU may take to look up: it does so at the next jump, but its thread may have to wait for a processor.
const PATIENCE: Duration = Duration::from_millis(500);

/// A window for each vCPU.
#[derive(Clone, Default)]
pub struct Windows {
    of: Vec<Window>,
}

impl Windows {
    pub fn of(vcpus: &[Box<dyn Vcpu>]) -> Self {
        Self { of: vcpus.iter().filter_map(|vcpu| vcpu.window()).collect() }
    }

    /// `still`: no vCPU runs, so what was shown last is how it is.
    pub fn look(&self, still: bool) -> Nesting {
        let patience = if still { Duration::ZERO } else { PATIENCE };
        let mut windows = self.of.iter().map(|window| window.look(patience));
        let mut nesting = windows.next().unwrap_or_default();
        windows.for_each(|other| nesting.add(&other));
        nesting
    }
}
