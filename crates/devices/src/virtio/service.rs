//! Serving a device's queues apart from the virtual processors: they only ring, a thread of the device's own serves.
//!
//! What takes no time a virtual processor may attempt itself, which spares the guest to go idle and be woken.
//!
//! Locks: engine, then gate or function. A virtual processor holds the function and takes the engine only if it is free, so
//! that it never waits for what a device waits for.

use super::lane::{Lane, Ring};
use super::queue::Chain;
use super::{Broken, VirtioDevice, VirtioPci, queue};
use crate::lock;
use crate::service::{Mailbox, Permit, Service};
use ireko_vmcore::{Memory, Record, RestoreError};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Duration;
use virtio_queue::Queue;

/// What works on the queues. The function has its registers; this has how far the queues were served.
struct Engine {
    device: Box<dyn VirtioDevice>,
    epoch: u64,
    queues: Vec<Option<Queue>>,
    /// The same, of a device with lanes.
    rings: Vec<Option<Arc<Ring>>>,
}

impl Engine {
    /// For the driver that there is now.
    fn renew(&mut self, epoch: u64) {
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.queues.fill_with(|| None);
        self.rings.fill_with(|| None);
    }
}

/// A virtio device at work.
pub struct Queues {
    mailbox: Mailbox,
    engine: Mutex<Engine>,
    lanes: Vec<Arc<Lane>>,
    memory: Arc<Memory>,
    function: Weak<Mutex<VirtioPci>>,
}

impl Queues {
    pub(super) fn new(
        mut device: Box<dyn VirtioDevice>,
        memory: Arc<Memory>,
        function: Weak<Mutex<VirtioPci>>,
    ) -> Self {
        let lane = |worker| Lane::new(worker, memory.clone(), function.clone());
        let lanes = device.lanes().into_iter().map(lane).collect();
        let count = device.queue_sizes().len();
        let (queues, rings) = ((0..count).map(|_| None).collect(), (0..count).map(|_| None).collect());
        let engine = Mutex::new(Engine { device, epoch: 0, queues, rings });
        Self { mailbox: Mailbox::default(), engine, lanes, memory, function }
    }

