//! A network for virtual machines without root: a router that gives addresses and names, and carries connections over
//! ordinary sockets of an ordinary process.
//!
//! Knows Ethernet, IP and what is above, and the host's sockets behind a seam ([`host`]). Must never know a virtual machine, a
//! store, or how frames come to it. Start reading at [`router`]; a TCP connection is `tcp/connection.rs`.
//!
//! Everything a guest sends is hostile: what it can make grow has a bound, in [`Limits`] and beside each table.

#![forbid(unsafe_code)]

pub mod config;
mod context;
mod dhcp;
mod dns;
pub mod event;
mod fragments;
mod guests;
pub mod host;
mod neighbours;
mod packet;
pub mod router;
pub mod sockets;
mod table;
mod tcp;
#[cfg(test)]
mod tests;

pub use config::{Config, Forward, Network, Protocol, Target};
pub use context::Counters;
pub use event::{Port, serve};
pub use host::{Host, Ready, Token, Wire};
pub use packet::Mac;
pub use router::{Limits, Report, Router, Seen};
pub use sockets::Sockets;
