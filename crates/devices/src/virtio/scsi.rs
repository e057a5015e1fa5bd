//! The SCSI host (5.6): a unit at each target, number 0 of it.

use super::regs::TYPE_SCSI;
use super::{Broken, Buffers, Registers, VirtioDevice, Worker};
use crate::service::Permit;
use crate::storage::Unit;
use crate::storage::scsi::{Action, Sense};
use ireko_vmcore::saved::SavedState;
use std::io::{self, Read, Write};
use std::sync::Arc;

const QUEUE_SIZE: u16 = 128;
const CONTROL: usize = 0;
const EVENTS: usize = 1;
/// The type of a request for task management.
const TASK_MANAGEMENT: u32 = 0;
/// Bytes of an address, and of task management up to the end of its address.
const ADDRESS: usize = 8;
const MANAGEMENT: usize = 16;
/// Device-readable and device-writable heads of a request (5.6.6.1).
const REQUEST: usize = 51;
const RESPONSE: usize = 108;
const SENSE: usize = 96;
const CDB: usize = 32;
const SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;

/// Status: check condition. Responses of the host (5.6.6.1.1).
const CHECK: u8 = 2;
const OK: u8 = 0;
const BAD_TARGET: u8 = 3;
const INCORRECT_LUN: u8 = 12;

/// The host: what it cannot give to a target it answers itself. A target that is alone needs no thread beside the host's.
pub struct Scsi {
    targets: usize,
    several: Vec<Unit>,
    alone: Option<Target>,
}

/// A target with its unit.
pub(super) struct Target(pub(super) Unit);

impl Scsi {
    /// Whoever drives it needs somebody to run each of its lanes, too.
    pub fn new(mut units: Vec<Unit>) -> Self {
        let targets = units.len();
        let alone = if targets == 1 { units.pop().map(Target) } else { None };
        Self { targets, several: units, alone }
    }

    /// The target of an address of one level (5.6.6.1), or why there is none.
    fn target(&self, address: &[u8]) -> Result<usize, u8> {
        let (number, target) =
            (u16::from_be_bytes([address[2], address[3]]) & 0x3fff, usize::from(address[1]));
        match target < self.targets {
            true if address[0] == 1 && number == 0 => Ok(target),
            true if address[0] == 1 => Err(INCORRECT_LUN),
            _ => Err(BAD_TARGET),
        }
    }
}

/// The answer to a request for who is not there, whose head was read.
fn refuse(why: u8, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
    let data = buffers.writer.split_at(RESPONSE)?;
    let left = buffers.reader.available_bytes() + data.available_bytes();
    let mut response = [0; RESPONSE];
    response[4..8].copy_from_slice(&(left as u32).to_le_bytes());
    response[11] = why;
    buffers.writer.write_all(&response)?;
    Ok(RESPONSE as u32)
}

/// Task management and subscriptions (5.6.6.2). What is to be managed has been done by then: of a target, this comes behind it.
fn control(mut buffers: Buffers<'_>) -> Result<u32, Broken> {
    let mut kind = [0; 4];
    buffers.reader.read_exact(&mut kind)?;
    // Subscriptions and queries say which events: none.
    let answer: &[u8] = if u32::from_le_bytes(kind) == TASK_MANAGEMENT { &[OK] } else { &[0, 0, 0, 0, OK] };
    let len = answer.len().min(buffers.writer.available_bytes());
    buffers.writer.write_all(&answer[..len])?;
    Ok(len as u32)
}

impl Target {
    fn request(&mut self, head: &[u8; REQUEST], mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut data = buffers.writer.split_at(RESPONSE)?;
        let (sent, room) = (buffers.reader.available_bytes(), data.available_bytes());
        let (mut response, mut cdb) = ([0; RESPONSE], [0; 16]);
        cdb.copy_from_slice(&head[19..35]);
        if let Err(sense) = carry_out(&mut self.0, &cdb, buffers.permit, &mut buffers.reader, &mut data)? {
            let sense = sense.fixed();
            response[..4].copy_from_slice(&(sense.len() as u32).to_le_bytes());
            response[10] = CHECK;
            response[12..12 + sense.len()].copy_from_slice(&sense);
        }
        let moved = sent - buffers.reader.available_bytes() + data.bytes_written();
        let left = (sent + room).saturating_sub(moved);
        response[4..8].copy_from_slice(&(left as u32).to_le_bytes());
        let written = data.bytes_written();
        buffers.writer.write_all(&response)?;
        Ok((RESPONSE + written) as u32)
    }
}

