//! What a client of TCP must know.

use super::ServeError;
use crate::place;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub struct Token(Vec<u8>);

/// Fewer characters can be guessed.
const SHORTEST: usize = 16;
const LONGEST: u64 = 4096;

impl Token {
    /// Reads the file, which must be its owner's alone; one that is not there is made, with random content.
    pub fn from_file(path: &Path) -> Result<Self, ServeError> {
        let wrong = |why: String| ServeError::Token { path: path.to_owned(), why };
        let io_error = |error: io::Error| wrong(error.to_string());
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => file.write_all(random().map_err(io_error)?.as_bytes()).map_err(io_error)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(io_error(error)),
        }
        let file = place::open_secret(path).map_err(wrong)?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(io_error)?;
        let text = text.trim();
        if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(format!(
                "it must hold one word of {SHORTEST} or more characters; remove it, and one is made"
            )));
        }
        Ok(Self(text.as_bytes().to_owned()))
    }

    /// Whether an Authorization header's value has it. Takes as long for a wrong token as for the right one.
    pub fn is_in(&self, header: &[u8]) -> bool {
        let Some((scheme, given)) = header.split_at_checked(b"Bearer ".len()) else { return false };
        let mut difference = u8::from(given.len() != self.0.len());
        for (index, byte) in self.0.iter().enumerate() {
            difference |= byte ^ std::hint::black_box(given.get(index).copied().unwrap_or(0));
        }
        scheme.eq_ignore_ascii_case(b"Bearer ") && std::hint::black_box(difference) == 0
    }
}

/// 256 bits as hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits + "\n")
}
