//! The console: the last output is kept, and any number of viewers follow it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What is kept for those who come later.
pub const KEPT: usize = 256 << 10;

#[derive(Default)]
struct Ring {
    bytes: VecDeque<u8>,
    /// All that was ever written.
    written: u64,
    closed: bool,
    viewers: usize,
}

/// Output of one VM. Cheap to clone.
#[derive(Clone, Default)]
pub struct Console {
    ring: Arc<(Mutex<Ring>, Condvar)>,
    closing: Arc<Condvar>,
}

impl Console {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// No more will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ring.1.notify_all();
        self.closing.notify_all();
    }

    pub fn written(&self) -> u64 {
        self.lock().written
    }
    pub fn viewers(&self) -> usize {
        self.lock().viewers
    }

    /// Writes what is kept and all that follows to a viewer, until the console closes or the viewer goes. A viewer that
    /// is too slow misses what the ring has lost meanwhile.
    pub fn follow(&self, to: &mut impl Write) -> io::Result<()> {
        self.lock().viewers += 1;
        let result = self.copy(to);
        self.lock().viewers -= 1;
        result
    }

    fn copy(&self, to: &mut impl Write) -> io::Result<()> {
        let mut seen = 0;
        while let Some((chunk, upto)) = self.after(seen) {
            to.write_all(&chunk)?;
            to.flush()?;
            seen = upto;
        }
        Ok(())
    }

    /// Writes what comes from now on, until the console closes or `gone` is set and somebody calls [`Console::wake`].
    pub fn follow_from_now(&self, to: &mut impl Write, gone: &AtomicBool) -> io::Result<()> {
        let mut seen = self.written();
        while let Some((chunk, upto)) = self.after_unless(seen, Some(gone)) {
            to.write_all(&chunk)?;
            seen = upto;
        }
        Ok(())
    }

    /// Whoever waits looks around.
    pub fn wake(&self) {
        drop(self.lock());
        self.ring.1.notify_all();
    }

    /// Waits for so long, or until it closes: what comes meanwhile comes together.
    pub fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut ring = self.lock();
        while !ring.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            ring = self.closing.wait_timeout(ring, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// What came after the first `seen` bytes, waiting for some. None: closed, and all was seen.
    pub fn after(&self, seen: u64) -> Option<(Vec<u8>, u64)> {
        self.after_unless(seen, None)
    }

    fn after_unless(&self, seen: u64, gone: Option<&AtomicBool>) -> Option<(Vec<u8>, u64)> {
        let mut ring = self.lock();
        while ring.written == seen {
            if ring.closed || gone.is_some_and(|gone| gone.load(Ordering::SeqCst)) {
                return None;
            }
            ring = self.ring.1.wait(ring).unwrap_or_else(|e| e.into_inner());
        }
        let new = usize::try_from(ring.written - seen).unwrap_or(usize::MAX).min(ring.bytes.len());
        let skip = ring.bytes.len() - new;
        Some((ring.bytes.iter().skip(skip).copied().collect(), ring.written))
    }
}

impl Write for Console {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut ring = self.lock();
        ring.written += data.len() as u64;
        ring.bytes.extend(data);
        let surplus = ring.bytes.len().saturating_sub(KEPT);
        ring.bytes.drain(..surplus);
        self.ring.1.notify_all();
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(console: &Console) -> Vec<u8> {
        let mut out = Vec::new();
        console.follow(&mut out).unwrap();
        out
    }

    #[test]
    fn who_comes_late_sees_what_was_kept() {
        let mut console = Console::default();
        console.write_all(b"hello").unwrap();
        console.close();
        assert_eq!((seen(&console), seen(&console)), (b"hello".to_vec(), b"hello".to_vec()));
    }

    #[test]
    fn only_the_last_bytes_are_kept() {
        let mut console = Console::default();
        console.write_all(&vec![b'a'; KEPT]).unwrap();
        console.write_all(b"end").unwrap();
        console.close();
        let seen = seen(&console);
        assert_eq!((seen.len(), &seen[KEPT - 4..]), (KEPT, &b"aend"[..]));
    }

    #[test]
    fn who_watches_sees_what_comes() {
        let mut console = Console::default();
        let watched = console.clone();
        let watcher = std::thread::spawn(move || seen(&watched));
        console.write_all(b"one").unwrap();
        console.write_all(b"two").unwrap();
        console.close();
        assert_eq!(watcher.join().unwrap(), b"onetwo");
    }
}
