//! The guest's power button: whoever presses it turns the machine off.

use super::drivers;
use crate::sys;
use crate::{out, say};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// `struct input_event` (linux/input.h): 16 bytes of time, type, code, value.
const EVENT: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
const PRESSED: i32 = 1;

/// Watches every input device for the button, each on a thread.
pub fn watch() {
    if let Err(error) = drivers::load_button() {
        say!("ireko: no power button: {error:#}");
        return;
    }
    let devices = std::fs::read_dir("/dev/input").into_iter().flatten().flatten();
    for path in devices.map(|entry| entry.path()).filter(|path| is_event_device(path)) {
        if let Ok(device) = File::open(path) {
            let _ = std::thread::Builder::new().name("power button".into()).spawn(|| wait(device));
        }
    }
}

fn is_event_device(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("event"))
}

fn wait(mut device: File) {
    let mut event = [0; EVENT];
    while device.read_exact(&mut event).is_ok() {
        if is_press(&event) {
            let _ = out!("ireko: power button");
            sys::power_off();
        }
    }
}

fn is_press(event: &[u8; EVENT]) -> bool {
    let word = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (word(16), word(18), value) == (EV_KEY, KEY_POWER, PRESSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let mut event = [0; EVENT];
        (event[16], event[18], event[20]) = (1, 116, 1);
        assert!(is_press(&event));
        event[20] = 0;
        assert!(!is_press(&event));
    }
}
