//! A network for each level of a nest: by MAC address spoofing through two switches at each level, or by address translation
//! at each. What the levels fetch through all of that comes from a server on the host's loopback.

use super::run;
use crate::agent_config::{AgentConfig, Mode, Network};
use anyhow::{Context, Result, bail, ensure};
use ireko_manage::store::Store;
use ireko_manage::store::switch::{DEFAULT, DEFAULT_NAME, RouterNetwork};
use ireko_manage::{Host, Value};
use ring::digest::{Digest, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The External switch of a level.
const OUTSIDE: &str = "Outside";
/// A level's own interface.
pub const INTERFACE: &str = "eth0";

/// Which switch the next level's machine is on.
pub fn switch_of(config: &AgentConfig) -> &'static str {
    match config.network {
        Some(Network { mode: Mode::Mac, .. }) if config.level > 1 => OUTSIDE,
        _ => DEFAULT_NAME,
    }
}

/// Makes ready what the machine of this configuration is to be plugged into. `config` is told where the server is.
pub fn prepare(host: &Host, config: &mut AgentConfig) -> Result<()> {
    let Some(network) = &mut config.network else { return Ok(()) };
    if config.level == 1 {
        let port = i64::from(network.server.port());
        let lead = [("Name", DEFAULT_NAME.into()), ("HostLoopbackPort", port.into())];
        run(host, "Set-VMSwitch", &lead)?;
        choose(&host.store, host, None)?;
        let own = host.store.switch(DEFAULT)?.network.context("the Default Switch has no network")?;
        network.server.set_ip(own.router);
        return Ok(());
    }
    match network.mode {
        Mode::Mac => {
            let new = [
                ("Name", OUTSIDE.into()),
                ("NetAdapterName", INTERFACE.into()),
                ("AllowManagementOS", false.into()),
            ];
            run(host, "New-VMSwitch", &new)
        }
        // One that the server is not in, nor this level itself.
        Mode::Nat => choose(&host.store, host, Some((*network.server.ip()).into())),
    }
}

fn choose(store: &Store, host: &Host, avoided: Option<IpAddr>) -> Result<()> {
    let addresses = host.system.network().addresses().unwrap_or_default();
    let taken: Vec<IpAddr> = addresses.iter().map(|one| one.address).chain(avoided).collect();
    let (lock, mut switch) = store.lock_switch(DEFAULT)?;
    // Another for each process (Knuth, The Art of Computer Programming, 6.4: multiplicative hashing).
    let seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    switch.network = RouterNetwork::choose(seed, &taken);
    ensure!(switch.network.is_some(), "all of 172.16.0.0/12 is taken");
    Ok(store.save_switch(&lock, &switch)?)
}

/// The machine's adapter may send what comes from further inside.
pub fn allow(host: &Host, config: &AgentConfig, name: Value) -> Result<()> {
    let bridged = config.network.is_some_and(|network| network.mode == Mode::Mac);
    if !bridged || config.level >= config.depth {
        return Ok(());
    }
    run(host, "Set-VMNetworkAdapter", &[("VMName", name), ("MacAddressSpoofing", "On".into())])
}

/// Bytes that nobody can guess, for whoever asks on this machine's loopback.
pub struct Server {
    pub port: u16,
    pub sum: String,
    pub bytes: usize,
}

const SIZE: usize = 4 << 20;

impl Server {
    pub fn start() -> Result<Self> {
        let mut bytes = vec![0; SIZE];
        SystemRandom::new().fill(&mut bytes).ok().context("no random bytes for the levels to fetch")?;
        let sum = digits(&ring::digest::digest(&SHA256, &bytes));
        let listener = TcpListener::bind("127.0.0.1:0").context("no server on the loopback interface")?;
        let (port, len, bytes) = (listener.local_addr()?.port(), bytes.len(), Arc::new(bytes));
        std::thread::Builder::new().name("server".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let bytes = bytes.clone();
                std::thread::spawn(move || drop(answer(stream, &bytes)));
            }
        })?;
        Ok(Self { port, sum, bytes: len })
    }
}

fn answer(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // What is not read when the connection is closed would end it for the other side, too.
    let (mut question, mut room) = (Vec::new(), [0; 1024]);
    while !question.ends_with(b"\r\n\r\n") && question.len() < 4096 {
        match stream.read(&mut room)? {
            0 => return Ok(()),
            count => question.extend_from_slice(&room[..count]),
        }
    }
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(bytes)
}

const PATIENCE: Duration = Duration::from_secs(60);
/// A whole file, at any depth.
const LONGEST: Duration = Duration::from_secs(600);

fn digits(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What came, and how long it took.
pub struct Fetched {
    pub bytes: u64,
    pub sum: String,
    pub time: Duration,
}

/// Fetches the server's file.
pub fn fetch(server: SocketAddrV4) -> Result<Fetched> {
    let begun = Instant::now();
    let at = SocketAddr::V4(server);
    let mut stream =
        TcpStream::connect_timeout(&at, PATIENCE).with_context(|| format!("no connection to {at}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /file HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut body = ring::digest::Context::new(&SHA256);
    let (mut head, mut bytes, mut room) = (Some(Vec::new()), 0, vec![0; 64 << 10]);
    loop {
        let count =
            stream.read(&mut room).with_context(|| format!("{bytes} bytes came from {at}, and no more"))?;
        if count == 0 {
            break;
        }
        ensure!(begun.elapsed() < LONGEST, "{bytes} bytes came from {at} in {} seconds", LONGEST.as_secs());
        let mut came = &room[..count];
        if let Some(held) = &mut head {
            held.extend_from_slice(came);
            let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") else {
                ensure!(held.len() < 4096, "what answers at {at} speaks no HTTP");
                continue;
            };
            came = &room[count - (held.len() - end - 4)..count];
            head = None;
        }
        body.update(came);
        bytes += came.len() as u64;
    }
    if head.is_some() {
        bail!("{at} closed the connection without an answer");
    }
    Ok(Fetched { bytes, sum: digits(&body.finish()), time: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_what_was_served() {
        let server = Server::start().unwrap();
        let fetched = fetch(SocketAddrV4::new([127, 0, 0, 1].into(), server.port)).unwrap();
        assert_eq!((fetched.bytes, fetched.sum), (server.bytes as u64, server.sum));
    }
}
