//! Serving a device's queues apart from the virtual processors: they only ring, a thread of the device's own serves.
//!
//! What takes no time a virtual processor may attempt itself, which spares the guest to go idle and be woken.
//!
//! Locks: engine, then gate or function. A virtual processor holds the function and takes the engine only if it is free, so
//! that it never waits for what a device waits for.

use super::{Broken, VirtioDevice, VirtioPci, queue};
use crate::lock;
use crate::service::{Desk, Permit, Service};
use ireko_vmcore::Memory;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use virtio_queue::Queue;

/// What works on the queues. The function has its registers; this has how far the queues were served.
struct Engine {
    device: Box<dyn VirtioDevice>,
    epoch: u64,
    queues: Vec<Option<Queue>>,
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
    }
}

/// A virtio device at work.
pub struct Queues {
    desk: Desk,
    engine: Mutex<Engine>,
    memory: Arc<Memory>,
    function: Weak<Mutex<VirtioPci>>,
}

impl Queues {
    pub(super) fn new(
        device: Box<dyn VirtioDevice>,
        memory: Arc<Memory>,
        function: Weak<Mutex<VirtioPci>>,
    ) -> Self {
        let queues = device.queue_sizes().iter().map(|_| None).collect();
        let engine = Mutex::new(Engine { device, epoch: 0, queues });
        Self { desk: Desk::default(), engine, memory, function }
    }

    /// There is something for a queue.
    pub(super) fn ring(&self, queue: usize) {
        self.desk.ring(queue);
    }

    /// What was begun writes to guest memory no more.
    pub(super) fn reset(&self) {
        self.desk.renew();
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
            self.desk.try_work(attempt).flatten()
        });
        let (more, interrupt) = attempted.unwrap_or(Ok((true, false)))?;
        if more {
            self.ring(index);
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
            Ok(queue) => *slot = Some(queue),
            Err(broken) => self.broken(engine, &function, permit, broken),
        }
    }

    /// An error after a reset is its consequence.
    fn broken(&self, engine: &mut Engine, function: &Mutex<VirtioPci>, permit: Permit<'_>, broken: Broken) {
        engine.forget();
        lock(function).broke(broken, permit);
    }
}

impl Service for Queues {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn turn(&self) {
        let mut engine = lock(&self.engine);
        engine.device.look();
        self.desk.work(|rung, permit| {
            engine.renew(permit.epoch());
            for index in (0..u64::BITS as usize).filter(|index| rung >> index & 1 != 0) {
                self.serve(&mut engine, index, permit);
            }
        });
    }
}
