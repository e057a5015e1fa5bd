//! What the kernel shows of this process and of the host: files that stay open and are read again and again, since a worker
//! has no names for them later.

use super::memory::policy::HostMemory;
use super::memory::told;
use super::usage::{Usage, used};
use std::fs::File;
use std::os::unix::fs::FileExt;

pub struct Gauges {
    stat: Option<File>,
    status: Option<File>,
    memory: Option<File>,
    /// Not every kernel tells strain.
    pressure: Option<File>,
}

impl Gauges {
    /// Of the process that calls.
    pub fn open() -> Self {
        let open = |path| File::open(path).ok();
        Self {
            stat: open("/proc/self/stat"),
            status: open("/proc/self/status"),
            memory: open("/proc/meminfo"),
            pressure: open("/proc/pressure/memory"),
        }
    }

    /// Processor time and resident memory of that process.
    pub fn usage(&self) -> Usage {
        used(&text(&self.stat), &text(&self.status))
    }

    /// The host's memory as its kernel tells it.
    pub fn host(&self) -> HostMemory {
        told(&text(&self.memory), &text(&self.pressure))
    }
}

/// All of a file, which these are in one read. What cannot be read says nothing.
fn text(file: &Option<File>) -> String {
    let mut bytes = vec![0; 16 << 10];
    let count = file.as_ref().and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_read_anew_each_time() {
        let gauges = Gauges::open();
        assert!(gauges.usage().resident_bytes > 0 && gauges.host().total > 0);
        let before = gauges.usage().resident_bytes;
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        assert!(gauges.usage().resident_bytes > before);
        drop(block);
    }
}
