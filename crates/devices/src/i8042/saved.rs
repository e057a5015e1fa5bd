//! What is saved of keyboard controller, keyboard and mouse, and of what is typed.

use super::keyboard::{Key, KeyEvent, Keyboard};
use super::mouse::{self, Motion, Mouse};
use super::regs::MEMORY;
use super::{ANSWERS, From, I8042, MOST_TYPED};
use crate::lock;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedI8042 {
    pub memory: Bytes<MEMORY>,
    /// The byte at port 60h, and whose it is: 0 the keyboard's, 1 the mouse's, 2 and 3 the controller's as if of either.
    pub output: Option<(u8, u8)>,
    pub latched: u8,
    /// The controller's own answers.
    pub answers: Vec<(u8, u8)>,
    pub command: Option<u8>,
    pub last_was_command: bool,
    pub release: bool,
    /// Keys that wait: code of set 1, whether it is extended, whether it goes down.
    pub typed: Vec<(u8, bool, bool)>,
    /// When the next may go, in nanoseconds of the machine's clock.
    pub next_key: u64,
    pub keyboard: SavedKeyboard,
    pub mouse: SavedMouse,
}

/// The keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedKeyboard {
    pub bytes: Blob,
    pub command: Option<u8>,
    /// 1 or 2.
    pub set: u8,
    pub scanning: bool,
    pub last: u8,
}

/// The mouse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMouse {
    pub bytes: Blob,
    pub command: Option<u8>,
    pub wrap: bool,
    pub remote: bool,
    pub enabled: bool,
    /// 1 or 2.
    pub scaling: u8,
    pub resolution: u8,
    pub rate: u8,
    /// The last three sample rates.
    pub knock: [u8; 3],
    pub wheel: bool,
    /// Movement that was not told: right, down, and of the wheel.
    pub moved: [i32; 3],
    pub buttons: u8,
    pub changed: bool,
}

impl Saved for SavedI8042 {
    const NAME: &'static str = "i8042";
    const VERSION: u32 = 1;
}

fn number(from: From) -> u8 {
    match from {
        From::Keyboard => 0,
        From::Mouse => 1,
        From::Controller => 2,
        From::Auxiliary => 3,
    }
}

fn whose((byte, number): (u8, u8)) -> Result<(u8, From), RestoreError> {
    let from = match number {
        0 => From::Keyboard,
        1 => From::Mouse,
        2 => From::Controller,
        3 => From::Auxiliary,
        other => return Err(RestoreError::invalid::<SavedI8042>(format!("a byte of {other}"))),
    };
    Ok((byte, from))
}

impl SavedKeyboard {
    fn of(keyboard: &Keyboard) -> Self {
        Self {
            bytes: Blob(keyboard.bytes.iter().copied().collect()),
            command: keyboard.command,
            set: keyboard.set,
            scanning: keyboard.scanning,
            last: keyboard.last,
        }
    }

    fn keyboard(self) -> Result<Keyboard, RestoreError> {
        let Blob(bytes) = self.bytes;
        ensure::<SavedI8042>(bytes.len() <= mouse::ROOM, format!("{} bytes of the keyboard", bytes.len()))?;
        ensure::<SavedI8042>(matches!(self.set, 1 | 2), format!("scan code set {}", self.set))?;
        let Self { command, set, scanning, last, .. } = self;
        Ok(Keyboard { bytes: bytes.into(), command, set, scanning, last })
    }
}

impl SavedMouse {
    fn of(mouse: &Mouse) -> Self {
        Self {
            bytes: Blob(mouse.bytes.iter().copied().collect()),
            command: mouse.command,
            wrap: mouse.wrap,
            remote: mouse.remote,
            enabled: mouse.enabled,
            scaling: mouse.scaling,
            resolution: mouse.resolution,
            rate: mouse.rate,
            knock: mouse.knock,
            wheel: mouse.wheel,
            moved: [mouse.moved.x, mouse.moved.y, mouse.moved.wheel],
            buttons: mouse.moved.buttons,
            changed: mouse.changed,
        }
    }

    fn mouse(self) -> Result<Mouse, RestoreError> {
        let (Blob(bytes), [x, y, wheel]) = (self.bytes, self.moved);
        let near = self.moved.iter().all(|way| way.unsigned_abs() <= mouse::FARTHEST.unsigned_abs());
        ensure::<SavedI8042>(bytes.len() <= mouse::ROOM, format!("{} bytes of the mouse", bytes.len()))?;
        ensure::<SavedI8042>(near && self.buttons < 8, "the mouse moved too far")?;
        ensure::<SavedI8042>(matches!(self.scaling, 1 | 2), format!("scaling {}", self.scaling))?;
        Ok(Mouse {
            bytes: bytes.into(),
            command: self.command,
            wrap: self.wrap,
            remote: self.remote,
            enabled: self.enabled,
            scaling: self.scaling,
            resolution: self.resolution,
            rate: self.rate,
            knock: self.knock,
            wheel: self.wheel,
            moved: Motion { x, y, wheel, buttons: self.buttons },
            changed: self.changed,
        })
    }
}

impl SaveRestore for I8042 {
    type Saved = SavedI8042;

    fn save(&self) -> SavedI8042 {
        let state = lock(&self.state);
        let typed = state.typed.iter().map(|event| (event.key.code, event.key.extended, event.down));
        SavedI8042 {
            memory: Bytes(state.memory),
            output: state.output.map(|(byte, from)| (byte, number(from))),
            latched: state.latched,
            answers: state.answers.iter().map(|(byte, from)| (*byte, number(*from))).collect(),
            command: state.command,
            last_was_command: state.last_was_command,
            release: state.release,
            typed: typed.collect(),
            next_key: state.next_key,
            keyboard: SavedKeyboard::of(&state.keyboard),
            mouse: SavedMouse::of(&state.mouse),
        }
    }

    fn restore(&mut self, saved: SavedI8042) -> Result<(), RestoreError> {
        ensure::<SavedI8042>(saved.answers.len() <= ANSWERS, format!("{} answers", saved.answers.len()))?;
        ensure::<SavedI8042>(saved.typed.len() <= MOST_TYPED, format!("{} keys wait", saved.typed.len()))?;
        ensure::<SavedI8042>(saved.next_key < 1 << 62, format!("the next key goes at {}", saved.next_key))?;
        let output = saved.output.map(whose).transpose()?;
        let answers = saved.answers.into_iter().map(whose).collect::<Result<_, _>>()?;
        let key = |(code, extended, down)| KeyEvent { key: Key { code, extended }, down };
        let (keyboard, mouse) = (saved.keyboard.keyboard()?, saved.mouse.mouse()?);
        let mut state = lock(&self.state);
        (state.keyboard, state.mouse, state.memory) = (keyboard, mouse, saved.memory.0);
        (state.output, state.latched, state.answers) = (output, saved.latched, answers);
        (state.command, state.last_was_command, state.release) =
            (saved.command, saved.last_was_command, saved.release);
        (state.typed, state.next_key) = (saved.typed.into_iter().map(key).collect(), saved.next_key);
        state.show();
        // Else it goes when the byte that waits is read.
        if !state.typed.is_empty() && (state.clock.now() < state.next_key || state.output.is_none()) {
            state.timer.arm(state.next_key);
        }
        Ok(())
    }
}
