//! Direct execution: programs' code that needs nothing of the engine runs as it stands, in a process that has the guest
//! program's pages where the guest has them.

pub mod copies;
pub mod scan;
pub mod space;
pub mod stub;

use crate::hash::FastHash;
use copies::Copies;
use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use stub::Stub;

/// Processes of a virtual processor.
pub const PROCESSES: usize = 8;

/// What direct execution has beside the banks.
pub struct Direct {
    pub free: Vec<Stub>,
    pub copies: Copies,
    /// Pages that are written all the time, with an address of each.
    pub restless: HashMap<u64, u64, FastHash>,
    /// What is known of pages by their numbers.
    pub scanned: HashMap<u64, Scanned, FastHash>,
    /// Where a fault was, and how often on end.
    pub last_fault: (u64, u64, u32),
    /// What the guest's system was asked for on a program's behalf.
    pub expected: Option<u64>,
}

/// What is known of a page that was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanned {
    /// None: it was written since.
    pub runs: Option<Runs>,
    /// How often it was written after it was looked at.
    pub written: u32,
}

/// Whether its code may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    Never,
    AsItStands,
    /// In a copy, of this number.
    Patched(u32),
    /// It is written all the time, and is looked at only now and then.
    Restless,
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
            restless: HashMap::default(),
            scanned: HashMap::default(),
            last_fault: (0, 0, 0),
            expected: None,
        })
    }
}
