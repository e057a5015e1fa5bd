//! `ireko run --network user`: an adapter, and a router on a thread of this process.

use anyhow::{Context, Result, bail};
use ireko_jail::Kind;
use ireko_machine::NicSpec;
use ireko_manage::ops::published;
use ireko_nat::event::{Datagrams, Watcher};
use ireko_nat::{Config, Forward, Network, Protocol, Router, Sockets, Target, config, serve};
use ireko_vmcore::Port;
use ireko_vmcore::port::LONGEST_FRAME;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The guest's adapter: there is no other on its wire.
const MAC: [u8; 6] = [0x00, 0x15, 0x5d, 0, 0, 2];
const ROUTER: [u8; 6] = [0x02, 0x15, 0x5d, 0, 0, 1];
const NETWORK: Network = Network { router: Ipv4Addr::new(172, 31, 240, 1), length: 24 };
const SIX: &str = "fd49:7265:6b6f::1";
const RESOLV: &str = "/etc/resolv.conf";

/// The guest's end of the wire.
#[derive(Debug)]
struct Plug {
    socket: UnixDatagram,
    patience: Mutex<Duration>,
}

/// A router that takes nothing for so long loses a frame.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

impl Port for Plug {
    fn send(&self, frame: &[u8]) {
        // As on any wire, what cannot be carried is lost.
        let _ = self.socket.send(frame);
    }

    fn receive(&self, room: &mut [u8], patience: Duration) -> Option<usize> {
        let mut set = self.patience.lock().unwrap_or_else(|e| e.into_inner());
        if *set != patience {
            self.socket.set_read_timeout(Some(patience)).ok()?;
            *set = patience;
        }
        drop(set);
        self.socket.recv(room).ok()
    }

    fn connected(&self) -> bool {
        true
    }
}

/// What the host is asked for names with may change.
struct Resolv {
    seen: Option<SystemTime>,
}

impl Resolv {
    fn apply(config: &mut Config) {
        (config.resolvers, config.search) = config::resolv(&fs::read_to_string(RESOLV).unwrap_or_default());
    }
}

impl Watcher for Resolv {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn heard(&mut self, _: &mut Router<Sockets>) -> bool {
        true
    }
    fn looked(&mut self, router: &mut Router<Sockets>, _: Instant) -> bool {
        let changed = fs::metadata(RESOLV).and_then(|found| found.modified()).ok();
        if changed != self.seen {
            self.seen = changed;
            let mut config = router.config().clone();
            Self::apply(&mut config);
            router.configure(config);
        }
        true
    }
}

fn forwards(publish: &[String]) -> Result<Vec<Forward>> {
    let mut forwards = Vec::new();
    for text in publish {
        let one = published(text).map_err(anyhow::Error::msg)?;
        let protocol = if one.udp { Protocol::Udp } else { Protocol::Tcp };
        let at = SocketAddr::new(one.address, one.host_port);
        forwards.push(Forward { protocol, at, to: Target::Adapter(MAC), port: one.guest_port });
    }
    Ok(forwards)
}

/// The adapter, with a router at its other end for as long as this process lives.
pub fn user(publish: &[String], host_loopback: &[u16]) -> Result<NicSpec> {
    let mut config = Config::new(ROUTER, NETWORK);
    config.mtu = (LONGEST_FRAME - 18) as u16;
    config.six = SIX.parse().ok();
    config.forwards = forwards(publish)?;
    config.host_loopback = host_loopback.to_vec();
    Resolv::apply(&mut config);
    let (plug, wire) = UnixDatagram::pair().context("no wire for --network user")?;
    plug.set_write_timeout(Some(SEND_PATIENCE)).context("no wire for --network user")?;
    let sockets = Sockets::new().context("no sockets for --network user")?;
    let mut router = Router::new(sockets, config, Sockets::limits());
    if let Some(problem) = router.report(Instant::now()).problems.first() {
        bail!("--publish: {problem}; choose another port");
    }
    let mut wire = Datagrams::new(wire).context("no wire for --network user")?;
    std::thread::Builder::new()
        .name("router".into())
        .spawn(move || {
            if let Err(error) = ireko_jail::thread::confine(Kind::Router) {
                crate::say!("ireko: the router runs unconfined: {error}");
            }
            if let Err(error) = serve(&mut router, &mut wire, &mut Resolv { seen: None }) {
                crate::say!("ireko: the network is gone: {error}");
            }
        })
        .context("no thread for --network user")?;
    Ok(NicSpec { mac: MAC, port: Arc::new(Plug { socket: plug, patience: Mutex::default() }) })
}
