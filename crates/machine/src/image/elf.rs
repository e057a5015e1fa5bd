//! ELF executables, 32 and 64 bits (System V ABI, chapters 4 and 5): what is loaded where.

use super::Piece;
use super::bytes::{u16_at, u32_at, u64_at};
use crate::MachineError;
use std::ops::Range;

const MAGIC: &[u8] = b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;
const X86_64: u16 = 62;
const I386: u16 = 3;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Xen's note with the entry by PVH (Xen, public/elfnote.h): XEN_ELFNOTE_PHYS32_ENTRY, whose owner is "Xen".
const XEN_PHYS32_ENTRY: u32 = 18;
const XEN: &[u8] = b"Xen\0";
/// Program headers that user programs have and kernels do not: DYNAMIC, INTERP, TLS, GNU_RELRO.
const OF_PROGRAMS: [u32; 4] = [2, 3, 7, 0x6474_e552];
const MOST_SEGMENTS: u64 = 64;

pub fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// A loadable segment.
#[derive(Clone, Debug)]
struct Segment {
    file: Range<usize>,
    physical: u64,
    virtual_: u64,
    size: u64,
}

#[derive(Debug)]
pub struct Elf {
    /// The physical address of the entry.
    pub entry: u64,
    pub is_64: bool,
    segments: Vec<Segment>,
}

/// Where the fields are in a class's headers.
struct Offsets {
    program_headers: usize,
    header_size: usize,
    header_count: usize,
}

const OFFSETS_32: Offsets = Offsets { program_headers: 28, header_size: 42, header_count: 44 };
const OFFSETS_64: Offsets = Offsets { program_headers: 32, header_size: 54, header_count: 56 };

impl Elf {
    /// A Linux kernel: 64 bits, for x86-64.
    pub fn parse_vmlinux(name: &str, bytes: &[u8]) -> Result<Self, MachineError> {
        if is_program(bytes) {
            return Err(MachineError::NotAKernel {
                name: name.into(),
                found: "an ELF program for user space".into(),
            });
        }
        let elf = Self::parse(name, bytes)?;
        match elf.is_64 {
            true => Ok(elf),
            false => Err(MachineError::BadKernel {
                name: name.into(),
                why: "it is a 32-bit ELF file without a multiboot header".into(),
            }),
        }
    }

    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, MachineError> {
        let short = || cut_short(name, bytes, 64);
        let bad = |why: &str| MachineError::BadKernel { name: name.into(), why: why.into() };
        let is_64 = *bytes.get(4).ok_or_else(short)? == CLASS_64;
        if *bytes.get(5).ok_or_else(short)? != LITTLE_ENDIAN {
            return Err(bad("it is a big-endian ELF file"));
        }
        let kind = u16_at(bytes, 16).ok_or_else(short)?;
        let machine = u16_at(bytes, 18).ok_or_else(short)?;
        if kind != EXECUTABLE && kind != SHARED {
            return Err(bad("it is an ELF file but not an executable (a module or object file?)"));
        }
        if machine != X86_64 && machine != I386 {
            return Err(bad("it is an ELF file for another processor"));
        }
        let entry = word(bytes, is_64, 24).ok_or_else(short)?;
        let segments = segments(name, bytes, is_64)?;
        if segments.is_empty() {
            return Err(bad("it is an ELF file with nothing to load"));
        }
        let entry =
            physical_entry(entry, &segments).ok_or_else(|| bad("its entry is not in what it loads"))?;
        Ok(Self { entry, is_64, segments })
    }

    pub fn pieces<'a>(&self, bytes: &'a [u8]) -> Vec<Piece<'a>> {
        let piece = |s: &Segment| Piece {
            address: s.physical,
            data: bytes.get(s.file.clone()).unwrap_or_default(),
            size: s.size,
        };
        self.segments.iter().map(piece).collect()
    }

    pub fn end(&self) -> u64 {
        self.segments.iter().map(|s| s.physical + s.size).max().unwrap_or(0)
    }

    /// Whether this physical address is loaded.
    pub fn holds(&self, address: u64) -> bool {
        self.segments.iter().any(|s| address >= s.physical && address - s.physical < s.size)
    }
}

