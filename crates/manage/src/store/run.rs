//! What a worker leaves behind: its last run and the meter. A worker that a guest has taken over may have written anything.

use super::atomic;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The last run of a VM, written by its worker at the start and at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub pid: u32,
    /// Seconds since 1970.
    pub started: u64,
    /// None while it runs, and for ever if the worker was killed.
    pub ended: Option<u64>,
    /// How it ended, as a sentence.
    pub reason: Option<String>,
    /// The end was in order.
    #[serde(default)]
    pub clean: bool,
    /// It runs, or ran until the host ended it; nobody turned it off, nor did its guest.
    #[serde(default)]
    pub running: bool,
}

/// There while the VM is paused, for when its worker says nothing. Nothing waits for it to reach the disk.
const PAUSED: &str = "paused";
/// There once the VM's installer is done, until the next start.
const INSTALLED: &str = "installed";

impl Run {
    pub fn note_paused(directory: &Path, paused: bool) {
        let path = directory.join(DIRECTORY).join(PAUSED);
        let mut made = OpenOptions::new();
        made.write(true).create(true).mode(0o600).custom_flags(atomic::NO_LINK);
        // What cannot be noted is told while the worker answers.
        let _ = if paused { made.open(path).map(drop) } else { fs::remove_file(path) };
    }
    pub fn noted_paused(directory: &Path) -> bool {
        directory.join(DIRECTORY).join(PAUSED).symlink_metadata().is_ok()
    }

    pub fn note_installed(directory: &Path) -> io::Result<()> {
        let mut made = OpenOptions::new();
        made.write(true).create(true).mode(0o600).custom_flags(atomic::NO_LINK);
        made.open(directory.join(DIRECTORY).join(INSTALLED))?.sync_all()
    }
    pub fn noted_installed(directory: &Path) -> bool {
        directory.join(DIRECTORY).join(INSTALLED).symlink_metadata().is_ok()
    }
    pub fn forget_installed(directory: &Path) -> io::Result<()> {
        fs::remove_file(directory.join(DIRECTORY).join(INSTALLED))
    }
}

/// What metering has added up over all runs since it was enabled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Seconds since 1970.
    pub since: u64,
    pub cpu_seconds: f64,
    /// Time for which a worker ran.
    pub seconds: f64,
    /// Bytes of memory times seconds.
    pub byte_seconds: f64,
    pub most_bytes: u64,
    pub least_bytes: u64,
    /// Of all network adapters.
    #[serde(default)]
    pub received_bytes: u64,
    #[serde(default)]
    pub sent_bytes: u64,
    /// Of all drives.
    #[serde(default)]
    pub read_bytes: u64,
    #[serde(default)]
    pub written_bytes: u64,
    /// Of 8 KiB.
    #[serde(default)]
    pub disk_operations: u64,
}

impl Meter {
    /// Adds `seconds` in which the worker used so much.
    pub fn add(&mut self, seconds: f64, cpu_seconds: f64, bytes: u64) {
        let first = self.seconds == 0.0;
        self.seconds += seconds;
        self.cpu_seconds += cpu_seconds;
        self.byte_seconds += bytes as f64 * seconds;
        self.most_bytes = self.most_bytes.max(bytes);
        self.least_bytes = if first { bytes } else { self.least_bytes.min(bytes) };
    }
}

/// Below a VM's directory. The worker may write in there, and nowhere else.
pub const DIRECTORY: &str = "run";

/// Makes it where it is missing.
pub fn make_directory(vm: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(vm.join(DIRECTORY))
}

/// One of the files that are written as a whole.
pub trait Kept: Serialize + DeserializeOwned {
    const FILE: &str;

    /// None where there is none that can be read.
    fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&atomic::read(&directory.join(DIRECTORY).join(Self::FILE)).ok()?).ok()
    }
    fn write(&self, directory: &Path) -> io::Result<()> {
        make_directory(directory)?;
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        atomic::write(&directory.join(DIRECTORY).join(Self::FILE), &text)
    }

    fn remove(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(DIRECTORY).join(Self::FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Kept for Run {
    const FILE: &str = "run.json";
}
impl Kept for Meter {
    const FILE: &str = "meter.json";
}
