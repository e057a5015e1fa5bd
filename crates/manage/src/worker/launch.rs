//! Starting a worker and waiting until it says how that went.

use super::jail::ENVIRONMENT;
use super::protocol::{Started, read_line};
use crate::guid::Guid;
use crate::store::{Store, WorkerLock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::OpenOptions;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How workers come to be: as processes, or (in tests) as threads.
pub trait Launcher: Send + Sync {
    /// Comes back when the VM runs; the error is the worker's sentence.
    fn launch(&self, store: &Store, id: Guid) -> Result<(), String>;
    /// Starts what serves a mount that was noted; comes back when the disk is there. The error is a sentence.
    fn mount(&self, store: &Store, mount: Guid) -> Result<(), String> {
        let _ = (store, mount);
        Err("Nothing is mounted here.".into())
    }
    /// Starts the host's side of a switch unless it is there; comes back when it is. The error is a sentence.
    fn host_side(&self, store: &Store, switch: Guid) -> Result<(), String> {
        let _ = (store, switch);
        Ok(())
    }
    /// The same of a switch's router.
    fn router(&self, store: &Store, switch: Guid) -> Result<(), String> {
        let _ = (store, switch);
        Ok(())
    }
}

/// What a switch's router starts as.
const ROUTER: &str = "router";

/// `PROGRAM worker ID`, in a session of its own, with its log in the VM's directory.
pub struct ProcessLauncher {
    pub program: PathBuf,
}

pub const LOG: &str = "worker.log";

impl Launcher for ProcessLauncher {
    fn launch(&self, store: &Store, id: Guid) -> Result<(), String> {
        self.start(store, "worker", id, &store.directory(id).join(LOG))
    }

    fn mount(&self, store: &Store, mount: Guid) -> Result<(), String> {
        self.start(store, "mount", mount, &crate::mount::directory(store, mount).join(LOG))
    }

    fn host_side(&self, store: &Store, switch: Guid) -> Result<(), String> {
        let directory = store.switch_directory(switch);
        if WorkerLock::held(&directory) {
            return Ok(());
        }
        self.start(store, "host-side", switch, &directory.join(LOG))
    }

    fn router(&self, store: &Store, switch: Guid) -> Result<(), String> {
        let directory = store.switch_directory(switch);
        super::router::want(store, switch);
        if WorkerLock::held(&directory) {
            return Ok(());
        }
        self.start(store, ROUTER, switch, &directory.join(LOG))
    }
}

impl ProcessLauncher {
    /// Starts ourselves as `what`, and waits until it says how that went.
    fn start(&self, store: &Store, what: &str, id: Guid, path: &Path) -> Result<(), String> {
        let log = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| format!("the log {} cannot be written: {error}", path.display()))?;
        let mut worker = Command::new(&self.program)
            .args([what, &id.to_string()])
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| ENVIRONMENT.iter().any(|known| name == known)))
            .env("IREKO_HOME", store.home())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("the worker {} cannot be started: {error}", self.program.display()))?;
        let Some(said) = worker.stdout.take().map_or(Some(None), |out| heard(out, PATIENCE)) else {
            let _ = worker.kill().and_then(|()| worker.wait());
            return Err(format!(
                "its worker said nothing for {} seconds and was ended; {}",
                PATIENCE.as_secs(),
                last_words(path)
            ));
        };
        match said {
            Some(Started::Running { .. }) => {
                // Reaped when it ends, as long as we live; later by init.
                std::thread::spawn(move || worker.wait());
                Ok(())
            }
            Some(Started::Error(why)) => {
                let _ = worker.wait();
                Err(why)
            }
            None => {
                let status = worker.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(format!("its worker ended without a word ({status}); {}", last_words(path)))
            }
        }
    }
}

/// To open disks and kernels, and to make a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a worker says of its start; inside, nothing if it ends without a word. `None`: it says nothing for so long.
fn heard(out: impl Read + AsFd, patience: Duration) -> Option<Option<Started>> {
    let until = Instant::now() + patience;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(&out, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return None,
            Err(Errno::INTR) => (),
            // The line comes in one piece.
            _ => return Some(read_line(&mut BufReader::new(out)).ok().flatten()),
        }
    }
}

/// The log's last line.
pub fn last_words(log: &Path) -> String {
    const ENOUGH: u64 = 2048;
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(log) {
        let length = file.seek(SeekFrom::End(0)).unwrap_or(0);
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)));
        let _ = file.take(ENOUGH).read_to_end(&mut text);
    }
    match String::from_utf8_lossy(&text).lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("its log ends with: {}", crate::render::printable(line)),
        None => "its log is empty".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn who_says_nothing_is_not_waited_for_for_ever() {
        let (out, _held) = std::io::pipe().unwrap();
        assert_eq!(heard(out, SHORT), None);
    }

    #[test]
    fn who_ends_without_a_word_is_heard_to_end() {
        let (out, held) = std::io::pipe().unwrap();
        drop(held);
        assert_eq!(heard(out, PATIENCE), Some(None));
    }

    #[test]
    fn what_a_worker_says_is_heard() {
        let (out, mut held) = std::io::pipe().unwrap();
        held.write_all(b"{\"error\":\"no\"}\n").unwrap();
        assert_eq!(heard(out, PATIENCE), Some(Some(Started::Error("no".into()))));
    }
}
