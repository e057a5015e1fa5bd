//! The block device (5.2) over a [`Disk`].

use super::regs::{SECTOR, TYPE_BLOCK};
use super::{Broken, Buffers, Output, Registers, VirtioDevice};
use crate::access::value;
use ireko_vmcore::{Disk, Throttle};
use std::io::{self, Read, Write};
use std::sync::Arc;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_S_IOERR,
    VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT,
};

const QUEUE_SIZE: u16 = 256;
/// Segments of a request: the queue but header and status.
const SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
/// What moves at a time.
const CHUNK: u64 = 1 << 17;
const SERIAL_SIZE: usize = 20;

/// What counts as one operation, as Hyper-V normalizes them.
const OPERATION: u64 = 8 << 10;
/// The most that is attempted.
const ATTEMPT: u64 = 1 << 15;

/// A disk.
pub struct Blk {
    disk: Box<dyn Disk>,
    serial: [u8; SERIAL_SIZE],
    chunk: Vec<u8>,
    throttle: Arc<Throttle>,
}

impl Blk {
    /// `serial` is what the guest sees as the disk's identity; 20 bytes of it count.
    pub fn new(disk: Box<dyn Disk>, serial: &str) -> Self {
        let mut id = [0; SERIAL_SIZE];
        crate::access::copy_in(&mut id, 0, serial.as_bytes());
        Self { throttle: disk.throttle(), disk, serial: id, chunk: Vec::new() }
    }

    /// Bytes `sector` and `len` stand for, if they lie on the disk.
    fn place(&self, sector: u64, len: u64) -> io::Result<u64> {
        let start = sector.checked_mul(SECTOR).filter(|_| len.is_multiple_of(SECTOR));
        start
            .filter(|start| start.checked_add(len).is_some_and(|end| end <= self.disk.size()))
            .ok_or_else(|| io::Error::other(format!("{len} bytes at sector {sector} are not on the disk")))
    }

    fn chunk(&mut self, left: u64) -> usize {
        let len = left.min(CHUNK) as usize;
        if self.chunk.len() < len {
            self.chunk.resize(len, 0);
        }
        len
    }

    fn read(&mut self, sector: u64, writer: &mut impl Write, len: u64) -> io::Result<()> {
        let start = self.place(sector, len)?;
        let mut done = 0;
        while done < len {
            let part = self.chunk(len - done);
            self.disk.read_at(start + done, &mut self.chunk[..part])?;
            writer.write_all(&self.chunk[..part])?;
            done += part as u64;
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, reader: &mut impl Read, len: u64) -> io::Result<()> {
        let start = self.place(sector, len)?;
        if self.disk.read_only() {
            return Err(io::Error::other("the disk is read only"));
        }
        let mut done = 0;
        while done < len {
            let part = self.chunk(len - done);
            reader.read_exact(&mut self.chunk[..part])?;
            self.disk.write_at(start + done, &self.chunk[..part])?;
            done += part as u64;
        }
        Ok(())
    }

    fn request(&mut self, header: &Header, data: &mut Buffers<'_>) -> io::Result<u32> {
        let sector = header.sector;
        match header.kind {
            VIRTIO_BLK_T_IN => {
                let len = data.writer.available_bytes() as u64;
                self.read(sector, &mut data.writer, len)?;
            }
            VIRTIO_BLK_T_OUT => {
                let len = data.reader.available_bytes() as u64;
                self.write(sector, &mut data.reader, len)?;
            }
            VIRTIO_BLK_T_FLUSH => self.disk.flush()?,
            VIRTIO_BLK_T_GET_ID => {
                let len = data.writer.available_bytes().min(SERIAL_SIZE);
                data.writer.write_all(&self.serial[..len])?;
            }
            _ => return Ok(VIRTIO_BLK_S_UNSUPP),
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
        let read_only = if self.disk.read_only() { 1 << VIRTIO_BLK_F_RO } else { 0 };
        1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH | read_only
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }
    /// Capacity, size_max, seg_max, geometry, blk_size (5.2.4).
    fn registers(&self) -> Arc<dyn Registers> {
        let mut config = (self.disk.size() / SECTOR).to_le_bytes().to_vec();
        for field in [0, SEGMENTS, 0, SECTOR as u32] {
            config.extend(field.to_le_bytes());
        }
        Arc::new(config)
    }
    fn serve(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let (header, mut status) = open(&mut buffers)?;
        let bytes = (buffers.reader.available_bytes() + buffers.writer.available_bytes()) as u64;
        buffers.permit.pay(&self.throttle, bytes, bytes.div_ceil(OPERATION).max(1))?;
        let result = self.request(&header, &mut buffers).unwrap_or(VIRTIO_BLK_S_IOERR);
        status.write_all(&[result as u8])?;
        Ok(buffers.writer.bytes_written() as u32 + 1)
    }
    fn attempts(&self, _: usize) -> bool {
        !self.throttle.limited()
    }
    fn attempt(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<Option<u32>, Broken> {
        let (header, mut status) = open(&mut buffers)?;
        let len = buffers.writer.available_bytes() as u64;
        if header.kind != VIRTIO_BLK_T_IN || len > ATTEMPT {
            return Ok(None);
        }
        let (Ok(start), part) = (self.place(header.sector, len), self.chunk(len)) else { return Ok(None) };
        if !self.disk.try_read_at(start, &mut self.chunk[..part]) {
            return Ok(None);
        }
        buffers.writer.write_all(&self.chunk[..part])?;
        status.write_all(&[VIRTIO_BLK_S_OK as u8])?;
        Ok(Some(len as u32 + 1))
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
