//! The operations, each defined once.

mod bases;
mod com;
mod disk;
mod drive;
#[cfg(test)]
mod drive_tests;
mod dvd;
mod firmware;
pub(crate) mod group;
mod guest;
mod host;
mod host_network;
mod image;
mod installer;
pub(crate) mod integration;
mod introspection;
mod lifecycle;
mod memory;
mod metering;
mod nat;
mod nested;
mod network;
#[cfg(test)]
pub(crate) mod network_tests;
mod new;
mod processor;
mod publish;
pub(crate) mod records;
mod screen;
mod set;
mod share;
pub(crate) mod switch;
mod switch_port;
mod system;
#[cfg(test)]
mod system_tests;
pub(crate) mod targets;
#[cfg(test)]
pub(crate) mod tests;
mod vhd;
#[cfg(test)]
mod vhd_tests;
mod vlan;
mod wait;

pub use publish::parse as published;
pub use records::addresses;
pub use system::SSH_KEY;

use crate::operation::Operation;

static TABLES: [&[Operation]; 26] = [
    new::OPERATIONS,
    lifecycle::OPERATIONS,
    set::OPERATIONS,
    processor::OPERATIONS,
    memory::OPERATIONS,
    disk::OPERATIONS,
    dvd::OPERATIONS,
    firmware::OPERATIONS,
    network::OPERATIONS,
    vlan::OPERATIONS,
    switch::OPERATIONS,
    switch_port::OPERATIONS,
    publish::OPERATIONS,
    nested::OPERATIONS,
    metering::OPERATIONS,
    host::OPERATIONS,
    group::OPERATIONS,
    wait::OPERATIONS,
    guest::OPERATIONS,
    bases::OPERATIONS,
    screen::OPERATIONS,
    com::OPERATIONS,
    integration::OPERATIONS,
    host_network::OPERATIONS,
    nat::OPERATIONS,
    vhd::OPERATIONS,
];

/// The word of the command line that an operation's verbs are behind: `ireko vm`, `ireko disk`, `ireko switch`.
pub fn command(operation: &Operation) -> &'static str {
    let is_in = |table: &[Operation]| table.iter().any(|own| own.cmdlet == operation.cmdlet);
    if is_in(vhd::OPERATIONS) {
        "disk"
    } else if is_in(switch_port::OPERATIONS) {
        "switch"
    } else {
        "vm"
    }
}

/// All operations.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    TABLES.iter().copied().flatten()
}

/// By cmdlet name or alias, in any case.
pub fn find(cmdlet: &str) -> Option<&'static Operation> {
    operations().find(|operation| {
        operation.cmdlet.eq_ignore_ascii_case(cmdlet)
            || operation.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(cmdlet))
    })
}
