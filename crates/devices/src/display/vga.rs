//! The VGA's registers behind its ports.

use super::dispi::Dispi;
use super::regs::*;
use ireko_vmcore::memory::Aperture;
use std::sync::Arc;

/// Registers and video memory.
pub struct Vga {
    pub(super) memory: Arc<Aperture>,
    pub(super) dispi: Dispi,
    pub(super) sequencer: [u8; 8],
    pub(super) graphics: [u8; 16],
    pub(super) crtc: [u8; 32],
    pub(super) attributes: [u8; AR_COUNT],
    pub(super) latch: [u8; 4],
    pub(super) palette: [[u8; 3]; 256],
    /// DAC: which bits of a pixel count.
    pub(super) mask: u8,
    pub(super) sequencer_index: u8,
    pub(super) graphics_index: u8,
    pub(super) crtc_index: u8,
    pub(super) attribute_index: u8,
    /// The next write to the attribute port is data.
    pub(super) attribute_data: bool,
    pub(super) misc: u8,
    pub(super) feature: u8,
    pub(super) status1: u8,
    /// The colour that is read or written next, and of its three parts the next.
    pub(super) dac_read: (u8, u8),
    pub(super) dac_write: (u8, u8),
    pub(super) dac_state: u8,
    pub(super) dac_draft: [u8; 3],
}

impl Vga {
    pub fn new(memory: Arc<Aperture>) -> Self {
        Self {
            memory,
            dispi: Dispi::new(),
            sequencer: [0; 8],
            graphics: [0; 16],
            crtc: [0; 32],
            attributes: [0; AR_COUNT],
            latch: [0; 4],
            palette: [[0; 3]; 256],
            mask: 0xff,
            sequencer_index: 0,
            graphics_index: 0,
            crtc_index: 0,
            attribute_index: 0,
            attribute_data: false,
            misc: 0,
            feature: 0,
            status1: 0,
            dac_read: (0, 0),
            dac_write: (0, 0),
            dac_state: 0,
            dac_draft: [0; 3],
        }
    }

    /// Registers as after power-on. Video memory stays.
    pub fn reset(&mut self) {
        *self = Self::new(self.memory.clone());
    }

    /// The CRTC and its neighbours answer at one of two places. The port as the colour adapter has it, if it answers.
    fn colour_port(&self, port: u16) -> Option<u16> {
        let colour = self.misc & MISC_COLOUR != 0;
        match port {
            0x3b0..0x3c0 if colour => None,
            0x3b0..0x3c0 => Some(port + 0x20),
            0x3d0.. if !colour => None,
            _ => Some(port),
        }
    }

    pub fn read_port(&mut self, port: u16) -> u8 {
        let Some(port) = self.colour_port(port) else { return 0xff };
        let at = |registers: &[u8], index: u8| registers.get(usize::from(index)).copied().unwrap_or(0);
        match port {
            ATTRIBUTE => self.attribute_index,
            ATTRIBUTE_READ => at(&self.attributes, self.attribute_index & 0x1f),
            SEQUENCER => self.sequencer_index,
            0x3c5 => at(&self.sequencer, self.sequencer_index),
            DAC_MASK => self.mask,
            DAC_READ => self.dac_state,
            DAC_WRITE => self.dac_write.0,
            DAC_DATA => self.read_colour(),
            FEATURE_READ => self.feature,
            MISC_READ => self.misc,
            GRAPHICS => self.graphics_index,
            0x3cf => at(&self.graphics, self.graphics_index),
            CRTC => self.crtc_index,
            0x3d5 => at(&self.crtc, self.crtc_index),
            STATUS1 => {
                self.attribute_data = false;
                // Whoever waits for a retrace, or for its end, sees it at the next look.
                self.status1 ^= STATUS1_BITS;
                self.status1
            }
            _ => 0,
        }
    }

    pub fn write_port(&mut self, port: u16, value: u8) {
        let Some(port) = self.colour_port(port) else { return };
        match port {
            ATTRIBUTE | ATTRIBUTE_READ => self.write_attribute(value),
            MISC_WRITE => self.misc = value,
            SEQUENCER => self.sequencer_index = value & 7,
            0x3c5 => self.sequencer[usize::from(self.sequencer_index)] = value,
            DAC_MASK => self.mask = value,
            DAC_READ => (self.dac_read, self.dac_state) = ((value, 0), 3),
            DAC_WRITE => (self.dac_write, self.dac_state) = ((value, 0), 0),
            DAC_DATA => self.write_colour(value),
            GRAPHICS => self.graphics_index = value & 15,
            0x3cf => self.graphics[usize::from(self.graphics_index)] = value,
            CRTC => self.crtc_index = value & 0x1f,
            0x3d5 => self.write_crtc(value),
            STATUS1 => self.feature = value & 0x10,
            _ => {}
        }
    }

    fn write_attribute(&mut self, value: u8) {
        self.attribute_data = !self.attribute_data;
        if self.attribute_data {
            self.attribute_index = value & 0x3f;
        } else if let Some(register) = self.attributes.get_mut(usize::from(self.attribute_index & 0x1f)) {
            *register = value;
        }
    }

    fn write_crtc(&mut self, value: u8) {
        let index = usize::from(self.crtc_index);
        if self.crtc[CR_RETRACE_END] & RETRACE_PROTECT == 0 || index > CR_OVERFLOW {
            self.crtc[index] = value;
        } else if index == CR_OVERFLOW {
            let kept = self.crtc[index] & !OVERFLOW_UNPROTECTED;
            self.crtc[index] = kept | value & OVERFLOW_UNPROTECTED;
        }
    }

    fn read_colour(&mut self) -> u8 {
        let (colour, part) = self.dac_read;
        let value = self.palette[usize::from(colour)][usize::from(part)];
        self.dac_read = if part == 2 { (colour.wrapping_add(1), 0) } else { (colour, part + 1) };
        value
    }

    fn write_colour(&mut self, value: u8) {
        let (colour, part) = self.dac_write;
        self.dac_draft[usize::from(part)] = value;
        if part == 2 {
            self.palette[usize::from(colour)] = self.dac_draft;
        }
        self.dac_write = if part == 2 { (colour.wrapping_add(1), 0) } else { (colour, part + 1) };
    }

    pub fn write_dispi(&mut self, index: usize, value: u16) {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        if let Some(count) = self.dispi.write(index, value) {
            let ends = (0..count).step_by(ZEROS.len());
            ends.for_each(|at| self.memory.write(at as u64, &ZEROS[..(count - at).min(ZEROS.len())]));
        }
    }
}
