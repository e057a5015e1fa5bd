//! What whoever takes over a thread would try, tried: for tests and for `doctor`.

use crate::sys;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Pid, test_kill_process};
use std::fs::File;
use std::io;

/// One thing that a confined thread must not be able to do.
pub struct Attempt {
    pub name: &'static str,
    make: fn() -> io::Result<()>,
}

impl Attempt {
    /// On the calling thread, for whatever reason it fails otherwise.
    pub fn succeeds(&self) -> bool {
        (self.make)().is_ok()
    }

    /// On the calling thread. `None`: it could be done. A process that may do it may still fail for other reasons, and
    /// that is no refusal.
    pub fn refused(&self) -> Option<io::Error> {
        (self.make)().err().filter(|error| error.raw_os_error() == Some(libc::EPERM))
    }
}

/// All of them.
pub const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "open a file", make: || File::open("/dev/null").map(drop) },
    Attempt { name: "make a file", make: || File::create("/dev/null").map(drop) },
    Attempt { name: "make a socket to the network", make: || open_socket(AddressFamily::INET) },
    Attempt { name: "make a local socket", make: || open_socket(AddressFamily::UNIX) },
    Attempt { name: "make a port", make: make_port },
    Attempt { name: "execute a program", make: || Err(sys::execute_nothing()) },
    Attempt { name: "make a process", make: sys::fork_nothing },
    Attempt { name: "map executable memory", make: || sys::map_page(libc::PROT_READ | libc::PROT_EXEC) },
    Attempt { name: "make memory executable", make: sys::make_executable },
    Attempt { name: "signal another process", make: signal },
    Attempt { name: "look into another process", make: sys::trace_parent },
];

fn open_socket(family: AddressFamily) -> io::Result<()> {
    socket(family, SocketType::STREAM, None)?;
    Ok(())
}

/// A switch's port is a datagram socket.
fn make_port() -> io::Result<()> {
    socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(())
}

/// In a namespace where this process is the first, nobody else is there.
const OTHER: Pid = Pid::from_raw(2).expect("not 0");

/// The null signal (kill(2)): nothing happens, but who may not send it is told.
fn signal() -> io::Result<()> {
    let other = if std::process::id() == 1 { OTHER } else { Pid::INIT };
    Ok(test_kill_process(other)?)
}
