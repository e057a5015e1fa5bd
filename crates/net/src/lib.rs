//! Wires between virtual machines and to their host: the virtual switch, its host side, and the host's own addresses.
//!
//! Knows frames, sockets and the kernel's network interfaces. Must never know a virtual machine, a store, or a guest's
//! device: what has a network adapter meets it at [`ireko_vmcore::Port`]. Start reading at [`switch`].
//!
//! **There is no switch process.** A switch is a directory with a socket for each port; the ports learn from each
//! other's frames where addresses are. So a switch cannot die, and needs no privilege.

pub mod adapter;
pub mod capture;
pub mod frame;
pub mod host;
mod learned;
pub mod nat;
mod netlink;
mod offload;
mod packet;
pub mod peers;
pub mod role;
pub mod switch;
pub mod tap;
#[cfg(test)]
mod tests;
pub mod traffic;
pub mod uplink;
pub mod vlan;

pub use adapter::{Adapter, Mirroring, Policy};
