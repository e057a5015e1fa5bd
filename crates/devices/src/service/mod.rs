//! A device's work apart from the virtual processors: they only ring, a thread of the device's own does what takes time.

mod doorbell;
mod gate;

pub use gate::{Pass, Permit};

use doorbell::Doorbell;
use gate::Gate;
use std::ops::DerefMut;
use std::time::Duration;

/// What a device's thread is asked by: what rings, and whether it may touch guest memory now.
#[derive(Default)]
pub struct Mailbox {
    gate: Gate,
    doorbell: Doorbell,
}

impl Mailbox {
    /// There is something to do: each bit says what.
    pub fn notify(&self, what: usize) {
        self.doorbell.ring(what);
    }

    /// Does something else with `engine`, after a pause if there is one. What has rung still has.
    pub fn work_beside<E, G: DerefMut<Target = E>>(&self, engine: impl Fn() -> G, work: impl FnOnce(&mut E)) {
        while self.gate.wait_until_open() {
            let mut engine = engine();
            if self.gate.try_enter().is_none() {
                continue;
            }
            work(&mut engine);
            self.gate.leave();
            return;
        }
    }

    /// What has rung and was not worked on.
    pub fn pending(&self) -> u64 {
        self.doorbell.pending()
    }

    /// There is all of this to do.
    pub fn notify_all(&self, what: u64) {
        self.doorbell.ring_all(what);
    }

    /// What was begun writes to guest memory no more.
    pub fn renew(&self) {
        self.gate.renew();
    }

    /// Works on what has rung with `engine`, which nobody has while it waits for the end of a pause.
    pub fn work<E, G: DerefMut<Target = E>>(
        &self,
        engine: impl Fn() -> G,
        work: impl FnOnce(&mut E, u64, Permit<'_>),
    ) {
        while self.gate.wait_until_open() {
            let mut engine = engine();
            // What rang is taken first: it is for the device as it is now, or as it was before.
            let pending = self.doorbell.take();
            let Some(permit) = self.gate.try_enter() else {
                self.doorbell.ring_all(pending);
                continue;
            };
            work(&mut engine, pending, permit);
            if self.gate.leave() {
                self.doorbell.ring_all(pending);
            }
            return;
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.gate.finishes(Duration::ZERO)
    }

    /// As [`Mailbox::work`], without an engine.
    #[cfg(test)]
    pub fn work_alone(&self, work: impl FnOnce(u64, Permit<'_>)) {
        self.work(|| Box::new(()), |(), pending, permit| work(pending, permit));
    }

    /// Counts the device's resets.
    pub fn epoch(&self) -> u64 {
        self.gate.epoch()
    }

    /// Waits out a pause. False: the machine has ended.
    pub fn wait_until_open(&self) -> bool {
        self.gate.wait_until_open()
    }

    /// Whether the machine is neither paused nor about to be.
    pub fn is_open(&self) -> bool {
        self.gate.is_open()
    }

    /// Works at once, for who may not wait. `None`: not now.
    pub fn try_work<T>(&self, work: impl FnOnce(Permit<'_>) -> T) -> Option<T> {
        let permit = self.gate.try_enter()?;
        let done = work(permit);
        self.gate.leave();
        Some(done)
    }
}

/// A device at work.
pub trait Service: Send + Sync {
    fn mailbox(&self) -> &Mailbox;

    /// Does what has rung. For threads that may wait as long as the device does: no virtual processor's.
    fn turn(&self);

    /// Wakes the device for something that is in no queue: it is to look around.
    fn kick(&self) {
        self.mailbox().notify(u64::BITS as usize - 1);
    }

    /// Does whatever rings until the machine's end: the body of the device's thread.
    fn run(&self) {
        while self.mailbox().doorbell.wait() {
            self.turn();
        }
    }

    /// Nothing is begun any more, but what is under way goes on.
    fn hold(&self) {
        self.mailbox().gate.hold();
    }

    /// Whether what was under way when it was held has been finished within the time.
    fn finishes(&self, patience: Duration) -> bool {
        self.mailbox().gate.finishes(patience)
    }

    /// Nothing is begun any more, and nothing written to guest memory. Whether what the host was asked for has come to
    /// rest within the time, too.
    fn pause(&self, patience: Duration) -> bool {
        self.mailbox().gate.pause();
        self.rests(patience)
    }

    fn resume(&self) {
        self.mailbox().gate.resume();
    }

    /// As a pause that never ends; the device's thread ends.
    fn end(&self) {
        self.mailbox().gate.end();
        self.mailbox().doorbell.end();
    }

    /// Whether what was under way when it ended has come to rest.
    fn rests(&self, patience: Duration) -> bool {
        self.mailbox().gate.rests(patience)
    }
}
