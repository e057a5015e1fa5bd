//! One virtual machine: from a [`Spec`] to a running VM, on any engine.
//!
//! Knows the PC: where memory, devices and tables lie, how kernels are started, and what ends a VM. Must never know how an
//! engine executes code, what a device does inside, or that there are other VMs. Start reading at [`vm`].

#![forbid(unsafe_code)]

pub mod acpi;
pub mod boot;
mod device_threads;
pub mod disk;
mod drives;
pub mod engine;
pub mod error;
mod files;
mod firmware;
pub mod image;
pub mod layers;
pub mod layout;
pub mod lock;
pub mod memory;
mod nesting;
mod network;
pub mod outcome;
mod pause;
mod pirq;
mod platform;
mod quota;
mod run_state;
pub mod saved;
mod sleep;
pub mod smbios;
pub mod spec;
mod storage;
pub mod vm;

pub use disk::{DiskCounts, DiskFiles, Layer, open_file, open_layers};
pub use engine::{features, processors};
pub use error::MachineError;
pub use image::Protocol;
pub use ireko_devices::i8042::{Full, Key, KeyEvent, Motion};
pub use ireko_devices::virtio::{ChannelHost, FARTHEST, NoStream, Position, VsockHost, VsockStream};
pub use ireko_storage::Format;
pub use ireko_vmcore::disk_errors::{self, DiskErrors, ErrorPolicy};
pub use ireko_vmcore::nesting::{NestedWorld, Nesting};
pub use ireko_vmcore::thread::{OnThread, Work};
pub use ireko_vmcore::throttle::{Rates, Throttle};
pub use memory::{MemoryControl, MemoryState, overhead};
pub use outcome::Outcome;
pub use platform::MOST_FOLDERS;
pub use saved::SavedMachine;
pub use spec::{
    BootDevice, DiskBus, DiskSpec, Display, EngineChoice, Firmware, FolderSpec, ModuleSpec, NicSpec, Smbios,
    Source, Spec, Variables, cpu_model, parse_memory,
};
pub use vm::{Endpoints, Handle, Vm};
