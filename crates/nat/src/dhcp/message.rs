//! DHCP's messages (RFC 2131, 2; RFC 2132).

use crate::packet::{Mac, array, long};
use std::net::Ipv4Addr;

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const DECLINE: u8 = 4;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const RELEASE: u8 = 7;
pub const INFORM: u8 = 8;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS: usize = 240;
/// RFC 1542, 2.1: what BOOTP's clients expect at least.
const SHORTEST: usize = 300;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub transaction: u32,
    pub wants_broadcast: bool,
    /// The address that it has and uses.
    pub client: Ipv4Addr,
    /// A relay between.
    pub relay: Ipv4Addr,
    pub hardware: Mac,
    pub requested: Option<Ipv4Addr>,
    pub server: Option<Ipv4Addr>,
    pub host_name: String,
}

impl Message {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        const REQUEST_ON_ETHERNET: [u8; 3] = [1, 1, 6];
        if bytes.get(..3)? != REQUEST_ON_ETHERNET || bytes.get(236..OPTIONS)? != COOKIE {
            return None;
        }
        let address = |at| array::<4>(bytes, at).map(Ipv4Addr::from);
        let mut message = Self {
            kind: 0,
            transaction: long(bytes, 4)?,
            wants_broadcast: bytes[10] & 0x80 != 0,
            client: address(12)?,
            relay: address(24)?,
            hardware: array(bytes, 28)?,
            requested: None,
            server: None,
            host_name: String::new(),
        };
        let mut options = &bytes[OPTIONS..];
        while let Some(&code) = options.first() {
            if code == 255 {
                break;
            }
            if code == 0 {
                options = &options[1..];
                continue;
            }
            let len = usize::from(*options.get(1)?);
            let value = options.get(2..2 + len)?;
            message.heed(code, value);
            options = &options[2 + len..];
        }
        (message.kind != 0).then_some(message)
    }

    fn heed(&mut self, code: u8, value: &[u8]) {
        let address = || array::<4>(value, 0).map(Ipv4Addr::from);
        match code {
            12 => self.host_name = name(value),
            50 => self.requested = address(),
            53 => self.kind = value.first().copied().unwrap_or(0),
            54 => self.server = address(),
            _ => (),
        }
    }
}

/// The part of a name that may be shown: RFC 952's letters.
fn name(value: &[u8]) -> String {
    let letters =
        value.iter().take(63).copied().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    letters.map(char::from).collect()
}

/// What the server says.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub kind: u8,
    pub to: &'a Message,
    pub yours: Ipv4Addr,
    pub server: Ipv4Addr,
    /// Code and value, in this order.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Answer<'_> {
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        bytes[..4].copy_from_slice(&[2, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&self.to.transaction.to_be_bytes());
        bytes[10] = if self.to.wants_broadcast { 0x80 } else { 0 };
        // RFC 2131, table 3: a NAK has neither.
        if self.kind != NAK {
            bytes[12..16].copy_from_slice(&self.to.client.octets());
            bytes[16..20].copy_from_slice(&self.yours.octets());
        }
        bytes[28..34].copy_from_slice(&self.to.hardware);
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend([53, 1, self.kind, 54, 4]);
        bytes.extend(self.server.octets());
        for (code, value) in &self.options {
            // RFC 3396 would allow longer ones in pieces; nothing here is that long.
            let value = &value[..value.len().min(255)];
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.push(255);
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        bytes
    }
}

/// Names one after the other, each as labels (RFC 3397, without pointers).
pub fn search_list(names: &[String]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
        let good = labels.iter().all(|label| (1..=63).contains(&label.len()));
        let len = name.len() + 2;
        if !good || list.len() + len > 255 {
            continue;
        }
        for label in labels {
            list.push(label.len() as u8);
            list.extend(label.bytes());
        }
        list.push(0);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_list_is_labels() {
        assert_eq!(search_list(&["a.bc".into(), "x".into()]), b"\x01a\x02bc\0\x01x\0");
        assert_eq!(search_list(&["".into(), "a..b".into()]), b"");
    }

    #[test]
    fn a_name_ends_where_it_is_none_any_more() {
        assert_eq!(name(b"web-1\x1b[2J"), "web-1");
    }
}
