//! Text modes: characters and their attributes in planes 0 and 1, the font in plane 2.

use super::picture::Picture;
use super::regs::*;
use super::vga::Vga;

/// More columns or rows no text mode has.
const MOST_COLUMNS: usize = 256;

/// Characters on the screen.
pub(super) struct Text {
    columns: usize,
    rows: usize,
    /// Character and attribute, row after row.
    cells: Vec<[u8; 2]>,
    /// Which cell the cursor is in, and its first and last line.
    cursor: Option<(usize, usize, usize)>,
}

impl Vga {
    pub(super) fn text(&self) -> Text {
        let frame = self.frame();
        let (columns, rows) = (frame.columns.min(MOST_COLUMNS), (frame.lines / frame.row).max(1));
        let mut cells = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            let mut line = vec![0; columns * 4];
            self.memory.read(((frame.start + row * frame.pitch) * 4) as u64, &mut line);
            cells.extend(line.chunks_exact(4).map(|cell| [cell[0], cell[1]]));
        }
        let at = usize::from(self.crtc[CR_CURSOR]) << 8 | usize::from(self.crtc[CR_CURSOR + 1]);
        let (start, end) = (self.crtc[CR_CURSOR_START], self.crtc[CR_CURSOR_END] & 0x1f);
        let cell = at.checked_sub(frame.start).map(|at| (at / frame.pitch.max(1), at % frame.pitch.max(1)));
        let cursor = cell
            .filter(|&(row, column)| start & CURSOR_OFF == 0 && row < rows && column < columns)
            .map(|(row, column)| (row * columns + column, usize::from(start & 0x1f), usize::from(end)));
        Text { columns, rows, cells, cursor }
    }

    /// The characters of the two fonts' places in plane 2 (sequencer, character map select).
    fn fonts(&self) -> [Vec<u8>; 2] {
        let select = usize::from(self.sequencer[SR_FONTS]);
        // Fonts A for characters with attribute bit 3, B for those without.
        let places = [select >> 4 & 1 | (select & 3) << 1, select >> 5 & 1 | (select >> 2 & 3) << 1];
        places.map(|place| {
            let mut planes = vec![0; 256 * 32 * 4];
            self.memory.read((place * 0x2000 * 4) as u64, &mut planes);
            planes.chunks_exact(4).map(|cell| cell[2]).collect()
        })
    }

    pub(super) fn text_picture(&self) -> Picture {
        let (text, fonts, colours) = (self.text(), self.fonts(), self.sixteen());
        let height = self.frame().row.min(32);
        let nine = self.sequencer[SR_CLOCK] & CLOCK_8_DOTS == 0;
        let (mode, width) = (self.attributes[AR_MODE], 8 + usize::from(nine));
        let mut pixels = Vec::with_capacity(text.cells.len() * width * height * 3);
        for (row, cells) in text.cells.chunks_exact(text.columns).enumerate() {
            for line in 0..height {
                for (column, &[character, attribute]) in cells.iter().enumerate() {
                    let font = &fonts[usize::from(attribute >> 3 & 1)];
                    let mut dots = u16::from(font[usize::from(character) * 32 + line]) << 1;
                    // The ninth dot of line graphics continues the eighth.
                    if (0xc0..=0xdf).contains(&character) && mode & MODE_LINE_GRAPHICS != 0 {
                        dots |= dots >> 1 & 1;
                    }
                    let place = row * text.columns + column;
                    if text
                        .cursor
                        .is_some_and(|(at, first, last)| at == place && (first..=last).contains(&line))
                    {
                        dots = 0x1ff;
                    }
                    let back = attribute >> 4 & if mode & MODE_BLINK != 0 { 7 } else { 15 };
                    let (fore, back) = (colours[usize::from(attribute & 15)], colours[usize::from(back)]);
                    let shown = (0..width).map(|dot| if dots >> (8 - dot) & 1 != 0 { fore } else { back });
                    pixels.extend(shown.flatten());
                }
            }
        }
        Picture { width: text.columns * width, height: text.rows * height, pixels }
    }

    /// The characters as text, a line for each row, without the blanks behind; `None` in graphics modes.
    pub fn characters(&self) -> Option<String> {
        if !self.is_text() || self.attribute_index & ATTRIBUTE_SHOWN == 0 {
            return None;
        }
        let text = self.text();
        let line = |cells: &[[u8; 2]]| {
            let line: String = cells.iter().map(|&[character, _]| unicode(character)).collect();
            line.trim_end().to_owned()
        };
        Some(text.cells.chunks_exact(text.columns).map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// Code page 437, which fonts of PCs have.
fn unicode(character: u8) -> char {
    const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
    const HIGH: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";
    match character {
        0..0x20 => LOW.chars().nth(character.into()),
        0x20..0x7f => Some(character.into()),
        0x7f => Some('⌂'),
        _ => HIGH.chars().nth(usize::from(character) - 0x80),
    }
    .unwrap_or(' ')
}
