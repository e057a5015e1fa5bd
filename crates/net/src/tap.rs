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

/// How long a switch that was renamed or removed may go unnoticed.
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

/// Is the host's side until `alias` has no more text for it. `ready` is called when the interface is there.
pub fn run(
    side: &Side<'_>,
    mut alias: impl FnMut() -> Option<String>,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let file = open(side.name).map_err(explain)?;
    let all = host::interfaces(Path::new(host::SYS)).map_err(explain)?;
    let own = all.into_iter().find(|one| one.name == side.name);
    let index = own.ok_or_else(|| format!("the interface {} is gone again", side.name))?.index;
    let mut written = alias().unwrap_or_default();
    host::set_mac(index, side.mac)
        .and_then(|()| host::set_alias(index, &written))
        .and_then(|()| host::bring_up(index))
        .map_err(explain)?;
    let adapter = Arc::new(Adapter::new("host", Policy::of(side.mac)));
    adapter.connect(Some(side.ports)).map_err(explain)?;
    let (out, from) = (adapter.clone(), file.try_clone().map_err(explain)?);
    std::thread::Builder::new().name("interface".into()).spawn(move || send(from, &out)).map_err(explain)?;
    ready();
    let mut room = [0; LONGEST_FRAME + 1];
    let mut file = file;
    while let Some(wanted) = alias() {
        if wanted != written && host::set_alias(index, &wanted).is_ok() {
            written = wanted;
        }
        // An interface that is switched off loses frames.
        while let Some(len) = adapter.receive(&mut room, PATIENCE) {
            let _ = file.write_all(&room[..len]);
        }
    }
    Ok(())
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
