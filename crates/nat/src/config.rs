//! What a router is to be. It may change while it runs.

use crate::packet::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IPv4 network with the router's address in it, like 172.20.16.1/20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub router: Ipv4Addr,
    pub length: u8,
}

impl Network {
    pub fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }
    pub fn first(self) -> u32 {
        u32::from(self.router) & self.mask()
    }
    pub fn broadcast(self) -> Ipv4Addr {
        (self.first() | !self.mask()).into()
    }
    pub fn has(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.first()
    }
    /// One that a guest may have.
    pub fn is_guest(self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.has(address) && address != self.router && number != self.first() && address != self.broadcast()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Whom a forward leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Whoever has this adapter, at the address that it has then.
    Adapter(Mac),
    Address(IpAddr),
}

/// What comes to an address of the host goes on to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    pub protocol: Protocol,
    pub at: SocketAddr,
    pub to: Target,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The router's own.
    pub mac: Mac,
    pub network: Network,
    /// The router's address in a network of 64 bits; `None`: no IPv6.
    pub six: Option<Ipv6Addr>,
    pub mtu: u16,
    /// What names of guests end in.
    pub domain: String,
    /// Names of guests.
    pub names: Vec<(String, Mac)>,
    /// Adapters that are the switch's own. All others (machines behind them, and made-up ones) share half of what there is.
    pub adapters: Vec<Mac>,
    /// Addresses that adapters always get.
    pub reservations: Vec<(Mac, Ipv4Addr)>,
    /// Whom the host asks for names, and what it appends to them.
    pub resolvers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub forwards: Vec<Forward>,
    /// Ports of the host's loopback that guests reach at the router's address.
    pub host_loopback: Vec<u16>,
}

impl Config {
    pub fn new(mac: Mac, network: Network) -> Self {
        Self {
            mac,
            network,
            six: None,
            mtu: 1500,
            domain: "ireko".into(),
            names: Vec::new(),
            adapters: Vec::new(),
            reservations: Vec::new(),
            resolvers: Vec::new(),
            search: Vec::new(),
            forwards: Vec::new(),
            host_loopback: Vec::new(),
        }
    }

    /// RFC 4291, 2.5.6 and appendix A: the router's address on its own wire.
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac;
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        octets.into()
    }

    /// Whether a guest may send from it.
    pub fn is_guest(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(four) => self.network.is_guest(four),
            IpAddr::V6(six) => {
                let local = six.segments()[0] & 0xffc0 == 0xfe80;
                let prefix = |one: Ipv6Addr| one.segments()[..4] == six.segments()[..4];
                !self.is_router(address) && (local || self.six.is_some_and(prefix))
            }
        }
    }

    pub fn is_router(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(four) => four == self.network.router,
            IpAddr::V6(six) => self.six.is_some() && (self.six == Some(six) || six == self.link_local()),
        }
    }

    /// The router's address as this guest sees it.
    pub fn own(&self, guest: IpAddr) -> Option<IpAddr> {
        match guest {
            IpAddr::V4(_) => Some(self.network.router.into()),
            IpAddr::V6(_) => self.six.map(IpAddr::V6),
        }
    }

    /// Whether the address is in a network of the guests'.
    pub fn is_inside(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(four) => self.network.has(four),
            IpAddr::V6(six) => {
                self.six.is_some_and(|one| one.segments()[..4] == six.segments()[..4])
                    || six.segments()[0] & 0xffc0 == 0xfe80
            }
        }
    }
}

/// What `/etc/resolv.conf` says (resolv.conf(5)): the servers, three at most, and what is appended to names.
pub fn resolv(text: &str) -> (Vec<IpAddr>, Vec<String>) {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                // A zone, as in fe80::1%eth0, is not followed.
                servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
            }
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => (),
        }
    }
    servers.truncate(3);
    search.truncate(6);
    (servers, search)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resolv_conf_says_is_read() {
        let text = "# nameserver 9.9.9.9\nnameserver 10.0.0.1\nsearch a.example b.example\nnameserver ::1\noptions edns0\n";
        let (servers, search) = resolv(text);
        assert_eq!(servers, ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(search, ["a.example", "b.example"]);
    }

    #[test]
    fn a_guest_has_neither_the_routers_nor_an_end_of_the_network() {
        let network = Network { router: Ipv4Addr::new(10, 0, 0, 1), length: 24 };
        for (address, is) in
            [("10.0.0.0", false), ("10.0.0.1", false), ("10.0.0.2", true), ("10.0.0.255", false)]
        {
            assert_eq!(network.is_guest(address.parse().unwrap()), is, "{address}");
        }
        assert!(!network.is_guest("10.0.1.2".parse().unwrap()));
    }
}
