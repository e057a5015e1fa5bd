//! The keyboard controller with a keyboard (IRQ 1) and a mouse (IRQ 12), and what is typed for the guest.

mod codes;
mod keyboard;
mod mouse;
pub mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

pub use keyboard::{Key, KeyEvent};
pub use mouse::Motion;

use crate::{Power, PowerEvent, lock};
use ireko_vmcore::{Clock, Device, Line, SavedState, Space, Timer, Timers};
use keyboard::Keyboard;
use mouse::Mouse;
use regs::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

/// Data and command ports.
pub const PLACES: [u64; 2] = [DATA, COMMAND];
const COMMAND_REGION: usize = 1;
/// IRQs of keyboard and mouse.
pub const IRQS: [u32; 2] = [1, 12];

/// Answers of the controller's that wait.
const ANSWERS: usize = 4;
/// Keys that wait for the keyboard.
pub const MOST_TYPED: usize = 4096;
/// Between one key and the next, in nanoseconds: old systems have room for a few, and lose what comes faster than they look.
const PACE: u64 = 15_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Keyboard,
    Mouse,
    /// As if from the keyboard, or from the mouse: not translated.
    Controller,
    Auxiliary,
}

impl From {
    fn is_mouse(self) -> bool {
        matches!(self, Self::Mouse | Self::Auxiliary)
    }
}

struct I8042State {
    keyboard: Keyboard,
    mouse: Mouse,
    /// Byte 0 is the command byte.
    memory: [u8; MEMORY],
    /// The byte at port 60h, and whose it is.
    output: Option<(u8, From)>,
    /// The last byte that was there: it can be read again.
    latched: u8,
    /// The controller's own answers, which go first.
    answers: VecDeque<(u8, From)>,
    /// The command whose argument comes next at port 60h.
    command: Option<u8>,
    last_was_command: bool,
    /// Set 2's release prefix was seen, which translation makes a bit of the next code.
    release: bool,
    typed: VecDeque<KeyEvent>,
    /// When the next key may go.
    next_key: u64,
    lines: [Line; 2],
    clock: Clock,
    timer: Timer,
}

impl I8042State {
    fn control(&self) -> u8 {
        self.memory[0]
    }

    fn status(&self) -> u8 {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let mouse = self.output.is_some_and(|(_, from)| from.is_mouse());
        STATUS_UNLOCKED
            | self.control() & SYSTEM_FLAG
            | bit(self.output.is_some(), STATUS_OUTPUT)
            | bit(mouse, STATUS_MOUSE)
            | bit(self.last_was_command, STATUS_COMMAND)
    }

    /// Brings the next byte to port 60h, if it is free, and sets the lines.
    fn update(&mut self) {
        self.feed();
        if self.output.is_none() {
            self.output = self.next();
            if let Some((byte, _)) = self.output {
                self.latched = byte;
            }
        }
        self.show();
    }

    /// Sets the lines.
    fn show(&self) {
        let control = self.control();
        let waits = |mouse: bool| self.output.is_some_and(|(_, from)| from.is_mouse() == mouse);
        self.lines[0].set(waits(false) && control & KEYBOARD_INTERRUPT != 0);
        self.lines[1].set(waits(true) && control & MOUSE_INTERRUPT != 0);
    }

    /// Something came from outside; while the machine is paused, the system hears of it afterwards.
    fn came(&mut self) {
        match self.clock.stands() {
            true => self.timer.arm(self.clock.now()),
            false => self.update(),
        }
    }

