//! smoltcp as a guest, behind a wire that may lose, repeat and reorder.

use super::World;
use crate::Mac;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// What the wire does to frames, of a hundred each.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub lost: u32,
    pub twice: u32,
    pub late: u32,
}

#[derive(Default)]
pub struct Ends {
    pub inward: VecDeque<Vec<u8>>,
    pub outward: VecDeque<Vec<u8>>,
}

pub struct Taken(Vec<u8>);
pub struct Given<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Taken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, job: F) -> R {
        job(&self.0)
    }
}

impl TxToken for Given<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, job: F) -> R {
        let mut frame = vec![0; len];
        let result = job(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Ends {
    type RxToken<'a> = Taken;
    type TxToken<'a> = Given<'a>;

    fn receive(&mut self, _: Time) -> Option<(Taken, Given<'_>)> {
        let frame = self.inward.pop_front()?;
        Some((Taken(frame), Given(&mut self.outward)))
    }
    fn transmit(&mut self, _: Time) -> Option<Given<'_>> {
        Some(Given(&mut self.outward))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

pub struct Guest {
    pub ends: Ends,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub weather: Weather,
    begun: Instant,
    random: u64,
}

impl Guest {
    pub fn new(mac: Mac, addresses: &[IpAddr], begun: Instant) -> Self {
        let mut ends = Ends::default();
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        let mut interface = Interface::new(config, &mut ends, Time::ZERO);
        interface.update_ip_addrs(|all| {
            for address in addresses {
                let length = if address.is_ipv4() { 20 } else { 64 };
                all.push(IpCidr::new(IpAddress::from(*address), length)).expect("room for an address");
            }
        });
        interface.routes_mut().add_default_ipv4_route(super::NETWORK.router).expect("room for a route");
        interface.routes_mut().add_default_ipv6_route(super::SIX).expect("room for a route");
        let (sockets, weather) = (SocketSet::new(Vec::new()), Weather::default());
        Self { ends, interface, sockets, weather, begun, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The usual one.
    pub fn usual(world: &World) -> Self {
        Self::new(super::GUEST, &[super::OWN.into(), super::OWN_SIX.into()], world.now)
    }

    pub fn stream(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 * 1024]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub fn connect(&mut self, to: SocketAddr, port: u16) -> SocketHandle {
        let handle = self.stream();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let to = (IpAddress::from(to.ip()), to.port());
        socket.connect(self.interface.context(), to, port).expect("a socket that may connect");
        handle
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < u64::from(of_hundred)
    }

    fn carry(&mut self, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut carried: Vec<Vec<u8>> = Vec::new();
        let Weather { lost, twice, late } = self.weather;
        for frame in frames {
            if self.chance(lost) {
                continue;
            }
            if self.chance(twice) {
                carried.push(frame.clone());
            }
            carried.push(frame);
            let last = carried.len() - 1;
            if last > 0 && self.chance(late) {
                carried.swap(last - 1, last);
            }
        }
        carried
    }

    /// A moment: what the guest has to say goes to the router, and what that answers comes back.
    pub fn moment(&mut self, world: &mut World) {
        let time = Time::from_micros(world.now.duration_since(self.begun).as_micros() as i64);
        self.interface.poll(time, &mut self.ends, &mut self.sockets);
        let frames = self.ends.outward.drain(..).collect();
        for frame in self.carry(frames) {
            world.frame(&frame);
        }
        world.pass(Duration::from_millis(1));
        let frames = world.sent();
        let carried = self.carry(frames);
        self.ends.inward.extend(carried);
        self.interface.poll(time, &mut self.ends, &mut self.sockets);
    }

    /// Moments until something is so. They are bounded.
    pub fn until(&mut self, world: &mut World, mut so: impl FnMut(&mut Self, &mut World) -> bool) -> bool {
        for _ in 0..60_000 {
            if so(self, world) {
                return true;
            }
            self.moment(world);
        }
        false
    }
}

/// Bytes that tell their place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
