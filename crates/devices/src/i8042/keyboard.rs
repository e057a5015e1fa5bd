//! The keyboard: what it answers to commands, and what keys come to.

use super::codes::to_set_2;
use super::regs::*;
use std::collections::VecDeque;

/// A key by its code of set 1; `extended`: behind E0h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub code: u8,
    pub extended: bool,
}

/// A key that goes down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    pub key: Key,
    pub down: bool,
}

/// Bytes that wait to be read; what a PS/2 keyboard has room for.
const ROOM: usize = 16;

pub struct Keyboard {
    pub(super) bytes: VecDeque<u8>,
    /// The command whose argument comes next.
    pub(super) command: Option<u8>,
    /// 1 or 2.
    pub(super) set: u8,
    pub(super) scanning: bool,
    pub(super) last: u8,
}

impl Keyboard {
    pub fn new() -> Self {
        Self { bytes: VecDeque::new(), command: None, set: 2, scanning: true, last: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.pop_front()?;
        self.last = byte;
        Some(byte)
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().take(ROOM.saturating_sub(self.bytes.len())));
    }

    pub fn write(&mut self, byte: u8) {
        if let Some(command) = self.command.take() {
            return self.argument(command, byte);
        }
        match byte {
            SET_LEDS | SCAN_CODES | SET_RATE => {
                self.command = Some(byte);
                self.answer(&[ACKNOWLEDGE]);
            }
            ECHO => self.answer(&[ECHO]),
            IDENTIFY => self.answer(&[ACKNOWLEDGE, KEYBOARD_ID[0], KEYBOARD_ID[1]]),
            ENABLE => self.set_scanning(true),
            DISABLE => self.set_scanning(false),
            DEFAULTS => {
                self.set = 2;
                self.set_scanning(true);
            }
            RESEND => {
                let last = self.last;
                self.answer(&[last]);
            }
            RESET => {
                *self = Self::new();
                self.answer(&[ACKNOWLEDGE, SELF_TEST_DONE]);
            }
            // What sets keys' behaviour in set 3.
            0xf7..=0xfd => self.answer(&[ACKNOWLEDGE]),
            _ => self.answer(&[RESEND]),
        }
    }

    fn set_scanning(&mut self, on: bool) {
        self.scanning = on;
        self.bytes.clear();
        self.answer(&[ACKNOWLEDGE]);
    }

    fn argument(&mut self, command: u8, byte: u8) {
        match (command, byte) {
            (SCAN_CODES, 0) => {
                let set = self.set;
                return self.answer(&[ACKNOWLEDGE, set]);
            }
            (SCAN_CODES, 1 | 2) => self.set = byte,
            (SCAN_CODES, _) => return self.answer(&[RESEND]),
            _ => {}
        }
        self.answer(&[ACKNOWLEDGE]);
    }

    /// Sends a key, if keys are wanted and there is room for all of it.
    pub fn key(&mut self, event: KeyEvent) {
        const LONGEST: usize = 3;
        if !self.scanning || self.bytes.len() + LONGEST > ROOM {
            return;
        }
        let prefix = if event.key.extended { &[EXTENDED][..] } else { &[] };
        if self.set == 1 {
            let code = event.key.code | if event.down { 0 } else { RELEASED };
            return self.answer(&[prefix, &[code]].concat());
        }
        let release = if event.down { &[][..] } else { &[RELEASE] };
        if let Some(code) = to_set_2(event.key.code) {
            self.answer(&[prefix, release, &[code]].concat());
        }
    }
}
