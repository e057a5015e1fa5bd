//! Little-endian values in the byte slices of bus accesses.

/// The bytes as a number; at most eight count.
pub fn value(data: &[u8]) -> u64 {
    data.iter().take(8).rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Fills `data` with `value`, and with zeros past its eighth byte.
pub fn fill(data: &mut [u8], value: u64) {
    for (i, byte) in data.iter_mut().enumerate() {
        *byte = if i < 8 { (value >> (8 * i)) as u8 } else { 0 };
    }
}

/// Gives `data` the bytes of `table` from `offset` on, all ones where the table has none.
pub fn copy_out(table: &[u8], offset: u64, data: &mut [u8]) {
    for (i, byte) in (0u64..).zip(data) {
        let at = usize::try_from(offset.saturating_add(i)).unwrap_or(usize::MAX);
        *byte = table.get(at).copied().unwrap_or(0xff);
    }
}

/// Puts `data` into `table` from `offset` on, dropping what lies outside.
pub fn copy_in(table: &mut [u8], offset: u64, data: &[u8]) {
    for (i, byte) in (0u64..).zip(data) {
        let at = usize::try_from(offset.saturating_add(i)).unwrap_or(usize::MAX);
        if let Some(slot) = table.get_mut(at) {
            *slot = *byte;
        }
    }
}

/// The first bytes of `table`, zeros where it has none.
pub fn array<const N: usize>(table: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    copy_in(&mut bytes, 0, &table[..table.len().min(N)]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_the_lowest() {
        assert_eq!(value(&[0x78, 0x56, 0x34, 0x12]), 0x1234_5678);
    }

    #[test]
    fn reading_past_a_table_gives_ones() {
        let mut data = [0; 4];
        copy_out(&[1, 2], 1, &mut data);
        assert_eq!(data, [2, 0xff, 0xff, 0xff]);
    }
}
