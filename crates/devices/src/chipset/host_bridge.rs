//! The host bridge: shadow RAM and SMRAM control.

use super::identity;
use super::regs::*;
use crate::pci::{ConfigSpace, Function};

/// Which bridge, and where its registers are.
struct Model {
    name: &'static str,
    device: u16,
    revision: u8,
    /// Programmable attribute map.
    pam: usize,
    /// System management RAM control.
    smram: usize,
}

const I440FX: Model = Model { name: "i440fx", device: 0x1237, revision: 2, pam: 0x59, smram: 0x72 };
const Q35: Model = Model { name: "q35", device: 0x29c0, revision: 0, pam: 0x90, smram: 0x9d };

/// 00:00.0. Below 1 MiB everything is RAM here whatever PAM and SMRAM say: the machine puts the firmware there before
/// reset, as if it had been shadowed. The registers keep what is written to them.
pub struct HostBridge {
    config: ConfigSpace,
    model: &'static Model,
}

impl HostBridge {
    /// Intel 82441FX, of generation 1.
    pub fn i440fx() -> Self {
        Self::new(&I440FX)
    }

    /// Intel Q35, of generation 2, with configuration space as memory at `ecam`: it is there whatever PCIEXBAR says.
    pub fn q35(ecam: u64) -> Self {
        let mut bridge = Self::new(&Q35);
        bridge.config.put(Q35_PCIEXBAR, &ecam.to_le_bytes());
        bridge.config.allow(Q35_PCIEXBAR, &Q35_PCIEXBAR_WRITABLE.to_le_bytes());
        bridge
    }

    fn new(model: &'static Model) -> Self {
        let mut config = ConfigSpace::new(identity(model.device, HOST_BRIDGE_CLASS, model.revision));
        config.allow(model.pam, &PAM_WRITABLE);
        config.put(model.smram, &[SMRAM_RESET]);
        config.allow(model.smram, &[SMRAM_WRITABLE]);
        Self { config, model }
    }

    /// D_LCK closes SMRAM and makes its register read-only until reset (82441FX, 3.2.19).
    fn lock_smram(&mut self) {
        let at = self.model.smram;
        let value = self.config.word(at) as u8;
        if value & SMRAM_LOCKED != 0 {
            self.config.put(at, &[value & !SMRAM_OPEN]);
            self.config.allow(at, &[0]);
        }
    }
}

impl Function for HostBridge {
    fn name(&self) -> &'static str {
        self.model.name
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.lock_smram();
    }
    fn reset(&mut self) {
        self.config.allow(self.model.smram, &[SMRAM_WRITABLE]);
    }
}
