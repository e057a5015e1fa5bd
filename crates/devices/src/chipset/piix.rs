//! The south bridge's functions that software looks for: ISA bridge and power management.

use super::regs::*;
use super::{PirqRouter, identity};
use crate::acpi;
use crate::pci::regs::{HEADER_TYPE, INTERRUPT_LINE, INTERRUPT_PIN, MULTIPLE_FUNCTIONS};
use crate::pci::{ConfigSpace, Function};
use std::sync::Arc;

/// Function 0: the ISA bridge with interrupt routing.
pub struct IsaBridge {
    config: ConfigSpace,
    router: Arc<PirqRouter>,
}

impl IsaBridge {
    pub fn new(router: Arc<PirqRouter>) -> Self {
        let mut config = ConfigSpace::new(identity(PIIX3, ISA_BRIDGE_CLASS, 0));
        config.put(HEADER_TYPE, &[MULTIPLE_FUNCTIONS]);
        config.put(XBCS, &[0x03, 0x00]);
        config.allow(XBCS, &[0xff, 0x01]);
        config.put(PIRQ_ROUTES, &[PIRQ_OFF; PIRQS]);
        config.allow(PIRQ_ROUTES, &[PIRQ_OFF | PIRQ_IRQ; PIRQS]);
        Self { config, router }
    }

    fn route(&self) {
        let mut routes = [0; PIRQS];
        self.config.read(PIRQ_ROUTES as u16, &mut routes);
        routes.into_iter().enumerate().for_each(|(pirq, route)| self.router.route(pirq, route));
    }
}

impl Function for IsaBridge {
    fn name(&self) -> &'static str {
        "piix3-isa"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.route();
    }
    fn read_bar(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write_bar(&mut self, _: usize, _: u64, _: &[u8]) {}
    fn reset(&mut self) {
        self.route();
    }
}

/// Function 3: says where the power management block is.
pub struct PmBridge(ConfigSpace);

impl PmBridge {
    pub fn new() -> Self {
        let mut config = ConfigSpace::new(identity(PIIX4_PM, OTHER_BRIDGE_CLASS, PIIX4_REVISION));
        config.put(PM_BASE, &(acpi::PM1A_EVT as u16 | PM_BASE_IO).to_le_bytes());
        config.allow(PM_BASE, &PM_BASE_WRITABLE.to_le_bytes());
        config.put(DEVACTB, &DEVACTB_APMC_EN.to_le_bytes());
        config.put(SMBUS_BASE, &1u32.to_le_bytes());
        config.allow(SMBUS_BASE, &[0xf0, 0xff]);
        [PM_MISC, SMBUS_HOST].into_iter().for_each(|at| config.allow(at, &[0xff]));
        config.put(INTERRUPT_PIN, &[1]);
        config.put(INTERRUPT_LINE, &[9]);
        Self(config)
    }
}

impl Default for PmBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl Function for PmBridge {
    fn name(&self) -> &'static str {
        "piix4-pm"
    }
    fn config(&self) -> &ConfigSpace {
        &self.0
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.0
    }
    fn read_bar(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write_bar(&mut self, _: usize, _: u64, _: &[u8]) {}
    fn reset(&mut self) {}
}
