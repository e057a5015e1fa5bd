//! Where code of global pages is, for all address spaces of a world: a new process need not walk to the kernel again.

/// Fetch translations of global pages, by ASID.
pub struct SharedFetch {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Linear page, with the user bit in bit 0.
    page: u64,
    asid: u32,
    physical: u64,
}

const NONE: Entry = Entry { page: u64::MAX, asid: 0, physical: 0 };
const ENTRIES: usize = 1024;

fn slot(address: u64) -> usize {
    (address >> 12) as usize % ENTRIES
}

impl Default for SharedFetch {
    fn default() -> Self {
        Self { entries: vec![NONE; ENTRIES] }
    }
}

impl SharedFetch {
    /// Physical address of a code byte.
    pub fn find(&self, asid: u32, address: u64, user: bool) -> Option<u64> {
        let entry = self.entries[slot(address)];
        let hit = entry.page == address & !0xfff | user as u64 && entry.asid == asid;
        hit.then_some(entry.physical | address & 0xfff)
    }

    pub fn keep(&mut self, asid: u32, address: u64, user: bool, physical: u64) {
        let page = address & !0xfff | user as u64;
        self.entries[slot(address)] = Entry { page, asid, physical: physical & !0xfff };
    }

    pub fn forget(&mut self) {
        self.entries.fill(NONE);
    }
}
