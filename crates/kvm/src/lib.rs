//! The KVM backend: `/dev/kvm` behind the engine interface.
//!
//! Knows KVM's ioctls and the traits of `ireko-vmcore`. Must never know a device, a boot protocol or the software CPU.
//! Start reading at [`hypervisor`]; [`mod@probe`] tells whether this host's KVM is worth using, by trying it.

mod clocks;
pub mod cpuid;
pub mod hypervisor;
mod ioctl;
mod kick;
pub mod partition;
pub mod probe;
mod request;
mod shared;
mod state;
mod text;
pub mod vcpu;

pub use hypervisor::KvmHypervisor;
pub use probe::{ProbeReport, probe};
