//! What a router costs: the same stack (smoltcp) as a guest in front of ours, of passt and of libslirp (in QEMU, which has no machine
//! then), to a server on this host's loopback. `bench [MEGABYTES] [RUNS]`; what is not installed is left out. Throughput is what
//! came through in wall time, where the generator has its share, too; CPU is the router's process alone.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const TRIPS: u32 = 5000;

/// The guest's end: datagrams, or a stream of frames with their lengths in front (as QEMU's).
enum Link {
    Datagrams(UnixDatagram),
    Stream { socket: UnixStream, came: Vec<u8>, at: usize },
}

struct Wire {
    link: Link,
    out: VecDeque<Vec<u8>>,
    mtu: usize,
    spare: Vec<Vec<u8>>,
}

impl Wire {
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut frame = self.spare.pop().unwrap_or_default();
        match &mut self.link {
            Link::Datagrams(socket) => {
                frame.resize(2048, 0);
                let len = socket.recv(&mut frame).ok()?;
                frame.truncate(len);
                Some(frame)
            }
            Link::Stream { socket, came, at } => loop {
                if let Some(head) = came.get(*at..*at + 4) {
                    let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
                    if let Some(bytes) = came.get(*at + 4..*at + 4 + len) {
                        frame.clear();
                        frame.extend_from_slice(bytes);
                        *at += 4 + len;
                        return Some(frame);
                    }
                }
                came.drain(..*at);
                *at = 0;
                let before = came.len();
                came.resize(before + 256 * 1024, 0);
                let count = socket.read(&mut came[before..]);
                came.truncate(before + *count.as_ref().unwrap_or(&0));
                if !matches!(count, Ok(1..)) {
                    return None;
                }
            },
        }
    }

    /// What the guest has said, as far as there is room.
    fn flush(&mut self) {
        match &mut self.link {
            Link::Datagrams(socket) => {
                while let Some(frame) = self.out.pop_front() {
                    if matches!(socket.send(&frame), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                        self.out.push_front(frame);
                        return;
                    }
                    self.spare.push(frame);
                }
            }
            Link::Stream { socket, .. } => {
                let mut bytes = Vec::new();
                while let Some(frame) = self.out.pop_front() {
                    bytes.extend((frame.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(&frame);
                    self.spare.push(frame);
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    match socket.write(rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                        Err(_) => return,
                    }
                }
            }
        }
    }

    fn wait(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let descriptor = match &self.link {
            Link::Datagrams(socket) => socket.as_fd(),
            Link::Stream { socket, .. } => socket.as_fd(),
        };
        let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let _ = poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&moment));
    }
}

struct Taken(Vec<u8>);
struct Given<'a>(&'a mut Wire);

impl RxToken for Taken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, job: F) -> R {
        job(&self.0)
    }
}

impl TxToken for Given<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, job: F) -> R {
        let mut frame = self.0.spare.pop().unwrap_or_default();
        frame.resize(len, 0);
        let result = job(&mut frame);
        self.0.out.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Taken;
    type TxToken<'a> = Given<'a>;
    fn receive(&mut self, _: Time) -> Option<(Taken, Given<'_>)> {
        let frame = self.next()?;
        Some((Taken(frame), Given(self)))
    }
    fn transmit(&mut self, _: Time) -> Option<Given<'_>> {
        (self.out.len() < 64).then_some(Given(self))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

struct Guest {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    begun: Instant,
}

impl Guest {
    fn new(mut wire: Wire, own: Ipv4Addr, router: Ipv4Addr) -> Self {
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
        let mut interface = Interface::new(config, &mut wire, Time::ZERO);
        interface.update_ip_addrs(|all| all.push(IpCidr::new(own.into(), 20)).expect("room"));
        interface.routes_mut().add_default_ipv4_route(router).expect("room");
        Self { wire, interface, sockets: SocketSet::new(Vec::new()), begun: Instant::now() }
    }

    fn poll(&mut self) {
        let time = Time::from_micros(self.begun.elapsed().as_micros() as i64);
        self.interface.poll(time, &mut self.wire, &mut self.sockets);
        self.wire.flush();
    }

    fn connect(&mut self, to: (Ipv4Addr, u16), port: u16) -> io::Result<SocketHandle> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 20]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let to = (IpAddress::from(to.0), to.1);
        socket.connect(self.interface.context(), to, port).map_err(io::Error::other)?;
        let handle = self.sockets.add(socket);
        let since = Instant::now();
        while !self.sockets.get::<tcp::Socket<'_>>(handle).may_send() {
            self.poll();
            self.wire.wait();
            if since.elapsed() > Duration::from_secs(5) {
                return Err(io::Error::other("no connection through it"));
            }
        }
        Ok(handle)
    }

    /// Until `job` says that it is done. An end that does not come is one.
    fn until(
        &mut self,
        handle: SocketHandle,
        mut job: impl FnMut(&mut tcp::Socket<'static>) -> (bool, bool),
    ) -> io::Result<()> {
        let mut last = Instant::now();
        loop {
            self.poll();
            let (done, moved) = job(self.sockets.get_mut(handle));
            if done {
                return Ok(());
            }
            if moved {
                last = Instant::now();
            } else {
                self.wire.flush();
                self.wire.wait();
            }
            if last.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("it stands still"));
            }
        }
    }
}

