//! Pictures as a viewer gets them: what has changed, in its own pixel format, uncompressed (RFC 6143, 7.4, 7.6.1, 7.7.1).

use crate::worker::screen::Shown;
use std::io::{self, Write};
use std::ops::Range;

/// How a viewer wants pixels: bytes of each, and where the colours are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    bytes: u8,
    big_endian: bool,
    most: [u16; 3],
    shift: [u8; 3],
}

impl Default for Format {
    fn default() -> Self {
        Self { bytes: 4, big_endian: false, most: [255; 3], shift: [16, 8, 0] }
    }
}

impl Format {
    /// `None`: a format that there is not, or one with a palette.
    pub fn of(bytes: [u8; 16]) -> Option<Self> {
        let [bits, _, big_endian, true_colour, r, r1, g, g1, b, b1, red, green, blue, ..] = bytes;
        let most = [[r, r1], [g, g1], [b, b1]].map(u16::from_be_bytes);
        let good = matches!(bits, 8 | 16 | 32) && true_colour != 0;
        let shift = [red, green, blue];
        let fits = shift.iter().all(|shift| *shift < bits);
        (good && fits).then_some(Self { bytes: bits / 8, big_endian: big_endian != 0, most, shift })
    }

    /// As the server's own is told.
    pub fn bytes(self) -> [u8; 16] {
        let [r, g, b] = self.most.map(u16::to_be_bytes);
        let [red, green, blue] = self.shift;
        let depth = 24;
        let big_endian = u8::from(self.big_endian);
        let bits = self.bytes * 8;
        [bits, depth, big_endian, 1, r[0], r[1], g[0], g[1], b[0], b[1], red, green, blue, 0, 0, 0]
    }

    fn put(self, pixel: &[u8], to: &mut Vec<u8>) {
        let part = |n: usize| (u32::from(pixel[n]) * u32::from(self.most[n]) + 127) / 255;
        let word = (0..3).fold(0, |word, n| word | part(n) << self.shift[n]);
        let size = usize::from(self.bytes);
        match self.big_endian {
            true => to.extend(&word.to_be_bytes()[4 - size..]),
            false => to.extend(&word.to_le_bytes()[..size]),
        }
    }
}

/// Columns and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rectangle {
    pub columns: Range<usize>,
    pub lines: Range<usize>,
}

/// Lines that are compared together.
const BAND: usize = 16;

/// What is otherwise than before, within the size that a viewer knows; of a picture of another size, everything.
pub fn changed(before: Option<&Shown>, now: &Shown, size: (u32, u32)) -> Vec<Rectangle> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let before = before.filter(|before| (before.width, before.height) == (now.width, now.height));
    let Some(before) = before else { return vec![Rectangle { columns: 0..width, lines: 0..height }] };
    let shown = height.min(now.height as usize);
    let bands = (0..shown).step_by(BAND).map(|first| first..(first + BAND).min(shown));
    let columns = |lines: &Range<usize>| {
        let different = lines.clone().filter_map(|line| different(before, now, line));
        different.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
    };
    bands
        .filter_map(|lines| {
            let columns = columns(&lines)?;
            let columns = columns.start.min(width)..columns.end.min(width);
            (!columns.is_empty()).then_some(Rectangle { columns, lines })
        })
        .collect()
}

/// From the first column that differs to the last.
fn different(before: &Shown, now: &Shown, line: usize) -> Option<Range<usize>> {
    let (old, new) = (row(before, line), row(now, line));
    if old == new {
        return None;
    }
    let differs = |(a, b): (&[u8], &[u8])| a != b;
    let pixels = || old.chunks_exact(3).zip(new.chunks_exact(3));
    Some(pixels().position(differs)?..pixels().rposition(differs)? + 1)
}

fn row(shown: &Shown, line: usize) -> &[u8] {
    let size = shown.width as usize * 3;
    shown.pixels.get(line * size..(line + 1) * size).unwrap_or_default()
}

/// An update of these rectangles; black where the picture is smaller than what the viewer knows.
pub fn write(to: &mut impl Write, shown: &Shown, rectangles: &[Rectangle], format: Format) -> io::Result<()> {
    to.write_all(&[0, 0])?;
    to.write_all(&(rectangles.len() as u16).to_be_bytes())?;
    for Rectangle { columns, lines } in rectangles {
        let head = [columns.start, lines.start, columns.len(), lines.len()];
        head.iter().try_for_each(|number| to.write_all(&(*number as u16).to_be_bytes()))?;
        to.write_all(&[0; 4])?;
        let mut bytes = Vec::with_capacity(columns.len() * 4);
        for line in lines.clone() {
            bytes.clear();
            let row = row(shown, line);
            for column in columns.clone() {
                format.put(row.get(column * 3..column * 3 + 3).unwrap_or(&[0; 3]), &mut bytes);
            }
            to.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// An update that says that the screen has another size (7.8.2).
pub fn write_size(to: &mut impl Write, size: (u32, u32)) -> io::Result<()> {
    to.write_all(&[0, 0, 0, 1, 0, 0, 0, 0])?;
    to.write_all(&(size.0 as u16).to_be_bytes())?;
    to.write_all(&(size.1 as u16).to_be_bytes())?;
    to.write_all(&(-223i32).to_be_bytes())
}
