//! The host bridge: shadow RAM and SMRAM control.

use super::identity;
use super::regs::*;
use crate::pci::{ConfigSpace, Function};

/// 00:00.0. Below 1 MiB everything is RAM here whatever PAM and SMRAM say: the machine puts the firmware there before
/// reset, as if it had been shadowed. The registers keep what is written to them.
pub struct I440fx(ConfigSpace);

impl I440fx {
    pub fn new() -> Self {
        let mut config = ConfigSpace::new(identity(I440FX, HOST_BRIDGE_CLASS, I440FX_REVISION));
        config.allow(PAM, &PAM_WRITABLE);
        config.put(SMRAM, &[SMRAM_RESET]);
        config.allow(SMRAM, &[SMRAM_WRITABLE]);
        Self(config)
    }

    /// D_LCK closes SMRAM and makes its register read-only until reset (82441FX, 3.2.19).
    fn lock_smram(&mut self) {
        let value = self.0.word(SMRAM) as u8;
        if value & SMRAM_LOCKED != 0 {
            self.0.put(SMRAM, &[value & !SMRAM_OPEN]);
            self.0.allow(SMRAM, &[0]);
        }
    }
}

impl Default for I440fx {
    fn default() -> Self {
        Self::new()
    }
}

impl Function for I440fx {
    fn name(&self) -> &'static str {
        "i440fx"
    }
    fn config(&self) -> &ConfigSpace {
        &self.0
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.0
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.0.write(offset, data);
        self.lock_smram();
    }
    fn read_bar(&mut self, _: usize, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write_bar(&mut self, _: usize, _: u64, _: &[u8]) {}
    fn reset(&mut self) {
        self.0.allow(SMRAM, &[SMRAM_WRITABLE]);
    }
}