/// The physical address at which a kernel starts by PVH, if it says one.
pub fn pvh_entry(bytes: &[u8]) -> Option<u64> {
    if !is(bytes) {
        return None;
    }
    let is_64 = bytes.get(4) == Some(&CLASS_64);
    let headers = Headers::find(bytes, is_64)?;
    let (offset, size) = if is_64 { (8, 32) } else { (4, 16) };
    headers.each(bytes).filter(|(_, header)| u32_at(header, 0) == Some(NOTE)).find_map(|(_, header)| {
        let start = usize::try_from(word(header, is_64, offset)?).ok()?;
        let end = start.checked_add(usize::try_from(word(header, is_64, size)?).ok()?)?;
        pvh_note(bytes.get(start..end)?)
    })
}

/// Notes are sizes of owner and content, a type, the owner and the content, each padded to 4 bytes.
fn pvh_note(mut notes: &[u8]) -> Option<u64> {
    loop {
        let [owner, content, kind] = [0, 4, 8].map(|field| u32_at(notes, field));
        let (owner, content) = (usize::try_from(owner?).ok()?, usize::try_from(content?).ok()?);
        let at = owner.checked_next_multiple_of(4)?.checked_add(12)?;
        if kind? == XEN_PHYS32_ENTRY && notes.get(12..).is_some_and(|rest| rest.starts_with(XEN)) {
            // As wide as the file's class; only what 32-bit code can reach makes sense.
            return match content {
                4 => u32_at(notes, at).map(u64::from),
                8 => u64_at(notes, at),
                _ => None,
            };
        }
        notes = notes.get(at.checked_add(content.checked_next_multiple_of(4)?)?..)?;
    }
}

fn cut_short(name: &str, bytes: &[u8], needs: u64) -> MachineError {
    MachineError::CutShort { name: name.into(), has: bytes.len() as u64, needs }
}

/// A field as wide as the class's addresses.
fn word(bytes: &[u8], is_64: bool, offset: usize) -> Option<u64> {
    if is_64 { u64_at(bytes, offset) } else { u32_at(bytes, offset).map(u64::from) }
}

/// Where the program headers are.
struct Headers {
    table: u64,
    size: u64,
    count: u64,
}

impl Headers {
    fn find(bytes: &[u8], is_64: bool) -> Option<Self> {
        let offsets = if is_64 { OFFSETS_64 } else { OFFSETS_32 };
        Some(Self {
            table: word(bytes, is_64, offsets.program_headers)?,
            size: u64::from(u16_at(bytes, offsets.header_size)?),
            count: u64::from(u16_at(bytes, offsets.header_count)?).min(MOST_SEGMENTS),
        })
    }

    /// The end of each header in the file, and the file from its start.
    fn each<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let (table, size) = (self.table, self.size);
        (0..self.count).map(move |n| {
            let at = table.saturating_add(n * size);
            let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            (at.saturating_add(size), rest)
        })
    }
}

fn is_program(bytes: &[u8]) -> bool {
    let headers = Headers::find(bytes, bytes.get(4) == Some(&CLASS_64));
    headers.is_some_and(|h| {
        h.each(bytes).any(|(_, header)| u32_at(header, 0).is_some_and(|kind| OF_PROGRAMS.contains(&kind)))
    })
}

fn segments(name: &str, bytes: &[u8], is_64: bool) -> Result<Vec<Segment>, MachineError> {
    let headers = Headers::find(bytes, is_64).ok_or_else(|| cut_short(name, bytes, 64))?;
    let mut segments = Vec::new();
    for (end, header) in headers.each(bytes) {
        let segment = segment(header, is_64).ok_or_else(|| cut_short(name, bytes, end))?;
        segments.extend(segment.map(|s| checked(name, bytes, s)).transpose()?);
    }
    Ok(segments)
}

/// The loadable segment that a program header describes. `None` outside: the header is cut short.
fn segment(header: &[u8], is_64: bool) -> Option<Option<(u64, Segment)>> {
    let [offset, virtual_, physical, file_size, size] =
        if is_64 { [8, 16, 24, 32, 40] } else { [4, 8, 12, 16, 20] }.map(|field| word(header, is_64, field));
    let (offset, virtual_, physical, file_size, size) = (offset?, virtual_?, physical?, file_size?, size?);
    if u32_at(header, 0)? != LOAD || size == 0 {
        return Some(None);
    }
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = usize::try_from(offset.saturating_add(file_size)).unwrap_or(usize::MAX);
    Some(Some((file_size, Segment { file: start..end, physical, virtual_, size })))
}

