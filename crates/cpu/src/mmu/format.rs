//! The formats of page tables, as data: what differs between legacy, PAE, long-mode (APM vol. 2, 5.2–5.3) and extended
//! tables (SDM vol. 3, 29.3).

use ireko_nested::{Stage2, Stage2Tables};
use ireko_x86::bits::{cr4, efer};
use ireko_x86::paging::{PHYSICAL_BITS, PHYSICAL_MASK, bits, entry, ept};

/// One level of a table tree, top first.
#[derive(Debug)]
pub struct Level {
    /// Lowest linear address bit of the index, and how many bits it has.
    pub shift: u32,
    pub index_bits: u32,
    /// PS may be set here: the entry maps a page.
    pub large: bool,
    /// Bits that must be zero in an entry that points to a table (or, at the lowest level, maps a small page).
    pub reserved: u64,
    /// Bits that must be zero in an entry that maps a large page.
    pub reserved_large: u64,
    /// The entry has R/W, U/S and A bits (a PAE page-directory-pointer entry has none).
    pub rights: bool,
}

/// Which bits of an entry say what. A mask of 0 asks for nothing: it is always so.
#[derive(Debug)]
pub struct EntryBits {
    /// There is something, if any of these is set.
    pub present: u64,
    /// What may be done, if every entry on the way has these.
    pub read: u64,
    pub write: u64,
    pub execute: u64,
    pub user: u64,
    /// What may not, if one has this; reserved while EFER.NXE is clear.
    pub no_execute: u64,
    pub accessed: u64,
    pub dirty: u64,
    /// Values (mask, value) that no entry may have, and those that one that maps a page may not have.
    pub forbidden: &'static [(u64, u64)],
    pub forbidden_leaf: &'static [(u64, u64)],
}

/// The processor's own tables (APM vol. 2, 5.4 and 5.6).
static OWN: EntryBits = EntryBits {
    present: entry::P,
    read: 0,
    write: entry::RW,
    execute: 0,
    user: entry::US,
    no_execute: entry::NX,
    accessed: entry::A,
    dirty: entry::D,
    forbidden: &[],
    forbidden_leaf: &[],
};

/// Extended page tables (SDM vol. 3, 29.3.2 and 29.3.3.1).
const EXTENDED: EntryBits = EntryBits {
    present: ept::READ | ept::WRITE | ept::EXECUTE,
    read: ept::READ,
    write: ept::WRITE,
    execute: ept::EXECUTE,
    user: 0,
    no_execute: 0,
    accessed: 0,
    dirty: 0,
    forbidden: &[(ept::READ | ept::WRITE, ept::WRITE)],
    forbidden_leaf: &[(ept::TYPE, 2 << 3), (ept::TYPE, 3 << 3), (ept::TYPE, 7 << 3)],
};
static EPT_BITS: EntryBits = EXTENDED;
static EPT_BITS_DIRTY: EntryBits = EntryBits { accessed: ept::ACCESSED, dirty: ept::DIRTY, ..EXTENDED };

/// A table tree.
#[derive(Debug)]
pub struct Format {
    /// Bytes of an entry.
    pub entry: usize,
    /// Bits of CR3 that hold the root's address.
    pub root: u64,
    /// Addresses from this bit on are not translated.
    pub width: u32,
    pub levels: &'static [Level],
    pub bits: &'static EntryBits,
    /// Bit 21:13 of a large-page entry are address bits 40:32 (PSE-36, APM vol. 2, 5.2.2).
    pub pse36: bool,
}

const HIGH: u64 = bits(PHYSICAL_BITS, 51);
const PAE_HIGH: u64 = HIGH | bits(52, 62);

const fn level(shift: u32, index_bits: u32, reserved: u64) -> Level {
    Level { shift, index_bits, large: false, reserved, reserved_large: 0, rights: true }
}

const fn large(shift: u32, index_bits: u32, reserved: u64, reserved_large: u64) -> Level {
    Level { shift, index_bits, large: true, reserved, reserved_large, rights: true }
}

/// Two levels of 4-byte entries, 4 KiB pages only (CR4.PSE clear).
pub static LEGACY: Format = Format {
    entry: 4,
    root: bits(12, 31),
    width: 32,
    levels: &[level(22, 10, 0), level(12, 10, 0)],
    bits: &OWN,
    pse36: false,
};

/// The same with 4 MiB pages (CR4.PSE set).
pub static LEGACY_PSE: Format = Format {
    entry: 4,
    root: bits(12, 31),
    width: 32,
    levels: &[large(22, 10, 0, bits(21, 21)), level(12, 10, 0)],
    bits: &OWN,
    pse36: true,
};

