//! A PS/2 mouse with three buttons and, for who asks in the known way, a wheel.

use super::regs::*;
use std::collections::VecDeque;

/// What a pointer did: right and down are positive, and so is a wheel that turns towards the user. Buttons: left, right,
/// middle from bit 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Motion {
    pub x: i32,
    pub y: i32,
    pub wheel: i32,
    pub buttons: u8,
}

pub(super) const ROOM: usize = 16;
/// Sample rates that turn the wheel on.
const KNOCK: [u8; 3] = [200, 100, 80];
/// Of a packet's movement, nine bits with sign.
const MOST: i32 = 255;
/// More movement than this is not remembered.
pub(super) const FARTHEST: i32 = 4096;

pub struct Mouse {
    pub(super) bytes: VecDeque<u8>,
    pub(super) command: Option<u8>,
    pub(super) wrap: bool,
    pub(super) remote: bool,
    pub(super) enabled: bool,
    pub(super) scaling: u8,
    pub(super) resolution: u8,
    pub(super) rate: u8,
    pub(super) knock: [u8; 3],
    pub(super) wheel: bool,
    /// Not told yet.
    pub(super) moved: Motion,
    pub(super) changed: bool,
}

impl Mouse {
    pub fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            command: None,
            wrap: false,
            remote: false,
            enabled: false,
            scaling: 1,
            resolution: 2,
            rate: 100,
            knock: [0; 3],
            wheel: false,
            moved: Motion::default(),
            changed: false,
        }
    }

    pub fn next(&mut self) -> Option<u8> {
        self.report();
        self.bytes.pop_front()
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes.iter().take(ROOM.saturating_sub(self.bytes.len())));
    }

    pub fn write(&mut self, byte: u8) {
        if let Some(command) = self.command.take() {
            return self.argument(command, byte);
        }
        if self.wrap && !matches!(byte, NO_WRAP | RESET) {
            return self.answer(&[byte]);
        }
        match byte {
            RESOLUTION | SET_RATE => self.command = Some(byte),
            SCALING_1 => self.scaling = 1,
            SCALING_2 => self.scaling = 2,
            STREAM => self.remote = false,
            REMOTE => self.remote = true,
            WRAP => self.wrap = true,
            NO_WRAP => self.wrap = false,
            ENABLE => self.enabled = true,
            DISABLE => self.enabled = false,
            DEFAULTS => {
                let wheel = self.wheel;
                *self = Self { wheel, ..Self::new() };
            }
            STATUS => return self.answer(&[ACKNOWLEDGE, self.status(), self.resolution, self.rate]),
            IDENTIFY => return self.answer(&[ACKNOWLEDGE, self.identity()]),
            POLL => {
                self.answer(&[ACKNOWLEDGE]);
                return self.packet();
            }
            RESET => {
                *self = Self::new();
                return self.answer(&[ACKNOWLEDGE, SELF_TEST_DONE, 0]);
            }
            _ => return self.answer(&[RESEND]),
        }
        self.answer(&[ACKNOWLEDGE]);
    }

    fn identity(&self) -> u8 {
        if self.wheel { 3 } else { 0 }
    }

    fn status(&self) -> u8 {
        let buttons = self.moved.buttons;
        let pressed = (buttons & 1) << 2 | (buttons & 4) >> 1 | (buttons & 2) >> 1;
        u8::from(self.remote) << 6 | u8::from(self.enabled) << 5 | (self.scaling - 1) << 4 | pressed
    }

    fn argument(&mut self, command: u8, byte: u8) {
        if command == RESOLUTION {
            self.resolution = byte;
        } else {
            self.rate = byte;
            self.knock = [self.knock[1], self.knock[2], byte];
            self.wheel |= self.knock == KNOCK;
        }
        self.answer(&[ACKNOWLEDGE]);
    }

    pub fn moved(&mut self, motion: Motion) {
        let sum = |a: i32, b: i32| a.saturating_add(b).clamp(-FARTHEST, FARTHEST);
        self.moved = Motion {
            x: sum(self.moved.x, motion.x),
            y: sum(self.moved.y, motion.y),
            wheel: sum(self.moved.wheel, motion.wheel),
            buttons: motion.buttons & 7,
        };
        self.changed = true;
    }

    /// Makes a packet of what was not told, once the one before was taken.
    fn report(&mut self) {
        if self.bytes.is_empty() && self.changed && self.enabled && !self.remote && !self.wrap {
            self.packet();
        }
    }

    fn packet(&mut self) {
        // Up is positive here.
        let (x, y) = (self.moved.x.clamp(-MOST, MOST), (-self.moved.y).clamp(-MOST, MOST));
        let wheel = self.moved.wheel.clamp(-7, 7);
        let signs = u8::from(x < 0) << 4 | u8::from(y < 0) << 5;
        self.answer(&[self.moved.buttons | 1 << 3 | signs, x as u8, y as u8]);
        if self.wheel {
            self.answer(&[wheel as u8]);
        }
        self.moved = Motion {
            x: self.moved.x - x,
            y: self.moved.y + y,
            wheel: if self.wheel { self.moved.wheel - wheel } else { 0 },
            buttons: self.moved.buttons,
        };
        self.changed = self.moved.x != 0 || self.moved.y != 0 || self.moved.wheel != 0;
    }
}
