//! What the guest's kernel knows by number: places in the folder, and files and directories that are open.

use crate::fuse::Attributes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CStr;

/// The folder itself.
pub const ROOT: u64 = 1;
/// Descriptors that are neither nodes' nor handles'.
const OTHERS: u64 = 64;
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A place: something in the folder, whatever it is called meanwhile.
pub struct Node {
    pub place: OwnedFd,
    identity: (u64, u64),
    /// How often the kernel was told of it, and has not forgotten it.
    lookups: u64,
}

/// Something that is open.
pub struct Handle {
    pub file: OwnedFd,
    pub directory: bool,
}

/// Nodes and handles at most: each is memory of the host's kernel, some 1.5 KiB.
const MOST: usize = 1 << 16;

/// One step down, and not into what else is mounted there, which has other rules.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

pub struct Nodes {
    nodes: HashMap<u64, Node>,
    by_identity: HashMap<(u64, u64), u64>,
    handles: HashMap<u64, Handle>,
    next: u64,
    /// Of nodes and handles.
    most: usize,
    descriptors: OwnedFd,
}

impl Nodes {
    /// `descriptors`: this process' own, as places. `most`: how many this process may have.
    pub fn new(root: OwnedFd, descriptors: OwnedFd, most: u64) -> Result<Self, Errno> {
        let most = usize::try_from(most.saturating_sub(OTHERS)).unwrap_or(usize::MAX).min(MOST);
        let (nodes, by_identity, handles) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut own = Self { nodes, by_identity, handles, next: ROOT, most, descriptors };
        own.add(root)?;
        Ok(own)
    }

    /// As for a kernel that knows nothing yet.
    pub fn forget_all(&mut self) {
        self.handles.clear();
        self.nodes.retain(|number, _| *number == ROOT);
        self.by_identity.retain(|_, number| *number == ROOT);
    }

    pub fn place(&self, number: u64) -> Result<BorrowedFd<'_>, Errno> {
        self.nodes.get(&number).map(|node| node.place.as_fd()).ok_or(Errno::STALE)
    }

    pub fn handle(&self, number: u64) -> Result<&Handle, Errno> {
        self.handles.get(&number).ok_or(Errno::BADF)
    }

    /// What has this name in a directory: its number, which the kernel knows once more.
    pub fn look_up(&mut self, parent: u64, name: &CStr) -> Result<(u64, Stat), Errno> {
        let place = openat2(self.place(parent)?, name, PLACE, Mode::empty(), RESOLVE)?;
        let found = fstat(&place)?;
        Ok((self.add(place)?, found))
    }

    fn add(&mut self, place: OwnedFd) -> Result<u64, Errno> {
        let found = fstat(&place)?;
        let identity = (found.st_dev, found.st_ino);
        if let Some(number) = self.by_identity.get(&identity)
            && let Some(node) = self.nodes.get_mut(number)
        {
            node.lookups = node.lookups.saturating_add(1);
            return Ok(*number);
        }
        self.room()?;
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, Node { place, identity, lookups: 1 });
        self.by_identity.insert(identity, number);
        Ok(number)
    }

    fn room(&self) -> Result<(), Errno> {
        if self.nodes.len() + self.handles.len() < self.most { Ok(()) } else { Err(Errno::NFILE) }
    }

    /// The kernel has forgotten it so often. What it knows no more is closed: the folder never is.
    pub fn forget(&mut self, number: u64, times: u64) {
        let Some(node) = self.nodes.get_mut(&number).filter(|_| number != ROOT) else { return };
        node.lookups = node.lookups.saturating_sub(times);
        if node.lookups == 0 {
            let identity = node.identity;
            self.nodes.remove(&number);
            self.by_identity.remove(&identity);
        }
    }

    /// Opens what is at a place: files and directories, and nothing that could keep anybody waiting.
    pub fn open(&mut self, number: u64, flags: OFlags) -> Result<u64, Errno> {
        let kind = FileType::from_raw_mode(fstat(self.place(number)?)?.st_mode);
        let directory = match kind {
            FileType::RegularFile => false,
            FileType::Directory => true,
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::PERM),
        };
        if directory != flags.contains(OFlags::DIRECTORY) {
            return Err(if directory { Errno::ISDIR } else { Errno::NOTDIR });
        }
        self.room()?;
        let file = self.reopen(number, flags)?;
        Ok(self.keep(Handle { file, directory }))
    }

    /// Opens it anew by its descriptor, which names nothing but what it is of.
    pub fn reopen(&self, number: u64, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        openat(&self.descriptors, descriptor(self.place(number)?), flags, Mode::empty())
    }

    pub fn keep(&mut self, handle: Handle) -> u64 {
        let number = self.next;
        self.next += 1;
        self.handles.insert(number, handle);
        number
    }

    /// For a file that is to be made.
    pub fn may_open(&self) -> Result<(), Errno> {
        self.room()
    }

    pub fn close(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    /// Where this process' descriptors are, and what a node's is called there.
    pub fn by_descriptor(&self, number: u64) -> Result<(BorrowedFd<'_>, String), Errno> {
        Ok((self.descriptors.as_fd(), descriptor(self.place(number)?)))
    }

    /// How much the guest has made grow.
    #[cfg(test)]
    pub fn count(&self) -> (usize, usize) {
        (self.nodes.len(), self.handles.len())
    }
}

fn descriptor(place: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    place.as_raw_fd().to_string()
}

/// What is told of something.
pub fn attributes(found: &Stat) -> Attributes {
    let time = |seconds: i64, nanoseconds: u64| (seconds as u64, nanoseconds as u32);
    Attributes {
        inode: found.st_ino,
        size: found.st_size as u64,
        blocks: found.st_blocks as u64,
        times: [
            time(found.st_atime, found.st_atime_nsec),
            time(found.st_mtime, found.st_mtime_nsec),
            time(found.st_ctime, found.st_ctime_nsec),
        ],
        mode: found.st_mode,
        links: u32::try_from(found.st_nlink).unwrap_or(u32::MAX),
        user: found.st_uid,
        group: found.st_gid,
        block_size: found.st_blksize as u32,
    }
}
