//! CRC-32C (RFC 3720, B.4), by which VHDX tells whole structures from torn ones.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// Of bytes whose field at 4, which holds the sum, counts as zeros.
pub fn of(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: u8| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)];
    let own = |at: usize, byte: u8| if (4..8).contains(&at) { 0 } else { byte };
    !bytes.iter().enumerate().fold(!0, |sum, (at, byte)| step(sum, own(at, *byte)))
}

/// Puts the sum into its field.
pub fn sign(bytes: &mut [u8]) {
    let sum = of(bytes);
    crate::bytes::put(bytes, 4, &sum.to_le_bytes());
}

pub fn is_right(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && crate::bytes::le32(bytes, 4) == of(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_rfc() {
        // 32 bytes of zeros: 0x8a9136aa.
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
    }
}
