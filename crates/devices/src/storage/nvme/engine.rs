//! What the controller's thread does: takes commands from every queue, does them, posts what came of them.

use super::queue::{Command, Completion, Submission};
use super::regs::*;
use super::{Admin, Nvme};
use crate::lock;
use crate::service::{Mailbox, Permit, Service};
use crate::storage::Drive;
use ireko_vmcore::Memory;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

pub struct Engine {
    mailbox: Mailbox,
    work: Mutex<Work>,
    memory: Arc<Memory>,
    function: Weak<Mutex<Nvme>>,
}

/// The queues as they were set up since the controller was enabled.
pub(super) struct Work {
    pub drive: Drive,
    epoch: u64,
    pub submission: [Option<Submission>; QUEUES],
    pub completion: [Option<Completion>; QUEUES],
    /// Asynchronous event requests: nothing happens, so none ends.
    pub events: usize,
}

/// What comes of a command: its result, or nothing yet.
pub(super) type Done = Result<Option<u32>, Status>;

impl Engine {
    pub(super) fn new(drive: Drive, memory: Arc<Memory>, function: Weak<Mutex<Nvme>>) -> Self {
        let (submission, completion) = ([None; QUEUES], [None; QUEUES]);
        let work = Mutex::new(Work { drive, epoch: 0, submission, completion, events: 0 });
        Self { mailbox: Mailbox::default(), work, memory, function }
    }
}

impl Engine {
    /// Its queues, while the machine is paused.
    pub(super) fn at_rest(&self, admin: Admin) -> MutexGuard<'_, Work> {
        let mut work = lock(&self.work);
        work.renew(self.mailbox.epoch(), admin);
        work
    }
}

impl Service for Engine {
    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    fn turn(&self) {
        let Some(function) = self.function.upgrade() else { return };
        self.mailbox.work(
            || lock(&self.work),
            |work, _, permit| {
                let admin = lock(&function).admin;
                work.renew(permit.epoch(), admin);
                let mut serving = Serving { memory: &self.memory, permit, function: &function, work };
                // An error is the driver's reset, or a queue that does not lie in memory: it waits for a reset.
                (0..QUEUES).for_each(|queue| drop(serving.serve(queue)));
            },
        );
    }
}

impl Work {
    fn renew(&mut self, epoch: u64, admin: Admin) {
        if std::mem::replace(&mut self.epoch, epoch) == epoch {
            return;
        }
        (self.submission, self.completion, self.events) = ([None; QUEUES], [None; QUEUES], 0);
        let size = |bits: u32| (bits & 0xfff) as u16 + 1;
        self.submission[0] = Some(Submission::new(admin.submission, size(admin.sizes), 0));
        self.completion[0] = Some(Completion::new(admin.completion, size(admin.sizes >> 16), Some(0)));
    }
}

pub(super) struct Serving<'a> {
    pub memory: &'a Memory,
    pub permit: Permit<'a>,
    pub function: &'a Mutex<Nvme>,
    pub work: &'a mut Work,
}

impl Serving<'_> {
    fn serve(&mut self, number: usize) -> io::Result<()> {
        while let Some(mut queue) = self.work.submission[number].filter(|_| !self.permit.over()) {
            // The rest comes after the pause.
            if self.permit.held() {
                break;
            }
            let (tail, head) = lock(self.function).doorbells(number, queue.completion);
            let Some(completion) = self.work.completion[queue.completion] else { break };
            if tail == queue.head || tail >= queue.size || completion.full(head) {
                break;
            }
            let command = queue.take(self.memory, self.permit)?;
            self.work.submission[number] = Some(queue);
            let done = if number == 0 { self.admin(&command) } else { self.io(&command) };
            let (result, status) = match done {
                Ok(None) => continue,
                Ok(Some(result)) => (result, 0),
                Err(status) => (0, status | FINAL),
            };
            self.post(number, queue, &command, result, status)?;
        }
        Ok(())
    }

    fn post(
        &mut self,
        number: usize,
        queue: Submission,
        command: &Command,
        result: u32,
        status: Status,
    ) -> io::Result<()> {
        let Some(completion) = &mut self.work.completion[queue.completion] else { return Ok(()) };
        let from = u32::from(queue.head) | (number as u32) << 16;
        completion.post(self.memory, self.permit, [result, from, command.id().into()], status)?;
        let (tail, vector) = (completion.tail, completion.vector);
        lock(self.function).posted(queue.completion, tail, vector, self.permit);
        Ok(())
    }
}
