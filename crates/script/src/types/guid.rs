//! GUIDs as .NET writes them.

use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub u128);

impl Guid {
    /// Version 4, of the kernel's randomness.
    pub fn random() -> std::io::Result<Self> {
        use std::io::Read;
        let mut bytes = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// 32 digits, with dashes in their places or none, in braces, parentheses or none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let bare = bare.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(bare);
        let lengths: Vec<usize> = bare.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] && lengths != [32] {
            return None;
        }
        let digits: String = bare.chars().filter(|c| *c != '-').collect();
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Self)
    }

    /// `N`, `D`, `B`, `P`
    pub fn format(self, style: &str) -> Option<String> {
        let plain = self.to_string();
        Some(match style {
            "" | "D" | "d" => plain,
            "N" | "n" => plain.replace('-', ""),
            "B" | "b" => format!("{{{plain}}}"),
            "P" | "p" => format!("({plain})"),
            _ => return None,
        })
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        write!(
            f,
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        )
    }
}
