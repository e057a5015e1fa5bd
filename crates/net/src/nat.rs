//! Network address translation by the kernel: a table of nf_tables of our own, put in place as a whole
//! (linux/netfilter/nf_tables.h, nfnetlink.h).

use crate::netlink::{ACK, Body, CREATE, Netlink, REQUEST, attributes, message};
use std::fs;
use std::io;
use std::net::Ipv4Addr;

/// An IPv4 network, like 192.168.100.0/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub network: Ipv4Addr,
    pub length: u8,
}

impl Prefix {
    /// `None`: it is no network, or has bits of a host in it.
    pub fn parse(text: &str) -> Option<Self> {
        let (network, length) = text.split_once('/')?;
        let one = Self { network: network.parse().ok()?, length: length.parse().ok()? };
        (one.length <= 32 && u32::from(one.network) & !one.mask() == 0).then_some(one)
    }
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }
    pub fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        u32::from(self.network) & mask == u32::from(other.network) & mask
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

const NESTED: u16 = 0x8000;
const APPEND: u16 = 0x800;
const IPV4: u8 = 2;
const NF_TABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

mod nft {
    pub const NEWTABLE: u16 = 0;
    pub const GETTABLE: u16 = 1;
    pub const DELTABLE: u16 = 2;
    pub const NEWCHAIN: u16 = 3;
    pub const NEWRULE: u16 = 6;
}

const CHAIN: &str = "postrouting";

/// `struct nfgenmsg`
fn general(family: u8, resource: u16) -> Body {
    let [high, low] = resource.to_be_bytes();
    Body(vec![family, 0, high, low])
}

trait Attributes {
    fn text(self, kind: u16, text: &str) -> Self;
    fn number(self, kind: u16, number: u32) -> Self;
    fn nested(self, kind: u16, inner: Body) -> Self;
}

impl Attributes for Body {
    fn text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }
    fn number(self, kind: u16, number: u32) -> Self {
        self.with(kind, &number.to_be_bytes())
    }
    fn nested(self, kind: u16, inner: Body) -> Self {
        self.with(kind | NESTED, &inner.0)
    }
}

fn none() -> Body {
    Body::default()
}

fn table(name: &str) -> Body {
    general(IPV4, 0).text(1, name)
}

/// Hook 4 is behind routing; 100 is the place of source NAT.
fn chain(name: &str) -> Body {
    let hook = none().number(1, 4).number(2, 100);
    table(name).text(3, CHAIN).nested(4, hook).text(7, "nat")
}

/// What comes from the network and does not stay in it gets the outgoing interface's address.
fn rule(name: &str, prefix: Prefix) -> Body {
    const SOURCE: u32 = 12;
    const DESTINATION: u32 = 16;
    const EQUAL: u32 = 0;
    const UNEQUAL: u32 = 1;
    let list = address(none(), SOURCE, prefix, EQUAL);
    let list = expression(address(list, DESTINATION, prefix, UNEQUAL), "masq", none());
    table(name).text(2, CHAIN).nested(4, list)
}

fn expression(list: Body, name: &str, data: Body) -> Body {
    list.nested(1, none().text(1, name).nested(2, data))
}

/// Compares an address of the header with the network.
fn address(list: Body, offset: u32, prefix: Prefix, how: u32) -> Body {
    const REGISTER: u32 = 1;
    const NETWORK_HEADER: u32 = 1;
    let value = |value: u32| none().with(1, &value.to_be_bytes());
    let load = none().number(1, REGISTER).number(2, NETWORK_HEADER).number(3, offset).number(4, 4);
    let mask = none().number(1, REGISTER).number(2, REGISTER).number(3, 4);
    let mask = mask.nested(4, value(prefix.mask())).nested(5, value(0));
    let compare = none().number(1, REGISTER).number(2, how).nested(3, value(prefix.network.into()));
    let list = expression(list, "payload", load);
    expression(expression(list, "bitwise", mask), "cmp", compare)
}

/// Makes these networks the ones that are translated, and the host forward packets if there are any.
pub fn set(name: &str, prefixes: &[Prefix]) -> io::Result<()> {
    set_table(name, prefixes)?;
    if !prefixes.is_empty() {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    }
    Ok(())
}

fn set_table(name: &str, prefixes: &[Prefix]) -> io::Result<()> {
    let mut netlink = Netlink::netfilter()?;
    let mut steps = vec![(nft::NEWTABLE, CREATE, table(name)), (nft::DELTABLE, 0, table(name))];
    if !prefixes.is_empty() {
        steps.push((nft::NEWTABLE, CREATE, table(name)));
        steps.push((nft::NEWCHAIN, CREATE, chain(name)));
        steps.extend(prefixes.iter().map(|prefix| (nft::NEWRULE, CREATE | APPEND, rule(name, *prefix))));
    }
    let mut batch = message(BATCH_BEGIN, REQUEST, netlink.next(), &general(0, NF_TABLES));
    let last = steps.len() - 1;
    let mut sequence = 0;
    for (at, (kind, flags, body)) in steps.into_iter().enumerate() {
        sequence = netlink.next();
        let ack = if at == last { ACK } else { 0 };
        batch.extend(message(NF_TABLES << 8 | kind, REQUEST | flags | ack, sequence, &body));
    }
    batch.extend(message(BATCH_END, REQUEST, netlink.next(), &general(0, NF_TABLES)));
    netlink.send(&batch)?;
    netlink.answers(sequence).map(drop)
}

/// Whether the kernel has the table.
pub fn active(name: &str) -> io::Result<bool> {
    let tables = Netlink::netfilter()?.dump(NF_TABLES << 8 | nft::GETTABLE, &general(IPV4, 0))?;
    let is_ours = |content: &Vec<u8>| {
        attributes(content, 4)
            .any(|(kind, value)| kind == 1 && value.strip_suffix(&[0]) == Some(name.as_bytes()))
    };
    Ok(tables.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_network() {
        assert_eq!(Prefix::parse("192.168.100.0/24").unwrap().to_string(), "192.168.100.0/24");
        for text in ["192.168.100.1/24", "10.0.0.0", "10.0.0.0/33", "x/8", "fe80::/64", "/"] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_overlap_where_one_holds_the_other() {
        let prefix = |text| Prefix::parse(text).unwrap();
        assert!(prefix("10.0.0.0/8").overlaps(prefix("10.1.0.0/16")));
        assert!(prefix("0.0.0.0/0").overlaps(prefix("10.1.0.0/16")));
        assert!(!prefix("10.0.0.0/24").overlaps(prefix("10.0.1.0/24")));
    }
}
