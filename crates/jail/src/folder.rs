//! The walls around who serves a folder to a guest: he is the folder's owner, has it as his root directory, and nothing else.

use crate::filter::{self, Kind};
use crate::identity::Identity;
use crate::layer::Layers;
use crate::rules::{self, Use};
use crate::{capabilities, namespaces, root, sys};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;
use std::path::Path;

/// What is left.
pub struct Confined {
    pub layers: Layers,
    /// The folder, as a place (`O_PATH`).
    pub folder: OwnedFd,
    /// This process' descriptors, as places: how a file that is known as a place is opened.
    pub descriptors: OwnedFd,
}

/// What the folder is called in the new root.
const NAME: &str = "folder";

/// Puts this process behind all walls that can be had. It must have one thread. What is missing is no error, and is told in the layers;
/// that it cannot be the folder's owner is.
pub fn confine(folder: &Path, read_only: bool, mut layers: Layers) -> io::Result<Confined> {
    const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let proc = openat(CWD, "/proc", PLACE, Mode::empty())?;
    let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let outside = openat2(CWD, folder, PLACE, Mode::empty(), no_links)?;
    let meta = fstat(&outside)?;
    let owner = rustix::process::geteuid().is_root().then(|| Identity::owner(meta.st_uid, meta.st_gid));
    let separated = namespaces::separate(&proc, owner.as_ref(), false, &mut layers);
    // A tree of its own, so that nothing is above it.
    let whole = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let own_tree = separated.mounts.then(|| open_tree(CWD, "/proc/self/fd", whole).ok()).flatten();
    let place = new_root(folder, read_only, separated.mounts, &mut layers);
    let folder = place.and_then(|place| open(place, PLACE, Mode::empty()).ok()).unwrap_or(outside);
    let served = fstat(&folder)?;
    if (served.st_dev, served.st_ino) != (meta.st_dev, meta.st_ino) {
        return Err(io::Error::other("its name became another folder's meanwhile"));
    }
    if let Some(owner) = owner {
        let _ = capabilities::empty_bounding_set();
        sys::become_user(&owner, false)?;
        layers.stands("the folder's owner", format!("user {} and group {}", meta.st_uid, meta.st_gid));
    } else {
        layers.missing("the folder's owner", "only root can be another; it runs as the user who started it");
    }
    let descriptors = match own_tree {
        Some(tree) => tree,
        None => openat(&proc, "self/fd", PLACE, Mode::empty())?,
    };
    drop(proc);
    drop_rights(&mut layers);
    // After the change of users, which makes the kernel forget it (prctl(2)).
    if separated.parent.is_some_and(|parent| !parent.dies_with_it()) {
        std::process::exit(1);
    }
    let own = if read_only { Use::FolderToRead } else { Use::Folder };
    layers.tried("Landlock", rules::restrict_to(&folder, own));
    let filtered = filter::confine(Kind::Folder).map(|()| "files below open directories".to_owned());
    layers.tried("seccomp", filtered);
    Ok(Confined { layers, folder, descriptors })
}

/// The folder's name in it; `None`: it is where it was.
fn new_root(folder: &Path, read_only: bool, mounts: bool, layers: &mut Layers) -> Option<&'static str> {
    const WALL: &str = "empty root";
    let kept = root::Kept { outside: folder.to_owned(), inside: NAME.into() };
    let why = match mounts.then(|| root::with_folder(&kept, read_only)) {
        Some(Ok(())) => {
            layers.stands(WALL, "the folder, and nothing else");
            return Some("/folder");
        }
        Some(Err(error)) => format!("the root cannot be replaced: {error}"),
        None => "there are no mounts of its own".into(),
    };
    match root::confine_to(folder) {
        Ok(()) => {
            layers.stands(WALL, format!("the folder, by chroot: {why}"));
            Some("/")
        }
        Err(error) => {
            layers.missing(WALL, format!("{why}; chroot: {error}"));
            None
        }
    }
}

fn drop_rights(layers: &mut Layers) {
    let dropped = capabilities::drop_all().map(|_| "none".to_owned());
    layers.tried("capabilities", dropped);
    let never = capabilities::no_new_privileges().map(|()| "whatever it executes".to_owned());
    layers.tried("no new privileges", never);
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    let quiet = setrlimit(Resource::Core, nothing)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    layers.tried("not dumpable", quiet.map(|()| "no core dump, and nobody traces it".to_owned()));
}
