//! This machine's own network interfaces, their addresses, and the way out.

use crate::netlink::{Body, CREATE, EXCLUSIVE, Netlink, attributes, word};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// linux/rtnetlink.h
mod rtm {
    pub const NEWLINK: u16 = 16;
    pub const GETLINK: u16 = 18;
    pub const NEWADDR: u16 = 20;
    pub const DELADDR: u16 = 21;
    pub const GETADDR: u16 = 22;
    pub const NEWROUTE: u16 = 24;
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An interface of this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    pub index: u32,
    /// The kernel's name.
    pub name: String,
    /// What somebody wrote on it.
    pub alias: String,
    /// `00:15:5d:…`
    pub mac: String,
    /// Behind it is a device with this driver.
    pub driver: Option<String>,
    pub wireless: bool,
    pub loopback: bool,
    /// Switched on.
    pub up: bool,
    /// Plugged in, as far as that is known.
    pub carrier: bool,
    /// Megabits a second, if that is known.
    pub speed: Option<u64>,
}

/// Where the kernel tells more of them: drivers, speeds.
pub const SYS: &str = "/sys/class/net";

/// All of them by index. The kernel is asked, since what it shows as files may be another network namespace's.
pub fn interfaces(sys: &Path) -> io::Result<Vec<Interface>> {
    let found = Netlink::route()?.dump(rtm::GETLINK, &link(0, 0))?;
    let mut all: Vec<Interface> = found.iter().filter_map(|content| interface(content, sys)).collect();
    all.sort_by_key(|interface| interface.index);
    Ok(all)
}

/// The one of this name, if it is there.
pub fn named(name: &str) -> io::Result<Option<Interface>> {
    Ok(interfaces(Path::new(SYS))?.into_iter().find(|one| one.name == name))
}

/// `struct ifinfomsg` and its attributes.
fn interface(content: &[u8], sys: &Path) -> Option<Interface> {
    const FIXED: usize = 16;
    const ADDRESS: u16 = 1;
    const NAME: u16 = 3;
    const ALIAS: u16 = 20;
    const CARRIER: u16 = 33;
    let value = |wanted| attributes(content, FIXED).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let text = |wanted| {
        let bytes = value(wanted).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let name = text(NAME);
    // What could lead elsewhere is no interface's name (dev_valid_name in linux/net/core/dev.c).
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return None;
    }
    let path = sys.join(&name);
    let driver = fs::read_link(path.join("device/driver")).ok();
    let speed = fs::read_to_string(path.join("speed")).ok();
    let mac = value(ADDRESS).unwrap_or_default().iter().map(|byte| format!("{byte:02x}"));
    let flags = word(content, 8)?;
    Some(Interface {
        index: word(content, 4)?,
        alias: text(ALIAS),
        mac: mac.collect::<Vec<_>>().join(":"),
        driver: driver.and_then(|driver| Some(driver.file_name()?.to_str()?.to_owned())),
        wireless: path.join("wireless").exists() || path.join("phy80211").exists(),
        loopback: flags & 8 != 0,
        up: flags & 1 != 0,
        carrier: value(CARRIER).is_some_and(|value| value.first() == Some(&1)),
        speed: speed.and_then(|speed| speed.trim().parse().ok()),
        name,
    })
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub address: IpAddr,
    pub prefix: u8,
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// `struct ifinfomsg`
fn link(index: u32, flags: u32) -> Body {
    let mut body = vec![0; 4];
    [index, flags, flags].iter().for_each(|word| body.extend(word.to_ne_bytes()));
    Body(body)
}

/// Switches an interface on.
pub fn bring_up(index: u32) -> io::Result<()> {
    const UP: u32 = 1;
    Netlink::route()?.change(rtm::NEWLINK, 0, &link(index, UP))
}

/// Gives an interface its MAC address.
pub fn set_mac(index: u32, mac: [u8; 6]) -> io::Result<()> {
    const ADDRESS: u16 = 1;
    Netlink::route()?.change(rtm::NEWLINK, 0, &link(index, 0).with(ADDRESS, &mac))
}

/// Writes something on an interface.
pub fn set_alias(index: u32, alias: &str) -> io::Result<()> {
    const ALIAS: u16 = 20;
    Netlink::route()?.change(rtm::NEWLINK, 0, &link(index, 0).with(ALIAS, alias.as_bytes()))
}

/// `struct ifaddrmsg` and its attributes.
fn address_body(one: &Address) -> Body {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    const BROADCAST: u16 = 4;
    let own = bytes(one.address);
    let mut body = vec![family(one.address), one.prefix, 0, 0];
    body.extend(one.index.to_ne_bytes());
    let body = Body(body).with(LOCAL, &own).with(ADDRESS, &own);
    match one.address {
        IpAddr::V4(four) if one.prefix < 31 => {
            let host = u32::MAX.checked_shr(one.prefix.into()).unwrap_or(0);
            body.with(BROADCAST, &(u32::from(four) | host).to_be_bytes())
        }
        _ => body,
    }
}

pub fn add_address(one: &Address) -> io::Result<()> {
    Netlink::route()?.change(rtm::NEWADDR, CREATE | EXCLUSIVE, &address_body(one))
}

pub fn remove_address(one: &Address) -> io::Result<()> {
    Netlink::route()?.change(rtm::DELADDR, 0, &address_body(one))
}

/// Every address there is.
pub fn addresses() -> io::Result<Vec<Address>> {
    const FIXED: usize = 8;
    let found = Netlink::route()?.dump(rtm::GETADDR, &Body(vec![0; FIXED]))?;
    Ok(found.iter().filter_map(|content| address(content, FIXED)).collect())
}

/// Of a point-to-point interface the local address counts.
fn address(content: &[u8], fixed: usize) -> Option<Address> {
    let value = |wanted| attributes(content, fixed).find(|(kind, _)| *kind == wanted);
    let (_, value) = value(2).or_else(|| value(1))?;
    let address = match value.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
    };
    Some(Address { index: word(content, 4)?, address, prefix: *content.get(1)? })
}

/// The way to everywhere else.
pub fn add_default_route(index: u32, gateway: IpAddr) -> io::Result<()> {
    const MAIN: u8 = 254;
    const STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    const OUTPUT: u16 = 4;
    const GATEWAY: u16 = 5;
    let mut body = vec![family(gateway), 0, 0, 0, MAIN, STATIC, 0, UNICAST];
    body.extend(0u32.to_ne_bytes());
    let body = Body(body).with(GATEWAY, &bytes(gateway)).with(OUTPUT, &index.to_ne_bytes());
    Netlink::route()?.change(rtm::NEWROUTE, CREATE | EXCLUSIVE, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_address() {
        let index = interfaces(Path::new(SYS)).unwrap().into_iter().find(|one| one.loopback).unwrap().index;
        let own = Address { index, address: IpAddr::from([127, 0, 0, 1]), prefix: 8 };
        assert!(addresses().unwrap().contains(&own));
    }

    #[test]
    fn an_address_reads_as_it_was_written() {
        for (text, prefix) in [("192.168.100.1", 24), ("10.0.0.1", 32), ("fe80::1", 64)] {
            let one = Address { index: 7, address: text.parse().unwrap(), prefix };
            assert_eq!(address(&address_body(&one).0, 8), Some(one));
        }
    }
}
