//! The header (qcow2 specification, "Header", "Header extensions").

use crate::bytes::{be32, be64, put};
use crate::{Format, ImageError, Store};

pub const MAGIC: &[u8; 4] = b"QFI\xfb";

/// Incompatible features.
pub const DIRTY: u64 = 1 << 0;
pub const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
pub const EXTENDED_L2: u64 = 1 << 4;
/// Compatible features.
pub const LAZY_REFCOUNTS: u64 = 1 << 0;

/// Header extensions.
const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Where fields are.
pub const L1: usize = 36;
pub const SIZE: usize = 24;
pub const REFERENCES: usize = 48;
pub const INCOMPATIBLE: usize = 72;
pub const AUTOCLEAR: usize = 88;

/// What tables may take at most, as in QEMU.
pub const MOST_L1: u64 = 32 << 20;
pub const MOST_REFTABLE: u64 = 8 << 20;
/// Offsets have 56 bits.
pub const MOST_OFFSET: u64 = 1 << 56;

const OLD_LENGTH: usize = 72;
const LENGTH: usize = 104;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Deflate,
    Zstd,
}

#[derive(Clone, Debug)]
pub struct Header {
    pub version: u32,
    pub cluster_bits: u32,
    /// Of the disk, in bytes.
    pub size: u64,
    pub l1_entries: u32,
    pub l1_offset: u64,
    pub reftable_offset: u64,
    pub reftable_clusters: u32,
    pub snapshots: u32,
    pub snapshots_offset: u64,
    pub incompatible: u64,
    pub compatible: u64,
    pub autoclear: u64,
    /// Of refcounts: 1 << this many bits.
    pub refcount_order: u32,
    pub compression: Compression,
    pub backing: Option<Backing>,
}

/// The image behind this one, as this one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    pub name: String,
    pub format: Option<String>,
}

fn damaged(what: impl Into<String>) -> ImageError {
    ImageError::damaged(Format::Qcow2, what)
}

fn unsupported(what: &str, instead: &'static str) -> ImageError {
    ImageError::Unsupported { format: Format::Qcow2, what: what.into(), instead }
}

