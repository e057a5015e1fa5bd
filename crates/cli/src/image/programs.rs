//! A root file system with the programs that people run, for the benchmark of them: of Debian's packages, found and verified by apt,
//! unpacked here. Their scripts are not run, so nobody needs to be root. It is there as a directory and as a disk of the same
//! files, and kept by what its packages are.

use super::os::payload::{MERGED, merged};
use super::{apt, cache, tar};
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use ireko_manage::place;
use ring::digest::{SHA256, digest};
use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What is measured, with what it does not depend on and needs; and what makes the disk.
const PACKAGES: [&str; 12] = [
    "gcc",
    "libc6-dev",
    "python3",
    "nodejs",
    "openjdk-17-jre-headless",
    "golang-go",
    "sqlite3",
    "openssl",
    "git",
    "xz-utils",
    "usr-is-merged",
    "e2fsprogs",
];
/// How it is put together; another whenever that changes.
const RECIPE: &str = "g1";
const START: &str = "programs-";
const ROOT: &str = "root";
const DISK: &str = "disk.img";
/// It holds what is written only.
const SIZE: u64 = 4 << 30;
/// Room for the packages, what they come to, and the disk.
const NEEDED_SPACE: u64 = 5 << 30;
/// What nobody runs.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian"];
/// What the packages' scripts would have made.
const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// Where it is kept.
pub struct Root {
    pub directory: PathBuf,
    /// An ext4 file system of the same files.
    pub disk: PathBuf,
}

impl Root {
    fn of(kept: &Path) -> Self {
        Self { directory: kept.join(ROOT), disk: kept.join(DISK) }
    }
}

/// The root file system of the packages that apt knows now; made first if it is not there. `finish` is given the directory to do in it what
/// the packages' scripts would have, before the disk is made. Where apt does not answer, the newest that was made.
pub fn ensure(progress: &Progress, finish: impl Fn(&Path) -> Result<()>) -> Result<Root> {
    let cache = cache::directory()?;
    place::check(&cache).context("the cache is not used; IREKO_CACHE can name another place")?;
    let made = cache::newest(&cache, START, RECIPE);
    let packages = match (apt::installation(&PACKAGES, progress), made) {
        (Ok(packages), _) => packages,
        (Err(_), Some(made)) => return Ok(Root::of(&made)),
        (Err(error), None) => return Err(error),
    };
    let name = name(&packages);
    let kept = cache.join(&name);
    if kept.is_dir() {
        return Ok(Root::of(&kept));
    }
    let kept = make(&packages, &name, &cache, progress, finish)?;
    forget_others(&cache, &kept);
    Ok(Root::of(&kept))
}

/// By packages and their versions.
fn name(packages: &[(String, String)]) -> String {
    let text: String = packages.iter().map(|(name, version)| format!("{name}={version}\n")).collect();
    let sum = digest(&SHA256, text.as_bytes());
    let sum: String = sum.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{START}{sum}+{RECIPE}")
}

/// They are large.
fn forget_others(cache: &Path, kept: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.path() != kept && entry.file_name().to_string_lossy().starts_with(START) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn make(
    packages: &[(String, String)],
    name: &str,
    cache: &Path,
    progress: &Progress,
    finish: impl Fn(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let draft = cache::Draft::new(cache)?;
    let free = crate::sys::free_space(cache)?;
    ensure!(
        free >= NEEDED_SPACE,
        "the programs need {} in {} while they are unpacked, where {} are free; set IREKO_CACHE to another place",
        crate::size::show(NEEDED_SPACE),
        cache.display(),
        crate::size::show(free)
    );
    let names: Vec<&str> = packages.iter().map(|(name, _)| name.as_str()).collect();
    let files = apt::download(&names, draft.path(), progress)?;
    let made = draft.path().join("made");
    let root = made.join(ROOT);
    fs::create_dir_all(&root)?;
    unpack(&files, &root, progress)?;
    let step = progress.step("prepare the programs");
    finish(&root)?;
    step.done();
    let step = progress.step("make their disk");
    make_disk(&root, &made.join(DISK))?;
    step.done();
    draft.keep("made", name)
}

fn unpack(files: &[PathBuf], root: &Path, progress: &Progress) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    let bar = progress.percent("unpack packages");
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let workers = thread::available_parallelism().map_or(1, usize::from).min(4);
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            apt::tarfile(file, "--fsys-tarfile", |stream| unpack_one(stream, root))?;
            bar.percent((done.fetch_add(1, Ordering::Relaxed) + 1) as f64 * 100.0 / files.len() as f64);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread that unpacks is gone")));
        ended.collect::<Result<()>>()
    })?;
    for (path, text) in FILES {
        fs::write(root.join(path), text).with_context(|| format!("cannot write {path}"))?;
    }
    for directory in ["proc", "sys", "dev", "tmp", "run", "root"] {
        fs::create_dir_all(root.join(directory))?;
    }
    bar.done();
    Ok(())
}

