//! The kernel's end of a mount: `mount(2)` where that is allowed, else Debian's `fusermount3` (package `fuse3`), which may for everybody.

use crate::worker::descriptors::Incoming;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

const HELPER: &str = "fusermount3";

/// Lays the file system over a file, whose requests come through what this gives. The error is a sentence's end.
pub fn mount(point: &Path, read_only: bool) -> Result<File, String> {
    if rustix::process::geteuid().is_root() {
        by_ourselves(point, read_only)
    } else {
        by_helper(point, read_only)
    }
}

fn by_ourselves(point: &Path, read_only: bool) -> Result<File, String> {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device = device.map_err(|error| format!("/dev/fuse cannot be opened: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let data = format!("fd={},rootmode=100000,user_id={own},group_id={group}", device.as_raw_fd());
    let data = std::ffi::CString::new(data).map_err(|error| error.to_string())?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, read_only);
    rustix::mount::mount("ireko", point, "fuse.ireko", flags, data.as_c_str())
        .map_err(|error| format!("the kernel does not mount it: {}", io::Error::from(error)))?;
    Ok(device)
}

fn missing(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{HELPER} is not there, which mounts for who is not root; install the package fuse3")
        }
        _ => format!("{HELPER} cannot be started: {error}"),
    }
}

/// It opens the device, mounts, and sends the descriptor.
fn by_helper(point: &Path, read_only: bool) -> Result<File, String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(|error| error.to_string())?;
    let access = if read_only { "ro" } else { "rw" };
    let mut helper = Command::new(HELPER)
        .args(["-o", &format!("{access},nosuid,nodev,fsname=ireko,subtype=ireko"), "--"])
        .arg(point)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(&error))?;
    drop(theirs);
    let mut incoming = Incoming::new(ours);
    let _ = incoming.read(&mut [0]);
    let device = incoming.files(1).and_then(|mut files| files.pop());
    let mut said = String::new();
    helper.stderr.take().iter_mut().for_each(|from| drop(from.take(1 << 12).read_to_string(&mut said)));
    let _ = helper.wait();
    device.ok_or_else(|| match said.lines().next() {
        Some(line) => format!("{HELPER} says: {}", crate::render::printable(line)),
        None => format!("{HELPER} gave nothing"),
    })
}

/// Takes it off again. The error is a sentence's end.
pub fn unmount(point: &Path) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return rustix::mount::unmount(point, UnmountFlags::NOFOLLOW).map_err(|error| match error {
            rustix::io::Errno::BUSY => "it is in use; close what has it open".into(),
            other => io::Error::from(other).to_string(),
        });
    }
    let done = Command::new(HELPER).args(["-u", "--"]).arg(point).stdin(Stdio::null()).output();
    let done = done.map_err(|error| missing(&error))?;
    match done.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(crate::render::printable(said.lines().next().unwrap_or("it did not say why")).to_string())
        }
    }
}
