//! The process that runs one VM: it owns the machine and a control socket, and outlives who started it.

pub mod client;
mod com;
pub mod console;
pub mod console_log;
mod crash;
pub(crate) mod descriptors;
mod disk_errors;
pub mod disks;
mod drives;
mod ends;
#[cfg(test)]
pub mod fake;
pub mod gauges;
pub mod guest;
pub mod host_side;
pub mod introspection;
pub mod jail;
pub mod kill;
pub mod launch;
pub mod lifecycle;
pub mod limits;
pub mod machine;
pub mod memory;
mod metering;
pub mod network;
pub mod protocol;
pub mod router;
pub mod screen;
mod server;
#[cfg(test)]
mod tests;
pub mod usage;
pub mod vnc;
pub mod vsock;

pub use client::Client;
pub use ends::NextSignal;
pub use launch::{Launcher, ProcessLauncher};
pub use lifecycle::{Confinement, run, run_confined};
pub use limits::Limits;
pub use machine::{Factory, Machine, RealMachines, Remote};
pub use network::Network;

use std::io::Write;

/// A line in the worker's log. A log that cannot be written, as on a full disk, ends no VM.
pub fn log(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Makes this process the leader of a session of its own.
pub fn own_session() -> std::io::Result<()> {
    rustix::process::setsid().map(drop).map_err(Into::into)
}
