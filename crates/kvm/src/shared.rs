//! What a partition and its vCPUs share.

use crate::clocks::{Stopped, Vcpus};
use crate::state::failed;
use ireko_vmcore::{HvError, Memory};
use kvm_bindings::{
    KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_NESTED_STATE, KVM_CAP_X86_TRIPLE_FAULT_EVENT, KVM_CAP_XSAVE2,
    kvm_enable_cap, kvm_xsave,
};
use kvm_ioctls::{Kvm, VmFd};
use std::sync::{Arc, Mutex, MutexGuard};

pub struct Shared {
    // Field order is drop order: vCPUs go before their VM, and that before the memory it maps.
    vcpus: Mutex<Vcpus>,
    /// While the machine is paused, and if KVM tells all of it.
    stopped: Mutex<Option<Stopped>>,
    pub layout: Layout,
    pub vm: Arc<VmFd>,
    pub memory: Arc<Memory>,
}

/// How much there is to save of a vCPU, by what this KVM says.
pub struct Layout {
    /// The MSRs that are the guest's (KVM_GET_MSR_INDEX_LIST).
    pub msrs: Vec<u32>,
    /// Bytes of an XSAVE area, and of what a nested guest is; 0: there is none.
    pub xsave: usize,
    pub nested: usize,
}

impl Layout {
    pub fn of(kvm: &Kvm, vm: &VmFd) -> Result<Self, HvError> {
        let msrs = kvm.get_msr_index_list().map_err(failed("KVM_GET_MSR_INDEX_LIST"))?;
        let size = |cap: u32| vm.check_extension_raw(u64::from(cap)).max(0) as usize;
        Ok(Self {
            msrs: msrs.as_slice().to_vec(),
            xsave: size(KVM_CAP_XSAVE2).max(size_of::<kvm_xsave>()),
            nested: size(KVM_CAP_NESTED_STATE),
        })
    }
}

/// Lets events of a vCPU be told as they are: without these an exception that is pending, and a triple fault, lose what they are on the way.
pub fn tell_events(vm: &VmFd) {
    for cap in [KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X86_TRIPLE_FAULT_EVENT] {
        // An older kernel has neither.
        let _ = vm.enable_cap(&kvm_enable_cap { cap, args: [1, 0, 0, 0], ..Default::default() });
    }
}

impl Shared {
    pub fn new(layout: Layout, vm: Arc<VmFd>, memory: Arc<Memory>) -> Self {
        Self { vcpus: Mutex::default(), stopped: Mutex::default(), layout, vm, memory }
    }

    pub fn vcpus(&self) -> MutexGuard<'_, Vcpus> {
        self.vcpus.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stopped>> {
        self.stopped.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Of a machine that is paused: what its clocks show.
    pub fn stopped<T>(&self, look: impl FnOnce(&mut Stopped) -> T) -> Result<T, HvError> {
        let mut stopped = self.lock();
        let stopped = stopped.as_mut().ok_or_else(|| {
            HvError::Unsupported(
                "KVM does not tell a guest's clocks here, so that it cannot be saved: that takes Linux 5.17"
                    .into(),
            )
        })?;
        Ok(look(stopped))
    }

    pub fn stop(&self) {
        // Where KVM does not tell, they go on.
        *self.lock() = Stopped::now(&self.vm, &self.vcpus()).ok();
    }

    pub fn go_on(&self) {
        if let Some(stopped) = self.lock().take() {
            // What KVM does not take goes on with the host's time.
            let _ = stopped.go_on(&self.vm, &self.vcpus());
        }
    }
}
