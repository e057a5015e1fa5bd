//! Where translated code finds things: the bank that host RSP points at.
//!
//! A bank is one address space's caches with the hot processor state in front of them:
//! `[stack][Hot][jump tables, by slot][TLB by mode][which entries are filled][second-level TLB]`. Switching address
//! spaces is switching RSP.

use std::sync::atomic::AtomicU64;

/// Host registers of the guest's general registers, by encoding number; `None` lives in [`Hot::parked`].
///
/// The map is the identity where it can be, because of implicit operands. RSP is ours, RCX is scratch: JRCXZ is the
/// only branch that needs no flags, and RCX needs no REX prefix, so that AH..BH can be encoded beside it.
pub const PINNED: [Option<u8>; 16] = [
    Some(0),  // RAX
    Some(11), // RCX in R11
    Some(2),  // RDX
    Some(3),  // RBX
    Some(10), // RSP in R10
    Some(5),  // RBP
    Some(6),  // RSI
    Some(7),  // RDI
    Some(8),  // R8
    Some(9),  // R9
    Some(15), // R10 in R15
    None,     // R11
    Some(12), // R12
    None,     // R13
    None,     // R14
    None,     // R15
];

/// Entries of one TLB table. A power of two.
pub const TLB_ENTRIES: usize = 2048;
/// Tables: user, supervisor with SMAP in force, supervisor that may reach user pages.
pub const TLB_MODES: usize = 3;
/// Entries of one jump table.
pub const JUMP_ENTRIES: usize = 16384;
/// Jump tables: one for each kind of code that alternates often, the last for all the rest.
pub const JUMP_SLOTS: usize = 4;
/// That of user code, and that of all the rest.
pub const USER_SLOT: usize = 2;
pub const LAST_SLOT: usize = JUMP_SLOTS - 1;
/// Where PDEP puts the low bits of an address's hash: entries are of two words, an index counts one. It is the word that asks for
/// attention while it is 0 ([`Hot::attention`]), so that jumps by table find entry 0 then, which is never filled.
pub const JUMP_MASK: u64 = (JUMP_ENTRIES as u64 - 1) << 1;
/// The hash is the address plus itself rotated right by this: function entries differ above the page offset, return
/// addresses below.
pub const JUMP_ROTATE: u8 = 12;

/// Groups of accesses with a shared check in one block.
pub const GROUPS: usize = 16;

/// Flipped in a page's address, gives a page whose TLB entry is another.
pub const OTHER_ENTRY: u64 = (TLB_ENTRIES as u64 / 2) << 12;

/// The tag of TLB entry `index` while it is for no page. There is no number that fits no address, so it is the tag of a page
/// that is looked up at another entry: whoever looks here has another address. (That page's number is below [`TLB_ENTRIES`], so
/// [`tlb_skewed_index`] is its [`tlb_index`].)
pub const fn tlb_no_tag(index: usize) -> u64 {
    ((index as u64) << 12 ^ OTHER_ENTRY).wrapping_neg()
}

/// As [`tlb_no_tag`], for an entry of the jump tables. (While somebody wants attention all addresses are looked up at entry 0: the one that this
/// gives leads out from there.)
pub const fn jump_no_tag(index: usize) -> u64 {
    (index as u64 ^ (JUMP_ENTRIES as u64 / 2)).wrapping_neg()
}

/// One TLB entry. `-page + address` is the offset in the page on a hit, and at least 4096 otherwise, so that one unsigned
/// comparison answers tag, page crossing and validity at once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TlbEntry {
    /// Minus the linear page address, if reading needs no check, or [`tlb_no_tag`].
    pub read: u64,
    /// Host address of the page.
    pub host: u64,
    /// As `read`, for writing.
    pub write: u64,
    pub unused: u64,
}

impl TlbEntry {
    /// Entry `index` for no page. `nowhere` is the host address of a page that cannot be accessed: should a check ever fail to
    /// keep an access from this entry, the host's MMU does.
    pub const fn empty(index: usize, nowhere: u64) -> Self {
        let tag = tlb_no_tag(index);
        Self { read: tag, host: nowhere, write: tag, unused: 0 }
    }
}

