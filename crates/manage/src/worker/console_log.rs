//! What the console printed, on disk: two files of bounded size, of which the older gives way. They outlive the worker.

use super::console::Console;
use crate::store::atomic::NO_LINK;
use crate::value::Value;
use ireko_vmcore::Broker;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the VM's directory.
pub const LOG: &str = "run/console.log";
pub const OLDER: &str = "run/console.log.1";
/// Bytes of each file.
pub const MOST: u64 = 1 << 20;
/// What a guest prints byte by byte is written in pieces.
const BATCH: Duration = Duration::from_millis(50);

/// The log as the worker writes it. What cannot be written, as on a full disk, is lost, and ends no VM.
pub struct Log {
    directory: PathBuf,
    /// Uses names.
    broker: Broker,
    file: Option<(File, u64)>,
}

impl Log {
    pub fn new(directory: &Path, broker: Broker) -> Self {
        Self { directory: directory.to_owned(), broker, file: None }
    }

    /// Says that another run starts here.
    pub fn begin(&mut self) {
        let started = Value::Time(crate::host::now());
        self.write(format!("\n[ireko: started at {started}]\n").as_bytes());
    }

    /// Writes what the console prints until it closes.
    pub fn keep(mut self, console: &Console) {
        let mut seen = 0;
        while let Some((chunk, upto)) = console.after(seen) {
            let lost = (upto - seen).saturating_sub(chunk.len() as u64);
            if lost > 0 {
                self.write(format!("\n[ireko: {lost} bytes came too fast and are not here]\n").as_bytes());
            }
            self.write(&chunk);
            seen = upto;
            console.rest(BATCH);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let (mut file, size) = match self.file.take() {
            Some((file, size)) if size + bytes.len() as u64 <= MOST => (file, size),
            other => match self.open(other.is_some(), bytes.len() as u64) {
                Some(opened) => opened,
                None => return,
            },
        };
        if file.write_all(bytes).is_ok() {
            self.file = Some((file, size + bytes.len() as u64));
        }
    }

    /// The file with room for so many bytes: what is there, or a new one.
    fn open(&self, full: bool, more: u64) -> Option<(File, u64)> {
        let directory = self.directory.clone();
        self.broker.ask(move || open(&directory, full, more).ok()).flatten()
    }
}

fn open(directory: &Path, full: bool, more: u64) -> io::Result<(File, u64)> {
    let log = directory.join(LOG);
    if full || fs::symlink_metadata(&log).is_ok_and(|meta| meta.len() + more > MOST) {
        fs::rename(&log, directory.join(OLDER))?;
    }
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).custom_flags(NO_LINK).open(&log)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// A part of the log, as who asks for it has read it. A worker that a guest has taken over may have put anything there: only
/// files are read, and of them no more than there can be.
fn read(path: &Path, from: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK | libc_nonblock()).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        io::Seek::seek(&mut &file, io::SeekFrom::Start(from))?;
        file.take(MOST + LONGEST_CHUNK).read_to_end(&mut bytes)?;
    }
    Ok((bytes, meta.ino()))
}

/// The last piece may go beyond the bound.
const LONGEST_CHUNK: u64 = super::console::KEPT as u64;

fn libc_nonblock() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

/// Somebody who reads the log, and what comes.
pub struct Reader {
    directory: PathBuf,
    /// The file that was read last, by its number, and how far.
    at: Option<(u64, u64)>,
}

impl Reader {
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), at: None }
    }

    /// What is there and was not read yet.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let (log, older) = (self.directory.join(LOG), self.directory.join(OLDER));
        let number = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.ino()).ok();
        let mut bytes = Vec::new();
        let from = match self.at {
            Some((own, at)) if number(&log) == Some(own) => at,
            // It was full meanwhile: what is left of it, then the new one from its start.
            Some((own, at)) if number(&older) == Some(own) => {
                bytes = read(&older, at).map_or_else(|_| Vec::new(), |(bytes, _)| bytes);
                0
            }
            Some(_) => 0,
            None => {
                bytes = read(&older, 0).map_or_else(|_| Vec::new(), |(bytes, _)| bytes);
                0
            }
        };
        match read(&log, from) {
            Ok((new, own)) => {
                self.at = Some((own, from + new.len() as u64));
                bytes.extend(new);
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
            Err(error) => Err(error),
        }
    }
}

