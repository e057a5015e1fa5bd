//! The host's side of a switch: a network interface of this machine that is one more port.

// UNSAFETY: making a network interface is an ioctl.
#![allow(unsafe_code)]

use crate::adapter::{Adapter, Policy};
use crate::frame::Mac;
use crate::host;
use ireko_vmcore::Port;
use ireko_vmcore::port::LONGEST_FRAME;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a wait for a frame takes at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` as far as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// What the host's side is.
pub struct Side<'a> {
    pub ports: &'a Path,
    /// The kernel's name for it: 15 characters at most.
    pub name: &'a str,
    pub mac: Mac,
}

/// Where the sentence ends that says what is missing.
fn explain(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no /dev/net/tun; load the kernel's module tun".into(),
        ErrorKind::PermissionDenied => {
            "making a network interface takes the capability CAP_NET_ADMIN; run this as root, or take a Private \
             switch"
                .into()
        }
        _ => format!("its network interface cannot be made: {error}"),
    }
}

fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    request.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: a descriptor, and a valid ifreq that outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}

/// The interface, and the threads that carry its frames, until the process ends.
#[derive(Debug)]
pub struct Tap {
    index: u32,
    alias: String,
    adapter: Arc<Adapter>,
}

impl Tap {
    /// The interface is there and switched on.
    pub fn start(side: &Side<'_>, policy: Policy, alias: &str) -> Result<Self, String> {
        let file = open(side.name).map_err(explain)?;
        let own = host::named(side.name).map_err(explain)?;
        let index = own.ok_or_else(|| format!("the interface {} is gone again", side.name))?.index;
        host::set_mac(index, side.mac)
            .and_then(|()| host::set_alias(index, alias))
            .and_then(|()| host::bring_up(index))
            .map_err(explain)?;
        let adapter = Arc::new(Adapter::new("host", policy));
        adapter.connect(Some(side.ports)).map_err(explain)?;
        let (out, back) = (adapter.clone(), adapter.clone());
        let from = file.try_clone().map_err(explain)?;
        let spawn = |job: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name("interface".into()).spawn(job).map_err(explain)
        };
        spawn(Box::new(move || send(from, &out)))?;
        spawn(Box::new(move || receive(file, &back)))?;
        Ok(Self { index, alias: alias.to_owned(), adapter })
    }

    /// What people know it by.
    pub fn set_alias(&mut self, alias: &str) {
        if self.alias != alias && host::set_alias(self.index, alias).is_ok() {
            alias.clone_into(&mut self.alias);
        }
    }

    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }
}

fn receive(mut to: File, adapter: &Adapter) {
    let mut room = [0; LONGEST_FRAME + 1];
    loop {
        // An interface that is switched off loses frames.
        if let Some(len) = adapter.receive(&mut room, PATIENCE) {
            let _ = to.write_all(&room[..len]);
        }
    }
}

fn send(mut from: File, adapter: &Adapter) {
    let mut room = [0; 1 << 16];
    loop {
        match from.read(&mut room) {
            Ok(len) => adapter.send(&room[..len]),
            // Switched off for a while.
            Err(error) if error.kind() != ErrorKind::Interrupted => std::thread::sleep(PATIENCE),
            Err(_) => {}
        }
    }
}

/// On a network that another interface of this machine is on, too, it answers for its own addresses alone
/// (linux/Documentation/networking/ip-sysctl: arp_ignore, arp_announce).
pub fn answer_for_itself(name: &str) {
    for (setting, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/{setting}"), value);
    }
}
