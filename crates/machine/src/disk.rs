//! Raw disks: a file whose content is the disk's.

use crate::{DiskSpec, MachineError};
use ireko_vmcore::{Disk, Throttle};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

const SECTOR: u64 = 512;

pub struct RawDisk {
    file: Arc<File>,
    size: u64,
    read_only: bool,
    throttle: Arc<Throttle>,
}

fn failed(spec: &DiskSpec, why: String) -> MachineError {
    MachineError::Disk { name: spec.path.display().to_string(), why }
}

/// The disk's file: the one that is open, or by its name.
pub fn open(spec: &DiskSpec) -> Result<Arc<File>, MachineError> {
    if let Some(file) = &spec.file {
        return Ok(file.clone());
    }
    open_file(&spec.path, spec.read_only).map(Arc::new).map_err(|error| failed(spec, error.to_string()))
}

/// What has positions: a file or a block device. Of anything else nobody is waited for.
pub fn open_file(path: &Path, read_only: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(!read_only).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(file),
        false => Err(io::Error::other("it is neither a file nor a block device; give one of these")),
    }
}

impl RawDisk {
    fn open(spec: &DiskSpec) -> Result<Self, MachineError> {
        let file = open(spec)?;
        // Seeking tells the size of block devices too.
        let size = (&*file).seek(SeekFrom::End(0)).map_err(|error| failed(spec, error.to_string()))?;
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(failed(spec, format!("its size, {size} bytes, is not a multiple of {SECTOR}")));
        }
        Ok(Self { file, size, read_only: spec.read_only, throttle: spec.throttle.clone() })
    }

    /// Gives the range back to the file system: it reads as zeros then. False: it cannot do that.
    fn punch(&self, offset: u64, len: u64) -> io::Result<bool> {
        if self.read_only || offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::INVAL | Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is in a CD drive without a CD.
struct Nothing(Arc<Throttle>);

impl Disk for Nothing {
    fn size(&self) -> u64 {
        0
    }
    fn read_only(&self) -> bool {
        true
    }
    fn throttle(&self) -> Arc<Throttle> {
        self.0.clone()
    }
    fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a disk or a CD drive holds.
pub fn content(spec: &DiskSpec) -> Result<Box<dyn Disk>, MachineError> {
    match spec.empty {
        true => Ok(Box::new(Nothing(spec.throttle.clone()))),
        false => Ok(Box::new(RawDisk::open(spec)?)),
    }
}

impl Disk for RawDisk {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn throttle(&self) -> Arc<Throttle> {
        self.throttle.clone()
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }
    /// From the host's page cache.
    fn try_read_at(&mut self, offset: u64, data: &mut [u8]) -> bool {
        let len = data.len();
        let read = preadv2(&self.file, &mut [IoSliceMut::new(data)], offset, ReadWriteFlags::NOWAIT);
        read == Ok(len)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.read_only || offset.checked_add(data.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.file.write_all_at(data, offset)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if self.punch(offset, len)? { Ok(()) } else { self.write_every_zero(offset, len) }
    }
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.punch(offset, len).map(drop)
    }
}
