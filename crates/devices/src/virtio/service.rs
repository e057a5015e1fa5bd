//! Serving a device's queues apart from the virtual processors: they only ring, a thread of the device's own serves.
//!
//! What takes no time a virtual processor may attempt itself, which spares the guest to go idle and be woken.
//!
//! Locks: engine, then gate or function. A virtual processor holds the function and takes the engine only if it is free, so
//! that it never waits for what a device waits for.

use super::gate::{Gate, Permit};
use super::{Broken, VirtioDevice, VirtioPci, queue};
use crate::lock;
use ireko_vmcore::Memory;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use virtio_queue::Queue;

/// What rings: the queues that somebody has something for, each a bit.
#[derive(Default)]
struct Rung {
    queues: u64,
    asleep: bool,
    ended: bool,
}

#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self, queue: usize) {
        let mut rung = lock(&self.rung);
        rung.queues |= 1u64.checked_shl(queue as u32).unwrap_or(0);
        // Waking nobody costs a system call, too.
        if std::mem::take(&mut rung.asleep) {
            self.wake.notify_one();
        }
    }

    fn end(&self) {
        lock(&self.rung).ended = true;
        self.wake.notify_all();
    }

    fn take(&self) -> u64 {
        std::mem::take(&mut lock(&self.rung).queues)
    }

    /// Until it rings. False: it will not any more.
    fn wait(&self) -> bool {
        let mut rung = lock(&self.rung);
        while rung.queues == 0 && !rung.ended {
            rung.asleep = true;
            rung = self.wake.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        rung.asleep = false;
        !rung.ended
    }
}

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

/// A device at work.
pub struct Service {
    gate: Gate,
    bell: Bell,
    engine: Mutex<Engine>,
    memory: Arc<Memory>,
    function: Weak<Mutex<VirtioPci>>,
}

impl Service {
    pub(super) fn new(
        device: Box<dyn VirtioDevice>,
        memory: Arc<Memory>,
        function: Weak<Mutex<VirtioPci>>,
    ) -> Self {
        let queues = device.queue_sizes().iter().map(|_| None).collect();
        let engine = Mutex::new(Engine { device, epoch: 0, queues });
        Self { gate: Gate::default(), bell: Bell::default(), engine, memory, function }
    }

    /// There is something for a queue.
    pub(super) fn ring(&self, queue: usize) {
        self.bell.ring(queue);
    }

    /// What was begun writes to guest memory no more.
    pub(super) fn reset(&self) {
        self.gate.renew();
    }

    /// Serves whatever rings until the machine's end: the body of the device's thread.
    pub fn run(&self) {
        while self.bell.wait() {
            self.turn();
        }
    }

    /// Serves what takes no time of a queue and rings for the rest. `queue`: as the driver has set it up. Whether the driver
    /// wants an interrupt; an error breaks the device.
    pub(super) fn attempt(
        &self,
        index: usize,
        queue: impl FnOnce() -> Option<Queue>,
    ) -> Result<bool, Broken> {
        let attempted = self.free().and_then(|mut engine| {
            let permit = self.gate.try_enter()?;
            engine.renew(permit.epoch());
            let attempted = self.attempt_with(&mut engine, index, queue, permit);
            self.gate.leave();
            attempted
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

    /// Serves what has rung. For threads that may wait as long as the device does: no virtual processor's.
    pub fn turn(&self) {
        let mut engine = lock(&self.engine);
        // What rang is taken first: it is for the device as it is now, or as it was before.
        let rung = self.bell.take();
        let Some(permit) = self.gate.enter() else { return };
        engine.renew(permit.epoch());
        for index in (0..u64::BITS as usize).filter(|index| rung >> index & 1 != 0) {
            self.serve(&mut engine, index, permit);
        }
        self.gate.leave();
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

    /// Nothing is begun any more, and nothing written to guest memory. Whether what the host was asked for has come to
    /// rest within the time, too.
    pub fn pause(&self, patience: Duration) -> bool {
        self.gate.pause();
        self.gate.rests(patience)
    }

    pub fn resume(&self) {
        self.gate.resume();
    }

    /// As a pause that never ends; the device's thread ends.
    pub fn end(&self) {
        self.gate.end();
        self.bell.end();
    }

    /// Whether what was under way when it ended has come to rest.
    pub fn rests(&self, patience: Duration) -> bool {
        self.gate.rests(patience)
    }
}
