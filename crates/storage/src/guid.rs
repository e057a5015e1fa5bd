//! GUIDs: the identities of images, and of whatever else is told apart by them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::str::FromStr;

/// 16 bytes in the order in which people write them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid(pub [u8; 16]);

impl Guid {
    pub const NIL: Self = Self([0; 16]);

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

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no GUID; it must look like 01234567-89ab-4cde-8f01-23456789abcd")]
pub struct NotAGuid(String);

impl FromStr for Guid {
    type Err = NotAGuid;

    /// With or without braces, in any case.
    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        parse(text).ok_or_else(|| NotAGuid(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Guid> {
    let bare = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text).as_bytes();
    let dashes = [8, 13, 18, 23];
    if bare.len() != 36 || dashes.iter().any(|&at| bare[at] != b'-') {
        return None;
    }
    let digits = (0..36).filter(|at| !dashes.contains(at)).map(|at| char::from(bare[at]).to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| digit.map(|d| d as u8)).collect::<Option<_>>()?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(Guid(bytes))
}

impl TryFrom<String> for Guid {
    type Error = NotAGuid;
    fn try_from(text: String) -> Result<Self, NotAGuid> {
        text.parse()
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> Self {
        guid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_survives_its_text() {
        let guid = Guid::random().unwrap();
        assert_eq!(guid.to_string().parse::<Guid>().unwrap(), guid);
        assert_eq!(format!("{{{}}}", guid.to_string().to_uppercase()).parse::<Guid>().unwrap(), guid);
    }

    #[test]
    fn what_is_no_guid_is_refused() {
        for text in [
            "",
            "x",
            "01234567-89ab-4cde-8f01-23456789abc",
            "0123456789ab-4cde-8f01-23456789abcd---",
            "é1234567-89ab-4cde-8f01-23456789abc",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
    }
}
