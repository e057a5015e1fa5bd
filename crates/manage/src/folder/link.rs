//! The wire between a machine and who serves a folder: lengths, and FUSE's messages behind them.
//!
//! ```text
//! to the folder   u32 length, u32 the most that the answer may have, the request
//! from it         u32 length, the answer; the first one, unasked, is empty, or a sentence why there is no folder
//! ```

use super::Share;
use crate::worker::jail::ENVIRONMENT;
use ireko_vmcore::folder::{Folder, LONGEST_MESSAGE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For a process to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// A sentence is shorter.
const LONGEST_SENTENCE: usize = 4096;

/// A machine's end. As a file: what serves a device may read and write what is open, and has no system calls of sockets.
#[derive(Debug)]
pub struct Linked {
    name: String,
    /// `None`: nobody is at the other end any more.
    socket: Mutex<Option<File>>,
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Linked {
    /// Starts a process that serves a folder, and waits until it does. The error is a sentence.
    pub fn start(share: &Share, home: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("the folder '{}' cannot be shared: {error}", share.path.display())
        };
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let access = if share.read_only { "read" } else { "write" };
        let mut child = Command::new(program)
            .args(["folder", access, "--"])
            .arg(&share.path)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| ENVIRONMENT.iter().any(|known| name == known)))
            .env("IREKO_HOME", home)
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        match Self::over(&share.name, OwnedFd::from(ours).into()) {
            Ok(linked) => Ok(linked),
            Err(why) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(failed(&why))
            }
        }
    }

    /// Once the other end has said that it is there.
    fn over(name: &str, socket: File) -> Result<Self, String> {
        let patience = Timespec::try_from(PATIENCE).ok();
        match poll(&mut [PollFd::new(&socket, PollFlags::IN)], patience.as_ref()) {
            Ok(0) => return Err("its process says nothing".into()),
            Err(error) => return Err(error.to_string()),
            Ok(_) => (),
        }
        let said = read(&mut &socket, LONGEST_SENTENCE).map_err(|_| "its process has ended")?;
        match said.is_empty() {
            true => Ok(Self { name: name.into(), socket: Mutex::new(Some(socket)) }),
            false => Err(crate::render::printable(&String::from_utf8_lossy(&said)).to_string()),
        }
    }
}

fn read(socket: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_ne_bytes(length) as usize;
    if length > most {
        return Err(wrong("an answer that is too long"));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn talk(mut socket: &File, request: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let header = [(request.len() as u32).to_ne_bytes(), (most as u32).to_ne_bytes()].concat();
    socket.write_all(&[&header, request].concat())?;
    read(&mut socket, most)
}

impl Folder for Linked {
    fn ask(&self, request: &[u8], most: usize) -> io::Result<Vec<u8>> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let open = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let answer = talk(open, request, most);
        if let Err(error) = &answer {
            *socket = None;
            crate::worker::log(&format!(
                "the folder '{}' is served no more ({error}); it is again at the machine's next start",
                self.name
            ));
        }
        answer
    }
}

/// The folder's end.
pub struct Asked(File);

impl Asked {
    pub fn new(socket: File) -> Self {
        Self(socket)
    }

    /// Says that there is a folder, or why there is none.
    pub fn begin(&mut self, why_not: Option<&str>) -> io::Result<()> {
        let why = why_not.unwrap_or_default().as_bytes();
        self.answer(why.get(..LONGEST_SENTENCE).unwrap_or(why))
    }

    /// The next request, and the most that its answer may have. `None`: nobody asks any more.
    pub fn next(&mut self, request: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let mut header = [0; 8];
        match self.0.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let [a, b, c, d, e, f, g, h] = header;
        let (length, most) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        if length as usize > LONGEST_MESSAGE || most as usize > LONGEST_MESSAGE {
            return Err(wrong("a request that is too long"));
        }
        request.resize(length as usize, 0);
        self.0.read_exact(request)?;
        Ok(Some(most as usize))
    }

    pub fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        self.0.write_all(&[&(answer.len() as u32).to_ne_bytes(), answer].concat())
    }
}
