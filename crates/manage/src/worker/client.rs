//! Talking to a worker.

use super::body::socket_path;
use super::protocol::{Reply, Request, Status, read_line, write_line};
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A worker that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to a worker.
pub struct Client {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Client {
    /// An error: nobody listens in this VM's directory.
    pub fn connect(directory: &Path) -> io::Result<Self> {
        let opened = File::open(directory)?;
        let writer = UnixStream::connect(socket_path(&opened))?;
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer })
    }

    pub fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        write_line(&mut self.writer, request)?;
        read_line(&mut self.reader)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub fn status(&mut self) -> io::Result<Status> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(io::Error::other(format!("the worker answered {other:?}"))),
        }
    }

    /// The console: bytes from the reader, starting with what was kept; keys to the writer.
    pub fn console(mut self) -> io::Result<(BufReader<UnixStream>, UnixStream)> {
        match self.ask(&Request::Console)? {
            Reply::Done => {
                self.writer.set_read_timeout(None)?;
                Ok((self.reader, self.writer))
            }
            other => Err(io::Error::other(format!("the worker answered {other:?}"))),
        }
    }
}