/// Three levels of 8-byte entries below a 32-bit address.
pub static PAE: Format = Format {
    entry: 8,
    root: bits(5, 31),
    width: 32,
    levels: &[
        Level { rights: false, ..level(30, 2, PAE_HIGH | entry::NX | bits(1, 2) | bits(5, 8)) },
        large(21, 9, PAE_HIGH, PAE_HIGH | bits(13, 20)),
        level(12, 9, PAE_HIGH),
    ],
    bits: &OWN,
    pse36: false,
};

/// Four levels of long mode.
pub static LONG: Format = FOUR;

const FOUR: Format = Format {
    entry: 8,
    root: bits(12, 51) & PHYSICAL_MASK,
    width: 48,
    levels: &[
        level(39, 9, HIGH | bits(7, 8)),
        large(30, 9, HIGH, HIGH | bits(13, 29)),
        large(21, 9, HIGH, HIGH | bits(13, 20)),
        level(12, 9, HIGH),
    ],
    bits: &OWN,
    pse36: false,
};

/// Five levels of long mode.
pub static LONG_5: Format = Format {
    width: 57,
    levels: &[
        level(48, 9, HIGH | bits(7, 8)),
        level(39, 9, HIGH | bits(7, 8)),
        large(30, 9, HIGH, HIGH | bits(13, 29)),
        large(21, 9, HIGH, HIGH | bits(13, 20)),
        level(12, 9, HIGH),
    ],
    ..FOUR
};

/// Levels of extended page tables from the fourth on.
const EPT_LEVELS: [Level; 4] = [
    level(39, 9, HIGH | bits(3, 7)),
    large(30, 9, HIGH | bits(3, 6), HIGH | bits(12, 29)),
    large(21, 9, HIGH | bits(3, 6), HIGH | bits(12, 20)),
    level(12, 9, HIGH),
];
const EPT: Format = Format { levels: &EPT_LEVELS, bits: &EPT_BITS, ..FOUR };
const EPT_5: Format = Format {
    width: 57,
    levels: &[
        level(48, 9, HIGH | bits(3, 7)),
        level(39, 9, HIGH | bits(3, 7)),
        large(30, 9, HIGH | bits(3, 6), HIGH | bits(12, 29)),
        large(21, 9, HIGH | bits(3, 6), HIGH | bits(12, 20)),
        level(12, 9, HIGH),
    ],
    ..EPT
};
/// Four and five levels, without and with A and D bits.
static EPTS: [Format; 4] =
    [EPT, EPT_5, Format { bits: &EPT_BITS_DIRTY, ..EPT }, Format { bits: &EPT_BITS_DIRTY, ..EPT_5 }];

impl EntryBits {
    /// Whether an entry has a value that it must not have.
    pub fn malformed(&self, value: u64, leaf: bool) -> bool {
        let met = |rules: &[(u64, u64)]| rules.iter().any(|&(mask, bad)| value & mask == bad);
        met(self.forbidden) || leaf && met(self.forbidden_leaf)
    }
}

impl Format {
    /// The format of a second stage, and whether entries can have an NX bit in it.
    pub fn of_stage2(stage2: &Stage2) -> (&'static Self, bool) {
        match stage2.tables {
            Stage2Tables::Own { cr4, efer } => {
                let format = Self::select(cr4, efer);
                (format, format.nxe(efer))
            }
            Stage2Tables::Extended { five_levels, dirty } => {
                (&EPTS[usize::from(five_levels) | usize::from(dirty) << 1], false)
            }
        }
    }

    /// The format that CR4 and EFER select, given that paging is on.
    pub fn select(cr4: u64, efer: u64) -> &'static Self {
        match (efer & efer::LMA != 0, cr4 & cr4::PAE != 0, cr4 & cr4::PSE != 0) {
            (true, _, _) if cr4 & cr4::LA57 != 0 => &LONG_5,
            (true, _, _) => &LONG,
            (_, true, _) => &PAE,
            (_, _, true) => &LEGACY_PSE,
            _ => &LEGACY,
        }
    }

    /// Whether entries can have an NX bit in this format.
    pub fn nxe(&self, efer: u64) -> bool {
        self.entry == 8 && efer & efer::NXE != 0
    }

    /// Address of the page that `entry` maps at `level`.
    pub fn page(&self, level: &Level, entry: u64) -> u64 {
        let base = entry & entry::ADDRESS & !bits(0, level.shift - 1);
        if self.pse36 && level.shift == 22 {
            base & bits(22, 31) | (entry & bits(13, 20)) << 19
        } else {
            base
        }
    }
}
