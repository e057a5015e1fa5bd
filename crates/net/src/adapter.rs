//! A network adapter's plug: what it may send, and the switch that it is plugged into, both changed while it is used.

use crate::frame::{Frame, Mac, is_group};
use crate::role::{Kind, Role};
use crate::switch::Socket;
use crate::traffic::{Cause, Report, Traffic};
use crate::vlan::{Edit, Vlan, edited};
use ireko_vmcore::port::LONGEST_FRAME;
use ireko_vmcore::{Broker, Port, Throttle};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Whose frames others hear, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mirroring {
    #[default]
    None,
    /// What it sends and hears goes to who has `Destination`, too.
    Source,
    Destination,
}

/// What a switch lets an adapter do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mac: Mac,
    /// It may send from other addresses, and hears what is sent to unknown ones.
    pub spoofing: bool,
    /// It may not answer as a DHCP server.
    pub dhcp_guard: bool,
    /// It may not answer as a router.
    pub router_guard: bool,
    pub vlan: Vlan,
    pub mirroring: Mirroring,
}

impl Policy {
    pub fn of(mac: Mac) -> Self {
        let (vlan, mirroring) = Default::default();
        Self { mac, spoofing: false, dhcp_guard: false, router_guard: false, vlan, mirroring }
    }

    /// Why it may not send this.
    pub fn refuses(&self, frame: Frame<'_>) -> Option<Cause> {
        let source = frame.source();
        if source != self.mac && !self.spoofing {
            return Some(Cause::ForeignSource);
        }
        if is_group(&source) {
            return Some(Cause::TakenSource);
        }
        if self.dhcp_guard && frame.is_dhcp_offer() {
            return Some(Cause::DhcpGuard);
        }
        (self.router_guard && frame.is_router_advertisement()).then_some(Cause::RouterGuard)
    }

    pub fn may_send(&self, frame: Frame<'_>) -> bool {
        self.refuses(frame).is_none()
    }

    pub fn may_hear(&self, frame: Frame<'_>) -> bool {
        let destination = frame.destination();
        destination == self.mac
            || self.spoofing
            || is_group(&destination)
            || self.mirroring == Mirroring::Destination
    }

    fn role(&self) -> Role {
        let kind = match self.mirroring {
            Mirroring::Destination => Kind::Mirror,
            _ => Kind::Plain,
        };
        Role { mac: Some(self.mac), kind }
    }

    /// Who hears what is mirrored hears it with its tags.
    fn leaving(&self, frame: Frame<'_>) -> Option<Edit> {
        match self.mirroring {
            Mirroring::Destination => self.vlan.leaving(frame.tag()).or(Some(Edit::Keep)),
            _ => self.vlan.leaving(frame.tag()),
        }
    }
}

#[derive(Debug)]
struct AdapterState {
    policy: Arc<Policy>,
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
    traffic: Arc<Traffic>,
    state: Mutex<AdapterState>,
    plugged: Condvar,
}

impl Adapter {
    pub fn new(label: &str, policy: Policy) -> Self {
        Self::with(Broker::default(), label, policy)
    }

    /// One whose threads need no names: the broker makes ports and finds others.
    pub fn with(broker: Broker, label: &str, policy: Policy) -> Self {
        let state = Mutex::new(AdapterState { policy: Arc::new(policy), socket: None, ports: None });
        let (throttle, traffic, plugged) = Default::default();
        Self { label: label.to_owned(), broker, throttle, traffic, state, plugged }
    }

    fn lock(&self) -> MutexGuard<'_, AdapterState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Counts from the next frame on.
    pub fn set_policy(&self, policy: Policy) {
        self.lock().policy = Arc::new(policy);
    }

    /// What it has counted.
    pub fn report(&self) -> Report {
        self.traffic.report()
    }

    /// Plugs it into the switch whose ports are there, or pulls the plug.
    pub fn connect(&self, ports: Option<&Path>) -> io::Result<()> {
        let mut state = self.lock();
        let role = state.policy.role();
        let stands = state.socket.as_ref().is_some_and(|socket| socket.stands() && socket.role() == role);
        if state.ports.as_deref() == ports && (stands || ports.is_none()) {
            return Ok(());
        }
        if let Some(socket) = state.socket.take() {
            socket.close();
        }
        state.ports = ports.map(Path::to_owned);
        if let Some(ports) = ports {
            state.socket = Some(Arc::new(Socket::open_by(
                &self.broker,
                ports,
                &self.label,
                role,
                self.traffic.clone(),
            )?));
        }
        self.plugged.notify_all();
        Ok(())
    }

    #[cfg(test)]
    pub fn learned_count(&self) -> usize {
        self.plug().1.map_or(0, |socket| socket.learned_count())
    }

    fn plug(&self) -> (Arc<Policy>, Option<Arc<Socket>>) {
        let state = self.lock();
        (state.policy.clone(), state.socket.clone())
    }

    /// The error is why it goes no further.
    fn try_send(&self, bytes: &[u8]) -> Result<(), Cause> {
        let (policy, socket) = self.plug();
        let socket = socket.ok_or(Cause::Unplugged)?;
        let frame = Frame::new(bytes).ok_or(Cause::Malformed)?;
        let source = frame.source();
        let own = source == policy.mac;
        let refused = policy.refuses(frame);
        let taken = || (!own && socket.is_anothers(&source)).then_some(Cause::TakenSource);
        let told = frame.told_address();
        if let Some(cause) = refused.or_else(taken) {
            if matches!(cause, Cause::ForeignSource | Cause::TakenSource) {
                self.traffic.foreign(source, told, Instant::now());
            }
            return Err(cause);
        }
        // Its own address is known; what it says of itself is news.
        if !own || told.is_some() {
            self.traffic.from(source, told, Instant::now());
        }
        let edit = policy.vlan.entering(frame.tag()).ok_or(Cause::Vlan)?;
        let mut room = [0; LONGEST_FRAME];
        let frame = edited(frame, edit, &mut room).ok_or(Cause::Vlan)?;
        self.traffic.sent(bytes.len());
        if policy.mirroring == Mirroring::Source {
            socket.mirror(frame);
        }
        socket.send(frame);
        Ok(())
    }

    /// What of a frame from the switch its own side sees.
    fn heard(&self, socket: &Socket, policy: &Policy, room: &mut [u8], len: usize) -> Option<usize> {
        let frame = Frame::new(&room[..len]).filter(|frame| policy.may_hear(*frame))?;
        let edit = policy.leaving(frame)?;
        if policy.mirroring == Mirroring::Source {
            socket.mirror(frame);
        }
        if edit != Edit::Keep {
            let mut other = [0; LONGEST_FRAME];
            let len = edited(frame, edit, &mut other)?.bytes().len();
            room[..len].copy_from_slice(&other[..len]);
            self.traffic.received(len);
            return Some(len);
        }
        self.traffic.received(len);
        Some(len)
    }
}

impl Port for Adapter {
    fn throttle(&self) -> Arc<Throttle> {
        self.throttle.clone()
    }

    fn send(&self, frame: &[u8]) {
        if let Err(cause) = self.try_send(frame) {
            self.traffic.dropped(cause);
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
        let policy = self.lock().policy.clone();
        self.heard(&socket, &policy, room, len)
    }

    fn connected(&self) -> bool {
        self.plug().1.is_some_and(|socket| socket.stands())
    }
}
