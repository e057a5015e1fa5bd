//! A network adapter's plug: what it may send, and the switch that it is plugged into, both changed while it is used.

use crate::frame::{Frame, Mac, is_group};
use crate::switch::Socket;
use ireko_vmcore::{Broker, Port, Throttle};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// What a switch lets an adapter do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mac: Mac,
    /// It may send from other addresses, and hears what is sent to unknown ones.
    pub spoofing: bool,
    /// It may not answer as a DHCP server.
    pub dhcp_guard: bool,
    /// It may not answer as a router.
    pub router_guard: bool,
}

impl Policy {
    pub fn of(mac: Mac) -> Self {
        Self { mac, spoofing: false, dhcp_guard: false, router_guard: false }
    }

    pub fn may_send(&self, frame: Frame<'_>) -> bool {
        let source = frame.source();
        let own = source == self.mac || self.spoofing && !is_group(&source);
        own && !(self.dhcp_guard && frame.is_dhcp_offer())
            && !(self.router_guard && frame.is_router_advertisement())
    }

    pub fn may_hear(&self, frame: Frame<'_>) -> bool {
        let destination = frame.destination();
        destination == self.mac || self.spoofing || is_group(&destination)
    }
}

#[derive(Debug)]
struct AdapterState {
    policy: Policy,
    socket: Option<Arc<Socket>>,
    /// The switch that it should be plugged into.
    ports: Option<PathBuf>,
}

/// The adapter's end.
#[derive(Debug)]
pub struct Adapter {
    label: String,
    broker: Broker,
    throttle: Arc<Throttle>,
    state: Mutex<AdapterState>,
    plugged: Condvar,
}

impl Adapter {
    pub fn new(label: &str, policy: Policy) -> Self {
        Self::with(Broker::default(), label, policy)
    }

    /// One whose threads need no names: the broker makes ports and finds others.
    pub fn with(broker: Broker, label: &str, policy: Policy) -> Self {
        let state = Mutex::new(AdapterState { policy, socket: None, ports: None });
        Self { label: label.to_owned(), broker, throttle: Arc::default(), state, plugged: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, AdapterState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Counts from the next frame on.
    pub fn set_policy(&self, policy: Policy) {
        self.lock().policy = policy;
    }

    /// Plugs it into the switch whose ports are there, or pulls the plug.
    pub fn connect(&self, ports: Option<&Path>) -> io::Result<()> {
        let mut state = self.lock();
        let stands = state.socket.as_ref().is_some_and(|socket| socket.stands());
        if state.ports.as_deref() == ports && (stands || ports.is_none()) {
            return Ok(());
        }
        if let Some(socket) = state.socket.take() {
            socket.close();
        }
        state.ports = ports.map(Path::to_owned);
        if let Some(ports) = ports {
            state.socket = Some(Arc::new(Socket::open_by(&self.broker, ports, &self.label)?));
        }
        self.plugged.notify_all();
        Ok(())
    }

    fn plug(&self) -> (Policy, Option<Arc<Socket>>) {
        let state = self.lock();
        (state.policy, state.socket.clone())
    }
}

impl Port for Adapter {
    fn throttle(&self) -> Arc<Throttle> {
        self.throttle.clone()
    }

    fn send(&self, frame: &[u8]) {
        if let ((policy, Some(socket)), Some(frame)) = (self.plug(), Frame::new(frame))
            && policy.may_send(frame)
        {
            socket.send(frame);
        }
    }

    fn receive(&self, room: &mut [u8], patience: Duration) -> Option<usize> {
        let Some(socket) = self.plug().1 else {
            let state = self.lock();
            if state.socket.is_none() {
                let _ = self.plugged.wait_timeout(state, patience);
            }
            return None;
        };
        let len = socket.receive(room, patience)?;
        let policy = self.lock().policy;
        Frame::new(&room[..len]).filter(|frame| policy.may_hear(*frame)).map(|_| len)
    }

    fn connected(&self) -> bool {
        self.plug().1.is_some_and(|socket| socket.stands())
    }
}
