//! Listening to what goes over a switch.

use crate::Host;
use crate::ops::switch;
pub use ireko_net::capture::{Capture, Writer};
pub use ireko_vmcore::port::LONGEST_FRAME;
use std::path::PathBuf;

/// Where the ports of the one switch are that a name or an id means. The error is a sentence.
pub fn ports(host: &Host, name: &str) -> Result<PathBuf, String> {
    let switch = switch::one_of_host(host, name).map_err(|failure| failure.message)?;
    let ports = host.store.ports(switch.id);
    match ports.is_dir() {
        true => Ok(ports),
        false => Err(format!("nobody has been on the switch '{}' yet, so nothing goes over it", switch.name)),
    }
}
