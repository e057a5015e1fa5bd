//! Requests of the kernel and answers to them (`linux/fuse.h`, protocol 7.31), of a file system that is one file.

use ireko_storage::{Image, SECTOR};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;

/// What the kernel sends at most beside the data of a write, and that data.
pub const HEAD: usize = 4096;
pub const MOST: u32 = 1 << 20;
const MAJOR: u32 = 7;
const MINOR: u32 = 31;

/// Operations.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
pub const INIT: u32 = 26;
const ACCESS: u32 = 34;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;

/// What is said at the beginning: reads at once, large writes, more pages a request.
const FLAGS: u32 = 1 << 0 | 1 << 5 | 1 << 22;
/// What the page cache holds stays right from one opening to the next.
const KEEP_CACHE: u32 = 1 << 1;
/// Ways of fallocate(2).
const KEEP_SIZE: u32 = 1 << 0;
const PUNCH_HOLE: u32 = 1 << 1;
const ZERO_RANGE: u32 = 1 << 4;

const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

/// A disk as a file. Its owner is who mounts it.
pub struct Served {
    pub image: Arc<dyn Image>,
    pub owner: (u32, u32),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_ne_bytes)
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// What an answer has behind its header.
type Answer = Result<Vec<u8>, Errno>;

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(match error.kind() {
        io::ErrorKind::StorageFull => Errno::NOSPC,
        io::ErrorKind::PermissionDenied => Errno::ROFS,
        _ => Errno::IO,
    })
}

impl Served {
    /// The bytes that answer a request; some have no answer.
    pub fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let (operation, unique) = (u32_at(request, 4), u64_at(request, 8));
        let body = request.get(IN_HEADER..)?;
        let answer = match operation {
            FORGET | BATCH_FORGET | INTERRUPT => return None,
            INIT => init(body),
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
        let mode = REGULAR | if self.image.writable() { 0o600 } else { 0o400 };
        let mut bytes = vec![0; 16];
        // Valid for a long time: nothing of it changes.
        bytes[..8].copy_from_slice(&3600u64.to_ne_bytes());
        for field in [1, self.image.size(), self.image.size() / SECTOR, 0, 0, 0] {
            bytes.extend(field.to_ne_bytes());
        }
        for field in [0, 0, 0, mode, 1, self.owner.0, self.owner.1, 0, 4096, 0] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes
    }

    fn statfs(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [self.image.size() / 4096, 0, 0, 1, 0] {
            bytes.extend(field.to_ne_bytes());
        }
        for field in [4096u32, 255, 4096] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.resize(80, 0);
        bytes
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

/// The kernel of another major version says hello again with ours.
fn init(body: &[u8]) -> Answer {
    let (minor, ahead) = (u32_at(body, 4), u32_at(body, 8));
    let mut bytes = Vec::new();
    for field in [MAJOR, minor.min(MINOR), ahead, u32_at(body, 12) & FLAGS] {
        bytes.extend(field.to_ne_bytes());
    }
    // Requests that nobody waits for, and when there are many; then the most that a write has, the clock's grain, and its pages.
    bytes.extend([16u16, 12].iter().flat_map(|field| field.to_ne_bytes()));
    bytes.extend([MOST, 1].iter().flat_map(|field| field.to_ne_bytes()));
    bytes.extend(((MOST / 4096) as u16).to_ne_bytes());
    bytes.resize(64, 0);
    Ok(bytes)
}

fn framed(unique: u64, answer: Answer) -> Vec<u8> {
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(error) => (-error.raw_os_error(), Vec::new()),
    };
    let len = (OUT_HEADER + body.len()) as u32;
    [len.to_ne_bytes().as_slice(), &error.to_ne_bytes(), &unique.to_ne_bytes(), &body].concat()
}
