//! A machine without a processor, for tests: it echoes its console and ends when told.

use super::console::Console;
use super::launch::Launcher;
use super::machine::{Factory, Machine, Remote};
use super::protocol::Started;
use crate::guid::Guid;
use crate::store::{Config, Store};
use ireko_machine::Outcome;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Command lines that mean something to fake machines.
pub const DEAF: &str = "deaf";
pub const BROKEN: &str = "broken";

struct FakeMachine {
    ends: Receiver<Outcome>,
    remote: Arc<FakeRemote>,
}

struct FakeRemote {
    end: Mutex<Sender<Outcome>>,
    console: Mutex<Console>,
    heeds_the_button: bool,
}

impl FakeRemote {
    fn end(&self, outcome: Outcome) {
        let _ = self.end.lock().unwrap().send(outcome);
    }
}

pub struct FakeMachines;

impl Factory for FakeMachines {
    fn make(&self, config: &Config, mut console: Console) -> Result<Box<dyn Machine>, String> {
        if config.boot.command_line == BROKEN {
            return Err("it is broken; mend it".into());
        }
        writeln!(console, "boot").unwrap();
        let (end, ends) = channel();
        let heeds_the_button = config.boot.command_line != DEAF;
        let remote =
            Arc::new(FakeRemote { end: Mutex::new(end), console: Mutex::new(console), heeds_the_button });
        Ok(Box::new(FakeMachine { ends, remote }))
    }
}

impl Machine for FakeMachine {
    fn remote(&self) -> Arc<dyn Remote> {
        self.remote.clone()
    }
    fn engine(&self) -> (String, String) {
        ("fake".into(), "for tests".into())
    }
    fn run(&mut self) -> Outcome {
        self.ends.recv().unwrap_or(Outcome::Stopped)
    }
}

impl Remote for FakeRemote {
    fn power_button(&self) {
        if self.heeds_the_button {
            self.end(Outcome::PowerOff);
        }
    }
    fn turn_off(&self) {
        self.end(Outcome::Stopped);
    }
    fn reset(&self) {
        self.end(Outcome::Reset);
    }
    fn pause(&self) {}
    fn resume(&self) {}
    /// `!` is a triple fault.
    fn input(&self, bytes: &[u8]) {
        if bytes == b"!" {
            return self.end(Outcome::Shutdown("rip 0".into()));
        }
        let _ = self.console.lock().unwrap().write_all(bytes);
    }
}

/// Workers that are threads of the test.
pub struct ThreadLauncher;

impl Launcher for ThreadLauncher {
    fn launch(&self, store: &Store, id: Guid) -> Result<(), String> {
        let (said, hear) = channel();
        let store = store.clone();
        std::thread::spawn(move || {
            super::run(&store, id, &FakeMachines, move |started| drop(said.send(started)));
        });
        match hear.recv() {
            Ok(Started::Running { .. }) => Ok(()),
            Ok(Started::Error(why)) => Err(why),
            Err(_) => Err("its worker ended without a word".into()),
        }
    }
}
