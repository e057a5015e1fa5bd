//! Submission and completion queues in guest memory, and the regions that a command's data is in.

use super::regs::*;
use crate::access::value;
use crate::service::Permit;
use crate::storage::{Segment, dma};
use ireko_vmcore::Memory;
use std::io;

/// A submission queue (4.1).
#[derive(Clone, Copy, Debug)]
pub struct Submission {
    pub base: u64,
    pub size: u16,
    pub head: u16,
    pub completion: usize,
}

/// A completion queue. A new entry has the other phase than the one it takes the place of.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub base: u64,
    pub size: u16,
    pub tail: u16,
    pub phase: bool,
    pub vector: Option<u16>,
}

impl Submission {
    pub fn new(base: u64, size: u16, completion: usize) -> Self {
        Self { base, size, head: 0, completion }
    }

    pub fn take(&mut self, memory: &Memory, permit: Permit<'_>) -> io::Result<Command> {
        let mut bytes = [0; COMMAND_SIZE];
        let at = self.base.wrapping_add(u64::from(self.head) * COMMAND_SIZE as u64);
        dma::read(memory, permit, at, &mut bytes)?;
        self.head = (self.head + 1) % self.size;
        Ok(Command(bytes))
    }
}

impl Completion {
    pub fn new(base: u64, size: u16, vector: Option<u16>) -> Self {
        Self { base, size, tail: 0, phase: true, vector }
    }

    pub fn full(&self, head: u16) -> bool {
        (self.tail + 1) % self.size == head
    }

    /// `entry`: the result, then the submission queue's head and number, and the command's.
    pub fn post(
        &mut self,
        memory: &Memory,
        permit: Permit<'_>,
        entry: [u32; 3],
        status: Status,
    ) -> io::Result<()> {
        let [result, queue, command] = entry;
        let last = command & 0xffff | u32::from(self.phase) << 16 | u32::from(status) << 17;
        let mut bytes = [0; COMPLETION_SIZE];
        bytes[..4].copy_from_slice(&result.to_le_bytes());
        bytes[8..12].copy_from_slice(&queue.to_le_bytes());
        bytes[12..].copy_from_slice(&last.to_le_bytes());
        let at = self.base.wrapping_add(u64::from(self.tail) * COMPLETION_SIZE as u64);
        dma::write(memory, permit, at, &bytes)?;
        self.tail = (self.tail + 1) % self.size;
        self.phase ^= self.tail == 0;
        Ok(())
    }
}

/// A command as it lies in a submission queue (4.2).
#[derive(Clone, Copy)]
pub struct Command([u8; COMMAND_SIZE]);

impl Command {
    pub fn dword(&self, number: usize) -> u32 {
        value(&self.0[4 * number..][..4]) as u32
    }
    pub fn long(&self, dword: usize) -> u64 {
        value(&self.0[4 * dword..][..8])
    }
    pub fn opcode(&self) -> u8 {
        self.0[0]
    }
    pub fn id(&self) -> u16 {
        (self.dword(0) >> 16) as u16
    }
    pub fn namespace(&self) -> u32 {
        self.dword(1)
    }
    pub fn prp(&self) -> u64 {
        self.long(6)
    }

    /// Where `len` bytes of data are, by physical region pages (4.3). Scatter-gather lists are not offered.
    pub fn regions(&self, memory: &Memory, permit: Permit<'_>, len: u64) -> Result<Vec<Segment>, Status> {
        const SGL: u8 = 0xc0;
        if self.0[1] & SGL != 0 || len > MOST_DATA {
            return Err(INVALID_FIELD);
        }
        let (first, second) = (self.prp(), self.long(8));
        let start = len.min(PAGE - first % PAGE);
        let mut regions = vec![Segment { address: first, len: start }];
        let left = len - start;
        if left > PAGE {
            list(memory, permit, second, left, &mut regions)?;
        } else if left > 0 {
            regions.push(whole(second, left)?);
        }
        Ok(regions)
    }
}

/// All but the first begin at a page.
fn whole(address: u64, len: u64) -> Result<Segment, Status> {
    if address.is_multiple_of(PAGE) { Ok(Segment { address, len }) } else { Err(INVALID_PRP) }
}

/// A list goes on where the last entry of its page says. It has no more entries than the data has pages.
fn list(
    memory: &Memory,
    permit: Permit<'_>,
    mut at: u64,
    mut left: u64,
    regions: &mut Vec<Segment>,
) -> Result<(), Status> {
    while left > 0 {
        let mut entry = [0; 8];
        dma::read(memory, permit, at, &mut entry).map_err(|_| TRANSFER_ERROR)?;
        let address = value(&entry);
        let last = at % PAGE == PAGE - 8;
        if last && left > PAGE {
            at = whole(address, 0)?.address;
            // A page's first entry is never its last, so after each link comes data: the list ends.
            continue;
        }
        let part = left.min(PAGE);
        regions.push(whole(address, part)?);
        (left, at) = (left - part, at.wrapping_add(8));
    }
    Ok(())
}
