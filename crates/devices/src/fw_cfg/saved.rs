//! What is saved of fw_cfg: how far it was read. Its items are the machine's own.

use super::FwCfg;
use super::regs::{DMA_SIZE, KEY_BITS};
use ireko_vmcore::saved::{Bytes, RestoreError, SaveRestore, Saved};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedFwCfg {
    pub selected: u16,
    pub offset: u64,
    /// The part of a descriptor's address that was written.
    pub dma_address: Bytes<{ DMA_SIZE as usize }>,
}

impl Saved for SavedFwCfg {
    const NAME: &'static str = "fw_cfg";
    const VERSION: u32 = 1;
}

impl SaveRestore for FwCfg {
    type Saved = SavedFwCfg;

    fn save(&self) -> SavedFwCfg {
        SavedFwCfg {
            selected: self.selected,
            offset: self.offset as u64,
            dma_address: Bytes(self.dma_address),
        }
    }

    fn restore(&mut self, saved: SavedFwCfg) -> Result<(), RestoreError> {
        self.selected = saved.selected & KEY_BITS;
        self.offset = saved.offset as usize;
        self.dma_address = saved.dma_address.0;
        Ok(())
    }
}
