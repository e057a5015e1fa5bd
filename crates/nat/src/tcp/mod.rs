//! TCP: a connection with the guest on one side and a socket of the host's on the other.

mod connection;
mod receiver;
mod sender;
mod sequence;

pub use connection::{Connection, Over, why};