/// Entries of the second-level TLB: translations of 2 MiB, and of 4 KiB. Powers of two.
pub const LARGE_ENTRIES: usize = 256;
pub const SMALL_ENTRIES: usize = 8192;
/// Address bits from here on move a small page's entry: what lies at the same place of different areas of 32 MiB or a gigabyte (systems align
/// their areas) is not all at one.
pub const SMALL_MIX: u32 = 25;
/// Address bits within a page of [`LARGE_ENTRIES`].
pub const LARGE_SHIFT: u32 = 21;

/// One entry of the second level, which [`crate::refill`] looks up before Rust is asked. All zero matches nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SecondEntry {
    /// Linear page address | a word of [`Hot::wanted`].
    pub key: u64,
    /// Host address of the page.
    pub host: u64,
    /// Host address of the byte that is not 0 while the (first) page is watched; those of the pages behind it follow.
    pub watch: u64,
    pub flags: u64,
}

/// The page may not be written without a walk.
pub const SECOND_READ_ONLY: u64 = 1;
/// The page is global.
pub const SECOND_GLOBAL: u64 = 2;

/// Below this no direct jump leads to an address that is not canonical, so programs' code need not know where it is.
pub const RELATIVE_END: u64 = (1 << 47) - (1 << 31) - 0x2000;

/// Pages that code was fetched from lately: supervisor code's, then user code's. A power of two.
pub const FETCH_ENTRIES: usize = 2048;

/// One of them. `ireko_lookup_2` reads those of user code.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FetchEntry {
    /// Linear page, and what [`FetchEntry::tag`] adds.
    pub tag: u64,
    /// Physical page | whether it is global.
    pub physical: u64,
}

impl FetchEntry {
    /// For no page: its tag belongs at another entry.
    pub const fn empty(index: usize) -> Self {
        Self { tag: if index == 0 { 1 << 12 } else { 0 }, physical: 0 }
    }

    /// The tag of an address's page: with bit 0 on where 64-bit code is relative.
    pub const fn tag(address: u64, user: bool) -> u64 {
        address & !0xfff | (user && address < RELATIVE_END) as u64
    }

    /// Index in its table.
    pub const fn index(address: u64) -> usize {
        (address >> 12) as usize & (FETCH_ENTRIES - 1)
    }
}

/// Multiplied with an address, gives its bucket in bits 32 and up.
pub const JUMP_HASH: i32 = 0x9e37_79b1_u32 as i32;

/// Numbers of owners of jump entries begin at [`JUMP_SLOTS`]. Of those below, this is the empty entries'; 0 is that of a bank
/// that has no entries.
pub const NOBODY: u32 = 1;
/// Where an empty entry leads, from [`Hot::code_base`]: to code that leaves for the address in R14.
pub const NOWHERE: u32 = 0;

/// One entry of the second level of the jump tables, which [`crate::lookup`] looks up before Rust is asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JumpEntry {
    /// Address of the code: linear, or physical where code is relative.
    pub rip: u64,
    /// Whose it is: valid while [`Hot::jump_ids`] has it.
    pub id: u32,
    /// From [`Hot::code_base`].
    pub code: u32,
}

impl JumpEntry {
    /// An entry of bucket `bucket` for no address: its address belongs in another bucket, and its number is nobody's.
    pub const fn empty(bucket: usize) -> Self {
        Self { rip: if bucket == 0 { 1 } else { 0 }, id: NOBODY, code: NOWHERE }
    }
}

/// Number of the bucket of an address, where there are `buckets` (a power of two), of two entries each.
pub const fn jump_bucket(address: u64, buckets: usize) -> usize {
    (address.wrapping_mul(JUMP_HASH as i64 as u64) >> 32) as usize & (buckets - 1)
}

