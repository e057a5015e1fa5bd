//! The host bridge: shadow RAM and SMRAM control.

use super::identity;
use super::regs::*;
use crate::pci::{ConfigSpace, Function};
use ireko_vmcore::memory::{AREAS, HIDDEN, Inside};
use ireko_vmcore::{Memory, SavedState};
use std::ops::Range;
use std::sync::Arc;

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

/// 00:00.0. What PAM protects is not written, and reads give the ROM that is behind or nothing where it says so.
pub struct HostBridge {
    config: ConfigSpace,
    model: &'static Model,
    /// What it decides on, and where RAM ends below 4 GiB.
    memory: Option<(Arc<Memory>, u64)>,
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
        bridge.config.put(ESMRAMC, &[ESMRAMC_RESET]);
        bridge.config.put(EXTENDED_TSEG, &EXTENDED_TSEG_MIB.to_le_bytes());
        bridge.allow_smram();
        bridge
    }

    fn new(model: &'static Model) -> Self {
        let mut config = ConfigSpace::new(identity(model.device, HOST_BRIDGE_CLASS, model.revision));
        config.allow(model.pam, &PAM_WRITABLE);
        config.put(model.smram, &[SMRAM_RESET]);
        let mut bridge = Self { config, model, memory: None };
        bridge.allow_smram();
        bridge
    }

    /// With the memory whose attributes it decides on, from its first write or reset on.
    pub fn with_memory(self, memory: Arc<Memory>, low_end: u64) -> Self {
        Self { memory: Some((memory, low_end)), ..self }
    }

    /// TSEG is the Q35's.
    fn has_tseg(&self) -> bool {
        self.model.device == Q35.device
    }

    fn byte(&self, at: usize) -> u8 {
        self.config.word(at) as u8
    }

    fn allow_smram(&mut self) {
        self.config.allow(self.model.smram, &[SMRAM_WRITABLE]);
        if self.has_tseg() {
            self.config.allow(ESMRAMC, &[ESMRAMC_WRITABLE]);
            Q35_MEMORY_MAP.iter().for_each(|(at, mask)| self.config.allow(*at, mask));
        }
    }

    /// D_LCK closes SMRAM and makes its registers read-only until reset (82441FX, 3.2.19; 3 Series, 5.1.20).
    fn lock_smram(&mut self) {
        let at = self.model.smram;
        let value = self.byte(at);
        if value & SMRAM_LOCKED != 0 {
            self.config.put(at, &[value & !SMRAM_OPEN]);
            self.config.allow(at, &[0]);
            if self.has_tseg() {
                self.config.allow(ESMRAMC, &[0]);
                Q35_MEMORY_MAP.iter().for_each(|(at, mask)| self.config.allow(*at, &vec![0; mask.len()]));
            }
        }
    }

    /// A bit for each area of 16 KiB whose field in PAM lacks a bit. The first register has the BIOS area in its upper half,
    /// each of the others two areas.
    fn lacking(&self, bit: u8) -> u32 {
        let closed = |field: u8| field & bit == 0;
        let pam = |n: usize| self.byte(self.model.pam + n);
        let bios = if closed(pam(0) >> 4) { 0xf << (AREAS - 4) } else { 0 };
        let areas = (0..AREAS as usize - 4).filter(|area| closed(pam(1 + area / 2) >> (4 * (area % 2))));
        areas.fold(bios, |all, area| all | 1 << area)
    }

    /// What is for system-management mode alone: memory under a display's window, until it is opened, and the end of RAM below
    /// 4 GiB, once firmware has it so, which nothing opens.
    fn hidden(&self, low_end: u64) -> [Range<u64>; HIDDEN] {
        const OPEN: u8 = SMRAM_ENABLED | SMRAM_OPEN;
        let open = self.byte(self.model.smram) & OPEN == OPEN;
        [if open { 0..0 } else { SMRAM_SEGMENT }, self.tseg(low_end)]
    }

    /// What the mode has of that memory.
    fn inside(&self) -> Inside {
        match self.byte(self.model.smram) {
            control if control & SMRAM_ENABLED == 0 => Inside::Nothing,
            control if control & SMRAM_CLOSED != 0 => Inside::Code,
            _ => Inside::Memory,
        }
    }

    fn tseg(&self, low_end: u64) -> Range<u64> {
        let control = self.byte(ESMRAMC);
        let on = self.has_tseg() && control & TSEG_ENABLED != 0;
        if !on || self.byte(self.model.smram) & SMRAM_ENABLED == 0 {
            return 0..0;
        }
        let size = TSEG_MIB[usize::from(control & TSEG_SIZE) >> 1] << 20;
        low_end.saturating_sub(size)..low_end
    }

    fn apply(&self) {
        if let Some((memory, low_end)) = &self.memory {
            memory.protect(self.lacking(PAM_WRITE));
            memory.shadow(self.lacking(PAM_READ));
            memory.hide(self.hidden(*low_end));
            memory.show_inside(self.inside());
            memory.lock(self.byte(self.model.smram) & SMRAM_LOCKED != 0);
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
        self.apply();
    }
    fn reset(&mut self) {
        self.allow_smram();
        self.apply();
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}
