//! One page walker for every format: legacy, PAE, 4-level long mode, each with nested paging underneath.

use ireko_nested::Stage2;

/// Where page tables are read: this processor's system-physical memory. `None` where there is no memory.
pub trait Tables {
    fn read(&self, address: u64, size: usize) -> Option<u64>;
    /// Sets `bits` in the entry of `size` bytes atomically if it still holds `old`; `false` if it changed meanwhile.
    fn set_bits(&self, address: u64, size: usize, old: u64, bits: u64) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Fetch,
}

/// What decides how a linear address is translated.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub pdpte: [u64; 4],
    pub stage2: Option<Stage2>,
}

/// One access to translate.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub kind: Kind,
    /// With user rights (CPL 3 and not an implicit supervisor access).
    pub user: bool,
    /// SMAP is off for this access: explicit supervisor access with RFLAGS.AC set. (Implicit ones never.)
    pub smap_override: bool,
}

/// Where a page is and what may be done with it *without another walk*: `write` only if the leaf's D bit (of every
/// stage) is set already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// System-physical address of the byte that was asked for.
    pub physical: u64,
    /// Guest-physical address of it (the same without stage 2).
    pub guest_physical: u64,
    /// Bytes of the smallest page of all stages that map it: 4096, 2 MiB, 4 MiB or 1 GiB.
    pub size: u64,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    pub user: bool,
    pub global: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// #PF with this error code.
    Page { error: u32 },
    /// Nested page fault: guest-physical address and EXITINFO1 (APM vol. 2, 15.25.6).
    Nested { gpa: u64, error: u64 },
}

/// Translates `linear`, sets A (and D for a write) bits.
pub fn walk(_tables: &dyn Tables, paging: &Paging, linear: u64, _access: Access) -> Result<Page, WalkFault> {
    assert!(paging.cr0 >> 31 == 0 && paging.stage2.is_none(), "being written");
    Ok(Page { physical: linear, guest_physical: linear, size: 4096, read: true, write: true, execute: true, user: true, global: false })
}
