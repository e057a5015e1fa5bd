//! The vocabulary that engines, devices and machines share: guest memory, bus, interrupt lines, clock, timers,
//! and the traits [`Hypervisor`], [`Partition`], [`Vcpu`], [`Device`], [`Disk`] and [`Port`].
//!
//! Knows only words and contracts. Must never know an engine, a device or a file format.
//! Start reading at [`engine`].

pub mod broker;
pub mod bus;
pub mod counters;
pub mod device;
pub mod disk_errors;
pub mod engine;
pub mod folder;
pub mod line;
pub mod memory;
pub mod nesting;
pub mod port;
pub mod saved;
pub mod thread;
pub mod throttle;
pub mod time;

pub use broker::Broker;
pub use bus::{Bus, Space};
pub use counters::{NamedCount, WorldCounters};
pub use device::{Device, Disk};
pub use disk_errors::{DiskErrors, ErrorHandling, ErrorPolicy};
pub use engine::{
    Caps, Changes, CpuModel, CpuState, EoiSink, Halt, HvError, Hypervisor, Partition, PartitionSpec, Stop,
    Vcpu,
};
pub use line::{ExtInt, Line, LineSink, Msi};
pub use memory::Memory;
pub use nesting::{Nesting, Window};
pub use port::Port;
pub use saved::{Record, RestoreError, SaveRestore, Saved, SavedState};
pub use thread::{OnThread, Work};
pub use throttle::{Rates, Throttle};
pub use time::{Clock, Timer, Timers};
