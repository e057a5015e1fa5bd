//! GUIDs, as VHD and VHDX have them.

use std::fmt;
use std::io;

/// 16 bytes in the order in which people write them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    pub const NONE: Self = Self([0; 16]);

    /// A random one (RFC 9562, version 4).
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        let mut done = 0;
        while done < bytes.len() {
            done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())?;
        }
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(bytes))
    }

    /// Of VHDX: the first three parts are little-endian.
    pub fn read(bytes: &[u8], at: usize) -> Self {
        let mut own = [0; 16];
        own.copy_from_slice(&bytes[at..at + 16]);
        Self(mixed(own))
    }

    pub fn encoded(&self) -> [u8; 16] {
        mixed(self.0)
    }

    /// With or without braces.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
        let digits: String = inner.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        let number = u128::from_str_radix(&digits, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }
}

const fn mixed(bytes: [u8; 16]) -> [u8; 16] {
    let b = bytes;
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

/// From the number that its digits are.
pub const fn guid(digits: u128) -> Guid {
    Guid(digits.to_be_bytes())
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