impl Header {
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }
    pub fn extended(&self) -> bool {
        self.incompatible & EXTENDED_L2 != 0
    }
    /// Bytes of an entry of an L2 table.
    pub fn l2_entry(&self) -> u64 {
        if self.extended() { 16 } else { 8 }
    }
    /// Entries of an L2 table.
    pub fn l2_entries(&self) -> u64 {
        self.cluster() / self.l2_entry()
    }
    pub fn refcount_bits(&self) -> u64 {
        1 << self.refcount_order
    }
    /// Clusters that a block of refcounts is about.
    pub fn block_entries(&self) -> u64 {
        self.cluster() * 8 / self.refcount_bits()
    }
    /// Entries of L1 that the disk's size needs.
    pub fn l1_needed(&self, size: u64) -> u64 {
        size.div_ceil(self.cluster()).div_ceil(self.l2_entries())
    }

    pub fn read(store: &dyn Store) -> Result<Self, ImageError> {
        let length = store.size()?;
        let mut bytes = vec![0; length.min(1 << 12) as usize];
        store.read_at(0, &mut bytes)?;
        if bytes.get(..4) != Some(MAGIC) {
            return Err(ImageError::NotOfFormat(Format::Qcow2));
        }
        if bytes.len() < OLD_LENGTH {
            return Err(damaged("its header is cut short"));
        }
        let mut header = Self::fixed(&bytes)?;
        header.check(length)?;
        let extensions = if header.version == 2 { OLD_LENGTH } else { be32(&bytes, 100) as usize };
        let format = backing_format(store, extensions as u64, header.cluster(), length)?;
        header.backing = backing(store, &bytes, header.cluster(), length, format)?;
        Ok(header)
    }

    fn fixed(bytes: &[u8]) -> Result<Self, ImageError> {
        let version = be32(bytes, 4);
        if !matches!(version, 2 | 3) {
            return Err(unsupported(
                &format!("has version {version}"),
                "give one of version 2 or 3 (`qemu-img convert -O qcow2`)",
            ));
        }
        let new = version == 3;
        if new && (bytes.len() < LENGTH || (be32(bytes, 100) as usize) < LENGTH) {
            return Err(damaged("its header is cut short"));
        }
        let of_new = |at| if new { be64(bytes, at) } else { 0 };
        let incompatible = of_new(INCOMPATIBLE);
        let typed = incompatible & COMPRESSION_TYPE != 0 && be32(bytes, 100) > LENGTH as u32;
        let compression = match if typed { bytes.get(LENGTH).copied().unwrap_or(0) } else { 0 } {
            0 => Compression::Deflate,
            1 => Compression::Zstd,
            other => {
                return Err(unsupported(
                    &format!("is compressed by a method of number {other}"),
                    "convert it (`qemu-img convert -O qcow2`)",
                ));
            }
        };
        Ok(Self {
            version,
            cluster_bits: be32(bytes, 20),
            size: be64(bytes, SIZE),
            l1_entries: be32(bytes, L1),
            l1_offset: be64(bytes, 40),
            reftable_offset: be64(bytes, REFERENCES),
            reftable_clusters: be32(bytes, 56),
            snapshots: be32(bytes, 60),
            snapshots_offset: be64(bytes, 64),
            incompatible,
            compatible: of_new(80),
            autoclear: of_new(AUTOCLEAR),
            refcount_order: if new { be32(bytes, 96) } else { 4 },
            compression,
            backing: None,
        })
        .and_then(|header| match be32(bytes, 32) {
            0 => Ok(header),
            _ => Err(unsupported("is encrypted", "decrypt it (`qemu-img convert`)")),
        })
    }

    /// What must hold before anything is done with it.
    fn check(&self, length: u64) -> Result<(), ImageError> {
        const KNOWN: u64 = DIRTY | CORRUPT | COMPRESSION_TYPE | EXTENDED_L2;
        if self.incompatible & EXTERNAL_DATA != 0 {
            return Err(unsupported(
                "has its data in another file",
                "convert it (`qemu-img convert -O qcow2`)",
            ));
        }
        if self.incompatible & !KNOWN != 0 {
            return Err(unsupported(
                &format!("has incompatible features ({:#x})", self.incompatible & !KNOWN),
                "convert it (`qemu-img convert -O qcow2`)",
            ));
        }
        let least = if self.incompatible & EXTENDED_L2 != 0 { 14 } else { 9 };
        if !(least..=21).contains(&self.cluster_bits) {
            return Err(damaged(format!("its clusters have 2^{} bytes", self.cluster_bits)));
        }
        if self.refcount_order > 6 {
            return Err(damaged(format!("its refcounts have 2^{} bits", self.refcount_order)));
        }
        if self.size >= MOST_OFFSET {
            return Err(damaged(format!("its disk has {} bytes", self.size)));
        }
        let entries = u64::from(self.l1_entries);
        if entries * 8 > MOST_L1 || entries < self.l1_needed(self.size) {
            return Err(damaged(format!("its L1 table has {entries} entries for {} bytes", self.size)));
        }
        let reftable = u64::from(self.reftable_clusters) * self.cluster();
        if reftable == 0 || reftable > MOST_REFTABLE {
            return Err(damaged(format!("its table of refcounts has {reftable} bytes")));
        }
        let tables =
            [(self.l1_offset, entries * 8, "L1 table"), (self.reftable_offset, reftable, "refcounts")];
        for (offset, bytes, name) in tables {
            if offset == 0 && bytes != 0 || !offset.is_multiple_of(self.cluster()) {
                return Err(damaged(format!("its {name} would be at {offset:#x}")));
            }
            if !crate::pages::whole(length, offset, bytes) {
                return Err(damaged(format!(
                    "its {name} would end behind its {length} bytes; it is cut short"
                )));
            }
        }
        Ok(())
    }
}

