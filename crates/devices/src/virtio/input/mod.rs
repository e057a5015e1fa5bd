//! The input device (5.8), as a tablet: a pointer that says where it is.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use self::regs::*;
use super::regs::TYPE_INPUT;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::{MsiSink, lock};
use ireko_vmcore::{Line, Memory, SavedState};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, Weak};

/// The right and the lower end of the screen, whatever its size.
pub const FARTHEST: u16 = 0x7fff;
/// Reports that wait for the driver's buffers; of what comes beyond this, only the last counts.
const BACKLOG: usize = 64;
/// Bytes of an event: type, code, value.
const EVENT: usize = 8;
/// A wheel's turns that are told at once.
const MOST_TURNS: i32 = 100;

/// Where a pointer is, up to [`FARTHEST`], and what it did: a wheel that turns towards the user is positive. Buttons: left, right, middle from bit 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub x: u16,
    pub y: u16,
    pub wheel: i32,
    pub buttons: u8,
}

type Event = [u8; EVENT];

#[derive(Default)]
struct InputState {
    select: [u8; 2],
    reports: VecDeque<Position>,
    /// Of the report that is being told.
    events: VecDeque<Event>,
    /// What the driver knows.
    told: Option<Position>,
}

type Shared = Arc<Mutex<InputState>>;

/// The device.
struct Tablet {
    state: Shared,
}

/// The far end of a tablet.
#[derive(Clone)]
pub struct TabletInput {
    state: Shared,
    function: Weak<Mutex<VirtioPci>>,
}

/// A tablet's function and the end that moves it.
pub fn tablet(memory: Arc<Memory>, msi: MsiSink, intx: Line) -> (Arc<Mutex<VirtioPci>>, TabletInput) {
    let state = Shared::default();
    let function = VirtioPci::new(Box::new(Tablet { state: state.clone() }), memory, msi, intx);
    let input = TabletInput { state, function: Arc::downgrade(&function) };
    (function, input)
}

impl TabletInput {
    /// False: no driver wants to know.
    pub fn moved(&self, position: Position) -> bool {
        let Some(function) = self.function.upgrade() else { return false };
        let function = lock(&function);
        if !function.driven() {
            return false;
        }
        lock(&self.state).moved(position);
        function.kick(EVENTS);
        true
    }
}

fn event(kind: u16, code: u16, value: i32) -> Event {
    let [k, l] = kind.to_le_bytes();
    let [c, d] = code.to_le_bytes();
    let [v, w, x, y] = value.to_le_bytes();
    [k, l, c, d, v, w, x, y]
}

impl InputState {
    fn moved(&mut self, position: Position) {
        let full = self.reports.len() >= BACKLOG;
        // Of movements alone the last one is enough.
        match self.reports.back_mut() {
            Some(last) if full || (last.buttons == position.buttons && position.wheel == 0) => {
                let wheel = last.wheel.saturating_add(position.wheel).clamp(-MOST_TURNS, MOST_TURNS);
                *last = Position { wheel, ..position };
            }
            _ => self.reports.push_back(position),
        }
    }

    /// Whether there is an event.
    fn prepare(&mut self) -> bool {
        while self.events.is_empty() {
            let Some(report) = self.reports.pop_front() else { return false };
            let before = self.told.replace(Position { wheel: 0, ..report });
            self.events.extend(events(before, report));
        }
        true
    }
}

/// What has changed, and the end of the report.
fn events(before: Option<Position>, now: Position) -> Vec<Event> {
    let mut events = Vec::new();
    if before.is_none_or(|before| before.x != now.x) {
        events.push(event(EV_ABS, ABS_X, now.x.min(FARTHEST).into()));
    }
    if before.is_none_or(|before| before.y != now.y) {
        events.push(event(EV_ABS, ABS_Y, now.y.min(FARTHEST).into()));
    }
    let changed = before.map_or(0, |before| before.buttons) ^ now.buttons;
    for (bit, code) in BUTTONS.into_iter().enumerate().filter(|(bit, _)| changed >> bit & 1 != 0) {
        events.push(event(EV_KEY, code, (now.buttons >> bit & 1).into()));
    }
    if now.wheel != 0 {
        // Up is positive there.
        events.push(event(EV_REL, REL_WHEEL, -now.wheel));
    }
    if !events.is_empty() {
        events.push(event(EV_SYN, SYN_REPORT, 0));
    }
    events
}

impl VirtioDevice for Tablet {
    fn name(&self) -> &'static str {
        "virtio-input"
    }
    fn kind(&self) -> u16 {
        TYPE_INPUT
    }
    fn class(&self) -> u32 {
        0x09_80_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[64, 64]
    }
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Configuration(self.state.clone()))
    }
    fn wants(&self, queue: usize) -> bool {
        queue != EVENTS || lock(&self.state).prepare()
    }
    /// An event for the driver; what it has to say (of lights) is taken and does nothing.
    fn serve(&mut self, queue: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        if queue != EVENTS {
            return Ok(0);
        }
        let room = buffers.writer.available_bytes();
        if room < EVENT {
            return Err(Broken(format!("a buffer of {room} bytes for an event of {EVENT}")));
        }
        let next = lock(&self.state).events.pop_front();
        match next {
            Some(event) => buffers.writer.write_all(&event).map(|()| EVENT as u32).map_err(Broken::from),
            None => Ok(0),
        }
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

/// A bit for each number.
fn bits(numbers: &[u16]) -> Vec<u8> {
    let mut bits = vec![0; numbers.iter().max().map_or(0, |most| usize::from(*most) / 8 + 1)];
    numbers.iter().for_each(|number| bits[usize::from(*number) / 8] |= 1 << (number % 8));
    bits
}

/// What the device says to a question; nothing to one that it does not know.
fn answer([select, subselect]: [u8; 2]) -> Vec<u8> {
    let what = u16::from(subselect);
    match (select, what) {
        (ID_NAME, 0) => b"Ireko tablet".to_vec(),
        (ID_DEVIDS, 0) => [BUS_VIRTUAL, super::regs::VENDOR, TYPE_INPUT, 1].map(u16::to_le_bytes).concat(),
        (EV_BITS, EV_KEY) => bits(&BUTTONS),
        (EV_BITS, EV_REL) => bits(&[REL_WHEEL]),
        (EV_BITS, EV_ABS) => bits(&[ABS_X, ABS_Y]),
        // Least, most, fuzz, flat, resolution.
        (ABS_INFO, ABS_X | ABS_Y) => [0, u32::from(FARTHEST), 0, 0, 0].map(u32::to_le_bytes).concat(),
        _ => Vec::new(),
    }
}

struct Configuration(Shared);

impl Registers for Configuration {
    fn read(&self) -> Vec<u8> {
        let select = lock(&self.0).select;
        let answer = answer(select);
        let mut bytes = vec![0; ANSWER + ANSWER_ROOM];
        [bytes[SELECT], bytes[SUBSELECT], bytes[SIZE]] = [select[0], select[1], answer.len() as u8];
        bytes[ANSWER..ANSWER + answer.len()].copy_from_slice(&answer);
        bytes
    }
    fn write(&self, offset: u64, data: &[u8]) {
        crate::access::copy_in(&mut lock(&self.0).select, offset, data);
    }
    /// A driver that starts anew has no use for what came before it.
    fn reset(&self) {
        *lock(&self.0) = InputState::default();
    }
}
