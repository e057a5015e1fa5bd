//! What a guest's kernel asks of a folder (FUSE), and what comes of it.

use super::directory;
use super::nodes::{Handle, Nodes, attributes};
use crate::fuse::operation::*;
use crate::fuse::{self, Answer, FileSystem, MOST, OUT_HEADER, Request, errno, framed, u32_at, u64_at};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps,
    UTIME_NOW, UTIME_OMIT, Uid, chmodat, chownat, fallocate, fdatasync, fstat, fstatvfs, fsync, ftruncate,
    linkat, mkdirat, openat, readlinkat, renameat_with, seek, symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

const FLAGS: u32 = fuse::ASYNC_READ
    | fuse::BIG_WRITES
    | fuse::MAX_PAGES
    | fuse::AUTO_INVALIDATE
    | fuse::READDIRPLUS
    | fuse::PARALLEL_LOOKUPS;
/// For how many seconds the kernel believes what it was told: others may change the folder, too.
const BELIEVED: u64 = 1;
/// The longest name, without its null.
const LONGEST_NAME: usize = 255;

/// Fields that SETATTR is about (`FATTR_*`).
const SET_MODE: u32 = 1 << 0;
const SET_USER: u32 = 1 << 1;
const SET_GROUP: u32 = 1 << 2;
const SET_SIZE: u32 = 1 << 3;
const SET_ACCESSED: u32 = 1 << 4;
const SET_MODIFIED: u32 = 1 << 5;
const BY_HANDLE: u32 = 1 << 6;
const ACCESSED_NOW: u32 = 1 << 7;
const MODIFIED_NOW: u32 = 1 << 8;

/// A folder as one guest's kernel sees it.
pub struct Session {
    nodes: Nodes,
    read_only: bool,
}

/// `fuse_entry_out`.
pub fn entry(number: u64, found: &Stat) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    for field in [number, 0, BELIEVED, BELIEVED, 0] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes.extend(attributes(found).encode());
    bytes
}

impl Session {
    pub fn new(folder: OwnedFd, descriptors: OwnedFd, most: u64, read_only: bool) -> Result<Self, Errno> {
        Ok(Self { nodes: Nodes::new(folder, descriptors, most)?, read_only })
    }

    /// The answer to a request, of `most` bytes at most; empty: there is none.
    pub fn answer(&mut self, request: &[u8], most: usize) -> Vec<u8> {
        let Some(request) = Request::read(request) else { return Vec::new() };
        match request.operation {
            FORGET => self.nodes.forget(request.node, u64_at(request.body, 0)),
            BATCH_FORGET => self.forget_several(request.body),
            INTERRUPT => (),
            _ => {
                let room = most.saturating_sub(OUT_HEADER);
                let answer = match changes(&request) && self.read_only {
                    true => Err(Errno::ROFS),
                    false => self.done(&request, room),
                };
                // What has no room would be half an answer.
                let fits = |answer: &Vec<u8>| answer.len() <= room;
                let answer =
                    framed(request.unique, answer.and_then(|a| fits(&a).then_some(a).ok_or(Errno::IO)));
                return if answer.len() <= most { answer } else { Vec::new() };
            }
        }
        Vec::new()
    }

    fn forget_several(&mut self, body: &[u8]) {
        let list = body.get(8..).unwrap_or_default().chunks_exact(16);
        for one in list.take(u32_at(body, 0) as usize) {
            self.nodes.forget(u64_at(one, 0), u64_at(one, 8));
        }
    }

