//! FUSE's messages (`linux/fuse.h`, protocol 7.31): what a kernel asks of whoever serves a file system, and how answers look.

use rustix::io::Errno;
use std::io;

pub const MAJOR: u32 = 7;
pub const MINOR: u32 = 31;
/// The most that a read or a write moves.
pub const MOST: u32 = 1 << 20;

/// Operations.
pub mod operation {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const SYNCFS: u32 = 50;
}

/// What is agreed on at the beginning: several reads at a time, large writes, more pages a request.
pub const ASYNC_READ: u32 = 1 << 0;
pub const BIG_WRITES: u32 = 1 << 5;
pub const MAX_PAGES: u32 = 1 << 22;
/// What a kernel holds of a file is forgotten when the file has changed.
pub const AUTO_INVALIDATE: u32 = 1 << 12;
/// Directories are read with what LOOKUP would say of each name, where that is of use; and several names looked up at a time.
pub const READDIRPLUS: u32 = 1 << 13 | 1 << 14;
pub const PARALLEL_LOOKUPS: u32 = 1 << 18;

/// Ways of fallocate(2).
pub const KEEP_SIZE: u32 = 1 << 0;
pub const PUNCH_HOLE: u32 = 1 << 1;
pub const ZERO_RANGE: u32 = 1 << 4;

const IN_HEADER: usize = 40;
pub const OUT_HEADER: usize = 16;

/// A field of a message, zero where the message is too short.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_ne_bytes)
}
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// A request: its header's fields, and what is behind it.
pub struct Request<'a> {
    pub operation: u32,
    pub unique: u64,
    /// What it is about.
    pub node: u64,
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// `None`: it is shorter than a header.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let body = bytes.get(IN_HEADER..)?;
        Some(Self { operation: u32_at(bytes, 4), unique: u64_at(bytes, 8), node: u64_at(bytes, 16), body })
    }
}

/// What an answer has behind its header.
pub type Answer = Result<Vec<u8>, Errno>;

/// An answer with its header.
pub fn framed(unique: u64, answer: Answer) -> Vec<u8> {
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(error) => (-error.raw_os_error(), Vec::new()),
    };
    let len = (OUT_HEADER + body.len()) as u32;
    [len.to_ne_bytes().as_slice(), &error.to_ne_bytes(), &unique.to_ne_bytes(), &body].concat()
}

/// The answer to INIT, with what of these `flags` the kernel knows, too. A kernel of another major version says hello again with ours.
pub fn init(body: &[u8], flags: u32) -> Vec<u8> {
    let (minor, ahead) = (u32_at(body, 4), u32_at(body, 8));
    let mut bytes = Vec::new();
    for field in [MAJOR, minor.min(MINOR), ahead, u32_at(body, 12) & flags] {
        bytes.extend(field.to_ne_bytes());
    }
    // Requests that nobody waits for, and when there are many; then the most that a write has, the clock's grain, and its pages.
    bytes.extend([16u16, 12].iter().flat_map(|field| field.to_ne_bytes()));
    bytes.extend([MOST, 1].iter().flat_map(|field| field.to_ne_bytes()));
    bytes.extend(((MOST / 4096) as u16).to_ne_bytes());
    bytes.resize(64, 0);
    bytes
}

/// What is told of a file (`fuse_attr`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    pub inode: u64,
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    /// Access, change of the content, change of anything: seconds and nanoseconds.
    pub times: [(u64, u32); 3],
    pub mode: u32,
    pub links: u32,
    pub user: u32,
    pub group: u32,
    pub block_size: u32,
}

impl Attributes {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(88);
        let [accessed, modified, changed] = self.times;
        for field in [self.inode, self.size, self.blocks, accessed.0, modified.0, changed.0] {
            bytes.extend(field.to_ne_bytes());
        }
        let nanoseconds = [accessed.1, modified.1, changed.1];
        let rest = [self.mode, self.links, self.user, self.group, 0, self.block_size, 0];
        for field in nanoseconds.into_iter().chain(rest) {
            bytes.extend(field.to_ne_bytes());
        }
        bytes
    }

    /// The answer to GETATTR and SETATTR, right for so many seconds.
    pub fn answer(&self, seconds: u64) -> Vec<u8> {
        [seconds.to_ne_bytes().as_slice(), &[0; 8], &self.encode()].concat()
    }
}

/// `fuse_kstatfs`.
pub struct FileSystem {
    pub blocks: u64,
    pub free: u64,
    pub available: u64,
    pub files: u64,
    pub files_free: u64,
    pub block_size: u32,
    pub name_length: u32,
    pub fragment: u32,
}

impl FileSystem {
    pub fn answer(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80);
        for field in [self.blocks, self.free, self.available, self.files, self.files_free] {
            bytes.extend(field.to_ne_bytes());
        }
        for field in [self.block_size, self.name_length, self.fragment] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.resize(80, 0);
        bytes
    }
}

/// The number of what the host said.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(match error.kind() {
        io::ErrorKind::StorageFull => Errno::NOSPC,
        io::ErrorKind::PermissionDenied => Errno::ROFS,
        _ => Errno::IO,
    })
}
