//! Files that come over the control socket with a request (SCM_RIGHTS): a worker opens nothing by name, so who asks has opened
//! and locked them.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// More files than requests need nobody sends who means well: they are closed.
const MOST: usize = ireko_storage::chain::MOST;

/// A connection's requests, and the files that came with them in the same order.
pub struct Incoming {
    stream: UnixStream,
    files: VecDeque<File>,
}

impl Incoming {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, files: VecDeque::new() }
    }

    /// So many files of the request that was read last, if they came.
    pub fn files(&mut self, count: usize) -> Option<Vec<File>> {
        (self.files.len() >= count).then(|| self.files.drain(..count).collect())
    }

    /// A request without a file does not leave one for the next.
    pub fn forget(&mut self) {
        self.files.clear();
    }
}

impl Read for Incoming {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(data)];
        let received = recvmsg(&self.stream, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                let room = MOST - self.files.len().min(MOST);
                self.files.extend(files.take(room).map(File::from));
            }
        }
        Ok(received.bytes)
    }
}

/// Sends a line, and files with its first byte.
pub fn send<'a>(
    stream: &mut UnixStream,
    line: &[u8],
    files: impl IntoIterator<Item = &'a File>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = files.into_iter().map(File::as_fd).collect();
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = sendmsg(&*stream, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&line[sent..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Seek};

    fn file(content: &[u8]) -> File {
        let mut file = tempfile();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    fn tempfile() -> File {
        let scratch = crate::scratch::Scratch::new();
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).open(scratch.path().join("file")).unwrap()
    }

    #[test]
    fn a_file_comes_with_its_line() {
        let (mut to, from) = UnixStream::pair().unwrap();
        let mut reader = BufReader::new(Incoming::new(from));
        to.write_all(b"first\n").unwrap();
        send(&mut to, b"second\n", [&file(b"content")]).unwrap();
        let (mut line, mut content) = (String::new(), String::new());
        reader.read_line(&mut line).unwrap();
        reader.read_line(&mut line).unwrap();
        reader.get_mut().files(1).unwrap()[0].read_to_string(&mut content).unwrap();
        assert_eq!((line.as_str(), content.as_str()), ("first\nsecond\n", "content"));
        assert!(reader.get_mut().files(1).is_none());
    }

    #[test]
    fn files_that_nobody_takes_are_not_kept() {
        let (mut to, from) = UnixStream::pair().unwrap();
        let mut incoming = Incoming::new(from);
        let one = file(b"");
        for _ in 0..3 * MOST {
            send(&mut to, b"x", [&one]).unwrap();
            incoming.read_exact(&mut [0]).unwrap();
        }
        assert!(incoming.files.len() <= MOST);
    }
}
