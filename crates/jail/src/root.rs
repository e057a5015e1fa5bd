//! A root directory with nothing in it but what the worker keeps.

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_move,
    mount_remount, unmount,
};
use rustix::process::{chdir, chroot, pivot_root};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory that stays, and its name in the new root.
#[derive(Clone, Debug)]
pub struct Kept {
    pub outside: PathBuf,
    /// Without the slash at its start.
    pub inside: PathBuf,
}

/// Where the new root is put together: a directory that every Linux has, and under which nothing lies that is kept.
const PLACE: &str = "/proc";

const STRICT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// In a mount namespace of its own: makes an empty, read-only file system the root, with the kept directories in it.
pub fn empty(kept: &[Kept]) -> io::Result<()> {
    replace(kept, MountFlags::empty())
}

/// The same with one folder, which may be for reading only.
pub fn with_folder(folder: &Kept, read_only: bool) -> io::Result<()> {
    let more = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    replace(std::slice::from_ref(folder), more)
}

fn replace(kept: &[Kept], more: MountFlags) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("ireko", PLACE, "tmpfs", STRICT, c"size=64k,nr_inodes=64,mode=755")?;
    let made = furnish(kept, more).and_then(|()| enter());
    if made.is_err() {
        let _ = unmount(PLACE, UnmountFlags::DETACH);
    }
    made
}

fn furnish(kept: &[Kept], more: MountFlags) -> io::Result<()> {
    for one in kept {
        let place = Path::new(PLACE).join(&one.inside);
        fs::create_dir_all(&place)?;
        mount_bind_recursive(&one.outside, &place)?;
        // A mount from another user namespace may only become stricter.
        mount_remount(&place, MountFlags::BIND | STRICT | more | flags(&one.outside)?, c"")?;
    }
    mount_remount(PLACE, MountFlags::BIND | STRICT | MountFlags::RDONLY, c"")?;
    Ok(())
}

fn flags(path: &Path) -> io::Result<MountFlags> {
    let has = statvfs(path)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    Ok(pairs
        .into_iter()
        .filter(|pair| has.contains(pair.0))
        .fold(MountFlags::empty(), |all, pair| all | pair.1))
}

/// pivot_root(2), NOTES: with both names ".", the old root ends up on top of the new one and is taken away. The initial
/// RAM file system cannot be taken away; the new root is moved over it then.
fn enter() -> io::Result<()> {
    chdir(PLACE)?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        Err(Errno::INVAL) => {
            mount_move(".", "/")?;
            chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(chdir("/")?)
}

/// Where there are no mounts of one's own: `home` becomes the root, with all that is in it.
pub fn confine_to(home: &Path) -> io::Result<()> {
    chroot(home)?;
    Ok(chdir("/")?)
}
