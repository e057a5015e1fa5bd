//! The way out of an External switch: a network interface of this machine, of which a packet socket is one more port. The
//! machine keeps the interface, with its addresses; what comes for those is its own.

use crate::frame::{Frame, Mac, is_group};
use crate::host;
use crate::packet::{self, PacketSocket};
use crate::role::Role;
use crate::switch::Socket;
use crate::traffic::{Cause, Report, Traffic};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long the end of it may go unnoticed, and how often it is looked for an interface that has gone.
const PATIENCE: Duration = Duration::from_millis(500);

/// What both directions know.
#[derive(Debug)]
struct Shared {
    interface: String,
    switch: Socket,
    traffic: Arc<Traffic>,
    /// Where the wire is, while there is one.
    wire: Mutex<Option<Arc<PacketSocket>>>,
    /// The interface's own address.
    mac: AtomicU64,
    over: AtomicBool,
}

#[derive(Debug)]
pub struct Uplink(Arc<Shared>);

/// Where the sentence ends that says what is missing.
fn explain(interface: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            format!("there is no network interface {interface}; Get-NetAdapter lists those that are there")
        }
        ErrorKind::PermissionDenied => format!(
            "frames of the interface {interface} take the capability CAP_NET_RAW; run this as root, or use -SwitchType \
             Internal or Private"
        ),
        _ => format!("the interface {interface} cannot be used: {error}"),
    }
}

fn found(name: &str) -> io::Result<host::Interface> {
    host::named(name)?.ok_or_else(|| ErrorKind::NotFound.into())
}

fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// `00:15:5d:…`
fn parsed(text: &str) -> Mac {
    let mut mac = Mac::default();
    for (to, from) in mac.iter_mut().zip(text.split(':')) {
        *to = u8::from_str_radix(from, 16).unwrap_or(0);
    }
    mac
}

fn open(name: &str) -> io::Result<(PacketSocket, Mac)> {
    let interface = found(name)?;
    let socket = PacketSocket::open(interface.index)?;
    socket.wait_at_most(PATIENCE)?;
    Ok((socket, parsed(&interface.mac)))
}

/// Once, at the start; whoever may not goes on when somebody else has done it.
fn bring_up(name: &str) {
    if let Ok(interface) = found(name)
        && !interface.up
    {
        let _ = host::bring_up(interface.index);
    }
}

impl Uplink {
    /// Frames go both ways from now on. The error says what is missing.
    pub fn start(ports: &Path, interface: &str) -> Result<Self, String> {
        let (socket, mac) = open(interface).map_err(|error| explain(interface, &error))?;
        bring_up(interface);
        let traffic: Arc<Traffic> = Arc::default();
        let switch = Socket::open_by(&Default::default(), ports, "uplink", Role::default(), traffic.clone())
            .map_err(|error| format!("it cannot be plugged in: {error}"))?;
        let shared = Arc::new(Shared {
            interface: interface.to_owned(),
            switch,
            traffic,
            wire: Mutex::new(Some(Arc::new(socket))),
            mac: AtomicU64::new(number(mac)),
            over: AtomicBool::new(false),
        });
        let (inward, outward) = (shared.clone(), shared.clone());
        let spawn = |name: &str, job: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.into())
                .spawn(job)
                .map_err(|error| format!("no thread: {error}"))
        };
        spawn("inward", Box::new(move || inward.inward()))?;
        spawn("outward", Box::new(move || outward.outward()))?;
        Ok(Self(shared))
    }

    pub fn report(&self) -> Report {
        self.0.traffic.report()
    }

    /// Why nothing goes that way now.
    pub fn trouble(&self) -> Option<String> {
        match found(&self.0.interface) {
            Err(_) => Some(format!("the interface {} is gone", self.0.interface)),
            Ok(interface) if !interface.up => {
                Some(format!("the interface {} is switched off", interface.name))
            }
            _ => None,
        }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.switch.close();
    }
}

impl Shared {
    fn wire(&self) -> MutexGuard<'_, Option<Arc<PacketSocket>>> {
        self.wire.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// From the wire into the switch.
    fn inward(&self) {
        let mut room = Box::new([0; packet::LONGEST]);
        while !self.is_over() {
            let Some(wire) = self.wire().clone() else {
                std::thread::sleep(PATIENCE);
                self.reopen();
                continue;
            };
            match wire.receive(&mut room, |frame| self.enters(frame)) {
                Ok(true) => (),
                Ok(false) => self.traffic.dropped(Cause::Malformed),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => (),
                // Several datagrams in one, of a kind that the kernel cannot tell of (before Linux 6.2).
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.traffic.dropped(Cause::Malformed)
                }
                // Switched off, or gone.
                Err(_) => *self.wire() = None,
            }
        }
    }

    fn reopen(&self) {
        if let Ok((socket, mac)) = open(&self.interface) {
            self.mac.store(number(mac), Ordering::Relaxed);
            *self.wire() = Some(Arc::new(socket));
        }
    }

    fn enters(&self, bytes: &[u8]) {
        let Some(frame) = Frame::new(bytes) else { return self.traffic.dropped(Cause::Malformed) };
        let (source, destination) = (frame.source(), frame.destination());
        let own = self.mac.load(Ordering::Relaxed);
        // What is for this machine is for nobody here, and what it sends itself does not come in.
        if number(destination) == own || number(source) == own {
            return;
        }
        // A frame of ours that somebody has sent back.
        if is_group(&source) || self.switch.is_anothers(&source) {
            return self.traffic.dropped(Cause::TakenSource);
        }
        self.traffic.sent(bytes.len());
        if let Some(address) = frame.told_address() {
            self.traffic.from(source, Some(address), Instant::now());
        }
        self.switch.send(frame);
    }

    /// From the switch onto the wire.
    fn outward(&self) {
        let mut room = [0; ireko_vmcore::port::LONGEST_FRAME];
        while !self.is_over() {
            let Some(len) = self.switch.receive(&mut room, PATIENCE) else { continue };
            let Some(frame) = Frame::new(&room[..len]) else { continue };
            // It is for somebody here.
            if self.switch.is_anothers(&frame.destination()) {
                continue;
            }
            let Some(wire) = self.wire().clone() else {
                self.traffic.dropped(Cause::Unplugged);
                continue;
            };
            match wire.send(frame.bytes()) {
                Ok(()) => self.traffic.received(len),
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.traffic.dropped(Cause::Malformed)
                }
                Err(_) => self.traffic.dropped(Cause::Congestion),
            }
        }
    }
}