    fn next(&mut self) -> Option<(u8, From)> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if self.control() & KEYBOARD_OFF == 0 {
            while let Some(byte) = self.keyboard.next() {
                if let Some(byte) = self.translated(byte) {
                    return Some((byte, From::Keyboard));
                }
            }
        }
        let mouse = self.control() & MOUSE_OFF == 0;
        mouse.then(|| self.mouse.next()).flatten().map(|byte| (byte, From::Mouse))
    }

    /// A byte of the keyboard's as it arrives; `None`: it is part of the next.
    fn translated(&mut self, byte: u8) -> Option<u8> {
        if self.control() & TRANSLATE == 0 {
            return Some(byte);
        }
        if byte == RELEASE {
            self.release = true;
            return None;
        }
        let released = if std::mem::take(&mut self.release) { RELEASED } else { 0 };
        Some(codes::to_set_1(byte) | released)
    }

    /// Gives the keyboard the next key, when it is time and the one before was taken.
    fn feed(&mut self) {
        if self.typed.is_empty() || !self.keyboard.is_empty() {
            return;
        }
        let now = self.clock.now();
        if now < self.next_key {
            return self.timer.arm(self.next_key);
        }
        if let Some(event) = self.typed.pop_front() {
            self.keyboard.key(event);
            self.next_key = now + PACE;
            if !self.typed.is_empty() {
                self.timer.arm(self.next_key);
            }
        }
    }

    fn read_data(&mut self) -> u8 {
        self.output = None;
        let byte = self.latched;
        // The wires fall before they rise again: the next byte is another edge.
        self.lines.iter().for_each(|line| line.set(false));
        byte
    }

    fn answer(&mut self, byte: u8) {
        if self.answers.len() < ANSWERS {
            self.answers.push_back((byte, From::Controller));
        }
    }

    /// Whether the processor is to be reset.
    fn write_command(&mut self, command: u8) -> bool {
        self.last_was_command = true;
        self.command = None;
        match command {
            READ_MEMORY..WRITE_MEMORY => {
                let byte = self.memory[usize::from(command) % MEMORY];
                self.answer(byte);
            }
            WRITE_MEMORY..0x80 | WRITE_OUTPUT_PORT..=WRITE_MOUSE => self.command = Some(command),
            DISABLE_MOUSE => self.memory[0] |= MOUSE_OFF,
            ENABLE_MOUSE => self.memory[0] &= !MOUSE_OFF,
            DISABLE_KEYBOARD => self.memory[0] |= KEYBOARD_OFF,
            ENABLE_KEYBOARD => self.memory[0] &= !KEYBOARD_OFF,
            SELF_TEST => {
                self.memory[0] |= SYSTEM_FLAG;
                self.answer(SELF_TEST_PASSED);
            }
            TEST_MOUSE | TEST_KEYBOARD => self.answer(TEST_PASSED),
            READ_INPUT_PORT => self.answer(INPUT_PORT),
            READ_OUTPUT_PORT => {
                let keyboard = self.output.is_some_and(|(_, from)| !from.is_mouse());
                let mouse = self.output.is_some() && !keyboard;
                let waits = [(keyboard, PORT_KEYBOARD), (mouse, PORT_MOUSE)];
                let waits = waits.into_iter().filter(|(on, _)| *on).fold(0, |sum, (_, bit)| sum | bit);
                self.answer(PORT_FIXED | PORT_NO_RESET | PORT_A20 | waits);
            }
            PULSE.. => return command & 1 == 0,
            _ => {}
        }
        false
    }

    /// Whether the processor is to be reset.
    fn write_data(&mut self, byte: u8) -> bool {
        self.last_was_command = false;
        match self.command.take() {
            Some(command @ WRITE_MEMORY..0x80) => self.memory[usize::from(command) % MEMORY] = byte,
            Some(WRITE_OUTPUT_PORT) => return byte & PORT_NO_RESET == 0,
            Some(WRITE_KEYBOARD_OUTPUT) => self.answer(byte),
            Some(WRITE_MOUSE_OUTPUT) => {
                if self.answers.is_empty() {
                    self.answers.push_back((byte, From::Auxiliary));
                }
            }
            Some(WRITE_MOUSE) => {
                self.memory[0] &= !MOUSE_OFF;
                self.mouse.write(byte);
            }
            _ => {
                self.memory[0] &= !KEYBOARD_OFF;
                self.keyboard.write(byte);
            }
        }
        false
    }

    fn power_on(&mut self) {
        (self.keyboard, self.mouse) = (Keyboard::new(), Mouse::new());
        self.memory = [0; MEMORY];
        self.memory[0] = KEYBOARD_INTERRUPT | TRANSLATE | SYSTEM_FLAG | MOUSE_OFF;
        (self.output, self.command, self.release) = (None, None, false);
        self.answers.clear();
    }
}

/// The controller. A20 is always on, as on processors that have no A20M# any more. Cheap to clone.
#[derive(Clone)]
pub struct I8042 {
    state: Arc<Mutex<I8042State>>,
    power: Power,
}

/// Typed more than there is room for.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl I8042 {
    /// `lines` are those of [`IRQS`].
    pub fn new(clock: Clock, timers: &Timers, lines: [Line; 2], power: Power) -> Self {
        let state = Arc::new_cyclic(|weak: &Weak<Mutex<I8042State>>| {
            let weak = weak.clone();
            let timer = timers.timer(move || {
                if let Some(state) = weak.upgrade() {
                    lock(&state).update();
                }
            });
            let mut state = I8042State {
                keyboard: Keyboard::new(),
                mouse: Mouse::new(),
                memory: [0; MEMORY],
                output: None,
                latched: 0,
                answers: VecDeque::new(),
                command: None,
                last_was_command: false,
                release: false,
                typed: VecDeque::new(),
                next_key: 0,
                lines,
                clock,
                timer,
            };
            state.power_on();
            Mutex::new(state)
        });
        Self { state, power }
    }

    /// Types keys, one after the other at a pace that systems can follow: all of them, or none if there is no room.
    pub fn key_events(&self, events: &[KeyEvent]) -> Result<(), Full> {
        let mut state = lock(&self.state);
        if state.typed.len() + events.len() > MOST_TYPED {
            return Err(Full);
        }
        state.typed.extend(events);
        state.came();
        Ok(())
    }

    pub fn pointer(&self, motion: Motion) {
        let mut state = lock(&self.state);
        state.mouse.moved(motion);
        state.came();
    }
}

impl Device for I8042 {
    fn name(&self) -> &'static str {
        "i8042"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(Space::Port, 1), (Space::Port, 1)]
    }
    fn read(&mut self, region: usize, _: u64, data: &mut [u8]) {
        let mut state = lock(&self.state);
        data.fill(if region == COMMAND_REGION { state.status() } else { state.read_data() });
        state.update();
    }
    fn write(&mut self, region: usize, _: u64, data: &[u8]) {
        let Some(&byte) = data.first() else { return };
        let mut state = lock(&self.state);
        let resets = match region {
            COMMAND_REGION => state.write_command(byte),
            _ => state.write_data(byte),
        };
        state.update();
        drop(state);
        if resets {
            (self.power)(PowerEvent::Reset);
        }
    }
    fn reset(&mut self) {
        let mut state = lock(&self.state);
        state.power_on();
        state.update();
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}
