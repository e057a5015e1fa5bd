//! What a guest says of itself, cut to what there is room for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Of a text, in characters.
const LONGEST: usize = 128;
const MOST_INTERFACES: usize = 32;
const MOST_ADDRESSES: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub host_name: String,
    pub os_name: String,
    pub os_version: String,
    pub kernel: String,
    pub architecture: String,
    pub interfaces: Vec<Interface>,
}

/// A network interface that has addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Twelve digits, as Hyper-V writes them.
    pub mac: String,
    pub addresses: Vec<IpAddr>,
}

fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    crate::render::printable(text).chars().take(LONGEST).collect()
}

impl Facts {
    /// guest-get-host-name.
    pub fn hear_name(&mut self, answer: &Value) {
        self.host_name = text(&answer["host-name"]);
    }

    /// guest-get-osinfo.
    pub fn hear_system(&mut self, answer: &Value) {
        self.os_name = text(&answer["name"]);
        self.os_version = text(&answer["version-id"]);
        self.kernel = text(&answer["kernel-release"]);
        self.architecture = text(&answer["machine"]);
    }

    /// guest-network-get-interfaces.
    pub fn hear_interfaces(&mut self, answer: &Value) {
        let all = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        self.interfaces = all.iter().filter_map(interface).take(MOST_INTERFACES).collect();
    }

    /// Of the adapter with this address (12 digits).
    pub fn addresses(&self, mac: &str) -> Vec<IpAddr> {
        let own = self.interfaces.iter().filter(|one| one.mac.eq_ignore_ascii_case(mac));
        own.flat_map(|one| one.addresses.iter().copied()).collect()
    }
}

/// Loopback has no address of a card.
fn interface(value: &Value) -> Option<Interface> {
    let mac = value["hardware-address"].as_str()?.replace([':', '-'], "").to_ascii_uppercase();
    if mac.len() != 12 || mac == "000000000000" || !mac.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let addresses = value["ip-addresses"].as_array()?.iter();
    let addresses = addresses.filter_map(|one| one["ip-address"].as_str()?.parse().ok());
    Some(Interface { mac, addresses: addresses.take(MOST_ADDRESSES).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_those_of_cards() {
        let mut facts = Facts::default();
        let address = |text: &str| json!({ "ip-address": text, "prefix": 24 });
        facts.hear_interfaces(&json!([
            { "name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [address("127.0.0.1")] },
            { "name": "a", "hardware-address": "02:15:5d:00:00:0a", "ip-addresses": [address("10.0.0.5"), address("fe80::1"), address("no")] },
            { "name": "b" }, 7, null,
        ]));
        let found = facts.addresses("02155D00000A");
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.5", "fe80::1"]);
        assert_eq!(facts.interfaces.len(), 1);
    }

    #[test]
    fn texts_are_cut_and_move_no_cursor() {
        let mut facts = Facts::default();
        facts.hear_name(&json!({ "host-name": format!("\u{1b}[2J{}", "x".repeat(1 << 20)) }));
        assert!(facts.host_name.chars().count() <= LONGEST && !facts.host_name.contains('\u{1b}'));
    }

    #[test]
    fn whatever_is_said_fits_into_an_answer_of_the_worker() {
        let interface = json!({ "hardware-address": "02:15:5d:00:00:0a",
            "ip-addresses": vec![json!({ "ip-address": "1111:2222:3333:4444:5555:6666:7777:8888" }); 1000] });
        let mut facts = Facts::default();
        facts.hear_interfaces(&Value::Array(vec![interface; 1000]));
        facts.hear_system(&json!({ "name": "\u{10ffff}".repeat(1000), "version-id": "x".repeat(1000) }));
        assert!(serde_json::to_string(&facts).unwrap().len() < 40 << 10);
    }
}
