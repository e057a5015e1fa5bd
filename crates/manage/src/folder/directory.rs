//! What a directory has, as FUSE's answers have it.

use super::nodes::{Handle, Nodes};
use super::session::entry;
use rustix::fs::{FileType, RawDir, SeekFrom, seek};
use rustix::io::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// The answer without its header: entries from `offset` on, as many as have room in `most` bytes. With `parent` each is looked up, too.
pub fn read(
    nodes: &mut Nodes,
    handle: u64,
    offset: u64,
    most: usize,
    parent: Option<u64>,
) -> Result<Vec<u8>, Errno> {
    let names = list(nodes.handle(handle)?, offset, most)?;
    let mut answer = Vec::new();
    for one in names {
        let more = parent.map_or(0, |_| ENTRY);
        if answer.len() + more + padded(one.name.count_bytes()) > most {
            break;
        }
        if let Some(parent) = parent {
            answer.extend(found(nodes, parent, &one.name));
        }
        for field in [one.inode, one.next] {
            answer.extend(field.to_ne_bytes());
        }
        for field in [one.name.count_bytes() as u32, one.kind] {
            answer.extend(field.to_ne_bytes());
        }
        answer.extend(one.name.to_bytes());
        answer.resize(answer.len().next_multiple_of(8), 0);
    }
    Ok(answer)
}

/// `fuse_entry_out`.
const ENTRY: usize = 128;

/// `fuse_dirent`, which ends at a multiple of 8.
fn padded(name: usize) -> usize {
    (24 + name).next_multiple_of(8)
}

/// What LOOKUP would say; of what cannot be looked up, that nothing is known.
fn found(nodes: &mut Nodes, parent: u64, name: &CStr) -> Vec<u8> {
    let known = match name.to_bytes() {
        b"." | b".." => None,
        _ => nodes.look_up(parent, name).ok(),
    };
    known.map_or_else(|| vec![0; ENTRY], |(number, found)| entry(number, &found))
}

struct Name {
    name: std::ffi::CString,
    inode: u64,
    /// Where the next one is.
    next: u64,
    kind: u32,
}

/// Names of about so many bytes.
fn list(handle: &Handle, offset: u64, most: usize) -> Result<Vec<Name>, Errno> {
    if !handle.directory {
        return Err(Errno::NOTDIR);
    }
    seek(&handle.file, SeekFrom::Start(offset))?;
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut directory = RawDir::new(&handle.file, &mut buffer);
    let (mut names, mut bytes) = (Vec::new(), 0);
    while bytes < most {
        let Some(one) = directory.next() else { break };
        let one = one?;
        let name = one.file_name().to_owned();
        bytes += padded(name.count_bytes());
        let (inode, next, kind) = (one.ino(), one.next_entry_cookie(), kind(one.file_type()));
        names.push(Name { name, inode, next, kind });
    }
    Ok(names)
}

/// As in d_type: the upper bits of a mode.
fn kind(kind: FileType) -> u32 {
    match kind {
        FileType::Unknown => 0,
        other => other.as_raw_mode() >> 12,
    }
}
