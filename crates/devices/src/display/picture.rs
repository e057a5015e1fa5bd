//! What is on the screen: the registers and video memory as pixels, or as text.

use super::dispi::Mode;
use super::regs::*;
use super::vga::Vga;

/// Pixels from the top left on, line after line: red, green, blue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
}

impl Picture {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: Vec::with_capacity(width * height * 3) }
    }

    /// What a monitor shows that gets no picture.
    pub(crate) fn blank() -> Self {
        Self { width: 640, height: 480, pixels: vec![0; 640 * 480 * 3] }
    }
}

/// A colour of the palette, eight bits a part.
type Colours = [[u8; 3]; 256];

/// What the CRTC shows, in characters' or pixels' columns and in lines.
pub(super) struct Frame {
    pub columns: usize,
    pub lines: usize,
    /// Lines of a row.
    pub row: usize,
    /// The first address, and how many from a row to the next.
    pub start: usize,
    pub pitch: usize,
}

impl Vga {
    /// All of the screen.
    pub fn picture(&self) -> Picture {
        if self.attribute_index & ATTRIBUTE_SHOWN == 0 {
            return Picture::blank();
        }
        match self.dispi.mode() {
            Some(mode) => self.mode_picture(mode),
            None if self.dispi.enabled() => Picture::blank(),
            None if self.is_text() => self.text_picture(),
            None => self.graphics_picture(),
        }
    }

    /// Whether characters are shown.
    pub(super) fn is_text(&self) -> bool {
        !self.dispi.enabled() && self.graphics[GR_MISC] & MISC_GRAPHICS == 0
    }

    pub(super) fn colours(&self) -> Colours {
        let wide = self.dispi.wide_dac();
        let part = |value: u8| if wide { value } else { (value & 0x3f) << 2 | (value & 0x3f) >> 4 };
        std::array::from_fn(|n| self.palette[n & usize::from(self.mask)].map(part))
    }

    /// The sixteen colours of text and planes: by the attribute controller's registers, then by the palette.
    pub(super) fn sixteen(&self) -> [[u8; 3]; 16] {
        let (colours, select) = (self.colours(), self.attributes[AR_SELECT]);
        std::array::from_fn(|n| {
            let own = self.attributes[n];
            let index = match self.attributes[AR_MODE] & MODE_SELECT {
                0 => own & 0x3f | (select & 0xc) << 4,
                _ => own & 0xf | (select & 0xf) << 4,
            };
            colours[usize::from(index)]
        })
    }

    pub(super) fn frame(&self) -> Frame {
        let crtc = &self.crtc;
        let over = usize::from(crtc[CR_OVERFLOW]);
        let lines = (usize::from(crtc[CR_LINES]) | (over & 2) << 7 | (over & 0x40) << 3) + 1;
        let double = 1 + usize::from(crtc[CR_ROW] & ROW_DOUBLE != 0);
        Frame {
            columns: usize::from(crtc[CR_COLUMNS]) + 1,
            lines,
            row: (usize::from(crtc[CR_ROW] & 0x1f) + 1) * double,
            start: usize::from(crtc[CR_START]) << 8 | usize::from(crtc[CR_START + 1]),
            pitch: usize::from(crtc[CR_OFFSET]) * 2,
        }
    }

    /// A line of video memory.
    fn line(&self, at: usize, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.memory.read(at as u64, &mut bytes);
        bytes
    }

    fn mode_picture(&self, mode: Mode) -> Picture {
        let (mut picture, colours) = (Picture::new(mode.width, mode.height), self.colours());
        for y in 0..mode.height {
            let at = mode.start + y * mode.pitch;
            let size = mode.width * mode.bpp.div_ceil(8);
            match mode.bpp {
                4 => self.planes_line(&mut picture, at, mode.width),
                8 => {
                    let line = self.line(at, size);
                    picture.pixels.extend(line.iter().flat_map(|&pixel| colours[usize::from(pixel)]));
                }
                bpp => {
                    let line = self.line(at, size);
                    picture.pixels.extend(line.chunks_exact(bpp.div_ceil(8)).flat_map(|p| direct(p, bpp)));
                }
            }
        }
        picture
    }

    /// Modes of the VGA's own: 16 colours in planes, 4 as a CGA has them, 256.
    fn graphics_picture(&self) -> Picture {
        let frame = self.frame();
        let (shift, height) = (self.graphics[GR_MODE] >> MODE_SHIFT & 3, frame.lines / frame.row);
        let width = frame.columns * if shift >= 2 { 4 } else { 8 };
        let (mut picture, colours) = (Picture::new(width, height), self.colours());
        let cga = self.crtc[CR_MODE] & MODE_NOT_CGA == 0;
        for y in 0..height {
            let at = match cga {
                true => frame.start + (y & 1) * 0x2000 + y / 2 * frame.pitch,
                false => frame.start + y * frame.pitch,
            };
            match shift {
                0 => self.planes_line(&mut picture, at, width),
                1 => self.pairs_line(&mut picture, at, width),
                _ => {
                    let line = self.line(at * 4, width);
                    picture.pixels.extend(line.iter().flat_map(|&pixel| colours[usize::from(pixel)]));
                }
            }
        }
        picture
    }

    /// Eight pixels in a byte of each plane.
    fn planes_line(&self, picture: &mut Picture, at: usize, width: usize) {
        let (colours, enabled) = (self.sixteen(), self.attributes[AR_PLANES]);
        for planes in self.line(at * 4, width / 8 * 4).chunks_exact(4) {
            let pixel = |bit: usize| {
                (0..4).fold(0, |index, plane| index | usize::from(planes[plane] >> bit & 1) << plane)
            };
            let shown = (0..8).rev().map(|bit| colours[pixel(bit) & usize::from(enabled & 0xf)]);
            picture.pixels.extend(shown.flatten());
        }
    }

    /// Four pixels in a byte, of even addresses in plane 0 and of odd ones in plane 1.
    fn pairs_line(&self, picture: &mut Picture, at: usize, width: usize) {
        let colours = self.sixteen();
        for planes in self.line(at * 4, width / 8 * 4).chunks_exact(4) {
            let pixels = planes[..2].iter().flat_map(|byte| [6, 4, 2, 0].map(|shift| byte >> shift & 3));
            picture.pixels.extend(pixels.flat_map(|pixel| colours[usize::from(pixel)]));
        }
    }
}

/// A pixel that is a colour.
fn direct(bytes: &[u8], bpp: usize) -> [u8; 3] {
    let word = u16::from(bytes[0]) | u16::from(bytes[1]) << 8;
    let five = |shift: u16| ((word >> shift & 0x1f) << 3 | (word >> shift & 0x1f) >> 2) as u8;
    match bpp {
        15 => [five(10), five(5), five(0)],
        16 => [five(11), ((word >> 5 & 0x3f) << 2 | (word >> 9 & 3)) as u8, five(0)],
        _ => [bytes[2], bytes[1], bytes[0]],
    }
}
