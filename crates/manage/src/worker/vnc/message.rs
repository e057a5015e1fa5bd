//! What a viewer sends (RFC 6143, 7.5).

use super::pixels::Format;
use std::io::{self, Read};

/// More is not taken from a viewer's clipboard: it is a viewer of something else.
const MOST_TEXT: u32 = 1 << 20;
/// The pseudo-encoding of who follows a screen that changes its size (7.8.2).
const DESKTOP_SIZE: i32 = -223;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Format(Format),
    Encodings {
        resizes: bool,
    },
    Update {
        incremental: bool,
    },
    Key {
        keysym: u32,
        down: bool,
    },
    Pointer {
        buttons: u8,
        x: u16,
        y: u16,
    },
    /// Something that is not for us.
    Nothing,
}

fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Message {
    /// The next one. Whatever its lengths say, no more than a few bytes of it are kept.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        match bytes::<1>(from)?[0] {
            0 => {
                let [_, _, _, format @ ..] = bytes::<19>(from)?;
                Format::of(format).map(Self::Format).ok_or_else(|| wrong("a pixel format that there is not"))
            }
            2 => {
                let [_, high, low] = bytes(from)?;
                let mut resizes = false;
                for _ in 0..u16::from_be_bytes([high, low]) {
                    resizes |= i32::from_be_bytes(bytes(from)?) == DESKTOP_SIZE;
                }
                Ok(Self::Encodings { resizes })
            }
            3 => Ok(Self::Update { incremental: bytes::<9>(from)?[0] != 0 }),
            4 => {
                let [down, _, _, keysym @ ..] = bytes::<7>(from)?;
                Ok(Self::Key { keysym: u32::from_be_bytes(keysym), down: down != 0 })
            }
            5 => {
                let [buttons, x, x_low, y, y_low] = bytes(from)?;
                let (x, y) = (u16::from_be_bytes([x, x_low]), u16::from_be_bytes([y, y_low]));
                Ok(Self::Pointer { buttons, x, y })
            }
            6 => {
                let [_, _, _, length @ ..] = bytes::<7>(from)?;
                skip(from, u32::from_be_bytes(length))?;
                Ok(Self::Nothing)
            }
            _ => Err(wrong("a message that there is not")),
        }
    }
}

fn skip(from: &mut impl Read, count: u32) -> io::Result<()> {
    if count > MOST_TEXT {
        return Err(wrong("a clipboard without end"));
    }
    let skipped = io::copy(&mut from.take(count.into()), &mut io::sink())?;
    if skipped == u64::from(count) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
