//! A folder of the host's for a guest: its kernel asks in FUSE's messages (`linux/fuse.h`), and whoever has the folder answers.

use std::fmt::Debug;
use std::io;

/// The longest request and the longest answer, in bytes: 1 MiB of a file, and what is around it.
pub const LONGEST_MESSAGE: usize = (1 << 20) + 4096;

/// Whoever has the folder.
pub trait Folder: Debug + Send + Sync {
    /// The answer, of `most` bytes at most; empty: there is none. The error: nobody is there any more who could answer.
    fn ask(&self, request: &[u8], most: usize) -> io::Result<Vec<u8>>;
}
