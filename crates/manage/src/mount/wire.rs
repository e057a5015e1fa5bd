//! Requests of the kernel and answers to them, of a file system that is one file.

use crate::fuse::operation::*;
use crate::fuse::{self, Answer, Attributes, FileSystem, Request, errno, framed, u32_at, u64_at};
use crate::fuse::{KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE};
use ireko_storage::{Image, SECTOR};
use rustix::io::Errno;
use std::sync::Arc;

pub use crate::fuse::MOST;
pub use crate::fuse::operation::INIT;

/// What the kernel sends at most beside the data of a write.
pub const HEAD: usize = 4096;

const FLAGS: u32 = fuse::ASYNC_READ | fuse::BIG_WRITES | fuse::MAX_PAGES;
/// What the page cache holds stays right from one opening to the next.
const KEEP_CACHE: u32 = 1 << 1;

/// A disk as a file. Its owner is who mounts it.
pub struct Served {
    pub image: Arc<dyn Image>,
    pub owner: (u32, u32),
}

impl Served {
    /// The bytes that answer a request; some have no answer.
    pub fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let Request { operation, unique, body, .. } = Request::read(request)?;
        let answer = match operation {
            FORGET | BATCH_FORGET | INTERRUPT => return None,
            INIT => Ok(fuse::init(body, FLAGS)),
            GETATTR | SETATTR => Ok(self.attributes()),
            OPEN => Ok([[0; 8].as_slice(), &KEEP_CACHE.to_ne_bytes(), &[0; 4]].concat()),
            READ => self.read(u64_at(body, 8), u32_at(body, 16)),
            WRITE => self.write(u64_at(body, 8), u32_at(body, 16), body.get(40..).unwrap_or_default()),
            STATFS => Ok(self.statfs()),
            FSYNC => self.image.flush().map(|()| Vec::new()).map_err(|error| errno(&error)),
            FALLOCATE => self.fallocate(u64_at(body, 8), u64_at(body, 16), u32_at(body, 24)),
            RELEASE | FLUSH | ACCESS | DESTROY => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        Some(framed(unique, answer))
    }

    /// It has the size that it has: what is to be cut, as by who opens a file to write it anew, stays, as of a block device.
    fn attributes(&self) -> Vec<u8> {
        const REGULAR: u32 = 0o100_000;
        /// Nothing of it changes.
        const LONG: u64 = 3600;
        let file = Attributes {
            inode: 1,
            size: self.image.size(),
            blocks: self.image.size() / SECTOR,
            mode: REGULAR | if self.image.writable() { 0o600 } else { 0o400 },
            links: 1,
            user: self.owner.0,
            group: self.owner.1,
            block_size: 4096,
            ..Attributes::default()
        };
        file.answer(LONG)
    }

    fn statfs(&self) -> Vec<u8> {
        let blocks = self.image.size() / 4096;
        let (block_size, name_length, fragment) = (4096, 255, 4096);
        let (free, available, files, files_free) = (0, 0, 1, 0);
        FileSystem { blocks, free, available, files, files_free, block_size, name_length, fragment }.answer()
    }

    /// Whole sectors around a range, as images want them: where they begin, and their bytes.
    fn around(&self, offset: u64, len: u64) -> Result<(u64, Vec<u8>), Errno> {
        let start = offset / SECTOR * SECTOR;
        let mut bytes = vec![0; ((offset + len).next_multiple_of(SECTOR) - start) as usize];
        self.image.read_at(start, &mut bytes).map_err(|error| errno(&error))?;
        Ok((start, bytes))
    }

    fn read(&self, offset: u64, len: u32) -> Answer {
        let there = self.image.size().saturating_sub(offset).min(len.min(MOST).into());
        if there == 0 {
            return Ok(Vec::new());
        }
        let (start, mut bytes) = self.around(offset, there)?;
        bytes.drain(..(offset - start) as usize);
        bytes.truncate(there as usize);
        Ok(bytes)
    }

    fn write(&self, offset: u64, len: u32, data: &[u8]) -> Answer {
        let data = data.get(..len as usize).ok_or(Errno::INVAL)?;
        let end =
            offset.checked_add(len.into()).filter(|end| *end <= self.image.size()).ok_or(Errno::NOSPC)?;
        let whole = offset.is_multiple_of(SECTOR) && end.is_multiple_of(SECTOR);
        let written = match whole {
            true => self.image.write_at(offset, data),
            false => {
                let (start, mut bytes) = self.around(offset, len.into())?;
                bytes[(offset - start) as usize..][..data.len()].copy_from_slice(data);
                self.image.write_at(start, &bytes)
            }
        };
        written.map_err(|error| errno(&error))?;
        Ok([len.to_ne_bytes(), [0; 4]].concat())
    }

    fn fallocate(&self, offset: u64, len: u64, how: u32) -> Answer {
        let end = offset.checked_add(len).filter(|end| *end <= self.image.size()).ok_or(Errno::NOSPC)?;
        match how & !KEEP_SIZE {
            0 => Ok(Vec::new()),
            PUNCH_HOLE | ZERO_RANGE => {
                let (first, last) = (offset.next_multiple_of(SECTOR), end / SECTOR * SECTOR);
                if first >= last {
                    return self.write(offset, len as u32, &vec![0; len as usize]).map(|_| Vec::new());
                }
                self.write(offset, (first - offset) as u32, &vec![0; (first - offset) as usize])?;
                self.image.write_zeroes(first, last - first).map_err(|error| errno(&error))?;
                self.write(last, (end - last) as u32, &vec![0; (end - last) as usize])?;
                Ok(Vec::new())
            }
            _ => Err(Errno::OPNOTSUPP),
        }
    }
}
