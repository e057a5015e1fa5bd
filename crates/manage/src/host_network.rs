//! The host's own network, behind a trait: tests must not change that of the machine they run on.

use ireko_net::host::{self, Address, Interface};
use ireko_net::nat::{self, Prefix};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;

/// Looks at the network of the machine and changes it.
pub trait HostNetwork: Send + Sync {
    fn interfaces(&self) -> io::Result<Vec<Interface>>;
    fn addresses(&self) -> io::Result<Vec<Address>>;
    fn add_address(&self, one: &Address) -> io::Result<()>;
    fn remove_address(&self, one: &Address) -> io::Result<()>;
    /// Switches an interface on.
    fn bring_up(&self, index: u32) -> io::Result<()>;
    fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()>;
    /// The text of /etc/resolv.conf.
    fn resolv(&self) -> String;
    fn set_resolv(&self, text: &str) -> io::Result<()>;
    /// These networks are translated, by the kernel's table of this name.
    fn set_nat(&self, table: &str, prefixes: &[Prefix]) -> io::Result<()>;
    fn nat_active(&self, table: &str) -> io::Result<bool>;
}

/// That of the machine that we really run on.
pub struct RealNetwork;

pub const RESOLV: &str = "/etc/resolv.conf";

impl HostNetwork for RealNetwork {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        host::interfaces(Path::new(host::SYS))
    }
    fn addresses(&self) -> io::Result<Vec<Address>> {
        host::addresses()
    }
    fn add_address(&self, one: &Address) -> io::Result<()> {
        host::add_address(one)
    }
    fn remove_address(&self, one: &Address) -> io::Result<()> {
        host::remove_address(one)
    }
    fn bring_up(&self, index: u32) -> io::Result<()> {
        host::bring_up(index)
    }
    fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        host::add_default_route(index, gateway)
    }
    fn resolv(&self) -> String {
        std::fs::read_to_string(RESOLV).unwrap_or_default()
    }
    fn set_resolv(&self, text: &str) -> io::Result<()> {
        std::fs::create_dir_all("/etc").and_then(|()| std::fs::write(RESOLV, text))
    }
    fn set_nat(&self, table: &str, prefixes: &[Prefix]) -> io::Result<()> {
        nat::set(table, prefixes)
    }
    fn nat_active(&self, table: &str) -> io::Result<bool> {
        nat::active(table)
    }
}

/// Of a machine that has none, or does not let anybody near it.
pub struct NoNetwork;

fn refused() -> io::Error {
    ErrorKind::PermissionDenied.into()
}

impl HostNetwork for NoNetwork {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        Ok(Vec::new())
    }
    fn addresses(&self) -> io::Result<Vec<Address>> {
        Ok(Vec::new())
    }
    fn add_address(&self, _: &Address) -> io::Result<()> {
        Err(refused())
    }
    fn remove_address(&self, _: &Address) -> io::Result<()> {
        Err(refused())
    }
    fn bring_up(&self, _: u32) -> io::Result<()> {
        Err(refused())
    }
    fn add_default_route(&self, _: u32, _: IpAddr) -> io::Result<()> {
        Err(refused())
    }
    fn resolv(&self) -> String {
        String::new()
    }
    fn set_resolv(&self, _: &str) -> io::Result<()> {
        Err(refused())
    }
    fn set_nat(&self, _: &str, _: &[Prefix]) -> io::Result<()> {
        Err(refused())
    }
    fn nat_active(&self, _: &str) -> io::Result<bool> {
        Ok(false)
    }
}
