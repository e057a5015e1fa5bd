//! Pages that an engine wants to hear about when a device writes them.

// UNSAFETY: makes a box of atomic bytes from one of plain zeros.

use super::PAGE;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};

/// Why an engine watches a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It holds code that was translated.
    Code,
    /// It holds page tables that were walked.
    Tables,
    /// It holds code that was looked at, and runs as it stands.
    Direct,
}

/// Called from the writer's thread.
pub type Kick = Box<dyn Fn() + Send + Sync>;

/// In a page's byte: it is in the list of written ones already.
const LISTED: u8 = 1 << 7;

/// Which guest pages an engine wants to hear about, and which were written since it last asked.
pub struct Watch {
    watched: Box<[AtomicU8]>,
    /// A page is in it once, however often it is written.
    written: Mutex<Vec<u64>>,
    any: AtomicBool,
    kicks: Mutex<Vec<Kick>>,
}

/// Fresh zeros from the host, so that what is never watched costs nothing: memory that may be added one day has its
/// pages here, too.
#[allow(unsafe_code)]
fn zeros(count: usize) -> Box<[AtomicU8]> {
    let bytes = Box::into_raw(vec![0u8; count].into_boxed_slice());
    // SAFETY: `AtomicU8` has the size, alignment and bit validity of `u8`, and the box is the only owner.
    unsafe { Box::from_raw(bytes as *mut [AtomicU8]) }
}

impl Watch {
    pub(super) fn new(pages: usize) -> Self {
        Self {
            watched: zeros(pages),
            written: Mutex::default(),
            any: AtomicBool::new(false),
            kicks: Mutex::default(),
        }
    }
    /// Starts or ends watching the page with number `frame` (guest physical address / 4096) for a reason of the
    /// engine's: a page is watched while it has any.
    pub fn set(&self, frame: u64, reason: Reason, on: bool) {
        if let Some(flags) = self.watched.get(frame as usize) {
            let bit = 1 << reason as u8;
            if on {
                flags.fetch_or(bit, Ordering::SeqCst)
            } else {
                flags.fetch_and(!bit, Ordering::SeqCst)
            };
        }
    }
    /// Whether the page is watched for this reason.
    pub fn watched_for(&self, frame: u64, reason: Reason) -> bool {
        self.watched.get(frame as usize).is_some_and(|f| f.load(Ordering::Relaxed) >> reason as u8 & 1 != 0)
    }
    pub fn watched(&self, frame: u64) -> bool {
        self.watched.get(frame as usize).is_some_and(|flag| flag.load(Ordering::Relaxed) != 0)
    }
    /// Where the byte of a page is that is not 0 while the page is watched; those of the pages behind it follow. For engines
    /// that look at it from machine code.
    pub fn byte(&self, frame: u64) -> Option<*const u8> {
        self.watched.get(frame as usize).map(|flags| flags.as_ptr().cast_const())
    }
    /// Registers a call for when a watched page was written by a device.
    pub fn on_write(&self, kick: Kick) {
        self.kicks.lock().unwrap_or_else(|e| e.into_inner()).push(kick);
    }
    /// Whether [`Watch::take`] would give anything.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }
    /// The watched frames that devices wrote since the last call. `each` is told of them before [`Watch::any`] says that there are none.
    pub fn take(&self, each: impl FnMut(u64)) -> Vec<u64> {
        let mut written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        written.iter().copied().for_each(each);
        self.any.store(false, Ordering::Release);
        let written = std::mem::take(&mut *written);
        for &frame in &written {
            self.watched[frame as usize].fetch_and(!LISTED, Ordering::AcqRel);
        }
        written
    }

    pub(super) fn wrote(&self, address: u64, size: u64) {
        // The bytes before the look: a load may overtake an older store, and who begins to watch a page now would read what was there.
        fence(Ordering::SeqCst);
        for frame in address / PAGE..=(address + size.max(1) - 1) / PAGE {
            if self.watched(frame) {
                self.list(frame);
            }
        }
    }

    fn list(&self, frame: u64) {
        let mut written = self.written.lock().unwrap_or_else(|e| e.into_inner());
        if self.watched[frame as usize].fetch_or(LISTED, Ordering::AcqRel) & LISTED != 0 {
            return;
        }
        written.push(frame);
        self.any.store(true, Ordering::Release);
        drop(written);
        self.kick();
    }

    /// Makes engines look around.
    pub(super) fn kick(&self) {
        self.kicks.lock().unwrap_or_else(|e| e.into_inner()).iter().for_each(|kick| kick());
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({} pages)", self.watched.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_written_for_ever_is_listed_once() {
        let watch = Watch::new(16);
        watch.set(3, Reason::Code, true);
        for _ in 0..100_000 {
            watch.wrote(3 * PAGE, 8);
        }
        assert_eq!(watch.take(|_| ()), [3]);
        watch.wrote(3 * PAGE + 8, 8);
        assert_eq!(watch.take(|_| ()), [3]);
    }

    #[test]
    fn all_pages_written_at_once_are_listed_once_each() {
        let watch = Watch::new(16);
        (0..16).for_each(|frame| watch.set(frame, Reason::Tables, true));
        watch.wrote(0, 16 * PAGE);
        watch.wrote(5, 11 * PAGE);
        assert_eq!(watch.take(|_| ()), (0..16).collect::<Vec<_>>());
        assert!(watch.take(|_| ()).is_empty());
    }
}
