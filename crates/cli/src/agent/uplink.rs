//! The way up: the virtio console where there is one (few exits a line), else the serial port.

use super::drivers;
use crate::report::Event;
use crate::say;
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A line to the parent.
pub struct Uplink {
    port: Option<File>,
}

const PORTS: [&str; 3] = ["/dev/hvc0", "/dev/ttyS0", "/dev/console"];

impl Uplink {
    pub fn open() -> Self {
        if let Err(error) = drivers::load_virtio() {
            say!("ireko: {error:#}");
        }
        Self { port: PORTS.iter().find_map(|path| open(path)) }
    }

    pub fn send(&mut self, event: &Event) {
        let line = format!("{}\n", event.to_line());
        let sent = self.port.as_mut().map(|port| port.write_all(line.as_bytes()));
        if !matches!(sent, Some(Ok(()))) {
            say!("{}", line.trim_end());
        }
    }

    /// Waits until the parent has it all.
    pub fn drain(&self) {
        self.port.iter().for_each(sys::drain);
    }
}

/// Opens a terminal in raw mode, so that no byte is changed on the way.
fn open(path: &str) -> Option<File> {
    // The device node is there before the driver has found its port.
    let patience = if path.contains("hvc") && has_virtio_console() { 1000 } else { 0 };
    let start = Instant::now();
    loop {
        if let Ok(port) = OpenOptions::new().read(true).write(true).open(path) {
            let modes = sys::terminal_modes(port.as_raw_fd()).ok()?;
            sys::set_terminal_modes(port.as_raw_fd(), &modes.raw()).ok()?;
            return Some(port);
        }
        if start.elapsed() >= Duration::from_millis(patience) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A virtio device of type 3 (virtio 1.2, 5.3).
fn has_virtio_console() -> bool {
    let devices = std::fs::read_dir("/sys/bus/virtio/devices").into_iter().flatten().flatten();
    devices
        .map(|entry| std::fs::read_to_string(entry.path().join("device")).unwrap_or_default())
        .any(|id| id.trim() == "0x0003")
}
