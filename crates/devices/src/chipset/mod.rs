//! Chipsets. Generation 1: i440FX host bridge, PIIX3 ISA bridge, PIIX4 power management; generation 2: Q35 and ICH9.

mod host_bridge;
mod pirq;
mod regs;
mod saved;
mod south;
#[cfg(test)]
mod tests;

pub use host_bridge::HostBridge;
pub use pirq::PirqRouter;
pub use south::{IsaBridge, PmBridge};

use crate::pci::Identity;

/// As the boards' maker had it.
pub(crate) fn identity(device: u16, class: u32, revision: u8) -> Identity {
    Identity {
        vendor: regs::INTEL,
        device,
        subsystem_vendor: regs::SUBSYSTEM_VENDOR,
        subsystem: regs::SUBSYSTEM,
        revision,
        class,
    }
}
