//! What a port says of itself by its name, so that all others know it without a word: the address that it was given, and
//! whether it hears what others hear.
//!
//! ```text
//! LABEL.00155D010203-8f3c91aa     an adapter's port
//! LABEL.00155D010203m8f3c91aa     one that hears what is mirrored
//! LABEL.000000000000c8f3c91aa     one that hears all there is, and never says a word
//! ```

use crate::frame::Mac;
use crate::traffic::digits;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Plain,
    Mirror,
    Capture,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// What it was given, if it was.
    pub mac: Option<Mac>,
    pub kind: Kind,
}

const NONE: Mac = [0; 6];
const MAC_DIGITS: usize = 12;

impl Kind {
    const fn letter(self) -> char {
        match self {
            Self::Plain => '-',
            Self::Mirror => 'm',
            Self::Capture => 'c',
        }
    }
}

impl Role {
    pub const fn given(mac: Mac) -> Self {
        Self { mac: Some(mac), kind: Kind::Plain }
    }
    pub const CAPTURE: Self = Self { mac: None, kind: Kind::Capture };

    /// A name that no port has had: others know one by its name, also a little longer than it is there.
    pub fn name(self, label: &str) -> io::Result<String> {
        let mut random = [0; 4];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let mac = digits(&self.mac.unwrap_or(NONE));
        Ok(format!("{}.{mac}{}{:08x}", short(label), self.kind.letter(), u32::from_ne_bytes(random)))
    }

    /// What such a name says. Of any other nothing is known.
    pub fn of(name: &str) -> Self {
        let parts = name.rsplit_once('.').and_then(|(_, end)| end.split_at_checked(MAC_DIGITS));
        let Some((mac, rest)) = parts else { return Self::default() };
        let kinds = [Kind::Plain, Kind::Mirror, Kind::Capture];
        let Some(kind) = kinds.into_iter().find(|kind| rest.starts_with(kind.letter())) else {
            return Self::default();
        };
        let byte = |at: usize| u8::from_str_radix(mac.get(2 * at..2 * at + 2)?, 16).ok();
        let mut bytes = NONE;
        for (at, to) in bytes.iter_mut().enumerate() {
            let Some(byte) = byte(at) else { return Self::default() };
            *to = byte;
        }
        Self { mac: (bytes != NONE).then_some(bytes), kind }
    }
}

/// A label as it is in names: a path of a socket has 107 bytes only.
pub fn short(label: &str) -> String {
    label.replace('-', "")
}

/// A port's label, in its name.
pub fn label(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_port_is() {
        let mac = [0, 0x15, 0x5d, 1, 2, 3];
        for role in [Role::given(mac), Role { mac: Some(mac), kind: Kind::Mirror }, Role::CAPTURE] {
            let name = role.name("a-b").unwrap();
            assert_eq!((Role::of(&name), label(&name)), (role, "ab"));
        }
    }

    #[test]
    fn of_other_names_nothing_is_known() {
        for name in ["", "x", "port.0", "é.éééééééééééé", "a.00155d01020\u{e9}-1", "left.0.00000000"]
        {
            assert_eq!(Role::of(name), Role::default(), "{name}");
        }
    }

    /// The longest path that a worker behind its walls has: `/switches/ID/ports/`, and its adapter's id.
    #[test]
    fn a_name_is_short_enough_for_a_sockets_path() {
        let id = "c08cb7b8-9b3c-408e-8e30-5e16a3aeb444";
        let name = Role::given([1; 6]).name(id).unwrap();
        assert!(format!("/switches/{id}/ports/{name}").len() <= crate::switch::LONGEST_NAME);
    }
}
