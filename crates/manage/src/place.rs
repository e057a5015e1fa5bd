//! Whether a directory or a file is really ours: what a home or a cache says is done, as root perhaps, so nobody else may have a
//! say in what lies there.
//!
//! A path is walked from `/`, one name at a time and each by the descriptor of the one before, so nothing can be exchanged
//! between the look and the step. What was found to be its owner's alone on the whole way stays so.

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, getxattr, mkdirat, openat, openat2, readlinkat,
};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Why a place is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{} belongs to user {owner}, and root uses only what is root's own; name another place, or give it to root", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("{} can be written by others (mode {mode:04o}), who could put theirs in its place; run: chmod go-w {}", path.display(), path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{} gives others a say in all that is made in it, by a default access control list; run: setfacl -k {}", path.display(), path.display())]
    Inherited { path: PathBuf },
    #[error("{} is shared with others (mode {mode:04o}); name a directory of your own, in it or elsewhere", path.display())]
    Shared { path: PathBuf, mode: u32 },
    #[error("{} is a symbolic link, and root follows none outside the system's own directories; give the path that it leads to", path.display())]
    Link { path: PathBuf },
    #[error("{} cannot be used: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
}

/// Who asks. Root of a user namespace is no root: the host's files are there as nobody's.
#[derive(Clone, Copy)]
struct Us {
    uid: u32,
    root: bool,
}

impl Us {
    fn now() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let all = map.split_whitespace().eq(["0", "0", "4294967295"]) || map.is_empty();
        Self { uid, root: uid == 0 && all }
    }

    fn trusts(self, owner: u32) -> bool {
        owner == self.uid || owner == 0
    }
}

/// Write permission of anybody but the owner. A group of the owner's own number is the owner alone, as Debian makes users; but
/// where there is an access control list, the group's bits are those of everybody whom it names (acl(5)).
fn others_may_write(opened: impl AsFd, stat: &Stat) -> bool {
    let group = || stat.st_gid != stat.st_uid || has_access_list(opened);
    stat.st_mode & 0o002 != 0 || stat.st_mode & 0o020 != 0 && group()
}

fn has_access_list(opened: impl AsFd) -> bool {
    has_list(opened, "system.posix_acl_access")
}

/// Where that can't be told, there may be one.
fn has_list(opened: impl AsFd, which: &str) -> bool {
    let path = format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd());
    let mut nothing: [u8; 0] = [];
    !matches!(getxattr(path, which, &mut nothing), Err(Errno::NODATA | Errno::OPNOTSUPP))
}