fn backing_format(
    store: &dyn Store,
    mut at: u64,
    cluster: u64,
    length: u64,
) -> Result<Option<String>, ImageError> {
    let end = cluster.min(length);
    while at + 8 <= end {
        let mut head = [0; 8];
        store.read_at(at, &mut head)?;
        let (kind, len) = (be32(&head, 0), u64::from(be32(&head, 4)));
        if kind == END || at + 8 + len > end {
            break;
        }
        if kind == BACKING_FORMAT {
            let mut name = vec![0; len.min(64) as usize];
            store.read_at(at + 8, &mut name)?;
            return Ok(Some(String::from_utf8_lossy(&name).into_owned()));
        }
        at += 8 + len.next_multiple_of(8);
    }
    Ok(None)
}

fn backing(
    store: &dyn Store,
    bytes: &[u8],
    cluster: u64,
    length: u64,
    format: Option<String>,
) -> Result<Option<Backing>, ImageError> {
    let (offset, len) = (be64(bytes, 8), u64::from(be32(bytes, 16)));
    if offset == 0 {
        return Ok(None);
    }
    if len == 0 || len > 1023 || !crate::pages::whole(cluster.min(length), offset, len) {
        return Err(damaged("the name of its backing file is not in its first cluster"));
    }
    let mut name = vec![0; len as usize];
    store.read_at(offset, &mut name)?;
    let name = String::from_utf8(name).map_err(|_| damaged("the name of its backing file is no text"))?;
    Ok(Some(Backing { name, format }))
}

/// The header of an image that is there, with all that it says but another backing file.
pub fn with_backing(
    store: &dyn Store,
    header: &Header,
    name: &str,
    format: &str,
) -> Result<Vec<u8>, ImageError> {
    let mut old = vec![0; header.cluster().min(store.size()?) as usize];
    store.read_at(0, &mut old)?;
    let fixed = if header.version == 2 { OLD_LENGTH } else { be32(&old, 100) as usize };
    let mut bytes = old.get(..fixed).ok_or_else(|| damaged("its header is cut short"))?.to_vec();
    let mut at = fixed;
    while let Some(head) = old.get(at..at + 8) {
        let (kind, len) = (be32(head, 0), be32(head, 4) as usize);
        let next = at.saturating_add(8).saturating_add(len.next_multiple_of(8));
        match old.get(at..next) {
            Some(extension) if kind != END => {
                if kind != BACKING_FORMAT {
                    bytes.extend(extension);
                }
                at = next;
            }
            _ => break,
        }
    }
    put_backing(&mut bytes, name, Some(format));
    Ok(bytes)
}

/// Behind a header and its extensions.
fn put_backing(bytes: &mut Vec<u8>, name: &str, format: Option<&str>) {
    if let Some(format) = format {
        bytes.extend(BACKING_FORMAT.to_be_bytes());
        bytes.extend((format.len() as u32).to_be_bytes());
        bytes.extend(format.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes.extend([0; 8]);
    let at = bytes.len() as u64;
    put(bytes, 8, &at.to_be_bytes());
    put(bytes, 16, &(name.len() as u32).to_be_bytes());
    bytes.extend(name.as_bytes());
}

/// A header's bytes, with what it says of a backing file behind it.
pub fn encode(header: &Header) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH + 8];
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, 4, &3u32.to_be_bytes());
    put(&mut bytes, 20, &header.cluster_bits.to_be_bytes());
    put(&mut bytes, SIZE, &header.size.to_be_bytes());
    put(&mut bytes, L1, &header.l1_entries.to_be_bytes());
    put(&mut bytes, 40, &header.l1_offset.to_be_bytes());
    put(&mut bytes, REFERENCES, &header.reftable_offset.to_be_bytes());
    put(&mut bytes, 56, &header.reftable_clusters.to_be_bytes());
    put(&mut bytes, INCOMPATIBLE, &header.incompatible.to_be_bytes());
    put(&mut bytes, 80, &header.compatible.to_be_bytes());
    put(&mut bytes, 96, &header.refcount_order.to_be_bytes());
    put(&mut bytes, 100, &(LENGTH as u32 + 8).to_be_bytes());
    if let Some(backing) = &header.backing {
        put_backing(&mut bytes, &backing.name, backing.format.as_deref());
    }
    bytes
}