fn unpack_one(stream: &mut dyn Read, root: &Path) -> Result<()> {
    // Directories of this package that are known to be some.
    let mut known = HashSet::new();
    while let Some(entry) = tar::next(stream)? {
        let original = entry.path.trim_end_matches('/').to_owned();
        let path = merged(&original);
        let skipped =
            LEFT_OUT.iter().any(|left| path.strip_prefix(left).is_some_and(|rest| rest.starts_with('/')));
        if matches!(original.as_str(), "" | ".") || MERGED.contains(&original.as_str()) || skipped {
            tar::skip(stream, entry.size)?;
            continue;
        }
        put(stream, &entry, &path, root, &mut known).with_context(|| format!("cannot unpack {path}"))?;
    }
    Ok(())
}

/// An entry at its place, with permissions that are no more than its owner's.
fn put(
    stream: &mut dyn Read,
    entry: &tar::Entry,
    path: &str,
    root: &Path,
    known: &mut HashSet<PathBuf>,
) -> Result<()> {
    let target = root.join(path);
    let above = Path::new(path).parent().unwrap_or(Path::new(""));
    make_directories(root, above, known)?;
    match entry.kind {
        tar::DIRECTORY => make_directories(root, Path::new(path), known)?,
        tar::SYMBOLIC_LINK => symlink(&entry.link, &target)?,
        tar::HARD_LINK => {
            let link = merged(entry.link.trim_start_matches("./"));
            make_directories(root, Path::new(&link).parent().unwrap_or(Path::new("")), known)?;
            fs::hard_link(root.join(link), &target)?;
        }
        tar::FILE => {
            let mut file = File::create_new(&target)?;
            let copied = io::copy(&mut stream.take(entry.size), &mut file)?;
            ensure!(copied == entry.size, "the package's archive is cut short");
            file.set_permissions(Permissions::from_mode(entry.mode() & 0o755 | 0o600))?;
            return tar::skip_padding(stream, entry.size);
        }
        _ => (),
    }
    tar::skip(stream, entry.size)
}

/// Directories and nothing else: no package's file goes where a link leads.
fn make_directories(root: &Path, path: &Path, known: &mut HashSet<PathBuf>) -> Result<()> {
    if known.contains(path) {
        return Ok(());
    }
    let mut at = root.to_owned();
    for part in path.components() {
        let Component::Normal(name) = part else { bail!("{} is no path in a package", path.display()) };
        at.push(name);
        match fs::create_dir(&at) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                ensure!(fs::symlink_metadata(&at)?.is_dir(), "{} is no directory", at.display());
            }
            other => other?,
        }
    }
    known.insert(path.to_owned());
    Ok(())
}

/// By the packages' own mke2fs, with their libraries.
fn make_disk(root: &Path, disk: &Path) -> Result<()> {
    const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
    let file = File::create_new(disk).with_context(|| format!("cannot make {}", disk.display()))?;
    file.set_len(SIZE)?;
    let mut command = Command::new(root.join(LIBRARIES).join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(root.join(LIBRARIES)).arg(root.join("usr/sbin/mke2fs"));
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal"]);
    command.args(["-E", "root_owner=0:0,nodiscard", "-d"]).arg(root).arg(disk);
    command.env("MKE2FS_CONFIG", root.join("etc/mke2fs.conf")).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().context("the packages' mke2fs does not run here")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("mke2fs made no disk of the programs: {}", said.lines().last().unwrap_or("it gave no reason"));
    }
    file.sync_all()?;
    fs::set_permissions(disk, Permissions::from_mode(0o444))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ireko-programs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn packages(version: &str) -> Vec<(String, String)> {
        vec![("gcc".into(), version.into())]
    }

    #[test]
    fn other_versions_are_another_root() {
        assert_eq!(name(&packages("1")), name(&packages("1")));
        assert_ne!(name(&packages("1")), name(&packages("2")));
    }

    #[test]
    fn files_lie_below_usr_without_the_rights_of_others() {
        let root = scratch("merged");
        let mut archive = Vec::new();
        tar::write(&mut archive, tar::FILE, "./bin/tool", "", 0o4775, b"x");
        tar::write(&mut archive, tar::HARD_LINK, "./bin/other", "./bin/tool", 0o755, b"");
        tar::finish(&mut archive);
        unpack_one(&mut &archive[..], &root).unwrap();
        let meta = fs::metadata(root.join("usr/bin/other")).unwrap();
        assert_eq!((meta.len(), meta.permissions().mode() & 0o7777), (1, 0o755));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nothing_is_written_where_a_link_leads() {
        let root = scratch("link");
        let mut archive = Vec::new();
        tar::write(&mut archive, tar::SYMBOLIC_LINK, "etc", "/", 0o777, b"");
        tar::write(&mut archive, tar::FILE, "etc/file", "", 0o644, b"x");
        tar::finish(&mut archive);
        assert!(unpack_one(&mut &archive[..], &root).is_err());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn nothing_is_written_above_the_root() {
        let root = scratch("above");
        let mut archive = Vec::new();
        tar::write(&mut archive, tar::FILE, "usr/../../file", "", 0o644, b"x");
        tar::finish(&mut archive);
        assert!(unpack_one(&mut &archive[..], &root).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
