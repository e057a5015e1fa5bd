//! A machine without a processor, for tests: it echoes its console and ends when told.

use super::console::Console;
use super::disks::DiskLocks;
use super::launch::Launcher;
use super::machine::{Factory, Machine, Remote};
use super::protocol::Started;
use crate::guid::Guid;
use crate::store::config::{DriveAddress, Dvd};
use crate::store::{Config, Disk, Store};
use ireko_machine::disk_errors::{Access, ErrorHandling, Waiting};
use ireko_machine::{DiskErrors, DiskFiles, ErrorPolicy, MemoryState, Outcome};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Command lines that mean something to fake machines.
pub const DEAF: &str = "deaf";
pub const BROKEN: &str = "broken";
/// Heeds the power button the second time.
pub const SLEEPY: &str = "sleepy";

struct FakeMachine {
    ends: Receiver<Outcome>,
    remote: Arc<FakeRemote>,
}

struct FakeRemote {
    end: Mutex<Sender<Outcome>>,
    console: Mutex<Console>,
    /// Presses until it heeds the button.
    sleeps_through: AtomicU32,
    memory: Mutex<MemoryState>,
    /// Typed `h`: a hypervisor comes or goes.
    hypervisor: AtomicBool,
    errors: DiskErrors,
    /// A write that waits for room.
    full: Mutex<Option<Waiting>>,
}

impl FakeRemote {
    fn end(&self, outcome: Outcome) {
        let _ = self.end.lock().unwrap().send(outcome);
    }
}

pub struct FakeMachines;

impl Factory for FakeMachines {
    fn make(
        &self,
        config: &Config,
        files: &DiskLocks,
        mut console: Console,
        _: Option<Console>,
    ) -> Result<Box<dyn Machine>, String> {
        if config.boot.command_line == BROKEN {
            return Err("it is broken; mend it".into());
        }
        writeln!(console, "boot").unwrap();
        let (end, ends) = channel();
        let sleeps_through = match config.boot.command_line.as_str() {
            DEAF => u32::MAX,
            SLEEPY => 1,
            _ => 0,
        };
        let memory = MemoryState {
            base: config.memory.startup,
            room: config.memory.startup,
            can_grow: true,
            can_shrink: true,
            ..MemoryState::default()
        };
        let remote = Arc::new(FakeRemote {
            end: Mutex::new(end),
            console: Mutex::new(console),
            sleeps_through: AtomicU32::new(sleeps_through),
            memory: Mutex::new(memory),
            hypervisor: AtomicBool::new(false),
            errors: files.errors().clone(),
            full: Mutex::default(),
        });
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
        let heard = |left: u32| left.checked_sub(1);
        if self.sleeps_through.fetch_update(Ordering::SeqCst, Ordering::SeqCst, heard).is_err() {
            self.end(Outcome::PowerOff);
        }
    }
    fn turn_off(&self) {
        self.end(Outcome::Stopped);
    }
    fn reset(&self) {
        self.end(Outcome::Reset);
    }
    /// What it is told of drives it says on its console.
    fn change_medium(&self, dvd: &Dvd, files: Option<Arc<DiskFiles>>) -> Result<(), String> {
        let length = files.map(|files| length(&files));
        let _ = writeln!(self.console.lock().unwrap(), "medium of {} {length:?}", dvd.place.serial());
        Ok(())
    }
    fn add_disk(&self, disk: &Disk, files: Arc<DiskFiles>) -> Result<(), String> {
        let length = length(&files);
        let _ = writeln!(self.console.lock().unwrap(), "disk {} of {length}", disk.place.serial());
        Ok(())
    }
    fn remove_disk(&self, place: DriveAddress, _: Duration) -> Result<bool, String> {
        let _ = writeln!(self.console.lock().unwrap(), "no disk {}", place.serial());
        Ok(self.sleeps_through.load(Ordering::SeqCst) == 0)
    }
    fn pause(&self) -> bool {
        true
    }
    fn resume(&self) {}
    /// `!` is a triple fault, `q` a reset by the guest.
    fn input(&self, bytes: &[u8]) {
        if bytes == b"q" {
            return self.end(Outcome::Reset);
        }
        if bytes == b"!" {
            return self.end(Outcome::Shutdown("rip 0".into()));
        }
        // The host is full, and has room again.
        if bytes == b"f" {
            let disk = ErrorHandling::default();
            disk.set(ErrorPolicy::Stop);
            disk.tell("full", &self.errors);
            let full = std::io::ErrorKind::StorageFull.into();
            *self.full.lock().unwrap() = disk.failed(Access::Write, &full, None);
            return;
        }
        if bytes == b"r" {
            *self.full.lock().unwrap() = None;
            return;
        }
        if bytes == b"h" {
            self.hypervisor.fetch_xor(true, Ordering::SeqCst);
        }
        let _ = self.console.lock().unwrap().write_all(bytes);
    }
    fn memory(&self) -> MemoryState {
        *self.memory.lock().unwrap()
    }
    /// A guest that is there at once.
    fn aim(&self, target: u64, _: bool) {
        let mut memory = self.memory.lock().unwrap();
        memory.plugged = target.saturating_sub(memory.base);
        memory.ballooned = memory.base.saturating_sub(target);
    }
    fn hold_memory(&self) {}
    fn poll_memory(&self) {}
    fn hypervisor(&self) -> Option<bool> {
        Some(self.hypervisor.load(Ordering::SeqCst))
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

/// Of the first file.
fn length(files: &DiskFiles) -> u64 {
    files.files().next().map_or(0, |file| file.metadata().unwrap().len())
}