    fn done(&mut self, request: &Request<'_>, room: usize) -> Answer {
        let (node, body) = (request.node, request.body);
        match request.operation {
            INIT => {
                self.nodes.forget_all();
                Ok(fuse::init(body, FLAGS))
            }
            DESTROY => {
                self.nodes.forget_all();
                nothing()
            }
            LOOKUP => self.entry(node, name(body)?.0),
            GETATTR => self.attributes(node),
            SETATTR => self.set_attributes(node, body),
            READLINK => Ok(readlinkat(self.nodes.place(node)?, c"", Vec::new())?.into_bytes()),
            SYMLINK => {
                let (own, rest) = name(body)?;
                symlinkat(string(rest)?.0, self.nodes.place(node)?, own)?;
                self.entry(node, own)
            }
            MKNOD => self.make_file(node, body),
            MKDIR => {
                let own = name(body.get(8..).unwrap_or_default())?.0;
                mkdirat(self.nodes.place(node)?, own, mode(u32_at(body, 0)))?;
                self.entry(node, own)
            }
            UNLINK => {
                unlinkat(self.nodes.place(node)?, name(body)?.0, AtFlags::empty())?;
                nothing()
            }
            RMDIR => {
                unlinkat(self.nodes.place(node)?, name(body)?.0, AtFlags::REMOVEDIR)?;
                nothing()
            }
            RENAME => self.rename(node, u64_at(body, 0), 0, body.get(8..).unwrap_or_default()),
            RENAME2 => {
                self.rename(node, u64_at(body, 0), u32_at(body, 8), body.get(16..).unwrap_or_default())
            }
            LINK => self.link(node, body),
            OPEN => {
                let handle = self.nodes.open(node, opening(u32_at(body, 0), self.read_only)?)?;
                Ok(opened(handle))
            }
            OPENDIR => Ok(opened(self.nodes.open(node, OFlags::RDONLY | OFlags::DIRECTORY)?)),
            CREATE => self.create(node, body),
            READ => self.read(body, room),
            WRITE => self.write(body),
            READDIR => {
                directory::read(&mut self.nodes, u64_at(body, 0), u64_at(body, 8), asked(body, room), None)
            }
            READDIRPLUS => {
                let most = asked(body, room);
                directory::read(&mut self.nodes, u64_at(body, 0), u64_at(body, 8), most, Some(node))
            }
            RELEASE | RELEASEDIR => {
                self.nodes.close(u64_at(body, 0));
                nothing()
            }
            FSYNC | FSYNCDIR => {
                let file = &self.nodes.handle(u64_at(body, 0))?.file;
                if u32_at(body, 8) & 1 != 0 {
                    fdatasync(file)?
                } else {
                    fsync(file)?
                }
                nothing()
            }
            SYNCFS => {
                syncfs(self.nodes.reopen(super::nodes::ROOT, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
                nothing()
            }
            STATFS => self.file_system(node),
            FALLOCATE => self.allocate(body),
            LSEEK => self.seek(body),
            // FLUSH among them: all that is written is the host's already. The kernel asks no more.
            _ => Err(Errno::NOSYS),
        }
    }

    fn entry(&mut self, parent: u64, name: &CStr) -> Answer {
        let (number, found) = self.nodes.look_up(parent, name)?;
        Ok(entry(number, &found))
    }

    fn attributes(&self, node: u64) -> Answer {
        Ok(attributes(&fstat(self.nodes.place(node)?)?).answer(BELIEVED))
    }

    fn set_attributes(&mut self, node: u64, body: &[u8]) -> Answer {
        let valid = u32_at(body, 0);
        let has = |field: u32| valid & field != 0;
        if has(SET_MODE) {
            let (directory, name) = self.nodes.by_descriptor(node)?;
            // Of a link there is no mode.
            if FileType::from_raw_mode(fstat(self.nodes.place(node)?)?.st_mode) == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            chmodat(directory, name, mode(u32_at(body, 68)), AtFlags::empty())?;
        }
        if has(SET_USER | SET_GROUP) {
            let user = has(SET_USER).then(|| Uid::from_raw(u32_at(body, 76)));
            let group = has(SET_GROUP).then(|| Gid::from_raw(u32_at(body, 80)));
            // A number that this process' own user namespace has not is another's, too.
            chownat(self.nodes.place(node)?, c"", user, group, AtFlags::EMPTY_PATH)
                .map_err(|error| if error == Errno::INVAL { Errno::PERM } else { error })?;
        }
        if has(SET_SIZE) {
            let size = u64_at(body, 16);
            if has(BY_HANDLE) {
                ftruncate(&self.nodes.handle(u64_at(body, 8))?.file, size)?;
            } else {
                let handle = self.nodes.open(node, OFlags::WRONLY)?;
                let cut = self.nodes.handle(handle).and_then(|handle| ftruncate(&handle.file, size));
                self.nodes.close(handle);
                cut?;
            }
        }
        if has(SET_ACCESSED | SET_MODIFIED) {
            let time = |set: bool, now: bool, seconds: usize, nanoseconds: usize| Timespec {
                tv_sec: u64_at(body, seconds) as i64,
                tv_nsec: match (set, now) {
                    (false, _) => UTIME_OMIT,
                    (true, true) => UTIME_NOW,
                    (true, false) => i64::from(u32_at(body, nanoseconds)),
                },
            };
            let times = Timestamps {
                last_access: time(has(SET_ACCESSED), has(ACCESSED_NOW), 32, 56),
                last_modification: time(has(SET_MODIFIED), has(MODIFIED_NOW), 40, 60),
            };
            let (directory, name) = self.nodes.by_descriptor(node)?;
            utimensat(directory, name, &times, AtFlags::empty())?;
        }
        self.attributes(node)
    }

    /// A regular file: others would be doors for programs of the host.
    fn make_file(&mut self, parent: u64, body: &[u8]) -> Answer {
        let (raw, own) = (u32_at(body, 0), name(body.get(16..).unwrap_or_default())?.0);
        if FileType::from_raw_mode(raw) != FileType::RegularFile {
            return Err(Errno::PERM);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        drop(openat(self.nodes.place(parent)?, own, flags, mode(raw))?);
        self.entry(parent, own)
    }

    fn create(&mut self, parent: u64, body: &[u8]) -> Answer {
        let own = name(body.get(16..).unwrap_or_default())?.0;
        self.nodes.may_open()?;
        let asked = OFlags::from_bits_truncate(u32_at(body, 0));
        let flags = opening(u32_at(body, 0), self.read_only)?;
        let more = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(self.nodes.place(parent)?, own, flags | more, mode(u32_at(body, 4)));
        // What is there is looked at before it is opened.
        let made = match made {
            Err(Errno::EXIST) if !asked.contains(OFlags::EXCL) => None,
            made => Some(made?),
        };
        let entry = self.entry(parent, own)?;
        let handle = match made {
            Some(file) => self.nodes.keep(Handle { file, directory: false }),
            None => self.nodes.open(u64_at(&entry, 0), flags)?,
        };
        if asked.contains(OFlags::TRUNC) {
            ftruncate(&self.nodes.handle(handle)?.file, 0)?;
        }
        Ok([entry, opened(handle)].concat())
    }

    fn rename(&mut self, from: u64, to: u64, flags: u32, names: &[u8]) -> Answer {
        let (old, rest) = name(names)?;
        let flags = RenameFlags::from_bits(flags).filter(|flags| !flags.contains(RenameFlags::WHITEOUT));
        let flags = flags.ok_or(Errno::INVAL)?;
        renameat_with(self.nodes.place(from)?, old, self.nodes.place(to)?, name(rest)?.0, flags)?;
        nothing()
    }

    fn link(&mut self, parent: u64, body: &[u8]) -> Answer {
        let own = name(body.get(8..).unwrap_or_default())?.0;
        let (directory, what) = self.nodes.by_descriptor(u64_at(body, 0))?;
        linkat(directory, what, self.nodes.place(parent)?, own, AtFlags::SYMLINK_FOLLOW)?;
        self.entry(parent, own)
    }

    fn read(&self, body: &[u8], room: usize) -> Answer {
        let file = self.file(u64_at(body, 0))?;
        let mut data = vec![0; asked(body, room)];
        let mut count = 0;
        while count < data.len() {
            match file.read_at(&mut data[count..], u64_at(body, 8).saturating_add(count as u64)) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if count == 0 => return Err(errno(&error)),
                Err(_) => break,
            }
        }
        data.truncate(count);
        Ok(data)
    }

    fn write(&self, body: &[u8]) -> Answer {
        let (offset, length) = (u64_at(body, 8), u32_at(body, 16) as usize);
        let data = body.get(40..).and_then(|data| data.get(..length)).ok_or(Errno::INVAL)?;
        let file = self.file(u64_at(body, 0))?;
        let mut count = 0;
        while count < data.len() {
            match file.write_at(&data[count..], offset.saturating_add(count as u64)) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if count == 0 => return Err(errno(&error)),
                Err(_) => break,
            }
        }
        Ok([(count as u32).to_ne_bytes(), [0; 4]].concat())
    }

    /// One that is open, for as long as this is.
    fn file(&self, handle: u64) -> Result<File, Errno> {
        let handle = self.nodes.handle(handle)?;
        if handle.directory {
            return Err(Errno::ISDIR);
        }
        Ok(rustix::io::fcntl_dupfd_cloexec(&handle.file, 0)?.into())
    }

    fn file_system(&self, node: u64) -> Answer {
        let found = fstatvfs(self.nodes.place(node)?)?;
        let of = FileSystem {
            blocks: found.f_blocks,
            free: found.f_bfree,
            available: found.f_bavail,
            files: found.f_files,
            files_free: found.f_ffree,
            block_size: found.f_bsize as u32,
            name_length: (found.f_namemax as u32).min(LONGEST_NAME as u32),
            fragment: found.f_frsize as u32,
        };
        Ok(of.answer())
    }

    fn allocate(&self, body: &[u8]) -> Answer {
        let flags = FallocateFlags::from_bits(u32_at(body, 24)).ok_or(Errno::OPNOTSUPP)?;
        let file = &self.nodes.handle(u64_at(body, 0))?.file;
        fallocate(file, flags, u64_at(body, 8), u64_at(body, 16))?;
        nothing()
    }

    fn seek(&self, body: &[u8]) -> Answer {
        const DATA: u32 = 3;
        const HOLE: u32 = 4;
        let offset = u64_at(body, 8);
        let to = match u32_at(body, 16) {
            DATA => SeekFrom::Data(offset),
            HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        Ok(seek(self.nodes.handle(u64_at(body, 0))?.file.as_fd(), to)?.to_ne_bytes().into())
    }

    #[cfg(test)]
    pub fn count(&self) -> (usize, usize) {
        self.nodes.count()
    }
}

/// Whether it would change anything.
fn changes(request: &Request<'_>) -> bool {
    const WRITES: [u32; 13] = [
        SETATTR, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME, RENAME2, LINK, CREATE, WRITE, FALLOCATE,
        SYNCFS,
    ];
    WRITES.contains(&request.operation)
}

fn nothing() -> Answer {
    Ok(Vec::new())
}

/// A string of a request and what is behind its null.
fn string(bytes: &[u8]) -> Result<(&CStr, &[u8]), Errno> {
    let text = CStr::from_bytes_until_nul(bytes).map_err(|_| Errno::INVAL)?;
    Ok((text, &bytes[text.count_bytes() + 1..]))
}

/// The same of a name in a directory: no way to anywhere else.
fn name(bytes: &[u8]) -> Result<(&CStr, &[u8]), Errno> {
    let (name, rest) = string(bytes)?;
    match name.to_bytes() {
        b"" | b"." | b".." => Err(Errno::INVAL),
        long if long.len() > LONGEST_NAME => Err(Errno::NAMETOOLONG),
        parts if parts.contains(&b'/') => Err(Errno::INVAL),
        _ => Ok((name, rest)),
    }
}

/// Without set-user-ID and set-group-ID: the folder's files are programs of the host, too.
fn mode(raw: u32) -> Mode {
    Mode::from_raw_mode(raw & 0o1777)
}

/// How a file is opened: whether it is read or written, and whether writes wait. Where to write, the kernel says.
fn opening(raw: u32, read_only: bool) -> Result<OFlags, Errno> {
    let given = OFlags::from_bits_truncate(raw);
    if read_only && given.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Err(Errno::ROFS);
    }
    Ok(given & (OFlags::WRONLY | OFlags::RDWR | OFlags::SYNC | OFlags::DSYNC))
}

/// How much a read wants, as far as there is room.
fn asked(body: &[u8], room: usize) -> usize {
    (u32_at(body, 16).min(MOST) as usize).min(room)
}

fn opened(handle: u64) -> Vec<u8> {
    [handle.to_ne_bytes(), [0; 8]].concat()
}
