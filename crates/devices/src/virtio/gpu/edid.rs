//! What the monitor says of itself (VESA E-EDID 1.4, 3).

/// Columns and lines that systems are to use if nobody says otherwise.
pub const PREFERRED: (u32, u32) = (1280, 800);

/// The preferred mode with reduced blanking (VESA CVT 1.2), 60 Hz: pixel clock in 10 kHz; columns, blank, front porch, sync; the same of lines.
const CLOCK: u16 = 7100;
const COLUMNS: [u16; 4] = [1280, 160, 48, 32];
const LINES: [u16; 4] = [800, 23, 3, 6];
/// Of a monitor with 96 dots an inch, in millimetres.
const SIZE: [u16; 2] = [339, 212];

pub const SIZE_OF: usize = 128;

/// A manufacturer's three letters, five bits each.
fn letters(name: [u8; 3]) -> [u8; 2] {
    let word = name.iter().fold(0u16, |word, letter| word << 5 | u16::from(letter - b'A' + 1));
    word.to_be_bytes()
}

fn timing() -> [u8; 18] {
    let low = |value: u16| value as u8;
    let high = |upper: u16, lower: u16| ((upper >> 8) << 4 | lower >> 8) as u8;
    let [clock, clock_high] = CLOCK.to_le_bytes();
    let [columns, blank, front, sync] = COLUMNS;
    let [lines, blank_lines, front_lines, sync_lines] = LINES;
    let porches = (front_lines & 0xf) << 4 | sync_lines & 0xf;
    let upper =
        (front >> 8 & 3) << 6 | (sync >> 8 & 3) << 4 | (front_lines >> 4 & 3) << 2 | sync_lines >> 4 & 3;
    // Digital separate sync, horizontal positive.
    const FLAGS: u8 = 0x1a;
    [
        clock,
        clock_high,
        low(columns),
        low(blank),
        high(columns, blank),
        low(lines),
        low(blank_lines),
        high(lines, blank_lines),
        low(front),
        low(sync),
        low(porches),
        low(upper),
        low(SIZE[0]),
        low(SIZE[1]),
        high(SIZE[0], SIZE[1]),
        0,
        0,
        FLAGS,
    ]
}

/// A descriptor of text.
fn text(kind: u8, text: &[u8]) -> [u8; 18] {
    let mut descriptor = [b' '; 18];
    descriptor[..5].copy_from_slice(&[0, 0, 0, kind, 0]);
    descriptor[5..5 + text.len()].copy_from_slice(text);
    descriptor[5 + text.len()] = b'\n';
    descriptor
}

/// The one block.
pub fn block() -> [u8; SIZE_OF] {
    let mut block = [0; SIZE_OF];
    block[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    block[8..10].copy_from_slice(&letters(*b"IRK"));
    // Product 1, no serial number, of 2026, EDID 1.4.
    block[10..20].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 36, 1, 4]);
    // Digital with 8 bits a colour, centimetres, gamma 2.2, preferred mode is the native one, sRGB.
    block[20..25].copy_from_slice(&[0xa0, (SIZE[0] / 10) as u8, (SIZE[1] / 10) as u8, 120, 0x06]);
    // sRGB's primaries.
    block[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // 640 by 480, 800 by 600 and 1024 by 768, all with 60 Hz.
    block[35..38].copy_from_slice(&[0x21, 0x08, 0]);
    // 1920 by 1080, 1600 by 1200, 1680 by 1050, 1440 by 900, 1280 by 1024; the rest unused.
    let standard = [0xd1, 0xc0, 0xa9, 0x40, 0xb3, 0x00, 0x95, 0x00, 0x81, 0x80];
    block[38..54].fill(1);
    block[38..48].copy_from_slice(&standard);
    block[54..72].copy_from_slice(&timing());
    block[72..90].copy_from_slice(&text(0xfc, b"Ireko"));
    // Two descriptors without a meaning.
    block[93] = 0x10;
    block[111] = 0x10;
    block[127] = block.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_sums_to_zero() {
        assert_eq!(block().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    }

    #[test]
    fn the_first_timing_is_the_preferred_mode() {
        let timing = &block()[54..72];
        let twelve = |low: u8, high: u8| u32::from(low) | u32::from(high >> 4) << 8;
        assert_eq!((twelve(timing[2], timing[4]), twelve(timing[5], timing[7])), PREFERRED);
    }
}
