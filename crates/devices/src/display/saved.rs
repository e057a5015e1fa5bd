//! What is saved of the display: the VGA's registers and video memory.

use super::regs::*;
use super::vga::Vga;
use super::{Display, VgaBars};
use crate::lock;
use crate::pci::saved::SavedConfig;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

/// The VGA, in the names of its registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedVga {
    /// Pages of video memory that are not zeros: their offset, and what they hold.
    pub memory: Vec<(u64, Blob)>,
    pub dispi_index: u16,
    pub dispi: [u16; DISPI_COUNT],
    pub sequencer: Bytes<8>,
    pub graphics: Bytes<16>,
    pub crtc: Bytes<32>,
    pub attributes: Bytes<AR_COUNT>,
    pub latch: Bytes<4>,
    /// Red, green and blue of each of 256 colours.
    pub palette: Bytes<768>,
    pub mask: u8,
    pub sequencer_index: u8,
    pub graphics_index: u8,
    pub crtc_index: u8,
    pub attribute_index: u8,
    pub attribute_data: bool,
    pub misc: u8,
    pub feature: u8,
    pub status1: u8,
    /// The colour that is read or written next, and of its three parts the next.
    pub dac_read: (u8, u8),
    pub dac_write: (u8, u8),
    pub dac_state: u8,
    pub dac_draft: [u8; 3],
}

impl Saved for SavedVga {
    const NAME: &'static str = "vga";
    const VERSION: u32 = 1;
}

const PAGE: usize = 4096;

impl Vga {
    fn pages(&self) -> Vec<(u64, Blob)> {
        let mut page = [0; PAGE];
        let mut pages = Vec::new();
        for offset in (0..self.memory.size()).step_by(PAGE) {
            self.memory.read(offset, &mut page);
            if page.iter().any(|byte| *byte != 0) {
                pages.push((offset, Blob(page.to_vec())));
            }
        }
        pages
    }

    fn save(&self) -> SavedVga {
        let palette = self.palette.as_flattened();
        SavedVga {
            memory: self.pages(),
            dispi_index: self.dispi.index,
            dispi: self.dispi.regs,
            sequencer: Bytes(self.sequencer),
            graphics: Bytes(self.graphics),
            crtc: Bytes(self.crtc),
            attributes: Bytes(self.attributes),
            latch: Bytes(self.latch),
            palette: Bytes(std::array::from_fn(|at| palette[at])),
            mask: self.mask,
            sequencer_index: self.sequencer_index,
            graphics_index: self.graphics_index,
            crtc_index: self.crtc_index,
            attribute_index: self.attribute_index,
            attribute_data: self.attribute_data,
            misc: self.misc,
            feature: self.feature,
            status1: self.status1,
            dac_read: self.dac_read,
            dac_write: self.dac_write,
            dac_state: self.dac_state,
            dac_draft: self.dac_draft,
        }
    }

    fn restore(&mut self, saved: SavedVga) -> Result<(), RestoreError> {
        let dispi = |register: usize| saved.dispi[register];
        let known = dispi(DISPI_XRES) <= MOST_WIDTH
            && dispi(DISPI_YRES) <= MOST_HEIGHT
            && u64::from(dispi(DISPI_BANK)) < MEMORY >> 16;
        ensure::<SavedVga>(known, "its mode or its bank is larger than there is")?;
        let indexes = saved.sequencer_index < 8 && saved.graphics_index < 16 && saved.crtc_index < 32;
        ensure::<SavedVga>(
            indexes && saved.attribute_index < 64,
            "a register that is not there is selected",
        )?;
        ensure::<SavedVga>(saved.dac_read.1 < 3 && saved.dac_write.1 < 3, "a colour has a fourth part")?;
        let whole = |(offset, page): &(u64, Blob)| {
            offset.is_multiple_of(PAGE as u64) && *offset < self.memory.size() && page.0.len() == PAGE
        };
        ensure::<SavedVga>(saved.memory.iter().all(whole), "what is no page lies in video memory")?;
        let zeros = [0; PAGE];
        (0..self.memory.size()).step_by(PAGE).for_each(|offset| self.memory.write(offset, &zeros));
        saved.memory.iter().for_each(|(offset, page)| self.memory.write(*offset, &page.0));
        (self.dispi.index, self.dispi.regs) = (saved.dispi_index, saved.dispi);
        let palette = saved.palette.0.as_chunks::<3>().0;
        self.palette = std::array::from_fn(|colour| palette[colour]);
        (self.sequencer, self.graphics) = (saved.sequencer.0, saved.graphics.0);
        (self.crtc, self.attributes) = (saved.crtc.0, saved.attributes.0);
        (self.latch, self.mask) = (saved.latch.0, saved.mask);
        (self.sequencer_index, self.graphics_index) = (saved.sequencer_index, saved.graphics_index);
        (self.crtc_index, self.attribute_index) = (saved.crtc_index, saved.attribute_index);
        self.attribute_data = saved.attribute_data;
        (self.misc, self.feature, self.status1) = (saved.misc, saved.feature, saved.status1);
        (self.dac_read, self.dac_write) = (saved.dac_read, saved.dac_write);
        (self.dac_state, self.dac_draft) = (saved.dac_state, saved.dac_draft);
        Ok(())
    }
}

impl SaveRestore for VgaBars {
    type Saved = SavedVga;

    fn save(&self) -> SavedVga {
        lock(&self.vga).save()
    }

    fn restore(&mut self, saved: SavedVga) -> Result<(), RestoreError> {
        lock(&self.vga).restore(saved)
    }
}

/// The display as a PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedDisplay {
    pub config: SavedConfig,
    pub vga: SavedVga,
}

impl Saved for SavedDisplay {
    const NAME: &'static str = "display";
    const VERSION: u32 = 1;
}

impl SaveRestore for Display {
    type Saved = SavedDisplay;

    fn save(&self) -> SavedDisplay {
        SavedDisplay { config: self.config.save(), vga: SaveRestore::save(&self.bars) }
    }

    fn restore(&mut self, saved: SavedDisplay) -> Result<(), RestoreError> {
        self.config.restore(&saved.config);
        SaveRestore::restore(&mut self.bars, saved.vga)
    }
}