    /// What works on the requests of each of the device's disks, if they have lanes.
    pub fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// What is to be saved, of a device that rests.
    pub(super) fn saved(&self) -> AtRest<'_> {
        AtRest { engine: lock(&self.engine), queues: self }
    }

    /// Something happens that the driver is told of; not while the machine is paused.
    pub(super) fn happens(&self, tell: impl FnOnce()) {
        self.mailbox.work_beside(|| lock(&self.engine), |_| tell());
    }

    /// As [`Queues::happens`], for who waits for no pause to end. Whether it happened.
    pub(super) fn happens_now(&self, tell: impl FnOnce()) -> bool {
        /// As long as the device takes for one piece.
        const SHORT: Duration = Duration::from_micros(50);
        loop {
            match self.engine.try_lock() {
                // Who waits for a pause's end in the middle of something has it till then.
                Err(TryLockError::WouldBlock) if !self.mailbox.is_open() => return false,
                Err(TryLockError::WouldBlock) => std::thread::sleep(SHORT),
                _engine => return self.mailbox.try_work(|_| tell()).is_some(),
            }
        }
    }

    /// What has rung and was not served.
    pub(super) fn pending(&self) -> u64 {
        self.mailbox.pending()
    }

    pub(super) fn notify_all(&self, what: u64) {
        self.mailbox.notify_all(what);
    }

    /// There is something for a queue.
    pub(super) fn notify(&self, queue: usize) {
        self.mailbox.notify(queue);
    }

    /// What was begun writes to guest memory no more.
    pub(super) fn reset(&self) {
        self.mailbox.renew();
        self.lanes.iter().for_each(|lane| lane.reset());
    }

    /// Serves what takes no time of a queue and rings for the rest. `queue`: as the driver has set it up. Whether the driver
    /// wants an interrupt; an error breaks the device.
    pub(super) fn attempt(
        &self,
        index: usize,
        queue: impl FnOnce() -> Option<Queue>,
    ) -> Result<bool, Broken> {
        let attempted = self.free().and_then(|mut engine| {
            let attempt = |permit: Permit<'_>| {
                engine.renew(permit.epoch());
                self.attempt_with(&mut engine, index, queue, permit)
            };
            self.mailbox.try_work(attempt).flatten()
        });
        let (more, interrupt) = attempted.unwrap_or(Ok((true, false)))?;
        if more {
            self.notify(index);
        }
        Ok(interrupt)
    }

    fn free(&self) -> Option<MutexGuard<'_, Engine>> {
        match self.engine.try_lock() {
            Ok(engine) => Some(engine),
            Err(TryLockError::Poisoned(engine)) => Some(engine.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// `None`: there is nothing to attempt.
    fn attempt_with(
        &self,
        engine: &mut Engine,
        index: usize,
        queue: impl FnOnce() -> Option<Queue>,
        permit: Permit<'_>,
    ) -> Option<Result<(bool, bool), Broken>> {
        let Engine { device, queues, .. } = engine;
        let slot = queues.get_mut(index).filter(|_| device.attempts(index))?;
        let mut own = slot.take().or_else(queue)?;
        let attempted = queue::attempt(&mut **device, (index, &mut own), self.memory.ram(), permit);
        match &attempted {
            Ok(_) => *slot = Some(own),
            Err(_) => engine.forget(),
        }
        Some(attempted)
    }

    fn serve(&self, engine: &mut Engine, index: usize, permit: Permit<'_>) {
        let Some(function) = self.function.upgrade() else { return };
        let Engine { device, queues, .. } = engine;
        let Some(slot) = queues.get_mut(index) else { return };
        let Some(queue) = slot.take().or_else(|| lock(&function).queue(index)) else { return };
        let interrupt = || lock(&function).used(index, permit);
        match queue::process(&mut **device, (index, queue), self.memory.ram(), permit, interrupt) {
            Ok(queue) => {
                *slot = Some(queue);
                device.then(index).into_iter().for_each(|next| self.mailbox.notify(next));
            }
            Err(broken) => self.broken(engine, &function, permit, broken),
        }
    }

    /// Puts chains into the lanes that they are for; what has none is served here.
    fn hand_out(&self, engine: &mut Engine, index: usize, permit: Permit<'_>) {
        let Some(function) = self.function.upgrade() else { return };
        let Engine { device, rings, .. } = engine;
        let Some(slot) = rings.get_mut(index).filter(|_| device.wants(index)) else { return };
        let new = || Some(Ring::new(index, lock(&function).queue(index)?));
        let Some(ring) = slot.clone().or_else(new) else { return };
        *slot = Some(ring.clone());
        let handed = loop {
            // The rest comes after the pause.
            if permit.held() {
                return;
            }
            match ring.next(&self.memory, permit) {
                Ok(None) => return,
                Ok(Some(chain)) => match self.hand(&mut **device, &ring, chain, permit) {
                    Ok(true) => lock(&function).used(index, permit),
                    Ok(false) => {}
                    Err(broken) => break broken,
                },
                Err(broken) => break broken,
            }
        };
        self.broken(engine, &function, permit, handed);
    }

    /// Whether it was served here, and the driver wants an interrupt.
    fn hand(
        &self,
        device: &mut dyn VirtioDevice,
        ring: &Arc<Ring>,
        chain: Chain,
        permit: Permit<'_>,
    ) -> Result<bool, Broken> {
        let ram = self.memory.ram();
        let lane = device.lane(ring.index, &mut queue::buffers(chain.clone(), ram, permit)?)?;
        if let Some(lane) = lane.and_then(|lane| self.lanes.get(lane)) {
            lane.put(permit, ring.clone(), chain);
            return Ok(false);
        }
        let head = chain.head_index();
        let written = device.serve(ring.index, queue::buffers(chain, ram, permit)?)?;
        ring.finish(&self.memory, permit, head, written)
    }

    /// An error after a reset is its consequence.
    fn broken(&self, engine: &mut Engine, function: &Mutex<VirtioPci>, permit: Permit<'_>, broken: Broken) {
        engine.forget();
        lock(function).broke(broken, permit);
    }
}

/// A device whose machine is paused.
pub(super) struct AtRest<'a> {
    engine: MutexGuard<'a, Engine>,
    queues: &'a Queues,
}

impl AtRest<'_> {
    /// What was served before the driver's last reset does not count.
    fn current(&self) -> bool {
        self.engine.epoch == self.queues.mailbox.epoch()
    }

    /// How far a queue was served: the next index of the available ring, and of the used one.
    pub fn served(&mut self, index: usize) -> Option<(u16, u16)> {
        let ring = self.engine.rings.get(index).and_then(Option::as_ref).map(|ring| ring.queue());
        let queue = self.engine.queues.get(index).and_then(Option::as_ref).map(|queue| queue.state());
        let state = ring.or(queue).filter(|_| self.current())?;
        Some((state.next_avail, state.next_used))
    }

    pub fn serve_from(&mut self, index: usize, queue: Queue) {
        let epoch = self.queues.mailbox.epoch();
        self.engine.renew(epoch);
        if self.queues.lanes.is_empty() {
            self.engine.queues[index] = Some(queue);
        } else {
            self.engine.rings[index] = Some(Ring::new(index, queue));
        }
    }

    pub fn has_device(&mut self) -> bool {
        self.engine.device.saved().is_some()
    }

    pub fn device(&mut self) -> Option<Record> {
        self.engine.device.saved().map(|saved| saved.record())
    }

    pub fn restore_device(&mut self, record: &Record) -> Result<(), RestoreError> {
        self.engine.device.saved().map_or(Ok(()), |saved| saved.restore_record(record))
    }
}

impl Service for Queues {
    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    fn turn(&self) {
        self.mailbox.work(
            || lock(&self.engine),
            |engine, pending, permit| {
                engine.device.look();
                engine.renew(permit.epoch());
                for index in (0..u64::BITS as usize).filter(|index| pending >> index & 1 != 0) {
                    match self.lanes.is_empty() {
                        true => self.serve(engine, index, permit),
                        false => self.hand_out(engine, index, permit),
                    }
                }
            },
        );
    }
}
