//! Somebody who looks at a VM's console and types.

use super::home::Home;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes a minute on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// A viewer of a VM's console.
pub struct Console {
    viewer: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
}

impl Home {
    pub fn console(&self, vm: &str) -> Console {
        let mut viewer = self
            .command(&["vm", "console", vm])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a viewer");
        let (mut output, keys) = (viewer.stdout.take().unwrap(), viewer.stdin.take().unwrap());
        let seen: Arc<Mutex<String>> = Arc::default();
        let kept = seen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Console { viewer, keys, seen }
    }
}

impl Console {
    /// What came since the last line was typed.
    pub fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    pub fn until(&self, text: &str) {
        let since = Instant::now();
        while !self.seen().contains(text) {
            assert!(since.elapsed() < PATIENCE, "no {text:?} on the console: {}", self.seen());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types a line; it is echoed.
    pub fn type_in(&mut self, line: &str) {
        self.seen.lock().unwrap().clear();
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.viewer.kill();
        let _ = self.viewer.wait();
    }
}
