//! The chipset of a generation 1 machine: i440FX host bridge, PIIX3 ISA bridge, PIIX4 power management.

mod i440fx;
mod piix;
mod pirq;
mod regs;
#[cfg(test)]
mod tests;

pub use i440fx::I440fx;
pub use piix::{IsaBridge, PmBridge};
pub use pirq::PirqRouter;

use crate::pci::Identity;

fn identity(device: u16, class: u32, revision: u8) -> Identity {
    Identity {
        vendor: regs::INTEL,
        device,
        subsystem_vendor: regs::SUBSYSTEM_VENDOR,
        subsystem: regs::SUBSYSTEM,
        revision,
        class,
    }
}
