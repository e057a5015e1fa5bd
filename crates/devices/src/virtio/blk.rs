//! The block device (5.2) over a [`Drive`].

use super::regs::TYPE_BLOCK;
use super::{Broken, Buffers, Output, Registers, VirtioDevice};
use crate::access::value;
use crate::storage::{Drive, Failure, SECTOR, Zeroing};
use ireko_vmcore::{Disk, SavedState};
use std::io::{Read, Write};
use std::sync::Arc;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO,
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};

const QUEUE_SIZE: u16 = 256;
/// Segments of a request: the queue but header and status.
const SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
const SERIAL_SIZE: usize = 20;
/// More queues a disk has not.
pub const MOST_QUEUES: usize = 8;
/// The most that is attempted.
const ATTEMPT: u64 = 1 << 15;
/// Sectors of one range to discard or zero, and how many ranges a request has.
const RANGE_SECTORS: u32 = 1 << 22;
const RANGES: u32 = 32;
/// A range: sector, number of sectors, flags (5.2.6).
const RANGE_SIZE: usize = 16;
const RANGE_UNMAP: u32 = 1;

/// A disk.
pub struct Blk {
    drive: Drive,
    queues: usize,
}

impl Blk {
    /// `serial` is what the guest sees as the disk's identity; 20 bytes of it count.
    pub fn new(disk: Box<dyn Disk>, serial: &str) -> Self {
        Self { drive: Drive::new(disk, serial), queues: 1 }
    }

    /// One disk with a queue for each of these, which are all the same disk.
    pub fn with_queues(disks: Vec<Box<dyn Disk>>, serial: &str) -> Vec<Box<dyn VirtioDevice>> {
        let queues = disks.len().min(MOST_QUEUES);
        let device = |disk| Box::new(Self { queues, ..Self::new(disk, serial) }) as Box<dyn VirtioDevice>;
        disks.into_iter().take(queues).map(device).collect()
    }

    /// Where a request begins: whole sectors only.
    fn place(sector: u64, len: u64) -> Result<u64, Failure> {
        sector.checked_mul(SECTOR).filter(|_| len.is_multiple_of(SECTOR)).ok_or(Failure::Range)
    }

    fn request(&mut self, header: &Header, data: &mut Buffers<'_>) -> Result<u32, Failure> {
        match header.kind {
            VIRTIO_BLK_T_IN => {
                let len = data.writer.available_bytes() as u64;
                self.drive.read(Self::place(header.sector, len)?, len, &mut data.writer, data.permit)?;
            }
            VIRTIO_BLK_T_OUT => {
                let len = data.reader.available_bytes() as u64;
                self.drive.write(Self::place(header.sector, len)?, len, &mut data.reader, data.permit)?;
            }
            VIRTIO_BLK_T_FLUSH => self.drive.flush(data.permit)?,
            VIRTIO_BLK_T_GET_ID => {
                let mut serial = [0; SERIAL_SIZE];
                crate::access::copy_in(&mut serial, 0, self.drive.serial().as_bytes());
                let len = data.writer.available_bytes().min(SERIAL_SIZE);
                data.writer.write_all(&serial[..len]).map_err(Failure::Memory)?;
            }
            VIRTIO_BLK_T_DISCARD => return self.zero(data, Zeroing::Discard, 0),
            VIRTIO_BLK_T_WRITE_ZEROES => return self.zero(data, Zeroing::Zero, RANGE_UNMAP),
            _ => return Ok(VIRTIO_BLK_S_UNSUPP),
        }
        Ok(VIRTIO_BLK_S_OK)
    }

