//! Direct execution: programs' code that needs nothing of the engine runs as it stands, in a process that has the guest
//! program's pages where the guest has them.

pub mod child;
pub mod copies;
mod filter;
pub mod frame;
pub mod layout;
pub mod scan;
pub mod space;
pub mod stub;

use crate::hash::FastHash;
use copies::Copies;
use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use stub::Stub;

/// Pages that were written so often after they were looked at do not run as they stand, until that is forgotten: after so many
/// looks at pages.
pub const RESTLESS: u32 = 16;
const LOOKS: u32 = 1 << 14;

/// Pages that are looked at with one page in front of them.
const MOST_BEHIND: usize = 64;

/// Processes of a virtual processor.
pub const PROCESSES: usize = 8;

/// What direct execution has beside the banks.
pub struct Direct {
    pub free: Vec<Stub>,
    pub copies: Copies,
    /// What is known of pages by their numbers.
    pub scanned: HashMap<u64, Scanned, FastHash>,
    /// By a page's number: those whose verdicts are of its bytes, too.
    pub behind: HashMap<u64, Vec<u64>, FastHash>,
    /// Where a fault was, and how often on end.
    pub last_fault: (u64, u64, u32),
    /// Pages that were looked at since it was last forgotten how often pages are written.
    pub looks: u32,
    /// What the guest's system was asked for on a program's behalf.
    pub expected: Option<u64>,
}

/// What is known of a page that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// None: it was written since.
    pub runs: Option<Runs>,
    /// What was heeded, and what was in front of the page, if the verdict is one of that, too.
    pub heeded: Heeded,
    pub front: Option<Option<Box<scan::Front>>>,
    /// How often it was written after it was looked at.
    pub written: u32,
}

/// What a verdict on a page depends on beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heeded {
    /// What writes and reads XSAVE areas may not run.
    pub areas: bool,
    /// Nor PAUSE.
    pub pauses: bool,
    /// It is a program's text, and not written where it is run: data that is taken for an instruction, and changed, would be wrong
    /// without anybody's noticing.
    pub text: bool,
}

/// Whether its code may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    Never,
    AsItStands,
    /// In a copy, of this number.
    Patched(u32),
}

impl Direct {
    /// `memory` is all of the guest's; so many processes at once.
    pub fn new(memory: BorrowedFd<'_>, processes: usize) -> io::Result<Self> {
        let copies = Copies::new()?;
        let free =
            (0..processes).map(|_| Stub::new(memory, copies.file())).collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            free,
            copies,
            scanned: HashMap::default(),
            behind: HashMap::default(),
            last_fault: (0, 0, 0),
            looks: 0,
            expected: None,
        })
    }

    /// The verdict on a page is of the bytes in the page before, too. False: too many pages are behind that one.
    pub fn depends(&mut self, frame: u64, before: u64) -> bool {
        let behind = self.behind.entry(before).or_default();
        if !behind.contains(&frame) && behind.len() < MOST_BEHIND {
            behind.push(frame);
        }
        behind.contains(&frame)
    }

    /// What was known of a page is so no more.
    pub fn forget_verdict(&mut self, frame: u64) {
        let known = self.scanned.get_mut(&frame).and_then(|known| known.runs.take());
        if let Some(Runs::Patched(number)) = known {
            self.copies.drop_copy(number);
        }
    }

    /// One more page was looked at: how often pages are written is forgotten now and then.
    pub fn looked(&mut self) {
        self.looks += 1;
        if self.looks < LOOKS {
            return;
        }
        self.looks = 0;
        for known in self.scanned.values_mut().filter(|known| known.written > 0) {
            if known.runs == Some(Runs::Never) && known.written >= RESTLESS {
                known.runs = None;
            }
            known.written = 0;
        }
    }
}