/// Hot processor state at RSP. The first 16 words are in reach of one-byte displacements.
#[repr(C, align(64))]
pub struct Hot {
    /// [`JUMP_MASK`], or 0, which asks translated code to leave at its next check or jump by table.
    pub attention: AtomicU64,
    /// Guest R11, R13, R14, R15.
    pub parked: [u64; 4],
    pub temp: [u64; 4],
    /// RFLAGS.IF in place, while translated code runs; `Registers::rflags` has it while Rust runs.
    pub interrupt_flag: u64,
    /// Which site called, which link left.
    pub site: u64,
    /// Linear address of the page that relative code is run at ([`crate::Key::RELATIVE`]).
    pub page: u64,
    /// A bounce buffer or a code page was written: commit is due.
    pub pending: u64,
    /// Where links leave that lead nowhere yet, those whose target is to be without shared checks, and jumps back because somebody wants
    /// attention.
    pub link_thunk: [u64; 3],
    // ---- end of the one-byte reach ----
    pub segment_base: [u64; 6],
    /// Guest RIP when code leaves.
    pub rip: u64,
    /// What `enter` gives back: why code left ([`crate::thunk::Reason`]).
    pub reason: u64,
    /// Return address of a thunk call.
    pub back: u64,
    /// Host RSP of `enter`'s frame.
    pub host_rsp: u64,
    /// `Registers` of the processor (general registers first, then RIP and RFLAGS).
    pub regs: u64,
    /// XSAVE area.
    pub fpu: u64,
    /// Handed to Rust routines.
    pub context: u64,
    /// Thunks.
    pub access_thunk: u64,
    pub commit_thunk: u64,
    pub system_thunk: u64,
    pub leave_thunk: u64,
    /// Rust routines behind the thunks.
    pub access_routine: u64,
    pub commit_routine: u64,
    pub system_routine: u64,
    pub host_mxcsr: u64,
    /// Guest TSC minus host TSC.
    pub tsc_offset: u64,
    /// As [`Hot::interrupt_flag`], RFLAGS.AC.
    pub alignment_check: u64,
    /// 0 if an interrupt waits for IF: STI looks at it.
    pub nothing_waits: u64,
    /// Host minus guest address of the page that a group of accesses shares.
    pub deltas: [u64; GROUPS],
    /// Low bits of the keys of second-level entries that are valid now, by mode: of local and of global pages.
    pub wanted: [[u64; 2]; TLB_MODES],
    /// Where an access goes that misses the TLB: by mode, and for reading or writing.
    pub miss_thunk: [[u64; 2]; TLB_MODES],
    /// The same for a check at the skewed index. RCX is 0 afterwards if the check is worth another try.
    pub skewed_thunk: [[u64; 2]; TLB_MODES],
    /// What [`crate::refill`] puts spill: RAX, RDX, the flags, and one word of its own.
    pub spill: [u64; 4],
    /// Called where an indirect jump leaves because somebody wants attention.
    pub attention_thunk: u64,
    /// Called where a jump table does not know the address in R14, by slot: [`crate::lookup`], or out.
    pub lookup_thunk: [u64; JUMP_SLOTS],
    /// The entries of [`Hot::jump_cache`] that are valid now, by slot: those of this address space, and those of all. Of user code, the latter are
    /// by physical addresses.
    pub jump_ids: [[u32; 2]; JUMP_SLOTS],
    /// The second level of the jump tables: where its buckets are, and the highest number of one.
    pub jump_cache: u64,
    pub jump_buckets: u64,
    /// What the code addresses in it are relative to.
    pub code_base: u64,
    /// SYSCALL and SYSRET: [`crate::privilege`], or their routines.
    pub syscall_thunk: u64,
    pub sysret_thunk: u64,
    /// XSAVEC and XRSTOR by mode: [`crate::state`], or one that leaves them to their routines.
    pub state_thunk: [[u64; crate::state::KINDS]; TLB_MODES],
    /// The guest's XCR0, and the components that [`crate::state`] leaves to its routines.
    pub xcr0: u64,
    pub foreign_components: u64,
    /// Components that lie in the host's registers while translated code runs, as bits of XCR0.
    pub components: u64,
    /// Those of them that the guest has on; those that are not where the guest has them in an area in standard form; and the
    /// last offset in a page at which a whole area fits.
    pub guest_components: u64,
    pub moved_components: u64,
    pub state_room: u64,
    /// 1 without CR4.PKE, else 0.
    pub pkru_refused: u64,
    /// REP MOVSB, MOVSQ, STOSB and STOSQ by mode: [`crate::repeat`], or one that leaves them to their routines.
    pub repeat_thunk: [[u64; crate::repeat::KINDS]; TLB_MODES],
    /// Of the last x87 instruction: see `crate::x87`.
    pub x87: X87Pointers,
}

