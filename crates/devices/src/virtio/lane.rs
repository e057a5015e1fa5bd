//! Requests of one queue for several disks, each with a thread of its own: who serves the queue takes a chain, looks whom it is for, and puts
//! it into that one's lane. In a lane requests keep their order.
//!
//! Locks: a lane's worker, then gate, then ring; nobody waits for anything with a ring's lock.

use super::queue::{self, Chain};
use super::saved::SavedVirtio;
use super::{Broken, Buffers, VirtioPci};
use crate::lock;
use crate::service::{Mailbox, Permit, Service};
use ireko_vmcore::{Memory, Record, RestoreError, SavedState};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use virtio_queue::{Queue, QueueState, QueueT};

/// What is at a lane's end.
pub trait Worker: Send {
    /// As [`VirtioDevice::look`](super::VirtioDevice::look).
    fn look(&mut self) {}
    /// As [`VirtioDevice::serve`](super::VirtioDevice::serve).
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken>;
    /// As [`VirtioDevice::saved`](super::VirtioDevice::saved).
    fn saved(&mut self) -> Option<&mut dyn SavedState>;
}

/// A queue that several take part in.
pub(super) struct Ring {
    pub index: usize,
    state: Mutex<LaneState>,
}

struct LaneState {
    queue: Queue,
    /// Chains that were taken and not given back. A driver that takes them for free all the same would have no end of them.
    under_way: u16,
}

impl Ring {
    pub fn new(index: usize, queue: Queue) -> Arc<Self> {
        Arc::new(Self { index, state: Mutex::new(LaneState { queue, under_way: 0 }) })
    }

    /// As served up to now, if all that was taken was given back.
    pub fn queue(&self) -> QueueState {
        lock(&self.state).queue.state()
    }

    /// The next chain; without one the driver is asked to ring again.
    pub fn next(&self, memory: &Arc<Memory>, permit: Permit<'_>) -> Result<Option<Chain>, Broken> {
        let ram = memory.ram();
        loop {
            let _pass = permit.pass()?;
            let mut state = lock(&self.state);
            if queue::available(&state.queue, ram)? > 0 {
                if state.under_way == state.queue.size() {
                    return Err(Broken(format!("more chains than a queue of {} has", state.queue.size())));
                }
                state.under_way += 1;
                state.queue.disable_notification(ram)?;
                return queue::next_held(&mut state.queue, memory).map(Some);
            }
            if !state.queue.enable_notification(ram)? {
                return Ok(None);
            }
        }
    }

    /// Gives a chain back. Whether the driver wants an interrupt.
    pub fn finish(
        &self,
        memory: &Memory,
        permit: Permit<'_>,
        head: u16,
        written: u32,
    ) -> Result<bool, Broken> {
        let _pass = permit.pass()?;
        let mut state = lock(&self.state);
        state.under_way = state.under_way.saturating_sub(1);
        state.queue.add_used(memory.ram(), head, written)?;
        queue::wants_interrupt(&mut state.queue, memory.ram())
    }
}

/// A request on its way.
struct Request {
    ring: Arc<Ring>,
    chain: Chain,
}

/// A disk at work.
pub struct Lane {
    mailbox: Mailbox,
    worker: Mutex<Box<dyn Worker>>,
    waiting: Mutex<VecDeque<Request>>,
    memory: Arc<Memory>,
    function: Weak<Mutex<VirtioPci>>,
}

impl Lane {
    pub(super) fn new(
        worker: Box<dyn Worker>,
        memory: Arc<Memory>,
        function: Weak<Mutex<VirtioPci>>,
    ) -> Arc<Self> {
        let (mailbox, waiting) = (Mailbox::default(), Mutex::default());
        Arc::new(Self { mailbox, worker: Mutex::new(worker), waiting, memory, function })
    }

    /// `permit` is that of who serves the queue: what it took before a reset goes nowhere.
    pub(super) fn put(&self, permit: Permit<'_>, ring: Arc<Ring>, chain: Chain) {
        let mut waiting = lock(&self.waiting);
        // A reset that comes after this look empties the lane behind us.
        if !permit.over() {
            waiting.push_back(Request { ring, chain });
            self.mailbox.notify(0);
        }
    }

    /// After the reset of who serves the queue, so that nothing comes any more. What is taken out before it is emptied is begun by a permit
    /// that is over then.
    pub(super) fn reset(&self) {
        let old = std::mem::take(&mut *lock(&self.waiting));
        drop(old);
        self.mailbox.renew();
    }

    fn serve(&self, worker: &mut dyn Worker, request: Request, permit: Permit<'_>) -> Result<(), Broken> {
        let Request { ring, chain } = request;
        let head = chain.head_index();
        let buffers = queue::buffers(chain, self.memory.ram(), permit)?;
        let written = worker.serve(ring.index, buffers)?;
        if ring.finish(&self.memory, permit, head, written)?
            && let Some(function) = self.function.upgrade()
        {
            lock(&function).used(ring.index, permit);
        }
        Ok(())
    }

    pub(super) fn record(&self) -> Option<Record> {
        lock(&self.worker).saved().map(|saved| saved.record())
    }

    pub(super) fn restore(&self, record: Option<&Record>) -> Result<(), RestoreError> {
        let mut worker = lock(&self.worker);
        match (worker.saved(), record) {
            (Some(saved), Some(record)) => saved.restore_record(record),
            (None, None) => Ok(()),
            _ => Err(RestoreError::invalid::<SavedVirtio>("its disks are of another kind")),
        }
    }

    /// What came after a reset is for a permit that came after it, too.
    fn next(&self, permit: Permit<'_>) -> Option<Request> {
        let mut waiting = lock(&self.waiting);
        if permit.over() {
            self.mailbox.notify(0);
            return None;
        }
        waiting.pop_front()
    }
}

impl Service for Lane {
    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// What was taken from the queue is finished first, so there is nothing to hold.
    fn hold(&self) {}

    fn finishes(&self, patience: Duration) -> bool {
        const LOOK: Duration = Duration::from_millis(1);
        let until = Instant::now() + patience;
        loop {
            if lock(&self.waiting).is_empty() && self.mailbox.is_idle() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn turn(&self) {
        self.mailbox.work(
            || lock(&self.worker),
            |worker, _, permit| {
                worker.look();
                while let Some(request) = self.next(permit) {
                    if let Err(broken) = self.serve(&mut **worker, request, permit)
                        && let Some(function) = self.function.upgrade()
                    {
                        lock(&function).broke(broken, permit);
                    }
                }
            },
        );
    }
}