/// As text that moves no cursor but to the next line: who shows it is not who printed it.
pub fn plain(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut escape = Escape::None;
    for one in String::from_utf8_lossy(bytes).chars() {
        escape = escape.next(one);
        if escape == Escape::None && (one == '\n' || one == '\t' || !one.is_control()) {
            text.push(one);
        } else if escape == Escape::Last {
            escape = Escape::None;
        }
    }
    text
}

/// Where one is in a terminal's control sequence (ECMA-48, 5.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    /// ESC came.
    First,
    /// Parameters come.
    Parameters,
    Last,
}

impl Escape {
    fn next(self, one: char) -> Self {
        match (self, one) {
            (_, '\x1b') => Self::First,
            (Self::First, '[') => Self::Parameters,
            (Self::First, ' '..='/') => Self::First,
            (Self::First, _) => Self::Last,
            (Self::Parameters, ' '..='?') => Self::Parameters,
            (Self::Parameters, _) => Self::Last,
            _ => Self::None,
        }
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> &str {
    let body = text.strip_suffix('\n').unwrap_or(text);
    match body.rmatch_indices('\n').nth(lines.saturating_sub(1)) {
        _ if lines == 0 => "",
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn log() -> (Scratch, Log, Reader) {
        let scratch = Scratch::new();
        crate::store::run::make_directory(scratch.path()).unwrap();
        let log = Log::new(scratch.path(), Broker::default());
        let reader = Reader::new(scratch.path());
        (scratch, log, reader)
    }

    #[test]
    fn what_is_printed_is_read_and_what_follows() {
        let (_scratch, mut log, mut reader) = log();
        log.write(b"one");
        assert_eq!(reader.read().unwrap(), b"one");
        log.write(b"two");
        assert_eq!(reader.read().unwrap(), b"two");
    }

    #[test]
    fn a_reader_misses_nothing_when_a_file_is_full() {
        let (_scratch, mut log, mut reader) = log();
        log.write(b"first");
        assert_eq!(reader.read().unwrap(), b"first");
        log.write(&vec![b'x'; MOST as usize - 5]);
        log.write(b"second");
        let read = reader.read().unwrap();
        assert_eq!((read.len() as u64, read.ends_with(b"xsecond")), (MOST + 1, true));
    }

    #[test]
    fn however_much_is_printed_two_files_of_bounded_size_are_there() {
        let (scratch, mut log, _) = log();
        (0..100).for_each(|_| log.write(&[b'x'; 100_000]));
        let sizes = [LOG, OLDER].map(|name| fs::metadata(scratch.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= MOST), "{sizes:?}");
        assert_eq!(fs::read_dir(scratch.path().join("run")).unwrap().count(), 2);
    }

    #[test]
    fn a_second_run_writes_behind_the_first() {
        let (scratch, mut first, mut reader) = log();
        first.write(b"first ");
        Log::new(scratch.path(), Broker::default()).write(b"second");
        assert_eq!(reader.read().unwrap(), b"first second");
    }

    #[test]
    fn a_link_that_a_worker_made_is_not_followed() {
        let (scratch, _, mut reader) = log();
        std::os::unix::fs::symlink("/etc/passwd", scratch.path().join(LOG)).unwrap();
        assert!(reader.read().is_err());
    }

    #[test]
    fn what_a_terminal_would_do_is_not_in_the_text() {
        assert_eq!(plain(b"a\x1b[31mred\x1b[0m\r\n\x1b(Bb\x07\tc\x1b[6n\n"), "ared\nb\tc\n");
    }

    #[test]
    fn the_last_lines_are_the_last_lines() {
        assert_eq!(
            (tail("a\nb\nc\n", 2), tail("a\nb\nc", 1), tail("a", 5), tail("a\n", 0)),
            ("b\nc\n", "c", "a", "")
        );
    }

    #[test]
    fn the_console_is_kept_until_it_closes() {
        let (_scratch, mut log, mut reader) = log();
        log.begin();
        let mut console = Console::default();
        console.write_all(b"printed\n").unwrap();
        console.close();
        log.keep(&console);
        let text = String::from_utf8(reader.read().unwrap()).unwrap();
        assert!(text.starts_with("\n[ireko: started at ") && text.ends_with("]\nprinted\n"), "{text}");
    }
}
