//! A router at the end of a Unix datagram socket, for whatever puts frames into it: `wire OWN PEER [PORT=GUESTPORT …]`.
//! LOOPBACK=PORT,… are ports of the host's loopback that are reached at the router's address.

use ireko_nat::event::{Datagrams, Nobody};
use ireko_nat::{Config, Forward, Limits, Network, Protocol, Router, Sockets, Target, config, serve};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(own), Some(peer)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("which sockets? Give OWN and PEER."));
    };
    let socket = UnixDatagram::bind(own)?;
    while socket.connect(&peer).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let network = Network { router: Ipv4Addr::new(172, 20, 16, 1), length: 20 };
    let mut config = Config::new([0x02, 0x15, 0x5d, 0, 0, 1], network);
    config.six = Some("fd00:1234:5678::1".parse().expect("an address"));
    (config.resolvers, config.search) =
        config::resolv(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    for forward in arguments {
        let Some((port, guest)) = forward.split_once('=') else { continue };
        let (Ok(port), Ok(guest)) = (port.parse(), guest.parse()) else { continue };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = Target::Adapter([2, 0, 0, 0, 0, 9]);
            config.forwards.push(Forward {
                protocol,
                at: (Ipv4Addr::LOCALHOST, port).into(),
                to,
                port: guest,
            });
        }
    }
    let allowed = std::env::var("LOOPBACK").unwrap_or_default();
    config.host_loopback = allowed.split(',').filter_map(|port| port.parse().ok()).collect();
    let mut router = Router::new(Sockets::new()?, config, Limits::default());
    serve(&mut router, &mut Datagrams::new(socket)?, &mut Nobody)
}