/// What the outside does.
fn serve(listener: TcpListener, bytes: usize) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || one(stream, bytes));
    }
}

/// A first byte says what is wanted.
fn one(mut stream: TcpStream, bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut room = vec![0; 256 * 1024];
    stream.read_exact(&mut room[..1])?;
    match room[0] {
        b's' => {
            let mut left = bytes;
            while left > 0 {
                left -= stream.write(&room[..left.min(256 * 1024)])?;
            }
        }
        b't' => {
            let mut left = bytes;
            while left > 0 {
                left -= stream.read(&mut room)?.min(left);
            }
            stream.write_all(b"!")?;
        }
        _ => loop {
            let count = stream.read(&mut room)?;
            if count == 0 {
                break;
            }
            stream.write_all(&room[..count])?;
        },
    }
    Ok(())
}

/// CPU seconds of a process and its children that live.
fn cpu(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

struct Figures {
    out: f64,
    out_cpu: f64,
    inward: f64,
    in_cpu: f64,
    trip: f64,
    trip_cpu: f64,
}

fn measure(
    guest: &mut Guest,
    process: u32,
    to: (Ipv4Addr, u16),
    bytes: usize,
    port: u16,
) -> io::Result<Figures> {
    let chunk = vec![7u8; 64 * 1024];
    let handle = guest.connect(to, port)?;
    let (since, before) = (Instant::now(), cpu(process));
    let mut left = bytes + 1;
    let mut first = true;
    guest.until(handle, |socket| {
        let mut moved = false;
        if first {
            first = false;
            left -= socket.send_slice(b"t").unwrap_or(0);
        }
        while left > 0 && socket.can_send() {
            let count = socket.send_slice(&chunk[..left.min(chunk.len())]).unwrap_or(0);
            left -= count;
            moved |= count > 0;
            if count == 0 {
                break;
            }
        }
        (left == 0 && socket.recv(|part| (part.len(), !part.is_empty())).unwrap_or(false), moved)
    })?;
    let (out, out_cpu) = (since.elapsed().as_secs_f64(), cpu(process) - before);
    guest.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
    guest.poll();
    guest.sockets.remove(handle);

    let handle = guest.connect(to, port + 1)?;
    let (since, before) = (Instant::now(), cpu(process));
    let mut left = bytes;
    let mut first = true;
    guest.until(handle, |socket| {
        if std::mem::take(&mut first) {
            let _ = socket.send_slice(b"s");
        }
        let count = socket.recv(|part| (part.len(), part.len())).unwrap_or(0);
        left -= count.min(left);
        (left == 0, count > 0)
    })?;
    let (inward, in_cpu) = (since.elapsed().as_secs_f64(), cpu(process) - before);
    guest.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
    guest.poll();
    guest.sockets.remove(handle);

    let handle = guest.connect(to, port + 2)?;
    guest.sockets.get_mut::<tcp::Socket<'_>>(handle).send_slice(b"ex").map_err(io::Error::other)?;
    let (since, before) = (Instant::now(), cpu(process));
    let mut trips = 0;
    guest.until(handle, |socket| {
        let came = socket.recv(|part| (part.len(), part.len())).unwrap_or(0);
        if came > 0 {
            trips += 1;
            let _ = socket.send_slice(b"x");
        }
        (trips > TRIPS, came > 0)
    })?;
    let (trip, trip_cpu) = (since.elapsed().as_secs_f64() / f64::from(TRIPS), cpu(process) - before);
    guest.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
    guest.poll();
    guest.sockets.remove(handle);
    Ok(Figures { out, out_cpu, inward, in_cpu, trip, trip_cpu })
}

struct Candidate {
    name: &'static str,
    child: Child,
    guest: Guest,
    to: (Ipv4Addr, u16),
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn patiently<T>(mut job: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let since = Instant::now();
    loop {
        match job() {
            Err(error) if since.elapsed() > Duration::from_secs(5) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}

fn wire(link: Link, mtu: usize) -> Wire {
    Wire { link, out: VecDeque::new(), mtu, spare: Vec::new() }
}

fn ours(directory: &Path, port: u16) -> io::Result<Candidate> {
    let (own, peer) = (directory.join("router"), directory.join("guest"));
    let socket = UnixDatagram::bind(&peer)?;
    let program = std::env::current_exe()?.with_file_name("wire");
    let child = Command::new(program).arg(&own).arg(&peer).env("LOOPBACK", port.to_string()).spawn()?;
    patiently(|| socket.connect(&own))?;
    socket.set_nonblocking(true)?;
    let router = Ipv4Addr::new(172, 20, 16, 1);
    let guest = Guest::new(wire(Link::Datagrams(socket), 1500), Ipv4Addr::new(172, 20, 16, 9), router);
    Ok(Candidate { name: "ireko, port, 1500", child, guest, to: (router, port) })
}

/// The same with a stream for a wire, as the others have it.
fn streamed(directory: &Path, port: u16, mtu: usize, name: &'static str) -> io::Result<Candidate> {
    let path = directory.join(format!("router-{mtu}"));
    let program = std::env::current_exe()?.with_file_name("wire");
    let child = Command::new(program)
        .arg("--stream")
        .arg(&path)
        .env("LOOPBACK", port.to_string())
        .env("MTU", mtu.to_string())
        .spawn()?;
    let router = Ipv4Addr::new(172, 20, 16, 1);
    let guest = Guest::new(wire(stream(&path)?, mtu), Ipv4Addr::new(172, 20, 16, 9), router);
    Ok(Candidate { name, child, guest, to: (router, port) })
}

fn stream(path: &Path) -> io::Result<Link> {
    let socket = patiently(|| UnixStream::connect(path))?;
    socket.set_nonblocking(true)?;
    Ok(Link::Stream { socket, came: Vec::new(), at: 0 })
}

fn passt(directory: &Path, port: u16, mtu: usize, name: &'static str) -> io::Result<Candidate> {
    let path = directory.join(format!("passt-{mtu}"));
    let (own, router) = (Ipv4Addr::new(172, 20, 16, 9), Ipv4Addr::new(172, 20, 16, 1));
    let child = Command::new("passt")
        .args(["-f", "-q", "-4", "-m", &mtu.to_string(), "-a", &own.to_string(), "-n", "20"])
        .args(["-g", &router.to_string(), "--runas", "0", "-s"])
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let guest = Guest::new(wire(stream(&path)?, mtu), own, router);
    Ok(Candidate { name, child, guest, to: (router, port) })
}

fn slirp(directory: &Path, port: u16) -> io::Result<Candidate> {
    let path = directory.join("slirp");
    let listen = format!("stream,id=s,server=on,addr.type=unix,addr.path={}", path.display());
    let child = Command::new("qemu-system-x86_64")
        .args(["-M", "none", "-nodefaults", "-display", "none", "-netdev"])
        .args(["user,id=u,net=172.20.16.0/20,host=172.20.16.1,dhcpstart=172.20.16.9", "-netdev", &listen])
        .args(["-netdev", "hubport,id=a,hubid=0,netdev=u", "-netdev", "hubport,id=b,hubid=0,netdev=s"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let router = Ipv4Addr::new(172, 20, 16, 1);
    let guest = Guest::new(wire(stream(&path)?, 1500), Ipv4Addr::new(172, 20, 16, 9), router);
    Ok(Candidate { name: "libslirp, stream, 1500", child, guest, to: (router, port) })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (megabytes, runs) = (arguments.next().unwrap_or(500), arguments.next().unwrap_or(3));
    let bytes = megabytes << 20;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || serve(listener, bytes));
    let directory: PathBuf = std::env::temp_dir().join(format!("ireko-nat-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let started = [
        ours(&directory, port),
        streamed(&directory, port, 1500, "ireko, stream, 1500"),
        streamed(&directory, port, 65520, "ireko, stream, 65520"),
        passt(&directory, port, 1500, "passt, stream, 1500"),
        passt(&directory, port, 65520, "passt, stream, 65520"),
        slirp(&directory, port),
    ];
    println!("{:<23} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "out", "CPU", "in", "CPU", "trip", "CPU");
    println!("{:<23} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "MB/s", "s/GB", "MB/s", "s/GB", "us", "us");
    for candidate in started {
        let mut candidate = match candidate {
            Ok(candidate) => candidate,
            Err(error) => {
                println!("left out: {error}");
                continue;
            }
        };
        let (process, to) = (candidate.child.id(), candidate.to);
        let mut all = Vec::new();
        for run in 0..runs {
            match measure(&mut candidate.guest, process, to, bytes, 20_000 + 10 * run as u16) {
                Ok(figures) => all.push(figures),
                Err(error) => println!("{}: {error}", candidate.name),
            }
        }
        let of = |what: fn(&Figures) -> f64| median(all.iter().map(what).collect());
        let (size, gigabytes) = (bytes as f64 / 1e6, bytes as f64 / 1e9);
        println!(
            "{:<23} {:>9.0} {:>9.2} {:>9.0} {:>9.2} {:>9.1} {:>9.1}",
            candidate.name,
            size / of(|f| f.out),
            of(|f| f.out_cpu) / gigabytes,
            size / of(|f| f.inward),
            of(|f| f.in_cpu) / gigabytes,
            of(|f| f.trip) * 1e6,
            of(|f| f.trip_cpu) * 1e6 / f64::from(TRIPS),
        );
    }
    std::fs::remove_dir_all(&directory)
}