    /// All ranges of a request; flags that are not `allowed` are refused (5.2.6.2).
    fn zero(&mut self, data: &mut Buffers<'_>, how: Zeroing, allowed: u32) -> Result<u32, Failure> {
        let ranges = data.reader.available_bytes() / RANGE_SIZE;
        if !data.reader.available_bytes().is_multiple_of(RANGE_SIZE) || ranges > RANGES as usize {
            return Ok(VIRTIO_BLK_S_UNSUPP);
        }
        for _ in 0..ranges {
            let mut range = [0; RANGE_SIZE];
            data.reader.read_exact(&mut range).map_err(Failure::Memory)?;
            let (count, flags) = (value(&range[8..12]), value(&range[12..]) as u32);
            if flags & !allowed != 0 || count > u64::from(RANGE_SECTORS) {
                return Ok(VIRTIO_BLK_S_UNSUPP);
            }
            let start = Self::place(value(&range[..8]), 0)?;
            self.drive.zero(how, start, count * SECTOR, data.permit)?;
        }
        Ok(VIRTIO_BLK_S_OK)
    }
}

impl VirtioDevice for Blk {
    fn name(&self) -> &'static str {
        "virtio-blk"
    }
    fn kind(&self) -> u16 {
        TYPE_BLOCK
    }
    fn class(&self) -> u32 {
        0x01_00_00
    }
    fn features(&self) -> u64 {
        let changes = match self.drive.read_only() {
            true => 1 << VIRTIO_BLK_F_RO,
            false => 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES,
        };
        let several = if self.queues > 1 { 1 << VIRTIO_BLK_F_MQ } else { 0 };
        several | 1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH | changes
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE; MOST_QUEUES][..self.queues]
    }
    /// Capacity, size_max, seg_max, geometry, blk_size, topology, writeback with the number of queues; then what may be discarded and zeroed at a time,
    /// in how many ranges, and how it is aligned (5.2.4).
    fn registers(&self) -> Arc<dyn Registers> {
        let mut config = self.drive.sectors().to_le_bytes().to_vec();
        for field in [0, SEGMENTS, 0, SECTOR as u32, 0, 0, (self.queues as u32) << 16] {
            config.extend(field.to_le_bytes());
        }
        for field in [RANGE_SECTORS, RANGES, 1, RANGE_SECTORS, RANGES, 1] {
            config.extend(field.to_le_bytes());
        }
        Arc::new(config)
    }
    fn serve(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let (header, mut status) = open(&mut buffers)?;
        let bytes = (buffers.reader.available_bytes() + buffers.writer.available_bytes()) as u64;
        self.drive.pay(buffers.permit, bytes)?;
        let result = self.request(&header, &mut buffers).unwrap_or(VIRTIO_BLK_S_IOERR);
        status.write_all(&[result as u8])?;
        Ok(buffers.writer.bytes_written() as u32 + 1)
    }
    fn attempts(&self, _: usize) -> bool {
        !self.drive.limited()
    }
    fn attempt(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<Option<u32>, Broken> {
        let (header, mut status) = open(&mut buffers)?;
        let len = buffers.writer.available_bytes() as u64;
        if header.kind != VIRTIO_BLK_T_IN || len > ATTEMPT {
            return Ok(None);
        }
        let Ok(start) = Self::place(header.sector, len) else { return Ok(None) };
        let Some(data) = self.drive.try_read(start, len) else { return Ok(None) };
        buffers.writer.write_all(data)?;
        status.write_all(&[VIRTIO_BLK_S_OK as u8])?;
        Ok(Some(len as u32 + 1))
    }
    /// Nothing but queues and registers: its bytes are the host's file's.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}

struct Header {
    kind: u32,
    sector: u64,
}

/// Takes header and status off a request: the first 16 bytes, and the last writable one.
fn open<'a>(buffers: &mut Buffers<'a>) -> Result<(Header, Output<'a>), Broken> {
    let mut header = [0; 16];
    buffers.reader.read_exact(&mut header)?;
    let room = buffers.writer.available_bytes().checked_sub(1);
    let status = buffers.writer.split_at(room.ok_or_else(|| Broken("no room for a status".into()))?)?;
    let (kind, sector) = (value(&header[0..4]) as u32, value(&header[8..16]));
    Ok((Header { kind, sector }, status))
}
