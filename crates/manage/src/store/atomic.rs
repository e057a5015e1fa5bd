//! Files that have their old content or their new one, whenever the power goes.

use crate::guid::Guid;
use crate::place;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// No file of ours is larger; a larger one is not ours.
pub const LIMIT: u64 = 1 << 20;

/// O_NOFOLLOW: what we open is the file itself.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.bits() as i32;

/// What [`write()`] does, step by step; a crash may come before any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncDirectory,
}

/// Replaces the file's content; only the owner may read it.
pub fn write(path: &Path, data: &[u8]) -> io::Result<()> {
    write_in_steps(path, data, |_| Ok(()))
}

/// As [`write()`]; `before` is called before each step, and its error ends it there, as a crash would.
pub fn write_in_steps(
    path: &Path,
    data: &[u8],
    mut before: impl FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let draft = draft_of(path);
    before(Step::Create)?;
    // A draft of the same name is of a process that was killed: the lock keeps the living apart. Or it is a link that a
    // worker has left, which must not be followed.
    let _ = fs::remove_file(&draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(NO_LINK);
    let mut file = options.open(&draft)?;
    before(Step::Write)?;
    file.write_all(data)?;
    before(Step::Sync)?;
    file.sync_all()?;
    before(Step::Rename)?;
    fs::rename(&draft, path)?;
    before(Step::SyncDirectory)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// As [`write()`], where others have files too, or write at the same time: the draft's name is nobody's, and it does not stay.
pub fn write_among_others(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.draft", Guid::random()?));
    let draft = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(NO_LINK);
    let mut file = options.open(&draft)?;
    let written = file.write_all(data).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".draft");
    path.with_file_name(name)
}

pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The whole file, if it is not absurdly large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Neither a link to another's file, nor a pipe that nobody writes to.
    let flags = NO_LINK | OFlags::NONBLOCK.bits() as i32;
    read_open(OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

/// As [`read`], of a file of ours: no link, and nobody else may have written it.
pub fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    read_open(place::open_below(path.parent().unwrap_or(Path::new(".")), name)?)
}

fn read_open(file: File) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file"));
    }
    file.take(LIMIT + 1).read_to_end(&mut data)?;
    if data.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {LIMIT} bytes")));
    }
    Ok(data)
}
