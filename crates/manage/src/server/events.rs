//! What happens to VMs, as a stream of server-sent events.
//!
//! The store and the workers are looked at four times a second for as long as somebody listens, and the differences are told,
//! whoever made them: this server, a command, a guest that turned itself off, or a worker that died.

use super::problem::Problem;
use crate::guid::Guid;
use crate::host::Host;
use crate::state::State;
use crate::store::Config;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

const EVERY: Duration = Duration::from_millis(250);
/// Rounds between signs of life for those who listen.
const SIGN_OF_LIFE: u64 = 40;
/// Who lets so many events wait is let go.
const BACKLOG: usize = 1024;
const MOST_LISTENERS: usize = 64;

pub struct Events {
    host: Arc<Host>,
    shared: Arc<Mutex<Listeners>>,
}

#[derive(Default)]
struct Listeners {
    all: Vec<Sender<Bytes>>,
    watched: bool,
}

/// A listener's end.
pub struct Stream(Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Events {
    pub fn new(host: Arc<Host>) -> Self {
        Self { host, shared: Arc::default() }
    }

    /// All that happens from now on; the first line says that it counts.
    pub async fn subscribe(&self) -> Result<Stream, Problem> {
        let (host, shared) = (self.host.clone(), self.shared.clone());
        let subscribed = tokio::task::spawn_blocking(move || subscribe(&host, &shared)).await;
        let busy = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", why);
        match subscribed {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(why)) => Err(busy(why)),
            Err(_) => Err(busy("The events cannot be watched; try again.".into())),
        }
    }
}

fn subscribe(host: &Arc<Host>, shared: &Arc<Mutex<Listeners>>) -> Result<Stream, String> {
    let (send, receive) = channel(BACKLOG);
    let mut listeners = shared.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.all.retain(|listener| !listener.is_closed());
    if listeners.all.len() >= MOST_LISTENERS {
        return Err(format!("{MOST_LISTENERS} listen already, which are the most; end one."));
    }
    if !listeners.watched {
        let before = Snapshot::take(host);
        let (host, watched) = (host.clone(), shared.clone());
        std::thread::Builder::new()
            .name("events".into())
            .spawn(move || watch(&host, &watched, before))
            .map_err(|error| format!("No thread for the events: {error}."))?;
        listeners.watched = true;
    }
    let _ = send.try_send(Bytes::from_static(b": listening\n\n"));
    listeners.all.push(send);
    Ok(Stream(receive))
}

/// Until nobody listens any more.
fn watch(host: &Host, shared: &Mutex<Listeners>, mut before: Snapshot) {
    for round in 1u64.. {
        std::thread::sleep(EVERY);
        let now = Snapshot::take(host);
        let mut text: String = before.differences(&now).iter().map(Event::text).collect();
        before = now;
        if text.is_empty() && round.is_multiple_of(SIGN_OF_LIFE) {
            text = ":\n\n".into();
        }
        let mut listeners = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if text.is_empty() {
            listeners.all.retain(|listener| !listener.is_closed());
        } else {
            let bytes = Bytes::from(text);
            listeners.all.retain(|listener| listener.try_send(bytes.clone()).is_ok());
        }
        if listeners.all.is_empty() {
            listeners.watched = false;
            return;
        }
    }
}

/// All VMs at a moment. What cannot be read is as it was.
#[derive(Clone, Default)]
struct Snapshot(BTreeMap<Guid, (Config, State)>);

/// The names of events in the stream.
pub const KINDS: [&str; 4] = ["created", "removed", "state", "settings"];

struct Event {
    kind: &'static str,
    data: Json,
}

impl Event {
    fn new(kind: &'static str, config: &Config, state: State) -> Self {
        let data = json!({"VMId": config.id, "VMName": config.name, "State": state});
        Self { kind, data }
    }

    /// JSON has no line breaks but escaped ones.
    fn text(&self) -> String {
        format!("event: {}\ndata: {}\n\n", self.kind, self.data)
    }
}

impl Snapshot {
    fn take(host: &Host) -> Self {
        let vms = host.vms(host.configs().unwrap_or_default());
        Self(vms.into_iter().map(|vm| (vm.config.id, (vm.config, vm.state))).collect())
    }

    fn differences(&self, now: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, (config, state)) in &self.0 {
            if !now.0.contains_key(id) {
                events.push(Event::new("removed", config, *state));
            }
        }
        for (id, (config, state)) in &now.0 {
            let Some((old, old_state)) = self.0.get(id) else {
                events.push(Event::new("created", config, *state));
                continue;
            };
            if old != config {
                events.push(Event::new("settings", config, *state));
            }
            if old_state != state {
                let mut event = Event::new("state", config, *state);
                event.data["OldState"] = json!(old_state);
                events.push(event);
            }
        }
        events
    }
}
