//! What a router says of itself, and where that is kept for who asks.

use crate::guid::Guid;
use crate::render::printable;
use crate::store::{Store, WorkerLock, atomic};
use ireko_nat::Report;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// A line of the process behind the walls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    Ready,
    Error(String),
    State(RouterState),
}

/// An adapter that it has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// 12 hexadecimal digits.
    pub mac: String,
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub host_name: String,
    #[serde(default)]
    pub flows: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterState {
    /// Somebody is plugged in.
    pub company: bool,
    pub guests: Vec<Seen>,
    /// Flows of all, and bytes that wait.
    pub flows: usize,
    pub held: usize,
    /// Flows that had to go for others.
    pub evicted: u64,
    /// Sentences about forwards that do not work, and about what the host does not let it do.
    pub problems: Vec<String>,
    /// The walls that it is behind.
    pub layers: ireko_jail::Layers,
}

const PING: &str = "The host lets nobody here send echo requests (net.ipv4.ping_group_range), so guests ping the router only.";

impl RouterState {
    pub fn of(report: Report, company: bool, layers: &ireko_jail::Layers) -> Self {
        let guests = report.guests.into_iter().map(|seen| Seen {
            mac: seen.mac.iter().map(|byte| format!("{byte:02X}")).collect(),
            addresses: seen.addresses,
            host_name: seen.host_name,
            flows: seen.flows,
        });
        let mut problems = report.problems;
        if report.counters.echoes_refused > 0 {
            problems.push(PING.into());
        }
        Self {
            company,
            guests: guests.collect(),
            flows: report.flows,
            held: report.held,
            evicted: report.counters.flows_evicted,
            problems,
            layers: layers.clone(),
        }
    }

    /// At which addresses an adapter was seen.
    pub fn addresses(&self, mac: &str) -> Vec<IpAddr> {
        let own = self.guests.iter().filter(|seen| seen.mac.eq_ignore_ascii_case(mac));
        own.flat_map(|seen| seen.addresses.iter().copied()).collect()
    }
}

pub fn path(store: &Store, id: Guid) -> PathBuf {
    store.switch_directory(id).join("router.json")
}

/// What it says is believed as far as it can be shown.
pub fn keep(store: &Store, id: Guid, state: &RouterState) {
    let mut state = state.clone();
    state.guests.iter_mut().for_each(|seen| seen.host_name = printable(&seen.host_name));
    state.problems.iter_mut().for_each(|problem| *problem = printable(problem));
    if let Ok(text) = serde_json::to_vec(&state) {
        // What cannot be noted is not shown.
        let _ = atomic::write(&path(store, id), &text);
    }
}

/// What the router of a switch says, if there is one.
pub fn read(store: &Store, id: Guid) -> Option<RouterState> {
    if !WorkerLock::held(&store.switch_directory(id)) {
        return None;
    }
    serde_json::from_slice(&atomic::read(&path(store, id)).ok()?).ok()
}