impl Worker for Target {
    fn look(&mut self) {
        self.0.look();
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        if queue == CONTROL {
            return control(buffers);
        }
        let (head, buffers) = open(buffers)?;
        self.request(&head, buffers)
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

/// Takes the head off a request.
fn open(mut buffers: Buffers<'_>) -> Result<([u8; REQUEST], Buffers<'_>), Broken> {
    let mut head = [0; REQUEST];
    buffers.reader.read_exact(&mut head)?;
    Ok((head, buffers))
}

/// The outer error is the driver's reset.
fn carry_out(
    unit: &mut Unit,
    cdb: &[u8; 16],
    permit: Permit<'_>,
    from: &mut impl Read,
    to: &mut impl Write,
) -> io::Result<Result<(), Sense>> {
    let action = unit.command(cdb);
    let bytes = match action {
        Action::Read { len, .. } | Action::Write { len, .. } => len,
        _ => 0,
    };
    unit.drive.pay(permit, bytes)?;
    Ok(unit.carry_out(action, permit, to, from))
}

impl VirtioDevice for Scsi {
    fn name(&self) -> &'static str {
        "virtio-scsi"
    }
    fn kind(&self) -> u16 {
        TYPE_SCSI
    }
    fn class(&self) -> u32 {
        0x01_00_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE; 3]
    }
    /// Queues for requests, segments, sectors, commands a unit, sizes of event, sense and command; the last channel, target
    /// and unit (5.6.4).
    fn registers(&self) -> Arc<dyn Registers> {
        let words = [1, SEGMENTS, 0xffff, u32::from(QUEUE_SIZE) - 1, 16, SENSE as u32, CDB as u32];
        let mut config: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let last = self.targets.saturating_sub(1) as u16;
        config.extend([0u16.to_le_bytes(), last.to_le_bytes()].concat());
        config.extend(0u32.to_le_bytes());
        Arc::new(config)
    }
    fn look(&mut self) {
        self.alone.iter_mut().for_each(Target::look);
    }
    fn wants(&self, queue: usize) -> bool {
        queue != EVENTS
    }
    fn lanes(&mut self) -> Vec<Box<dyn Worker>> {
        let units = std::mem::take(&mut self.several);
        units.into_iter().map(|unit| Box::new(Target(unit)) as Box<dyn Worker>).collect()
    }
    fn lane(&mut self, queue: usize, buffers: &mut Buffers<'_>) -> Result<Option<usize>, Broken> {
        let mut head = [0; MANAGEMENT];
        if queue != CONTROL {
            buffers.reader.read_exact(&mut head[..ADDRESS])?;
            return Ok(self.target(&head).ok());
        }
        if buffers.reader.available_bytes() < MANAGEMENT {
            return Ok(None);
        }
        buffers.reader.read_exact(&mut head)?;
        let managed = head[..4] == TASK_MANAGEMENT.to_le_bytes();
        Ok(self.target(&head[MANAGEMENT - ADDRESS..]).ok().filter(|_| managed))
    }
    /// What is for no target, or for the only one.
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        if queue == CONTROL {
            return control(buffers);
        }
        let (head, buffers) = open(buffers)?;
        match (self.target(&head), &mut self.alone) {
            (Ok(_), Some(target)) => target.request(&head, buffers),
            (target, _) => refuse(target.err().unwrap_or(BAD_TARGET), buffers),
        }
    }
    /// Of the target that is alone.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        self.alone.as_mut().map(|target| target as &mut dyn SavedState)
    }
}
