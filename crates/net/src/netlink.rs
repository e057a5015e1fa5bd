//! Netlink: asking the kernel for changes of its network (RFC 3549; linux/netlink.h).

use rustix::fd::OwnedFd;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use std::io;

pub const REQUEST: u16 = 1;
pub const ACK: u16 = 4;
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;
const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;

pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A message or an attribute's content, as it grows.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// Adds an attribute, with what fills it up to four bytes.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// A whole message.
pub fn message(kind: u16, flags: u16, sequence: u32, body: &Body) -> Vec<u8> {
    let mut bytes = ((HEADER + body.0.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(&body.0);
    bytes
}

impl Netlink {
    /// NETLINK_ROUTE is protocol 0.
    pub fn route() -> io::Result<Self> {
        Self::open(None)
    }
    pub fn netfilter() -> io::Result<Self> {
        Self::open(Some(NETFILTER))
    }
    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// One change; the kernel's error is the error.
    pub fn change(&mut self, kind: u16, flags: u16, body: &Body) -> io::Result<()> {
        let sequence = self.next();
        self.send(&message(kind, REQUEST | ACK | flags, sequence, body))?;
        self.answers(sequence).map(drop)
    }

    /// Everything of a kind: the contents of its messages.
    pub fn dump(&mut self, kind: u16, body: &Body) -> io::Result<Vec<Vec<u8>>> {
        let sequence = self.next();
        self.send(&message(kind, REQUEST | DUMP, sequence, body))?;
        self.answers(sequence)
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        send(&self.socket, bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Up to the acknowledgement or the end.
    pub fn answers(&mut self, sequence: u32) -> io::Result<Vec<Vec<u8>>> {
        let (mut found, mut room) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let (len, _) = recv(&self.socket, &mut room[..], RecvFlags::empty())?;
            for (kind, about, content) in messages(&room[..len]) {
                match kind {
                    ERROR if about == sequence => return outcome(content).map(|()| found),
                    // Of an earlier part of the same batch.
                    ERROR => outcome(content)?,
                    DONE => return Ok(found),
                    _ => found.push(content.to_vec()),
                }
            }
        }
    }
}

/// An error message holds the error's number, negative, or 0.
fn outcome(content: &[u8]) -> io::Result<()> {
    match word(content, 0).map(|number| number as i32) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut short")),
    }
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let len = word(bytes, 0)? as usize;
        let message = bytes.get(..len).filter(|_| len >= HEADER)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        Some((kind, word(message, 8)?, &message[HEADER..]))
    })
}

/// The attributes in a content, behind the fixed part of `fixed` bytes.
pub fn attributes(content: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut bytes = content.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (len, kind) = (bytes.get(..2)?, bytes.get(2..4)?);
        let (len, kind) = (usize::from(u16::from_ne_bytes([len[0], len[1]])), [kind[0], kind[1]]);
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(kind), value))
    })
}

pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let body = Body(vec![9; 8]).with(1, b"abc").with(2, b"defg");
        let found: Vec<_> = attributes(&body.0, 8).collect();
        assert_eq!(found, [(1, &b"abc"[..]), (2, b"defg")]);
    }

    #[test]
    fn an_answer_that_is_cut_short_is_read_as_far_as_it_goes() {
        let whole = message(ERROR, 0, 7, &Body(vec![0; 20]).with(1, b"abc"));
        for end in 0..=whole.len() {
            assert_eq!(messages(&whole[..end]).count(), usize::from(end == whole.len()));
            let _ = attributes(&whole[..end], 0).count();
        }
    }

    #[test]
    fn the_kernels_refusal_is_an_error() {
        let error = outcome(&(-17i32).to_ne_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
