//! The parts of a PC: chipset, interrupt controllers, timers, serial port, display, keyboard, mouse and tablet, ACPI fixed hardware, PCI, virtio, and what
//! firmware is told.
//!
//! Knows the parts' data sheets, and [`ireko_vmcore`]'s words for what they meet at: bus, line, memory, clock.
//! Must never know an engine, a hypervisor, where the machine places a part, or who reads its output.
//! Start reading at [`bus`], then at any device's `mod.rs`; its `regs.rs` is the register map.
//!
//! **Locks.** A device's lock may be held while it sets a [`Line`](ireko_vmcore::Line). The interrupt controllers at the
//! end of a line let go of their own lock before they call on ([`MsiSink`], the PIC's `changed`), and nothing that
//! they call may come back into a device. So locks are only ever taken in the order device, controller, engine.

#![forbid(unsafe_code)]

pub mod access;
pub mod acpi;
pub mod bus;
pub mod chipset;
pub mod debug_port;
pub mod display;
pub mod flash;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod ioapic;
pub mod irq;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod rtc;
pub mod serial;
pub mod service;
pub mod storage;
pub mod testdev;
pub mod virtio;
pub mod watchdog;

pub use acpi::{AcpiPm, Port92, ResetPulse};
pub use bus::{BusError, Counter, SystemBus};
pub use debug_port::DebugPort;
pub use display::Screen;
pub use flash::Flash;
pub use fw_cfg::FwCfg;
pub use hpet::Hpet;
pub use i8042::I8042;
pub use ioapic::IoApic;
pub use irq::{Irqs, SharedLine, both};
pub use pci::{ConfigPorts, Ecam, Function, PciBus, PciError, Windows};
pub use pic::Pic;
pub use pit::Pit;
pub use rtc::Rtc;
pub use serial::Serial;
pub use service::Service;
pub use testdev::{DebugExit, TestDevice};
pub use virtio::{
    ChannelHost, ConsoleInput, NetInput, NoStream, TabletInput, VirtioDevice, VirtioPci, VsockHost,
    VsockStream,
};
pub use watchdog::Watchdog;

use ireko_vmcore::Msi;
use std::sync::{Arc, Mutex, MutexGuard};

/// Where message-signalled interrupts go: the engine's local APICs. Called from whichever thread caused one.
pub type MsiSink = Arc<dyn Fn(Msi) + Send + Sync>;

/// Who hears that the guest wants its power state changed. Called from a vCPU
/// thread within its bus write, or, for [`PowerEvent::Wake`], from whoever wakes.
pub type Power = Arc<dyn Fn(PowerEvent) + Send + Sync>;

/// What the guest asked of its power supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// Soft off (ACPI S5).
    PowerOff,
    /// Reset of the whole machine.
    Reset,
    /// Suspend to memory (ACPI S3), and the end of it.
    Suspend,
    Wake,
}

/// A device in the form that [`SystemBus::add`] and [`PciBus::add`] take.
pub fn shared<T>(device: T) -> Arc<Mutex<T>> {
    Arc::new(Mutex::new(device))
}

/// Device state is plain data that every method leaves whole, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod probe;
#[cfg(test)]
mod saved_tests;
