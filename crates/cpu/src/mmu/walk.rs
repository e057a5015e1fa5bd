//! One page walker for every format: legacy, PAE, 4-level and 5-level long mode, each with nested paging underneath.
//!
//! A stage is walked by `descend`, whose parameter says how the tables themselves are read: directly, or (for a
//! guest's tables) through the nested tables. A and D bits are set at the end, when the access is known to be
//! allowed; an entry that changed meanwhile starts the walk again.

use crate::mmu::format::{self, EntryBits, Format, Level};
use ireko_nested::exit::{Access as Stage2Access, Found};
use ireko_nested::{Stage2, Stage2Fault};
use ireko_x86::bits::{cr0, cr4, pf};
use ireko_x86::paging::{bits, entry};

/// Where page tables are read: this processor's system-physical memory. `None` where there is no memory.
pub trait Tables {
    fn read(&self, address: u64, size: usize) -> Option<u64>;
    /// Sets `bits` in the entry of `size` bytes atomically if it still holds `old`; `false` if it changed meanwhile.
    fn set_bits(&self, address: u64, size: usize, old: u64, bits: u64) -> bool;
}

/// Tables that are looked at and left as they are.
pub struct Unchanged<'a, T> {
    tables: &'a T,
    would_change: std::cell::Cell<bool>,
}

impl<'a, T: Tables> Unchanged<'a, T> {
    pub fn new(tables: &'a T) -> Self {
        Self { tables, would_change: false.into() }
    }

    /// Whether a bit would have been set.
    pub fn would_change(&self) -> bool {
        self.would_change.get()
    }
}

impl<T: Tables> Tables for Unchanged<'_, T> {
    fn read(&self, address: u64, size: usize) -> Option<u64> {
        self.tables.read(address, size)
    }
    fn set_bits(&self, _: u64, _: usize, _: u64, _: u64) -> bool {
        self.would_change.set(true);
        true
    }
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
    /// PKRU, while protection keys are checked.
    pub pkru: Option<u32>,
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

/// Where a page is and what may be done with it *without another walk*, with the rights of the access that was
/// asked for (`user`, `smap_override`): `write` only if the leaf's D bit (of every stage) is set already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// System-physical address of the byte that was asked for.
    pub physical: u64,
    /// Guest-physical address of it (the same without stage 2).
    pub guest_physical: u64,
    /// Bytes of the smallest page of all stages that map it: 4096, 2 MiB, 4 MiB or 1 GiB.
    pub size: u64,
    /// Bytes of the page in the linear address space, which INVLPG forgets as a whole.
    pub linear_size: u64,
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    /// The guest's tables allow user accesses (always true without paging).
    pub user: bool,
    pub global: bool,
    /// Protection key of a user page, while they are checked.
    pub key: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// #PF with this error code.
    Page { error: u32 },
    /// What the second stage does not allow.
    Stage2(Stage2Fault),
}

/// How often a walk starts again because another processor changed an entry under it. Then the fault is reported as
/// "not present", which every system must expect to find cured (APM vol. 2, 5.5.3).
const RETRIES: usize = 4096;

/// Translates `linear`, sets A (and D for a write) bits.
pub fn walk<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    linear: u64,
    access: Access,
) -> Result<Page, WalkFault> {
    if paging.cr0 & cr0::PG == 0 {
        return unpaged(tables, paging, linear & 0xffff_ffff, access.kind);
    }
    for _ in 0..RETRIES {
        if let Some(page) = attempt(tables, paging, linear, access)? {
            return Ok(page);
        }
    }
    Err(page_fault(paging, access, 0))
}

/// Linear addresses are physical; only stage 2 has a say.
fn unpaged<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    linear: u64,
    kind: Kind,
) -> Result<Page, WalkFault> {
    let below = second(tables, paging, linear, kind, Way::to(linear))?;
    Ok(Page {
        physical: below.physical,
        guest_physical: linear,
        size: below.size.min(1 << 30),
        linear_size: 4096,
        read: true,
        write: below.write,
        execute: below.execute,
        user: true,
        global: false,
        key: None,
    })
}

