//! The user's terminal while a VM has it: raw mode, the escape key, and the way back.

use crate::sys;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

const CTRL_A: u8 = 1;

/// What keys mean.
#[derive(Debug, PartialEq)]
pub enum Key {
    /// For the guest.
    Byte(u8),
    /// Ctrl-A X.
    End,
}

/// Finds the escape sequences in what is typed. Ctrl-A Ctrl-A is one Ctrl-A; Ctrl-A and any other key is both.
#[derive(Default)]
pub struct Keys {
    escaped: bool,
}

impl Keys {
    pub fn push(&mut self, byte: u8) -> Vec<Key> {
        match (std::mem::take(&mut self.escaped), byte) {
            (false, CTRL_A) => {
                self.escaped = true;
                Vec::new()
            }
            (false, byte) => vec![Key::Byte(byte)],
            (true, b'x' | b'X') => vec![Key::End],
            (true, CTRL_A) => vec![Key::Byte(CTRL_A)],
            (true, byte) => vec![Key::Byte(CTRL_A), Key::Byte(byte)],
        }
    }
}

/// Standard input in raw mode, until it is dropped or restored.
#[derive(Clone)]
pub struct Raw {
    before: Arc<Mutex<Option<sys::Modes>>>,
}

impl Raw {
    /// Nothing happens, and nothing will be put back, when standard input is no terminal.
    pub fn enter() -> Self {
        let stdin = std::io::stdin();
        let before = stdin.is_terminal().then(|| sys::terminal_modes(stdin.as_raw_fd()).ok()).flatten();
        if let Some(modes) = &before {
            let _ = sys::set_terminal_modes(stdin.as_raw_fd(), &modes.raw());
        }
        Self { before: Arc::new(Mutex::new(before)) }
    }

    pub fn is_terminal(&self) -> bool {
        self.before.lock().unwrap_or_else(|e| e.into_inner()).is_some()
    }

    /// Puts the modes back; a second time does nothing.
    pub fn restore(&self) {
        if let Some(modes) = self.before.lock().unwrap_or_else(|e| e.into_inner()).take() {
            let _ = sys::set_terminal_modes(std::io::stdin().as_raw_fd(), &modes);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if Arc::strong_count(&self.before) == 1 {
            self.restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().flat_map(|&byte| keys.push(byte)).collect()
    }

    #[test]
    fn plain_keys_go_to_the_guest() {
        assert_eq!(typed(b"ax\x03"), [Key::Byte(b'a'), Key::Byte(b'x'), Key::Byte(3)]);
    }

    #[test]
    fn control_a_and_x_end_it() {
        assert_eq!(typed(b"\x01x"), [Key::End]);
        assert_eq!(typed(b"\x01X"), [Key::End]);
    }

    #[test]
    fn control_a_twice_is_one_control_a() {
        assert_eq!(typed(b"\x01\x01x"), [Key::Byte(1), Key::Byte(b'x')]);
    }

    #[test]
    fn control_a_before_another_key_is_passed_on() {
        assert_eq!(typed(b"\x01b"), [Key::Byte(1), Key::Byte(b'b')]);
    }
}