/// Where the last x87 instruction was and what it accessed (APM vol. 1, 6.2.6). The processor's own registers for this hold
/// addresses of translated code, and the host's kernel loses them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct X87Pointers {
    /// RIP without its low 12 bits.
    pub page: u64,
    /// The low 12 bits of RIP, and from bit 12 on the opcode's 11 bits.
    pub code: u32,
    /// The segment register of the operand.
    pub segment: u32,
    /// The operand's offset in its segment.
    pub data: u64,
    /// Not 0: IGNNE#, pending exceptions wait for nobody, until they are cleared.
    pub ignores: u64,
}

pub const PARKED_R11: usize = 0;
pub const PARKED_R13: usize = 1;
pub const PARKED_R14: usize = 2;
pub const PARKED_R15: usize = 3;

/// Index in [`Hot::parked`] of a general register that is not pinned.
pub const fn parked_index(gpr: usize) -> usize {
    match gpr {
        11 => PARKED_R11,
        13 => PARKED_R13,
        14 => PARKED_R14,
        _ => PARKED_R15,
    }
}

/// Bytes of stack below `Hot`: return addresses of thunk calls only; but a
/// signal that some library handles without an alternate stack must fit, too.
pub const STACK: usize = 64 << 10;
/// Offsets from RSP.
pub const JUMP_TAGS: usize = 1024;
pub const JUMP_SLOT_BYTES: usize = JUMP_ENTRIES * 16;
/// From a tag to its code address.
pub const JUMP_CODES: usize = 8;
pub const TLB: usize = JUMP_TAGS + JUMP_SLOTS * JUMP_SLOT_BYTES;
pub const TLB_MODE_BYTES: usize = TLB_ENTRIES * 32;
/// A bit for each TLB entry that may be valid.
pub const FILLED: usize = TLB + TLB_MODES * TLB_MODE_BYTES;
pub const FILLED_MODE_BYTES: usize = TLB_ENTRIES / 8;
/// The low half of each TLB entry's host address, close together: where a page may be found without a look at every entry.
pub const HOSTS: usize = FILLED + (TLB_MODES * FILLED_MODE_BYTES).next_multiple_of(64);
pub const HOSTS_MODE_BYTES: usize = TLB_ENTRIES * 4;
/// Pages that code was fetched from: supervisor code's, then user code's.
pub const FETCH: usize = HOSTS + TLB_MODES * HOSTS_MODE_BYTES;
pub const FETCH_BYTES: usize = FETCH_ENTRIES * size_of::<FetchEntry>();
pub const LARGE: usize = FETCH + 2 * FETCH_BYTES;
pub const SMALL: usize = LARGE + LARGE_ENTRIES * size_of::<SecondEntry>();
/// A bit for each jump-table entry that may be valid.
pub const JUMP_FILLED: usize = SMALL + SMALL_ENTRIES * size_of::<SecondEntry>();
pub const JUMP_FILLED_BYTES: usize = JUMP_ENTRIES / 8;
/// Bytes of a bank from the start of its stack.
pub const BANK: usize = (STACK + JUMP_FILLED + JUMP_SLOTS * JUMP_FILLED_BYTES).next_multiple_of(4096);

const _: () = assert!(size_of::<Hot>() <= JUMP_TAGS);
const _: () = assert!(std::mem::offset_of!(Hot, segment_base) == 128);

/// Index of the TLB entry of a linear address.
pub const fn tlb_index(address: u64) -> usize {
    (address >> 12) as usize & (TLB_ENTRIES - 1)
}

/// [`tlb_skewed_index`] adds the address rotated right by this: the bits above those of [`tlb_index`].
pub const SKEW_ROTATE: u8 = TLB_ENTRIES.trailing_zeros() as u8;

/// Where the check of an unrolled loop looks: pages that share an entry by [`tlb_index`] have another each here (Seznec, "A Case for Two-Way Skewed-Associative
/// Caches", ISCA 1993). An entry is for whichever page it was filled for last, by either index.
pub const fn tlb_skewed_index(address: u64) -> usize {
    tlb_index(address ^ address.rotate_right(SKEW_ROTATE as u32))
}

/// Index of the second level's entry of 4 KiB.
pub const fn small_index(address: u64) -> usize {
    (address >> 12 ^ address >> SMALL_MIX) as usize & (SMALL_ENTRIES - 1)
}

/// Index of the jump-table entry of an address.
pub const fn jump_index(address: u64) -> usize {
    address.wrapping_add(address.rotate_right(JUMP_ROTATE as u32)) as usize & (JUMP_ENTRIES - 1)
}
