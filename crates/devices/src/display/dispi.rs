//! The Bochs display interface: modes of any size, by a dozen registers of 16 bits.

use super::regs::*;

/// The registers.
pub struct Dispi {
    pub(super) index: u16,
    pub(super) regs: [u16; DISPI_COUNT],
}

/// A mode, as it comes out of the registers: all of it lies in video memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub width: usize,
    pub height: usize,
    /// 4, 8, 15, 16, 24 or 32.
    pub bpp: usize,
    /// Bytes from a line to the next; of 4 bits for each pixel, of one plane.
    pub pitch: usize,
    /// Of the first pixel.
    pub start: usize,
}

impl Dispi {
    pub fn new() -> Self {
        let mut regs = [0; DISPI_COUNT];
        regs[DISPI_ID] = ID_LAST;
        regs[DISPI_BPP] = 8;
        Self { index: 0, regs }
    }

    pub fn select(&mut self, index: u16) {
        self.index = index;
    }
    pub fn selected(&self) -> u16 {
        self.index
    }
    pub fn enabled(&self) -> bool {
        self.regs[DISPI_ENABLE] & ENABLED != 0
    }
    pub fn wide_dac(&self) -> bool {
        self.regs[DISPI_ENABLE] & ENABLE_8_BIT_DAC != 0
    }
    /// Where the bank in the window begins.
    pub fn bank(&self) -> usize {
        if self.enabled() { usize::from(self.regs[DISPI_BANK]) << 16 } else { 0 }
    }

    pub fn read(&self, index: usize) -> u16 {
        let most = self.regs[DISPI_ENABLE] & ENABLE_CAPABILITIES != 0;
        match index {
            DISPI_XRES if most => MOST_WIDTH,
            DISPI_YRES if most => MOST_HEIGHT,
            DISPI_BPP if most => MOST_BPP,
            DISPI_VIRT_HEIGHT => (MEMORY as usize / self.pitch().max(1)).min(usize::from(u16::MAX)) as u16,
            DISPI_MEMORY => (MEMORY >> 16) as u16,
            _ => self.regs.get(index).copied().unwrap_or(0),
        }
    }

    /// Whether what the mode shows is to be cleared: bytes from the start of video memory.
    pub fn write(&mut self, index: usize, value: u16) -> Option<usize> {
        match index {
            DISPI_ID if (ID_FIRST..=ID_LAST).contains(&value) => self.regs[DISPI_ID] = value,
            DISPI_XRES if value <= MOST_WIDTH => self.regs[DISPI_XRES] = value & !7,
            DISPI_YRES if value <= MOST_HEIGHT => self.regs[DISPI_YRES] = value,
            DISPI_BPP => self.regs[DISPI_BPP] = if value == 0 { 8 } else { value },
            DISPI_BANK => self.regs[DISPI_BANK] = value & ((MEMORY >> 16) - 1) as u16,
            DISPI_VIRT_WIDTH => self.regs[DISPI_VIRT_WIDTH] = (value & !7).max(self.regs[DISPI_XRES]),
            DISPI_X | DISPI_Y => self.regs[index] = value,
            DISPI_ENABLE => return self.enable(value),
            _ => {}
        }
        None
    }

    fn enable(&mut self, value: u16) -> Option<usize> {
        let was = self.enabled();
        self.regs[DISPI_ENABLE] = value;
        self.regs[DISPI_BANK] = 0;
        if was || value & ENABLED == 0 {
            return None;
        }
        self.regs[DISPI_VIRT_WIDTH] = self.regs[DISPI_XRES];
        (self.regs[DISPI_X], self.regs[DISPI_Y]) = (0, 0);
        let lines = usize::from(self.regs[DISPI_YRES]);
        (value & ENABLE_NO_CLEAR == 0).then(|| (lines * self.pitch() * self.planes()).min(MEMORY as usize))
    }

    fn planes(&self) -> usize {
        if self.regs[DISPI_BPP] == 4 { 4 } else { 1 }
    }

    fn pitch(&self) -> usize {
        let width = usize::from(self.regs[DISPI_VIRT_WIDTH].max(self.regs[DISPI_XRES]));
        match self.regs[DISPI_BPP] {
            4 => width / 8,
            bpp => width * usize::from(bpp).div_ceil(8),
        }
    }

    /// What is shown, if it is one of this interface's modes.
    pub fn mode(&self) -> Option<Mode> {
        let bpp = usize::from(self.regs[DISPI_BPP]);
        let [width, height, x, y] =
            [DISPI_XRES, DISPI_YRES, DISPI_X, DISPI_Y].map(|index| usize::from(self.regs[index]));
        let known = matches!(bpp, 4 | 8 | 15 | 16 | 24 | 32) && width > 0 && height > 0;
        let pitch = self.pitch();
        let start = y * pitch + x * bpp.div_ceil(8) / if bpp == 4 { 8 } else { 1 };
        let end = (start + height * pitch) * self.planes();
        let start = if end <= MEMORY as usize { start } else { 0 };
        let fits = (start + height * pitch) * self.planes() <= MEMORY as usize;
        (self.enabled() && known && fits).then_some(Mode { width, height, bpp, pitch, start })
    }
}
