//! The input device's configuration (virtio 1.2, 5.8.4) and Linux's numbers of events, which it speaks
//! (`input-event-codes.h`).

/// Configuration: what is asked for, in two bytes, how large the answer is, and from here on the answer.
pub const SELECT: usize = 0;
pub const SUBSELECT: usize = 1;
pub const SIZE: usize = 2;
pub const ANSWER: usize = 8;
pub const ANSWER_ROOM: usize = 128;

pub const ID_NAME: u8 = 0x01;
pub const ID_DEVIDS: u8 = 0x03;
pub const EV_BITS: u8 = 0x11;
pub const ABS_INFO: u8 = 0x12;

pub const BUS_VIRTUAL: u16 = 6;

pub const EVENTS: usize = 0;

pub const EV_SYN: u16 = 0;
pub const EV_KEY: u16 = 1;
pub const EV_REL: u16 = 2;
pub const EV_ABS: u16 = 3;
pub const SYN_REPORT: u16 = 0;
pub const REL_WHEEL: u16 = 8;
pub const ABS_X: u16 = 0;
pub const ABS_Y: u16 = 1;
/// Left, right, middle.
pub const BUTTONS: [u16; 3] = [0x110, 0x111, 0x112];
