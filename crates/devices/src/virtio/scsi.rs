//! The SCSI host (5.6): a unit at each target, number 0 of it.

use super::regs::TYPE_SCSI;
use super::{Broken, Buffers, Registers, VirtioDevice};
use crate::service::Permit;
use crate::storage::Unit;
use crate::storage::scsi::{Action, Sense};
use std::io::{self, Read, Write};
use std::sync::Arc;

const QUEUE_SIZE: u16 = 128;
const CONTROL: usize = 0;
const EVENTS: usize = 1;
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

pub struct Scsi {
    units: Vec<Unit>,
}

impl Scsi {
    pub fn new(units: Vec<Unit>) -> Self {
        Self { units }
    }

    /// The target of an address of one level (5.6.6.1), or why there is none.
    fn target(&mut self, address: &[u8]) -> Result<&mut Unit, u8> {
        let number = u16::from_be_bytes([address[2], address[3]]) & 0x3fff;
        match self.units.get_mut(usize::from(address[1])) {
            Some(unit) if address[0] == 1 && number == 0 => Ok(unit),
            Some(_) if address[0] == 1 => Err(INCORRECT_LUN),
            _ => Err(BAD_TARGET),
        }
    }

    fn request(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut head = [0; REQUEST];
        buffers.reader.read_exact(&mut head)?;
        let mut data = buffers.writer.split_at(RESPONSE)?;
        let (sent, room) = (buffers.reader.available_bytes(), data.available_bytes());
        let mut response = [0; RESPONSE];
        match self.target(&head[..8]) {
            Ok(unit) => {
                let mut cdb = [0; 16];
                cdb.copy_from_slice(&head[19..35]);
                if let Err(sense) = carry_out(unit, &cdb, buffers.permit, &mut buffers.reader, &mut data)? {
                    let sense = sense.fixed();
                    response[..4].copy_from_slice(&(sense.len() as u32).to_le_bytes());
                    response[10] = CHECK;
                    response[12..12 + sense.len()].copy_from_slice(&sense);
                }
            }
            Err(why) => response[11] = why,
        }
        let moved = sent - buffers.reader.available_bytes() + data.bytes_written();
        let left = (sent + room).saturating_sub(moved);
        response[4..8].copy_from_slice(&(left as u32).to_le_bytes());
        let written = data.bytes_written();
        buffers.writer.write_all(&response)?;
        Ok((RESPONSE + written) as u32)
    }

    /// Task management and subscriptions (5.6.6.2): nothing is under way by then.
    fn control(&mut self, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut kind = [0; 4];
        buffers.reader.read_exact(&mut kind)?;
        // Subscriptions and queries say which events: none.
        let answer: &[u8] = if u32::from_le_bytes(kind) == 0 { &[OK] } else { &[0, 0, 0, 0, OK] };
        let len = answer.len().min(buffers.writer.available_bytes());
        buffers.writer.write_all(&answer[..len])?;
        Ok(len as u32)
    }
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
        let last = self.units.len().saturating_sub(1) as u16;
        config.extend([0u16.to_le_bytes(), last.to_le_bytes()].concat());
        config.extend(0u32.to_le_bytes());
        Arc::new(config)
    }
    fn look(&mut self) {
        self.units.iter_mut().for_each(Unit::look);
    }
    fn wants(&self, queue: usize) -> bool {
        queue != EVENTS
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        if queue == CONTROL { self.control(buffers) } else { self.request(buffers) }
    }
}
