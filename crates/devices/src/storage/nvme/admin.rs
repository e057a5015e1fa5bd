//! Admin commands (5).

use super::engine::{Done, Serving};
use super::queue::{Command, Completion, Submission};
use super::regs::*;
use super::{identify, lock};
use crate::storage::Dma;
use std::io::Write;

const LAST: u16 = QUEUES as u16 - 1;

impl Serving<'_> {
    pub fn admin(&mut self, command: &Command) -> Done {
        match command.opcode() {
            CREATE_CQ => self.create_completion(command)?,
            CREATE_SQ => self.create_submission(command)?,
            DELETE_CQ => self.delete_completion(command)?,
            DELETE_SQ => *self.queue(command)?.0 = None,
            IDENTIFY => self.identify(command)?,
            LOG_PAGE => self.log(command)?,
            SET_FEATURES => return set_feature(command),
            FEATURES => return feature(command),
            // Nothing is under way that could be.
            ABORT => return Ok(Some(1)),
            ASYNC_EVENT => return self.event(),
            _ => return Err(INVALID_OPCODE),
        }
        Ok(Some(0))
    }

    /// The I/O queues that a command names.
    fn queue(
        &mut self,
        command: &Command,
    ) -> Result<(&mut Option<Submission>, &mut Option<Completion>), Status> {
        let number = command.dword(10) as u16;
        match number {
            1..=LAST => {
                let number = usize::from(number);
                Ok((&mut self.work.submission[number], &mut self.work.completion[number]))
            }
            _ => Err(QUEUE_INVALID),
        }
    }

    fn create_completion(&mut self, command: &Command) -> Result<(), Status> {
        const INTERRUPTS: u32 = 1 << 1;
        let (size, base) = place(command)?;
        let vector = (command.dword(11) >> 16) as u16;
        if vector > LAST {
            return Err(INVALID_VECTOR);
        }
        let vector = (command.dword(11) & INTERRUPTS != 0).then_some(vector);
        let (_, free) = self.queue(command)?;
        if free.is_some() {
            return Err(QUEUE_INVALID);
        }
        *free = Some(Completion::new(base, size, vector));
        self.forget(command);
        Ok(())
    }

    fn create_submission(&mut self, command: &Command) -> Result<(), Status> {
        let (size, base) = place(command)?;
        let completion = (command.dword(11) >> 16) as usize;
        let there = (1..QUEUES).contains(&completion) && self.work.completion[completion].is_some();
        let (free, _) = self.queue(command)?;
        if free.is_some() {
            return Err(QUEUE_INVALID);
        }
        if !there {
            return Err(CQ_INVALID);
        }
        *free = Some(Submission::new(base, size, completion));
        Ok(())
    }

    /// Doorbells that were rung before there was a queue do not count.
    fn forget(&self, command: &Command) {
        if !self.permit.over() {
            lock(self.function).forget(usize::from(command.dword(10) as u16));
        }
    }

    fn delete_completion(&mut self, command: &Command) -> Result<(), Status> {
        let number = command.dword(10) as usize & 0xffff;
        let used = self.work.submission.iter().flatten().any(|queue| queue.completion == number);
        let (_, queue) = self.queue(command)?;
        match queue {
            None => Err(QUEUE_INVALID),
            Some(_) if used => Err(INVALID_DELETION),
            Some(_) => {
                *queue = None;
                self.forget(command);
                Ok(())
            }
        }
    }

    fn identify(&self, command: &Command) -> Result<(), Status> {
        let (drive, of) = (&self.work.drive, command.namespace());
        let page = match command.dword(10) as u8 {
            0 | 3 if of != 1 => return Err(INVALID_NAMESPACE),
            0 => identify::namespace(drive),
            1 => identify::controller(drive),
            2 => identify::namespaces(of),
            3 => identify::descriptors(drive),
            _ => return Err(INVALID_FIELD),
        };
        self.give(command, &page)
    }

    fn log(&self, command: &Command) -> Result<(), Status> {
        let asked = (u64::from(command.dword(10) >> 16) | u64::from(command.dword(11) & 0xffff) << 16) + 1;
        let mut log = identify::log(command.dword(10) as u8).ok_or(INVALID_LOG)?;
        if command.long(12) != 0 || 4 * asked > MOST_DATA {
            return Err(INVALID_FIELD);
        }
        log.resize(4 * asked as usize, 0);
        self.give(command, &log)
    }

    fn give(&self, command: &Command, data: &[u8]) -> Result<(), Status> {
        let regions = command.regions(self.memory, self.permit, data.len() as u64)?;
        Dma::new(self.memory, self.permit, regions).write_all(data).map_err(|_| TRANSFER_ERROR)
    }

    fn event(&mut self) -> Done {
        if self.work.events == MOST_EVENTS {
            return Err(TOO_MANY_EVENTS);
        }
        self.work.events += 1;
        Ok(None)
    }
}

/// Entries and address of a queue, which is in one piece.
fn place(command: &Command) -> Result<(u16, u64), Status> {
    const CONTIGUOUS: u32 = 1;
    let size = u64::from(command.dword(10) >> 16) + 1;
    match size {
        _ if command.dword(11) & CONTIGUOUS == 0 => Err(INVALID_FIELD),
        2..=MOST_ENTRIES if command.prp().is_multiple_of(PAGE) => Ok((size as u16, command.prp())),
        2..=MOST_ENTRIES => Err(INVALID_PRP),
        _ => Err(QUEUE_SIZE),
    }
}

/// As many queues as there are, whatever is asked for; both numbers are one less.
const ALL_QUEUES: u32 = (QUEUES as u32 - 2) << 16 | (QUEUES as u32 - 2);

fn set_feature(command: &Command) -> Done {
    match command.dword(10) as u8 {
        _ if command.dword(10) & FEATURE_SAVE != 0 => Err(NOT_SAVEABLE),
        FEATURE_QUEUES => Ok(Some(ALL_QUEUES)),
        1 | 2 | 4..=6 | 8..=0x0b => Ok(Some(0)),
        _ => Err(INVALID_FIELD),
    }
}

fn feature(command: &Command) -> Done {
    match command.dword(10) as u8 {
        FEATURE_QUEUES => Ok(Some(ALL_QUEUES)),
        FEATURE_CACHE => Ok(Some(1)),
        1 | 2 | 4 | 5 | 8..=0x0b => Ok(Some(0)),
        _ => Err(INVALID_FIELD),
    }
}