/// One try; `None` if an entry changed under it.
fn attempt<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    linear: u64,
    access: Access,
) -> Result<Option<Page>, WalkFault> {
    let format = Format::select(paging.cr4, paging.efer);
    let linear = linear & bits(0, format.width - 1);
    let nxe = format.nxe(paging.efer);
    let mut trail = Trail::default();
    let leaf = if std::ptr::eq(format, &format::PAE) && paging.stage2.is_none() {
        descend_pae(tables, paging, nxe, linear, &mut trail)
    } else if paging.stage2.is_none() {
        let read = |address, size| Ok((address, tables.read(address, size).unwrap_or(0)));
        descend(format, format.levels, paging.cr3 & format.root, nxe, linear, &mut trail, read)
    } else {
        let read = |address, size| guest_entry(tables, paging, linear, address, size);
        descend(format, format.levels, paging.cr3 & format.root, nxe, linear, &mut trail, read)
    };
    let leaf = match leaf {
        Ok(leaf) => leaf,
        Err(Stop::NotPresent) => return Err(page_fault(paging, access, 0)),
        Err(Stop::Reserved) => return Err(page_fault(paging, access, pf::PRESENT | pf::RESERVED)),
        Err(Stop::Below(fault)) => return Err(fault),
    };
    let (rights, keyed) = (leaf.rights_of(paging, access), leaf.rights_by_key(paging, access));
    let by_key = if keyed.allow(access.kind) { 0 } else { pf::KEY };
    if by_key != 0 || !rights.allow(access.kind) {
        return Err(page_fault(paging, access, pf::PRESENT | by_key));
    }
    let below = second(tables, paging, leaf.address, access.kind, Way::to(linear))?;
    let Some(dirty) = leaf.mark(tables, &trail, format.entry, access.kind == Kind::Write) else {
        return Ok(None);
    };
    Ok(Some(Page {
        physical: below.physical,
        guest_physical: leaf.address,
        size: leaf.size.min(below.size),
        linear_size: leaf.size,
        read: rights.read && keyed.read && below.read,
        write: rights.write && keyed.write && dirty && below.write,
        execute: rights.execute && below.execute,
        user: leaf.user(),
        global: leaf.last & entry::G != 0 && paging.cr4 & cr4::PGE != 0,
        key: leaf.key(paging),
    }))
}

/// PAE without nested paging: the four top entries are in the processor, loaded with CR3 (APM vol. 2, 5.2.3).
fn descend_pae<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    nxe: bool,
    linear: u64,
    trail: &mut Trail,
) -> Result<Leaf, Stop> {
    let top = paging.pdpte[(linear >> 30) as usize & 3];
    if top & entry::P == 0 {
        return Err(Stop::NotPresent);
    }
    let read = |address, size| Ok((address, tables.read(address, size).unwrap_or(0)));
    descend(&format::PAE, &format::PAE.levels[1..], top & entry::ADDRESS, nxe, linear, trail, read)
}

/// The four PAE page-directory-pointer entries that a load of CR3 with paging on reads; `None` if a present one has
/// reserved bits set: #GP(0). Not with nested paging, where each walk reads them itself (APM vol. 2, 15.25.9).
pub fn load_pdptes<T: Tables + ?Sized>(tables: &T, cr3: u64) -> Option<[u64; 4]> {
    let mut entries = [0; 4];
    for (n, slot) in entries.iter_mut().enumerate() {
        *slot = tables.read((cr3 & format::PAE.root) + 8 * n as u64, 8).unwrap_or(0);
        if *slot & entry::P != 0 && *slot & format::PAE.levels[0].reserved != 0 {
            return None;
        }
    }
    Some(entries)
}

/// What a guest-physical address was reached for.
#[derive(Clone, Copy)]
struct Way {
    /// It is that of one of the guest's own tables.
    table: bool,
    linear: Option<u64>,
}

impl Way {
    const fn to(linear: u64) -> Self {
        Self { table: false, linear: Some(linear) }
    }
}

/// Reads an entry of the guest's tables. With nested paging, that is a user write to the nested tables
/// (APM vol. 2, 15.25.5).
fn guest_entry<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    linear: u64,
    address: u64,
    size: usize,
) -> Result<(u64, u64), Stop> {
    let writes = paging.stage2.is_none_or(|stage2| stage2.writes_tables());
    let kind = if writes { Kind::Write } else { Kind::Read };
    let way = Way { table: true, linear: Some(linear) };
    let below = second(tables, paging, address, kind, way).map_err(Stop::Below)?;
    Ok((below.physical, tables.read(below.physical, size).unwrap_or(0)))
}

/// What stage 2 says of a guest-physical address.
struct Below {
    physical: u64,
    size: u64,
    read: bool,
    write: bool,
    execute: bool,
}

/// System-physical address of a guest-physical byte that the processor itself accesses (virtual VMLOAD and VMSAVE).
pub fn guest_physical<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    gpa: u64,
    kind: Kind,
) -> Result<u64, WalkFault> {
    second(tables, paging, gpa, kind, Way { table: false, linear: None }).map(|below| below.physical)
}

