//! The window at A0000h: how an access falls on the four planes (FreeVGA, "Accessing the VGA Display Memory").
//! Byte n of plane p is byte 4 n + p of video memory.

use super::regs::*;
use super::vga::Vga;

/// A bit of each plane as a byte of each.
fn spread(bits: u8) -> [u8; 4] {
    std::array::from_fn(|plane| if bits >> plane & 1 != 0 { 0xff } else { 0 })
}

impl Vga {
    /// Where an address of the window leads, before planes are looked at.
    fn mapped(&self, offset: u64) -> Option<usize> {
        let (start, size) = match self.graphics[GR_MISC] >> 2 & 3 {
            0 => (0, 0x2_0000),
            1 => (0, 0x1_0000),
            2 => (0x1_0000, 0x8000),
            _ => (0x1_8000, 0x8000),
        };
        let inside = offset.checked_sub(start).filter(|inside| *inside < size)?;
        Some(inside as usize + if start == 0 { self.dispi.bank() } else { 0 })
    }

    fn chained(&self) -> bool {
        self.sequencer[SR_MEMORY] & MEMORY_CHAIN4 != 0
    }

    pub fn read_window(&mut self, offset: u64) -> u8 {
        let Some(address) = self.mapped(offset) else { return 0xff };
        if self.chained() {
            return self.byte(address);
        }
        if self.graphics[GR_MODE] & MODE_ODD_EVEN != 0 {
            let plane = usize::from(self.graphics[GR_READ_MAP] & 2) | address & 1;
            return self.byte((address & !1) << 1 | plane);
        }
        self.latch = [0, 1, 2, 3].map(|plane| self.byte(address * 4 + plane));
        if self.graphics[GR_MODE] & MODE_READ_COMPARE == 0 {
            return self.latch[usize::from(self.graphics[GR_READ_MAP] & 3)];
        }
        let (wanted, care) = (spread(self.graphics[GR_COMPARE]), spread(self.graphics[GR_CARE]));
        !(0..4).fold(0, |differ, plane| differ | (self.latch[plane] ^ wanted[plane]) & care[plane])
    }

    pub fn write_window(&mut self, offset: u64, value: u8) {
        let Some(address) = self.mapped(offset) else { return };
        let planes = self.sequencer[SR_MAP_MASK];
        if self.chained() {
            if planes >> (address & 3) & 1 != 0 {
                self.put(address, value);
            }
        } else if self.sequencer[SR_MEMORY] & MEMORY_NO_ODD_EVEN == 0 {
            let plane = usize::from(self.graphics[GR_READ_MAP] & 2) | address & 1;
            if planes >> plane & 1 != 0 {
                self.put((address & !1) << 1 | plane, value);
            }
        } else {
            self.write_planes(address, value, planes);
        }
    }

    fn write_planes(&mut self, address: usize, value: u8, planes: u8) {
        let rotated = value.rotate_right(u32::from(self.graphics[GR_ROTATE] & 7));
        let (set, enabled) = (spread(self.graphics[GR_SET]), self.graphics[GR_SET_ENABLE]);
        let (mut mask, latch) = (self.graphics[GR_BIT_MASK], self.latch);
        let given: [u8; 4] = match self.graphics[GR_MODE] & 3 {
            0 => std::array::from_fn(|plane| if enabled >> plane & 1 != 0 { set[plane] } else { rotated }),
            1 => latch,
            2 => spread(value),
            _ => {
                mask &= rotated;
                set
            }
        };
        let copied = self.graphics[GR_MODE] & 3 == 1;
        for plane in (0..4).filter(|plane| planes >> plane & 1 != 0) {
            let old = latch[plane];
            let made = match self.graphics[GR_ROTATE] >> 3 & 3 {
                _ if copied => old,
                0 => given[plane],
                1 => given[plane] & old,
                2 => given[plane] | old,
                _ => given[plane] ^ old,
            };
            let byte = if copied { made } else { made & mask | old & !mask };
            self.put(address * 4 + plane, byte);
        }
    }

    fn byte(&self, at: usize) -> u8 {
        let mut byte = [0];
        self.memory.read(at as u64, &mut byte);
        byte[0]
    }

    fn put(&self, at: usize, byte: u8) {
        self.memory.write(at as u64, &[byte]);
    }
}
