//! Talking to a worker. It may be stuck, or may have been stopped: nothing here waits for it longer than it is told to.

use super::descriptors;
use super::protocol::{LONGEST, Reply, Request, SOCKET, Status, write_line};
use super::screen::Shown;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is done within this time is done; a worker that lives may need so long on a busy host.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is answered at once if it is answered at all.
pub const LOOK: Duration = Duration::from_millis(500);
/// To say that it lives before something is asked of it, by who has looked at it already: both within a second.
const SIGN: Duration = Duration::from_millis(400);

/// It is there, and does not answer.
pub fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Connects to a socket in a VM's directory. An error: nobody listens there, or more wait than there is room for (`WouldBlock`).
pub(super) fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    // Not by its path, which may be too long for a socket's, and never through a link that the worker has made.
    let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(directory.join(name), place, Mode::empty())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}", place.as_raw_fd()))?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(LOOK))?;
    Ok(stream)
}

/// One connection to a worker.
pub struct Client {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Client {
    /// An error: nobody listens in this VM's directory, or more wait for an answer than there is room for (`WouldBlock`).
    pub fn connect(directory: &Path) -> io::Result<Self> {
        let writer = self::connect(directory, SOCKET)?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer })
    }

    /// The process that listens.
    pub fn listener(&self) -> Option<u32> {
        let pid = sockopt::socket_peercred(&self.writer).ok()?.pid;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// Of a worker that gives a sign of life first: one that is stopped is not to find this when it goes on.
    pub fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.send(&Request::Status)?;
        self.status_by(Instant::now() + SIGN)?;
        self.ask_within(request, PATIENCE)
    }

    /// As [`Client::ask`], with files that the worker gets.
    pub fn ask_with<'a>(
        &mut self,
        request: &Request,
        files: impl IntoIterator<Item = &'a File>,
    ) -> io::Result<Reply> {
        self.send(&Request::Status)?;
        self.status_by(Instant::now() + SIGN)?;
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        descriptors::send(&mut self.writer, &line, files)?;
        self.answer(Instant::now() + PATIENCE)
    }

    pub fn ask_within(&mut self, request: &Request, patience: Duration) -> io::Result<Reply> {
        self.send(request)?;
        self.answer(Instant::now() + patience)
    }

    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        write_line(&mut self.writer, request)
    }

    /// The next answer, if it is there by then.
    pub fn answer(&mut self, until: Instant) -> io::Result<Reply> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            if line.len() as u64 > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            }
            self.read_part(&mut line, until)?;
        }
        serde_json::from_slice(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// What has come of a line.
    fn read_part(&mut self, line: &mut Vec<u8>, until: Instant) -> io::Result<()> {
        let now = Instant::now();
        if now > until + LOOK {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // What is there already counts, also when others have used up the time.
        let left = until.saturating_duration_since(now).max(Duration::from_millis(1));
        self.writer.set_read_timeout(Some(left))?;
        let come = self.reader.fill_buf()?;
        if come.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let part = come.iter().position(|byte| *byte == b'\n').map_or(come.len(), |end| end + 1);
        line.extend(&come[..part]);
        self.reader.consume(part);
        Ok(())
    }

    pub fn status(&mut self) -> io::Result<Status> {
        self.send(&Request::Status)?;
        self.status_by(Instant::now() + PATIENCE)
    }

    /// The answer to a request for the status that was sent.
    pub fn status_by(&mut self, until: Instant) -> io::Result<Status> {
        match self.answer(until)? {
            Reply::Status(status) => Ok(*status),
            other => Err(io::Error::other(format!("the worker answered {other:?}"))),
        }
    }

    /// What the screen shows, or why that cannot be told.
    pub fn screen(mut self) -> io::Result<Result<Shown, String>> {
        match self.ask(&Request::Screen)? {
            Reply::Screen(head) => {
                self.writer.set_read_timeout(Some(PATIENCE))?;
                head.read(&mut self.reader).map(Ok)
            }
            Reply::Error(why) => Ok(Err(why)),
            other => Err(io::Error::other(format!("the worker answered {other:?}"))),
        }
    }

    /// The console: bytes from the reader, starting with what was kept; keys to the writer.
    pub fn console(mut self) -> io::Result<(BufReader<UnixStream>, UnixStream)> {
        match self.ask(&Request::Console)? {
            Reply::Done => {
                self.writer.set_read_timeout(None)?;
                self.writer.set_write_timeout(None)?;
                Ok((self.reader, self.writer))
            }
            Reply::Error(why) => Err(io::Error::other(why)),
            other => Err(io::Error::other(format!("the worker answered {other:?}"))),
        }
    }
}