/// The second stage: through the nested tables if there are any, else the address itself.
#[inline(always)]
fn second<T: Tables + ?Sized>(
    tables: &T,
    paging: &Paging,
    gpa: u64,
    kind: Kind,
    way: Way,
) -> Result<Below, WalkFault> {
    match &paging.stage2 {
        None => Ok(Below { physical: gpa, size: u64::MAX, read: true, write: true, execute: true }),
        Some(stage2) => nested(tables, stage2, gpa, kind, way),
    }
}

/// Through the nested tables.
fn nested<T: Tables + ?Sized>(
    tables: &T,
    stage2: &Stage2,
    gpa: u64,
    kind: Kind,
    way: Way,
) -> Result<Below, WalkFault> {
    for _ in 0..RETRIES {
        if let Some(below) = attempt_nested(tables, stage2, gpa, kind, way)? {
            return Ok(below);
        }
    }
    Err(nested_fault(gpa, kind, way, Found::Nothing))
}

fn attempt_nested<T: Tables + ?Sized>(
    tables: &T,
    stage2: &Stage2,
    gpa: u64,
    kind: Kind,
    way: Way,
) -> Result<Option<Below>, WalkFault> {
    let fault = |found| nested_fault(gpa, kind, way, found);
    let (format, nxe) = Format::of_stage2(stage2);
    if gpa >> format.width != 0 {
        return Err(fault(Found::Nothing));
    }
    let read = |address, size| Ok((address, tables.read(address, size).unwrap_or(0)));
    let mut trail = Trail::default();
    let leaf = match descend(format, format.levels, stage2.root & format.root, nxe, gpa, &mut trail, read) {
        Ok(leaf) => leaf,
        Err(Stop::Reserved) => return Err(fault(Found::Malformed)),
        Err(_) => return Err(fault(Found::Nothing)),
    };
    let user = leaf.user();
    let rights =
        Rights { read: user && leaf.read(), write: user && leaf.write(), execute: user && leaf.execute };
    if !rights.allow(kind) {
        let Rights { read, write, execute } = rights;
        return Err(fault(Found::Less { read, write, execute }));
    }
    let dirty = leaf.mark(tables, &trail, format.entry, kind == Kind::Write);
    Ok(dirty.map(|dirty| Below {
        physical: leaf.address,
        size: leaf.size,
        read: leaf.read(),
        write: leaf.write() && dirty,
        execute: leaf.execute,
    }))
}

/// Why a descent ended before a page.
enum Stop {
    NotPresent,
    Reserved,
    /// A fault of the stage below, while reading this stage's tables.
    Below(WalkFault),
}

/// A page found.
struct Leaf {
    address: u64,
    size: u64,
    /// What the entries that have rights have in common, and the last of them.
    common: u64,
    last: u64,
    execute: bool,
    bits: &'static EntryBits,
}

/// The entries that have rights, with their places: for their A and D bits.
#[derive(Default)]
struct Trail {
    entries: [(u64, u64); 5],
    count: usize,
}

/// Goes down one tree of tables from `root`. `read` gives an entry's system-physical address and value.
#[inline]
fn descend(
    format: &Format,
    levels: &[Level],
    root: u64,
    nxe: bool,
    address: u64,
    trail: &mut Trail,
    read: impl FnMut(u64, usize) -> Result<(u64, u64), Stop>,
) -> Result<Leaf, Stop> {
    if format.entry == 8 {
        descend_by::<8>(format, levels, root, nxe, address, trail, read)
    } else {
        descend_by::<4>(format, levels, root, nxe, address, trail, read)
    }
}

/// The same for entries of so many bytes.
fn descend_by<const ENTRY: usize>(
    format: &Format,
    levels: &[Level],
    root: u64,
    nxe: bool,
    address: u64,
    trail: &mut Trail,
    mut read: impl FnMut(u64, usize) -> Result<(u64, u64), Stop>,
) -> Result<Leaf, Stop> {
    let bits_of = format.bits;
    let no_execute = if nxe { bits_of.no_execute } else { 0 };
    let nx = if ENTRY == 4 { 0 } else { bits_of.no_execute & !no_execute };
    let mut leaf = Leaf { address: root, size: 0, common: u64::MAX, last: 0, execute: true, bits: bits_of };
    for level in levels {
        let index = address >> level.shift & bits(0, level.index_bits - 1);
        let (place, value) = read(leaf.address + index * ENTRY as u64, ENTRY)?;
        if value & bits_of.present == 0 {
            return Err(Stop::NotPresent);
        }
        let is_large = level.large && value & entry::PS != 0;
        let maps = is_large || level.shift == 12;
        let reserved = if is_large { level.reserved_large } else { level.reserved };
        if value & (reserved | nx) != 0 || bits_of.malformed(value, maps) {
            return Err(Stop::Reserved);
        }
        if level.rights {
            leaf.common &= value;
            leaf.last = value;
            leaf.execute &= value & no_execute == 0;
            trail.entries[trail.count] = (place, value);
            trail.count += 1;
        }
        if maps {
            leaf.size = 1 << level.shift;
            leaf.address = format.page(level, value) | address & (leaf.size - 1);
            break;
        }
        leaf.address = value & entry::ADDRESS;
    }
    leaf.execute &= leaf.common & bits_of.execute == bits_of.execute;
    Ok(leaf)
}

