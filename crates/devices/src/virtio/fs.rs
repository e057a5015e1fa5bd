//! The file system device (5.11): what the guest's kernel asks is handed to whoever has the folder.

use super::regs::TYPE_FILE_SYSTEM;
use super::{Broken, Buffers, Registers, VirtioDevice};
use ireko_vmcore::SavedState;
use ireko_vmcore::folder::{Folder, LONGEST_MESSAGE};
use std::io::{Read, Write};
use std::sync::Arc;

/// A name in the configuration structure, without a null if it is as long.
pub const LONGEST_TAG: usize = 36;
/// What goes before all others (FORGET), then the others.
const QUEUES: [u16; 2] = [128, 256];
const REQUEST_QUEUES: u32 = QUEUES.len() as u32 - 1;

/// `fuse_in_header` up to the request's number, and `fuse_out_header`.
const UNIQUE: std::ops::Range<usize> = 8..16;
const ANSWER_HEADER: usize = 16;
/// ENOTCONN, which programs know of file systems that nobody serves.
const NOT_CONNECTED: i32 = -107;

/// A folder under a name.
pub struct Fs {
    tag: String,
    folder: Arc<dyn Folder>,
}

impl Fs {
    /// `tag` is what the guest mounts it by: 36 bytes of it count.
    pub fn new(tag: &str, folder: Arc<dyn Folder>) -> Self {
        Self { tag: tag.to_owned(), folder }
    }
}

fn nobody(request: &[u8]) -> Vec<u8> {
    let unique = request.get(UNIQUE).unwrap_or(&[0; 8]);
    [&(ANSWER_HEADER as u32).to_le_bytes(), &NOT_CONNECTED.to_le_bytes()[..], unique].concat()
}

impl VirtioDevice for Fs {
    fn name(&self) -> &'static str {
        "virtio-fs"
    }
    fn kind(&self) -> u16 {
        TYPE_FILE_SYSTEM
    }
    fn class(&self) -> u32 {
        0x01_80_00
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUES
    }
    /// The tag, and how many queues requests may come by (5.11.4).
    fn registers(&self) -> Arc<dyn Registers> {
        let mut config = vec![0; LONGEST_TAG];
        crate::access::copy_in(&mut config, 0, self.tag.as_bytes());
        config.extend(REQUEST_QUEUES.to_le_bytes());
        Arc::new(config)
    }
    fn serve(&mut self, _: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let length = buffers.reader.available_bytes();
        if length > LONGEST_MESSAGE {
            return Err(Broken(format!("a request of {length} bytes to a file system")));
        }
        let mut request = vec![0; length];
        buffers.reader.read_exact(&mut request)?;
        let most = buffers.writer.available_bytes().min(LONGEST_MESSAGE);
        let answer = self.folder.ask(&request, most).unwrap_or_else(|_| nobody(&request));
        // Whoever answers is not believed either.
        let answer = answer.get(..most).unwrap_or(&answer);
        buffers.writer.write_all(answer)?;
        Ok(answer.len() as u32)
    }
    /// Nothing but queues and registers: which files the guest knows is known to whoever has the folder, and to him alone.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}
