//! Namespaces: other users, processes, mounts, message queues and networks than the host's.

use crate::identity::Identity;
use crate::layer::Layers;
use crate::sys;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::UnshareFlags;
use std::io::{self, Write};
use std::time::Duration;

/// The process that comes out of here.
pub struct Separated {
    /// Its number as the host sees it.
    pub pid: u32,
    /// It has mounts of its own.
    pub mounts: bool,
    /// Who waits for it, in the namespace that it has left.
    pub parent: Option<sys::Parent>,
}

/// In the order in which they are left; the user namespace comes first where it gives the right to the others.
const OTHERS: [(&str, UnshareFlags); 4] = [
    ("mount namespace", UnshareFlags::NEWNS),
    ("IPC namespace", UnshareFlags::NEWIPC),
    ("network namespace", UnshareFlags::NEWNET),
    ("pid namespace", UnshareFlags::NEWPID),
];

/// Leaves the host's namespaces as far as that can be had. What comes back is a child of the process that called, if it has
/// processes of its own: the caller then waits for it, and ends as it does. `identity`: who both will be. `network`: it stays in the
/// host's.
pub fn separate(
    proc: &OwnedFd,
    identity: Option<&Identity>,
    network: bool,
    layers: &mut Layers,
) -> Separated {
    let alone = wait_until_alone();
    if !sys::may_administer() {
        layers.tried("user namespace", alone.and_then(|()| own_users(proc)));
    }
    let (mut mounts, mut processes) = (false, false);
    for (name, flag) in OTHERS.into_iter().filter(|(_, flag)| !network || *flag != UnshareFlags::NEWNET) {
        let result = sys::unshare(flag);
        mounts |= flag == UnshareFlags::NEWNS && result.is_ok();
        processes |= flag == UnshareFlags::NEWPID && result.is_ok();
        layers.tried(name, result.map(|()| "its own".to_owned()).map_err(explained));
    }
    let parent = processes.then(|| match sys::continue_in_child(identity) {
        Ok(parent) => parent,
        // Without the fork it has no namespace, and could start no threads.
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ireko: no process for the worker: {error}");
            std::process::exit(1);
        }
    });
    Separated { pid: outer_pid(proc).unwrap_or_else(std::process::id), mounts, parent }
}

fn explained(error: io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "the host does not let this user have it (EPERM)".into(),
        Some(libc::ENOSPC) => "the host's limit of namespaces is reached (ENOSPC)".into(),
        Some(libc::EINVAL) => "the kernel is built without it (EINVAL)".into(),
        _ => error.to_string(),
    }
}

/// Some of these calls want a process with one thread. The thread that tried KVM may still be on its way out.
fn wait_until_alone() -> Result<(), String> {
    for _ in 0..100 {
        if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("a thread of this process does not end".into())
}

/// A namespace in which this user is the only one. Whoever is in it has all rights there until they are dropped.
pub fn own_users(proc: &OwnedFd) -> Result<String, String> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    sys::unshare(UnshareFlags::NEWUSER).map_err(explained)?;
    let write = |name: &str, text: String| {
        let file = openat(proc, format!("self/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, text.as_bytes()).map(drop)
    };
    // user_namespaces(7): without this, groups may not be mapped by who has no rights outside.
    let mapped = write("setgroups", "deny".into())
        .and_then(|()| write("uid_map", format!("{user} {user} 1")))
        .and_then(|()| write("gid_map", format!("{group} {group} 1")));
    mapped.map_err(|error| format!("its users cannot be mapped: {error}"))?;
    Ok(format!("its only user is {user}"))
}

fn outer_pid(proc: &OwnedFd) -> Option<u32> {
    let name = rustix::fs::readlinkat(proc, "self", Vec::new()).ok()?;
    name.to_str().ok()?.parse().ok()
}
