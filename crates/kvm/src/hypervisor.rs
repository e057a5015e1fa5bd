//! `/dev/kvm` as a [`Hypervisor`].

use crate::cpuid;
use crate::partition::KvmPartition;
use crate::state::failed;
use ireko_vmcore::{Caps, CpuModel, HvError, Hypervisor, Partition, PartitionSpec};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};
use std::sync::Arc;

/// The host's KVM.
pub struct KvmHypervisor {
    pub(crate) kvm: Kvm,
    pub(crate) supported: CpuId,
    nested: bool,
}

/// Capabilities without which a machine cannot be made.
const NEEDED: [(Cap, &str); 5] = [
    (Cap::Irqchip, "in-kernel interrupt controllers"),
    (Cap::UserMemory, "memory slots"),
    (Cap::Pit2, "an in-kernel timer"),
    (Cap::SignalMsi, "message-signalled interrupts"),
    (Cap::ImmediateExit, "immediate exit"),
];

impl KvmHypervisor {
    /// Opens `/dev/kvm`. That it opens does not say that guests run well: see [`crate::probe()`].
    pub fn new() -> Result<Self, HvError> {
        let kvm = Kvm::new().map_err(failed("/dev/kvm"))?;
        if kvm.get_api_version() != 12 {
            return Err(HvError::Unsupported(format!("/dev/kvm has API version {}", kvm.get_api_version())));
        }
        if let Some((_, what)) = NEEDED.iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
            return Err(HvError::Unsupported(format!("this KVM does not have {what}")));
        }
        let supported =
            kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(failed("KVM_GET_SUPPORTED_CPUID"))?;
        let nested = nesting_enabled() && cpuid::has_virtualization(&supported);
        Ok(Self { kvm, supported, nested })
    }

    fn check(&self, spec: &PartitionSpec) -> Result<(), HvError> {
        let vendor = cpuid::vendor(&self.supported);
        if spec.cpu == CpuModel::Amd && !matches!(vendor.as_str(), "AuthenticAMD" | "HygonGenuine") {
            return Err(HvError::Unsupported(format!(
                "KVM shows guests the host's processor, which is {vendor} and not AMD; use --engine soft or --cpu host"
            )));
        }
        let other = match &spec.cpu {
            CpuModel::Named(named) => Some(named.name),
            CpuModel::Changed(..) => Some("one with features more or less"),
            CpuModel::Amd | CpuModel::Host => None,
        };
        if let Some(other) = other {
            return Err(HvError::Unsupported(format!(
                "KVM shows guests the host's processor and not {other}; use --engine soft or --cpu host"
            )));
        }
        if spec.nested && !self.nested {
            return Err(HvError::Unsupported("this KVM does not offer nesting; use --engine soft".into()));
        }
        if spec.vcpus == 0 || spec.vcpus > self.caps().max_vcpus {
            return Err(HvError::Unsupported(format!(
                "{} processors asked for, KVM here has 1 to {}",
                spec.vcpus,
                self.caps().max_vcpus
            )));
        }
        match spec.options.first() {
            Some(option) => Err(HvError::Unsupported(format!("the KVM engine has no option `{option}`"))),
            None => Ok(()),
        }
    }
}

impl Hypervisor for KvmHypervisor {
    fn caps(&self) -> Caps {
        // 254: xAPIC ids in ACPI's processor entries are one byte, and 255 is broadcast.
        let max_vcpus = self.kvm.get_max_vcpus().clamp(1, 254) as u32;
        Caps { engine: "kvm", nested: self.nested, irqchip: true, max_vcpus, management: false }
    }

    fn create(&self, spec: &PartitionSpec) -> Result<Arc<dyn Partition>, HvError> {
        self.check(spec)?;
        Ok(Arc::new(KvmPartition::new(self, spec)?))
    }
}

/// The vendor module's `nested` parameter.
fn nesting_enabled() -> bool {
    ["kvm_amd", "kvm_intel"].iter().any(|module| {
        std::fs::read_to_string(format!("/sys/module/{module}/parameters/nested"))
            .is_ok_and(|text| matches!(text.trim(), "1" | "Y" | "y"))
    })
}
