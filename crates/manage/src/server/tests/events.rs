//! The stream of events.

use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;

struct Listener(BufReader<UnixStream>);

impl Listener {
    fn new(live: &Live) -> Self {
        let mut stream = connect(&live.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut listener = Self(BufReader::new(stream));
        while !listener.line().starts_with(": listening") {}
        listener
    }
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    }
    /// The next event's kind and data; chunk sizes and empty lines are between.
    fn next(&mut self) -> (String, Json) {
        loop {
            if let Some(kind) = self.line().strip_prefix("event: ") {
                let (kind, data) = (kind.to_owned(), self.line());
                return (kind, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap());
            }
        }
    }
}

#[test]
fn a_vms_life_is_told() {
    let live = Live::new();
    let mut listener = Listener::new(&live);
    live.post("/vms", &json!({"Name": "vm"}));
    let (kind, data) = listener.next();
    assert_eq!((kind.as_str(), &data["VMName"], &data["State"]), ("created", &json!("vm"), &json!("Off")));
    live.patch("/vms/vm", &json!({"Notes": "new"}));
    assert_eq!(listener.next().0, "settings");
    live.post("/vms/vm/start", &json!({}));
    let mut states = vec![];
    while states.last() != Some(&json!("Running")) {
        let (kind, data) = listener.next();
        assert_eq!(kind, "state");
        states.push(data["State"].clone());
    }
    live.post("/vms/vm/stop", &json!({"TurnOff": true}));
    let (kind, data) = listener.next();
    assert_eq!(
        (kind.as_str(), &data["State"], &data["OldState"]),
        ("state", &json!("Off"), &json!("Running"))
    );
    live.delete("/vms/vm?Force=true");
    assert_eq!(listener.next().0, "removed");
}

#[test]
fn what_somebody_else_does_is_told_to_all_listeners() {
    let live = Live::new();
    let mut listeners = [Listener::new(&live), Listener::new(&live)];
    let config = crate::store::Config::new(crate::Guid::random().unwrap(), "other", 0);
    live.store().create(&config).unwrap();
    for listener in &mut listeners {
        assert_eq!(listener.next().1["VMId"], json!(config.id));
    }
}

#[test]
fn listeners_come_and_go() {
    let live = Live::new();
    for _ in 0..100 {
        drop(Listener::new(&live));
    }
    let mut listener = Listener::new(&live);
    live.post("/vms", &json!({}));
    assert_eq!(listener.next().0, "created");
}