/// What one privilege may do with a page of the guest's tables.
struct Rights {
    read: bool,
    write: bool,
    execute: bool,
}

impl Rights {
    fn allow(&self, kind: Kind) -> bool {
        match kind {
            Kind::Read => self.read,
            Kind::Write => self.write,
            Kind::Fetch => self.execute,
        }
    }
}

impl Leaf {
    /// All entries have it.
    fn has(&self, bits: u64) -> bool {
        self.common & bits == bits
    }
    fn read(&self) -> bool {
        self.has(self.bits.read)
    }
    fn write(&self) -> bool {
        self.has(self.bits.write)
    }
    fn user(&self) -> bool {
        self.has(self.bits.user)
    }

    /// Protection by U/S, R/W, CR0.WP, NX, SMEP and SMAP (APM vol. 2, 5.6).
    fn rights_of(&self, paging: &Paging, access: Access) -> Rights {
        if access.user {
            return Rights {
                read: self.user(),
                write: self.user() && self.write(),
                execute: self.user() && self.execute,
            };
        }
        let smap = self.user() && paging.cr4 & cr4::SMAP != 0 && !access.smap_override;
        let smep = self.user() && paging.cr4 & cr4::SMEP != 0;
        let write = self.write() || paging.cr0 & cr0::WP == 0;
        Rights { read: !smap, write: !smap && write, execute: !smep && self.execute }
    }

    /// The protection key, where there are any: on user pages, in long mode with CR4.PKE.
    fn key(&self, paging: &Paging) -> Option<u8> {
        paging.pkru.filter(|_| self.user()).map(|_| (self.last >> entry::KEY_SHIFT) as u8 & 15)
    }

    /// What the key leaves of data accesses, a supervisor's as well; CR0.WP is heeded, and a fetch is not its concern
    /// (APM vol. 2, 5.6.7).
    fn rights_by_key(&self, paging: &Paging, access: Access) -> Rights {
        let denied = match (self.key(paging), paging.pkru) {
            (Some(key), Some(pkru)) => pkru >> (2 * key) & 3,
            _ => 0,
        };
        let heeds = access.user || paging.cr0 & cr0::WP != 0;
        let read = denied & 1 == 0;
        Rights { read, write: read && (denied & 2 == 0 || !heeds), execute: true }
    }

    /// Sets the A bits, and D in the leaf for a write. Gives whether D is set now; `None` if an entry has changed.
    fn mark<T: Tables + ?Sized>(&self, tables: &T, trail: &Trail, size: usize, write: bool) -> Option<bool> {
        let EntryBits { accessed, dirty: written, .. } = *self.bits;
        let dirty = self.last & written == written;
        if self.has(accessed) && (dirty || !write) {
            return Some(dirty);
        }
        let entries = &trail.entries[..trail.count];
        for (n, &(place, value)) in entries.iter().enumerate() {
            let wanted = if write && n + 1 == entries.len() { accessed | written } else { accessed };
            if value & wanted != wanted && !tables.set_bits(place, size, value, wanted) {
                return None;
            }
        }
        Some(write || dirty)
    }
}

/// #PF with the bits that the access brings (APM vol. 2, 8.4.2). I/D is reported only where NX or SMEP is on.
fn page_fault(paging: &Paging, access: Access, found: u32) -> WalkFault {
    let nxe = Format::select(paging.cr4, paging.efer).nxe(paging.efer);
    let fetch = access.kind == Kind::Fetch && (nxe || paging.cr4 & cr4::SMEP != 0);
    let mut error = found;
    error |= if access.kind == Kind::Write { pf::WRITE } else { 0 };
    error |= if access.user { pf::USER } else { 0 };
    error |= if fetch { pf::FETCH } else { 0 };
    WalkFault::Page { error }
}

fn nested_fault(address: u64, kind: Kind, way: Way, found: Found) -> WalkFault {
    let access = match kind {
        Kind::Read => Stage2Access::Read,
        Kind::Write => Stage2Access::Write,
        Kind::Fetch => Stage2Access::Fetch,
    };
    WalkFault::Stage2(Stage2Fault { address, access, found, table: way.table, linear: way.linear })
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