fn checked(name: &str, bytes: &[u8], (file_size, segment): (u64, Segment)) -> Result<Segment, MachineError> {
    if segment.file.end > bytes.len() {
        return Err(cut_short(name, bytes, segment.file.end as u64));
    }
    if file_size > segment.size || segment.physical.checked_add(segment.size).is_none_or(|end| end > 1 << 46)
    {
        return Err(MachineError::BadKernel {
            name: name.into(),
            why: format!("its segment at {:#x} makes no sense", segment.physical),
        });
    }
    Ok(segment)
}

/// Linux gives its entry as a physical address; other kernels may give the virtual one.
fn physical_entry(entry: u64, segments: &[Segment]) -> Option<u64> {
    let inside = |start: u64, s: &Segment| entry >= start && entry - start < s.size;
    if segments.iter().any(|s| inside(s.physical, s)) {
        return Some(entry);
    }
    segments.iter().find(|s| inside(s.virtual_, s)).map(|s| s.physical + (entry - s.virtual_))
}

/// A 64-bit executable with one segment of 32 bytes in the file and 64 in memory, for tests.
#[cfg(test)]
pub(crate) fn sample(entry: u64, physical: u64, virtual_: u64) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend(EXECUTABLE.to_le_bytes());
    bytes.extend(X86_64.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    for field in [entry, 64, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(LOAD.to_le_bytes());
    bytes.extend(5u32.to_le_bytes());
    for field in [120, virtual_, physical, 32, 64, 4096] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([0x90; 32]);
    bytes
}

/// The same at 16 MiB with a PVH entry, for tests.
#[cfg(test)]
pub(crate) fn sample_pvh(entry: u32) -> Vec<u8> {
    let mut bytes = sample(0x100_0000, 0x100_0000, 0xffff_ffff_8100_0000);
    // A second program header behind the content, which the first one's place is moved to.
    let table = bytes.len() as u64;
    bytes[32..40].copy_from_slice(&table.to_le_bytes());
    bytes[56] = 2;
    let load = bytes[64..120].to_vec();
    bytes.extend(load);
    bytes.extend(NOTE.to_le_bytes());
    bytes.extend(4u32.to_le_bytes());
    let at = bytes.len() as u64 + 48;
    for field in [at, 0, 0, 40, 40, 4] {
        bytes.extend(field.to_le_bytes());
    }
    // Another owner's note first.
    for word in [4, 4, 1, u32::from_le_bytes(*b"GNU\0"), 0, 4, 4, XEN_PHYS32_ENTRY] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(XEN);
    bytes.extend(entry.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pvh_entry_is_behind_other_notes() {
        assert_eq!(pvh_entry(&sample_pvh(0x100_0010)), Some(0x100_0010));
        assert_eq!(pvh_entry(&sample(0x100_0000, 0x100_0000, 0)), None);
    }

    #[test]
    fn a_segment_goes_to_its_physical_address_and_is_filled_with_zeros() {
        let bytes = sample(0x100_0000, 0x100_0000, 0xffff_ffff_8100_0000);
        let elf = Elf::parse_vmlinux("k", &bytes).unwrap();
        assert_eq!(elf.pieces(&bytes), [Piece { address: 0x100_0000, data: &[0x90; 32], size: 64 }]);
    }

    #[test]
    fn a_virtual_entry_becomes_physical() {
        let bytes = sample(0xffff_ffff_8100_0010, 0x100_0000, 0xffff_ffff_8100_0000);
        assert_eq!(Elf::parse("k", &bytes).unwrap().entry, 0x100_0010);
    }

    #[test]
    fn a_file_that_lost_its_end_is_cut_short() {
        let bytes = sample(0x100_0000, 0x100_0000, 0);
        let error = Elf::parse("k", &bytes[..140]).unwrap_err();
        assert!(matches!(error, MachineError::CutShort { has: 140, needs: 152, .. }), "{error:?}");
    }

    #[test]
    fn an_entry_outside_is_refused() {
        assert!(Elf::parse("k", &sample(0x7000, 0x100_0000, 0)).unwrap_err().to_string().contains("entry"));
    }

    #[test]
    fn no_prefix_panics() {
        let bytes = sample(0x100_0000, 0x100_0000, 0);
        for length in 4..bytes.len() {
            assert!(Elf::parse("k", &bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_user_program_is_no_kernel() {
        let mut bytes = sample(0x100_0000, 0x100_0000, 0);
        // The one program header becomes INTERP.
        bytes[64] = 3;
        let error = Elf::parse_vmlinux("k", &bytes).unwrap_err();
        assert!(error.to_string().contains("program for user space"), "{error}");
    }
}
