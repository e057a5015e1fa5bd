//! The south bridges' functions that software looks for: ISA bridge and power management.

use super::regs::*;
use super::{PirqRouter, identity};
use crate::acpi::{self, AcpiPm};
use crate::pci::regs::{HEADER_TYPE, INTERRUPT_LINE, INTERRUPT_PIN, MULTIPLE_FUNCTIONS};
use crate::pci::{ConfigSpace, Function};
use ireko_vmcore::SavedState;
use std::sync::Arc;

/// Function 0: the ISA bridge with interrupt routing.
pub struct IsaBridge {
    name: &'static str,
    config: ConfigSpace,
    router: Arc<PirqRouter>,
    /// The routes of the slots' interrupts.
    routes: usize,
    /// Where SMI_LOCK goes.
    smi: Option<AcpiPm>,
}

impl IsaBridge {
    /// Of the PIIX3.
    pub fn piix3(router: Arc<PirqRouter>) -> Self {
        let mut config = ConfigSpace::new(identity(PIIX3, ISA_BRIDGE_CLASS, 0));
        config.put(HEADER_TYPE, &[MULTIPLE_FUNCTIONS]);
        config.put(XBCS, &[0x03, 0x00]);
        config.allow(XBCS, &[0xff, 0x01]);
        add_routes(&mut config, PIRQ_ROUTES);
        Self { name: "piix3-isa", config, router, routes: PIRQ_ROUTES, smi: None }
    }

    /// The LPC bridge of the ICH9, which says where the power management block is. Slots interrupt by PIRQE# to PIRQH#.
    pub fn ich9(router: Arc<PirqRouter>) -> Self {
        let mut config = ConfigSpace::new(identity(ICH9_LPC, ISA_BRIDGE_CLASS, ICH9_REVISION));
        config.put(HEADER_TYPE, &[MULTIPLE_FUNCTIONS]);
        add_pm_base(&mut config);
        config.allow(ICH9_ACPI_CONTROL, &[ICH9_ACPI_ENABLE | 7]);
        add_routes(&mut config, ICH9_PIRQ_ROUTES_A);
        add_routes(&mut config, ICH9_PIRQ_ROUTES_E);
        config.allow(ICH9_ROOT_COMPLEX_BASE, &[1, 0xc0, 0xff, 0xff]);
        config.allow(ICH9_GEN_PMCON_1, &[ICH9_SMI_LOCK]);
        Self { name: "ich9-lpc", config, router, routes: ICH9_PIRQ_ROUTES_E, smi: None }
    }

    /// With the control of SMIs that its SMI_LOCK is about.
    pub fn with_smi(self, smi: AcpiPm) -> Self {
        Self { smi: Some(smi), ..self }
    }

    /// SMI_LOCK, once written, stays until reset.
    fn lock_smi(&mut self) {
        if let Some(smi) = &self.smi
            && self.config.word(ICH9_GEN_PMCON_1) as u8 & ICH9_SMI_LOCK != 0
        {
            smi.lock_smi();
            self.config.allow(ICH9_GEN_PMCON_1, &[0]);
        }
    }

    fn route(&self) {
        let mut routes = [0; PIRQS];
        self.config.read(self.routes as u16, &mut routes);
        routes.into_iter().enumerate().for_each(|(pirq, route)| self.router.route(pirq, route));
    }
}

impl Function for IsaBridge {
    fn name(&self) -> &'static str {
        self.name
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
        self.lock_smi();
    }
    fn reset(&mut self) {
        self.route();
        if self.smi.is_some() {
            self.config.allow(ICH9_GEN_PMCON_1, &[ICH9_SMI_LOCK]);
        }
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

fn add_routes(config: &mut ConfigSpace, at: usize) {
    config.put(at, &[PIRQ_OFF; PIRQS]);
    config.allow(at, &[PIRQ_OFF | PIRQ_IRQ; PIRQS]);
}

fn add_pm_base(config: &mut ConfigSpace) {
    config.put(PM_BASE, &(acpi::PM1A_EVT as u16 | PM_BASE_IO).to_le_bytes());
    config.allow(PM_BASE, &PM_BASE_WRITABLE.to_le_bytes());
}

/// Function 3 of the PIIX4: says where the power management block is.
pub struct PmBridge {
    config: ConfigSpace,
    /// Where APMC_EN goes.
    smi: Option<AcpiPm>,
}

impl PmBridge {
    pub fn new() -> Self {
        let mut config = ConfigSpace::new(identity(PIIX4_PM, OTHER_BRIDGE_CLASS, PIIX4_REVISION));
        add_pm_base(&mut config);
        config.put(DEVACTB, &DEVACTB_APMC_EN.to_le_bytes());
        config.put(SMBUS_BASE, &1u32.to_le_bytes());
        config.allow(SMBUS_BASE, &[0xf0, 0xff]);
        [PM_MISC, SMBUS_HOST].into_iter().for_each(|at| config.allow(at, &[0xff]));
        config.put(INTERRUPT_PIN, &[1]);
        config.put(INTERRUPT_LINE, &[9]);
        Self { config, smi: None }
    }

    /// With the control of SMIs.
    pub fn with_smi(mut self, smi: AcpiPm) -> Self {
        self.config.put(DEVACTB, &[0; 4]);
        self.config.allow(DEVACTB, &DEVACTB_APMC_EN.to_le_bytes());
        Self { smi: Some(smi), ..self }
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
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn read_config(&mut self, offset: u16, data: &mut [u8]) {
        // It goes with the power of the core, when the machine sleeps.
        if self.smi.as_ref().is_some_and(|smi| !smi.apm_raises_smi()) {
            self.config.put(DEVACTB, &[0; 4]);
        }
        self.config.read(offset, data);
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        if let Some(smi) = &self.smi {
            smi.raise_smi_by_apm(u32::from(self.config.word(DEVACTB + 2)) << 16 & DEVACTB_APMC_EN != 0);
        }
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}
