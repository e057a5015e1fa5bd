//! The host's side: connections as streams of bytes, and what the guest asks for.

use super::connection::{BUFFER, Connection, Stage};
use super::regs::{EVENT, NO_SEND, RECEIVE};
use super::state::Transport;
use super::{Queues, Shared, VirtioPci};
use crate::lock;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The host's side of a socket device.
#[derive(Clone)]
pub struct VsockHost {
    pub(super) shared: Arc<Shared>,
    pub(super) function: Weak<Mutex<VirtioPci>>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStream {
    /// No driver runs the device.
    NoDriver,
    /// Nobody in the guest listens at that port.
    Refused,
    /// The guest said nothing within the time.
    Silent,
    /// There are too many.
    Full,
}

/// A connection; it ends when this goes.
pub struct VsockStream {
    host: VsockHost,
    id: u64,
    port: u32,
}

/// What the guest asks for; it is refused when this goes.
pub struct Offer {
    stream: VsockStream,
}

impl VsockHost {
    pub(super) fn kick(&self, queue: usize) {
        if let Some(function) = self.function.upgrade() {
            lock(&function).kick(queue);
        }
    }

    pub(super) fn service(&self) -> Option<Arc<Queues>> {
        let function = self.function.upgrade()?;
        let service = lock(&function).service();
        Some(service)
    }

    /// Changes what is on the way, after a pause if there is one. Nothing, if the machine has ended.
    fn change<T>(&self, change: impl FnOnce(&mut Transport) -> T) -> Option<T> {
        // Of a device that is no more nothing is paused.
        let Some(service) = self.service() else { return Some(change(&mut lock(&self.shared.state))) };
        let mut changed = None;
        service.happens(|| changed = Some(change(&mut lock(&self.shared.state))));
        self.kick(RECEIVE);
        changed
    }

    fn driven(&self) -> bool {
        self.function.upgrade().is_some_and(|function| lock(&function).driven())
    }

    /// Connects to a port of the guest's.
    pub fn connect(&self, port: u32, patience: Duration) -> Result<VsockStream, NoStream> {
        if !self.driven() {
            return Err(NoStream::NoDriver);
        }
        let mut wanted = None;
        if !self
            .service()
            .is_some_and(|service| service.happens_now(|| wanted = Some(lock(&self.shared.state).want(port))))
        {
            return Err(NoStream::Silent);
        }
        let (id, own) = wanted.flatten().ok_or(NoStream::Full)?;
        let stream = VsockStream { host: self.clone(), id, port: own };
        self.kick(RECEIVE);
        let until = Instant::now() + patience;
        let stage = stream.wait(Some(until), |one| !matches!(one.stage, Stage::Wanted { .. })).1;
        match stage {
            Some(Stage::Open) => Ok(stream),
            Some(Stage::Gone) | None => Err(NoStream::Refused),
            Some(_) => Err(NoStream::Silent),
        }
    }

    /// The next connection that the guest asks for, if there is one within the time. From the first call on it may ask.
    pub fn offer(&self, patience: Duration) -> Option<Offer> {
        let mut state = lock(&self.shared.state);
        state.listens = true;
        if state.interrupted {
            drop(state);
            // A machine that was restored has not been rung for this.
            self.kick(EVENT);
            state = lock(&self.shared.state);
        }
        if state.offers.is_empty() && !state.ended {
            let waited = self.shared.offered.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let id = state.offers.pop_front()?;
        let port = state.connections.get(&id)?.ports.host;
        Some(Offer { stream: VsockStream { host: self.clone(), id, port } })
    }

    /// Whether its machine is still there.
    pub fn alive(&self) -> bool {
        !lock(&self.shared.state).ended
    }
}

impl Offer {
    /// The port that the guest asks for.
    pub fn port(&self) -> u32 {
        self.stream.port
    }

    pub fn accept(self) -> VsockStream {
        let Self { stream, .. } = self;
        stream.change(|one| {
            if one.stage == Stage::Offered {
                one.stage = Stage::Accepted;
            }
        });
        stream
    }
}

impl VsockStream {
    fn change<T: Default>(&self, change: impl FnOnce(&mut Connection) -> T) -> T {
        let done = self.host.change(|state| state.connections.get_mut(&self.id).map(change));
        done.flatten().unwrap_or_default()
    }

    /// Until that is so, or it has ended, or the time is over; what it has come to.
    fn wait(
        &self,
        until: Option<Instant>,
        is_so: impl Fn(&Connection) -> bool,
    ) -> (MutexGuard<'_, Transport>, Option<Stage>) {
        let mut state = lock(&self.host.shared.state);
        loop {
            let Some(one) = state.connections.get(&self.id) else { return (state, None) };
            let stage = one.stage;
            if stage == Stage::Gone || is_so(one) {
                return (state, Some(stage));
            }
            let changed = one.changed.clone();
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return (state, Some(stage)),
                Some(left) => {
                    let waited = changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The host's port, which the guest sees.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The host sends nothing more; what waits still goes to the guest.
    pub fn finish(&self) {
        self.change(|one| one.host_done |= NO_SEND);
    }

    /// Whether the guest takes what is sent.
    pub fn takes(&self) -> bool {
        lock(&self.host.shared.state).connections.get(&self.id).is_some_and(Connection::guest_takes)
    }
}

/// Waits for something to come; nothing: the guest sends nothing more.
impl Read for &VsockStream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        drop(self.wait(None, |one| !one.to_host.is_empty() || !one.guest_sends()));
        Ok(self.change(|one| one.take(room)))
    }
}

/// Waits for room on the way.
impl Write for &VsockStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        drop(self.wait(None, |one| one.to_guest.len() < BUFFER || !one.guest_takes()));
        let count = self.change(|one| {
            let count = data.len().min(BUFFER.saturating_sub(one.to_guest.len()));
            one.guest_takes().then(|| one.to_guest.extend(&data[..count])).map(|()| count)
        });
        count.ok_or(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for VsockStream {
    fn drop(&mut self) {
        let _ = self.host.change(|state| state.leave(self.id));
    }
}