fn is_sticky(stat: &Stat) -> bool {
    stat.st_mode & 0o1000 != 0
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// As the kernel's own bound.
const MOST_LINKS: u32 = 40;

/// The directory, which must be ours alone, on a way that nobody else can turn. What is missing of it is made, for us only.
pub fn claim(path: &Path) -> Result<(), Refused> {
    Walk::new(Us::now(), true).to(path)
}

/// As [`claim`] for a place that may not be there yet: nothing is made.
pub fn check(path: &Path) -> Result<(), Refused> {
    match Walk::new(Us::now(), false).to(path) {
        Err(Refused::Io { why, .. }) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

struct Walk {
    us: Us,
    make: bool,
    /// Where we are, for people.
    at: PathBuf,
    /// So far no directory was anybody's to write in.
    system: bool,
    links: u32,
}

impl Walk {
    fn new(us: Us, make: bool) -> Self {
        Self { us, make, at: PathBuf::from("/"), system: true, links: 0 }
    }

    fn failed(&self, why: impl Into<io::Error>) -> Refused {
        Refused::Io { path: self.at.clone(), why: why.into() }
    }

    fn to(&mut self, path: &Path) -> Result<(), Refused> {
        let path = std::path::absolute(path).map_err(|error| self.failed(error))?;
        let mut rest = names(&path);
        let mut here = self.root()?;
        while let Some(name) = rest.pop_front() {
            let parent = self.at.clone();
            self.at.push(&name);
            let next = self.step(&here, &name)?;
            let stat = fstat(&next).map_err(|error| self.failed(error))?;
            if kind(&stat) != FileType::Symlink {
                self.judge(&next, &stat, rest.is_empty())?;
                here = next;
                continue;
            }
            self.follow(&stat)?;
            let target = readlinkat(&next, "", Vec::new()).map_err(|error| self.failed(error))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            self.at = parent;
            if target.is_absolute() {
                here = self.root()?;
            }
            names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
        }
        Ok(())
    }

    fn root(&mut self) -> Result<OwnedFd, Refused> {
        self.at = PathBuf::from("/");
        openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty()).map_err(|error| self.failed(error))
    }

    fn step(&self, here: &OwnedFd, name: &OsString) -> Result<OwnedFd, Refused> {
        let open = || openat(here, name, LOOK, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) if self.make => match mkdirat(here, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => open(),
                Err(error) => Err(error),
            },
            other => other,
        };
        opened.map_err(|error| self.failed(error))
    }

    /// A directory on the way, or (`last`) the one that is meant.
    fn judge(&mut self, opened: &OwnedFd, stat: &Stat, last: bool) -> Result<(), Refused> {
        let (path, owner) = (self.at.clone(), stat.st_uid);
        if kind(stat) != FileType::Directory {
            return Err(self.failed(Errno::NOTDIR));
        }
        if self.us.root && !self.us.trusts(owner) {
            return Err(Refused::Foreign { path, owner });
        }
        // Everything that is made in it would be theirs, too.
        if last && has_list(opened, "system.posix_acl_default") {
            return Err(Refused::Inherited { path });
        }
        if others_may_write(opened, stat) {
            let mode = stat.st_mode & 0o7777;
            match (is_sticky(stat), last) {
                (false, _) => return Err(Refused::Writable { path, mode }),
                (true, true) => return Err(Refused::Shared { path, mode }),
                (true, false) => (),
            }
            self.system = false;
        }
        Ok(())
    }

    /// Links like /var/run are the system's own. Root follows no others; a user follows root's and the user's own.
    fn follow(&mut self, stat: &Stat) -> Result<(), Refused> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(self.failed(Errno::LOOP));
        }
        let may = self.us.trusts(stat.st_uid) && (self.system || !self.us.root);
        if may { Ok(()) } else { Err(Refused::Link { path: self.at.clone() }) }
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// A file below a directory of ours, reached through no link and through no directory in which others may put theirs: a plain
/// one, that only root and we could have written.
pub fn open_below(directory: &Path, name: &str) -> io::Result<File> {
    let mut here = OwnedFd::from(File::open(directory)?);
    let mut at = directory.to_owned();
    let mut rest = names(Path::new(name));
    let last = rest.pop_back().ok_or(Errno::NOENT)?;
    written_by_us(&here, FileType::Directory).map_err(|why| of(&at, why))?;
    for name in rest {
        here = step_below(&here, &name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        at.push(name);
        written_by_us(&here, FileType::Directory).map_err(|why| of(&at, why))?;
    }
    let file = step_below(&here, &last, OFlags::RDONLY | OFlags::NONBLOCK)?;
    written_by_us(&file, FileType::RegularFile).map_err(io::Error::other)?;
    Ok(file.into())
}

fn of(directory: &Path, why: String) -> io::Error {
    io::Error::other(format!("of its directory {}: {why}", directory.display()))
}

/// One name, in this very directory.
fn step_below(here: &OwnedFd, name: &OsString, flags: OFlags) -> io::Result<OwnedFd> {
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let flags = flags | OFlags::CLOEXEC;
    match openat2(here, name, flags, Mode::empty(), how) {
        // Linux before 5.6, and what filters system calls that it does not know.
        Err(Errno::NOSYS | Errno::PERM) if name != ".." => {
            openat(here, name, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        other => other,
    }
    .map_err(no_link)
}

fn no_link(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::other("it is a symbolic link; put the file itself there"),
        other => other.into(),
    }
}

fn written_by_us(opened: &OwnedFd, wanted: FileType) -> Result<(), String> {
    let (stat, us) = (fstat(opened).map_err(|error| io::Error::from(error).to_string())?, Us::now());
    let mode = stat.st_mode & 0o7777;
    if kind(&stat) != wanted {
        Err("it is no file".into())
    } else if us.root && !us.trusts(stat.st_uid) {
        Err(format!("it belongs to user {}, and root uses only what is root's own", stat.st_uid))
    } else if others_may_write(opened, &stat) && !(wanted == FileType::Directory && is_sticky(&stat)) {
        // In a sticky directory, like a guest's root, nobody else takes ours away, and what is theirs is not taken.
        Err(format!("others may write it (mode {mode:04o}); take that from them with chmod go-w"))
    } else {
        Ok(())
    }
}

/// A file that only its owner, who is us, may read.
pub fn open_secret(path: &Path) -> Result<File, String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| io::Error::from(error).to_string())?;
    let file = File::from(file);
    let stat = fstat(&file).map_err(|error| io::Error::from(error).to_string())?;
    if kind(&stat) != FileType::RegularFile {
        return Err("it is no file; give a file, or a name that is free".into());
    }
    if stat.st_mode & 0o077 != 0 || stat.st_uid != Us::now().uid {
        let mode = stat.st_mode & 0o777;
        return Err(format!("others may read it (mode {mode:04o}); make it your own with mode 0600"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn root() -> bool {
        let root = Us::now().root;
        if !root {
            eprintln!("skipped: only root can give files to others, and is held to more");
        }
        root
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A directory below a scratch of its own.
    fn place() -> (Scratch, PathBuf) {
        let scratch = Scratch::new();
        let place = scratch.path().join("way/home");
        fs::create_dir_all(&place).unwrap();
        (scratch, place)
    }

    #[test]
    fn what_is_missing_is_made_for_us_only() {
        let scratch = Scratch::new();
        let home = scratch.path().join("a/b");
        claim(&home).unwrap();
        for made in [&home, home.parent().unwrap()] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_check_makes_nothing() {
        let scratch = Scratch::new();
        let home = scratch.path().join("a");
        check(&home).unwrap();
        assert!(!home.exists());
    }

    #[test]
    fn what_others_may_write_is_refused_also_on_the_way() {
        let (_scratch, home) = place();
        for (path, bits) in [(home.as_path(), 0o777), (home.parent().unwrap(), 0o757)] {
            mode(path, bits);
            assert!(matches!(claim(&home), Err(Refused::Writable { path: at, .. }) if at == path));
            mode(path, 0o755);
        }
        claim(&home).unwrap();
    }

    /// `setfacl -m u:12345:rwx`, as the kernel takes it: owner, that user, group, mask and others.
    fn give_to_another(path: &Path, which: &str) -> bool {
        let entry = |tag: u16, rights: u16, id: u32| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let of_all = u32::MAX;
        let entries = [(1, 7, of_all), (2, 7, 12_345), (4, 5, of_all), (0x10, 7, of_all), (0x20, 5, of_all)];
        let list = entries.iter().flat_map(|&(tag, rights, id)| entry(tag, rights, id));
        let list: Vec<u8> = 2u32.to_le_bytes().into_iter().chain(list).collect();
        let flags = rustix::fs::XattrFlags::empty();
        let set = rustix::fs::setxattr(path, which, &list, flags).is_ok();
        if !set {
            eprintln!("skipped: the file system of {} keeps no access control lists", path.display());
        }
        set
    }

    #[test]
    fn whom_an_access_control_list_names_is_others() {
        let (_scratch, home) = place();
        if give_to_another(&home, "system.posix_acl_access") {
            assert!(matches!(claim(&home), Err(Refused::Writable { .. })));
        }
    }

    #[test]
    fn a_home_that_gives_others_what_is_made_in_it_is_refused() {
        let (_scratch, home) = place();
        if give_to_another(&home, "system.posix_acl_default") {
            assert!(matches!(claim(&home), Err(Refused::Inherited { .. })));
        }
    }

    #[test]
    fn a_directory_for_everybody_is_no_home() {
        let (_scratch, home) = place();
        mode(&home, 0o1777);
        assert!(matches!(claim(&home), Err(Refused::Shared { mode: 0o1777, .. })));
    }

    #[test]
    fn another_group_that_may_write_is_others() {
        if !root() {
            return;
        }
        let (_scratch, home) = place();
        mode(&home, 0o775);
        claim(&home).unwrap();
        chown(&home, None, Some(12_345)).unwrap();
        assert!(matches!(claim(&home), Err(Refused::Writable { .. })));
    }

    #[test]
    fn a_sticky_directory_on_the_way_is_none_of_our_business() {
        let (_scratch, home) = place();
        mode(home.parent().unwrap(), 0o1777);
        claim(&home).unwrap();
    }

    #[test]
    fn root_uses_nothing_of_others() {
        if !root() {
            return;
        }
        let (_scratch, home) = place();
        for path in [home.as_path(), home.parent().unwrap()] {
            chown(path, Some(12_345), None).unwrap();
            assert!(matches!(claim(&home), Err(Refused::Foreign { owner: 12_345, .. })));
            chown(path, Some(0), None).unwrap();
        }
    }

    #[test]
    fn root_follows_no_link_outside_the_systems_part() {
        if !root() {
            return;
        }
        let (scratch, home) = place();
        let link = scratch.path().join("link");
        symlink(&home, &link).unwrap();
        for path in [&link, &link.join("vms")] {
            assert!(matches!(claim(path), Err(Refused::Link { path }) if path == link));
        }
    }

    #[test]
    fn the_systems_own_links_are_followed() {
        // On any Linux of today /proc/self, and mostly /bin and /var/run, too.
        for path in ["/proc/self/task", "/bin", "/var/run"].map(Path::new).iter().filter(|path| path.exists())
        {
            if let Err(Refused::Link { path }) = check(path) {
                panic!("{}", path.display());
            }
        }
    }

    #[test]
    fn links_that_lead_round_end() {
        let scratch = Scratch::new();
        let link = scratch.path().join("round");
        symlink(&link, &link).unwrap();
        assert!(claim(&link).is_err());
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_refused() {
        let scratch = Scratch::new();
        fs::write(scratch.path().join("file"), "").unwrap();
        assert!(matches!(claim(&scratch.path().join("file")), Err(Refused::Io { .. })));
    }

    #[test]
    fn a_file_of_ours_is_plain_and_only_ours_to_write() {
        let scratch = Scratch::new();
        let open = |name: &str| open_below(scratch.path(), name).map(drop).map_err(|error| error.to_string());
        fs::write(scratch.path().join("file"), "").unwrap();
        open("file").unwrap();
        symlink("file", scratch.path().join("link")).unwrap();
        assert!(open("link").unwrap_err().contains("symbolic link"));
        fs::create_dir(scratch.path().join("directory")).unwrap();
        assert!(open("directory").unwrap_err().contains("no file"));
        mode(&scratch.path().join("file"), 0o666);
        assert!(open("file").unwrap_err().contains("others may write"));
        assert!(open("../file").is_err());
    }

    #[test]
    fn a_file_in_a_directory_that_others_may_write_is_refused() {
        let (scratch, home) = place();
        fs::write(home.join("file"), "").unwrap();
        let open = || open_below(scratch.path(), "way/home/file").map_err(|error| error.to_string());
        open().unwrap();
        mode(home.parent().unwrap(), 0o777);
        assert!(open().unwrap_err().contains("others may write it (mode 0777)"));
        mode(home.parent().unwrap(), 0o1777);
        open().unwrap();
    }
}
