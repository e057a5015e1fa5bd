//! Where an image's bytes are: something with positions, a file as a rule.

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::{self, IoSliceMut, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// What lies behind its end is not there: reading it is an error, writing it moves the end. What was never written reads as zeros.
pub trait Store: Send + Sync {
    fn size(&self) -> io::Result<u64>;
    /// Moves the end.
    fn set_size(&self, size: u64) -> io::Result<()>;
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Reads what needs no waiting for. False: it would need some.
    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        let _ = (offset, data);
        false
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Gives a range back: it reads as zeros then. False: that is not possible here, and nothing has changed.
    fn punch(&self, offset: u64, len: u64) -> io::Result<bool>;
    /// Whether a hole is at an offset, which reads as zeros, and how far that goes. Nothing: that cannot be told here.
    fn hole(&self, offset: u64) -> Option<(bool, u64)> {
        let _ = offset;
        None
    }
    /// Takes the room of a range now, where that is possible.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }
    /// What was written before is there after a crash of the host.
    fn flush(&self) -> io::Result<()>;
}

impl Store for File {
    fn size(&self) -> io::Result<u64> {
        // Seeking tells the size of block devices too; nothing here depends on where the file's position is.
        (&*self).seek(SeekFrom::End(0))
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(data, offset)
    }
    /// From the host's page cache.
    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        let len = data.len();
        preadv2(self, &mut [IoSliceMut::new(data)], offset, ReadWriteFlags::NOWAIT) == Ok(len)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<bool> {
        match fallocate(self, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::INVAL | Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    fn hole(&self, offset: u64) -> Option<(bool, u64)> {
        use rustix::fs::{SeekFrom::Data, SeekFrom::Hole, seek};
        match seek(self, Data(offset)) {
            // No data behind it.
            Err(Errno::NXIO) => Some((true, u64::MAX)),
            Ok(data) if data > offset => Some((true, data - offset)),
            Ok(_) => seek(self, Hole(offset)).ok().map(|hole| (false, hole.saturating_sub(offset))),
            Err(_) => None,
        }
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
    fn flush(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Bytes of a range that ends behind the store's end: zeros are there.
pub(crate) fn read_padded(store: &dyn Store, offset: u64, data: &mut [u8]) -> io::Result<()> {
    match store.read_at(offset, data) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let there = store.size()?.saturating_sub(offset).min(data.len() as u64) as usize;
            let (have, none) = data.split_at_mut(there);
            none.fill(0);
            if have.is_empty() { Ok(()) } else { store.read_at(offset, have) }
        }
        other => other,
    }
}

/// Zeros, at most so many at a time.
const PIECE: usize = 1 << 16;

/// Makes a range zeros, by a hole if there can be one.
pub(crate) fn zero(store: &dyn Store, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    if store.punch(offset, len)? {
        return Ok(());
    }
    let mut done = 0;
    while done < len {
        let part = (len - done).min(PIECE as u64);
        store.write_at(offset + done, &ZEROS[..part as usize])?;
        done += part;
    }
    Ok(())
}
