//! What a VM's screen shows, on its way from the worker to who asked.

use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// In the VM's directory: where viewers connect.
pub const VNC: &str = "run/screen.sock";

/// More no screen of ours has, in either direction.
const MOST: u32 = 4096;

/// Pixels from the top left on, line after line: red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<u8>,
    /// Of a text mode, a line for each row.
    pub text: Option<String>,
}

/// What goes ahead of the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub width: u32,
    pub height: u32,
    pub text: Option<String>,
}

impl Head {
    pub fn of(shown: &Shown) -> Self {
        Self { width: shown.width, height: shown.height, text: shown.text.clone() }
    }

    /// The screen, with the pixels that follow. What a worker says is not believed.
    pub fn read(self, from: &mut impl Read) -> io::Result<Shown> {
        let Self { width, height, text } = self;
        if width == 0 || height == 0 || width > MOST || height > MOST {
            let what = format!("a screen of {width} by {height}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut pixels = vec![0; width as usize * height as usize * 3];
        from.read_exact(&mut pixels)?;
        Ok(Shown { width, height, pixels, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_that_there_cannot_be_is_not_read() {
        for (width, height) in [(0, 1), (1, 0), (4097, 1), (u32::MAX, u32::MAX)] {
            let head = Head { width, height, text: None };
            assert!(head.read(&mut io::repeat(0)).is_err(), "{width} {height}");
        }
    }

    #[test]
    fn a_screen_that_is_cut_is_an_error() {
        let head = Head { width: 2, height: 2, text: None };
        assert!(head.read(&mut &[0; 11][..]).is_err());
    }
}
