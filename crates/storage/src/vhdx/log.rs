//! The log ([MS-VHDX], 2.3): pages of tables that are about to change, so that a crash while they do loses nothing.

use super::crc;
use super::header::Header;
use crate::bytes::{le32, le64, put};
use crate::error::damaged;
use crate::guid::Guid;
use crate::{Format, ImageError, Store};
use std::io;

const SECTOR: u64 = 4096;
const ENTRY: u64 = 64;
const DESCRIPTOR: u64 = 32;

/// An entry that is whole.
struct Entry {
    /// Where it is in the log.
    at: u64,
    bytes: Vec<u8>,
}

impl Entry {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn tail(&self) -> u64 {
        le32(&self.bytes, 12).into()
    }
    fn sequence(&self) -> u64 {
        le64(&self.bytes, 16)
    }
    fn descriptors(&self) -> u64 {
        le32(&self.bytes, 24).into()
    }
}

struct Reader<'a> {
    store: &'a dyn Store,
    header: &'a Header,
    /// Bytes that may still be summed up: what is made to be looked at again and again ends.
    patience: u64,
}

impl Reader<'_> {
    fn length(&self) -> u64 {
        self.header.log_length.into()
    }

    /// Bytes of the log, which goes on at its beginning.
    fn bytes(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        let first = len.min(self.length() - at);
        let (head, rest) = bytes.split_at_mut(first as usize);
        self.store.read_at(self.header.log_offset + at, head)?;
        self.store.read_at(self.header.log_offset, rest)?;
        Ok(bytes)
    }

    fn entry(&mut self, at: u64) -> io::Result<Option<Entry>> {
        let head = self.bytes(at, ENTRY)?;
        let (length, tail) = (u64::from(le32(&head, 8)), u64::from(le32(&head, 12)));
        let plausible = head.starts_with(b"loge")
            && Guid::read(&head, 32) == self.header.log
            && length >= SECTOR
            && length.is_multiple_of(SECTOR)
            && length <= self.length()
            && tail.is_multiple_of(SECTOR)
            && tail < self.length()
            && (1..u64::MAX).contains(&le64(&head, 16));
        if !plausible {
            return Ok(None);
        }
        self.patience = self.patience.checked_sub(length).ok_or_else(|| damaged("its log has no end"))?;
        let bytes = self.bytes(at, length)?;
        let entry = Entry { at, bytes };
        let room = ENTRY + entry.descriptors() * DESCRIPTOR <= length;
        Ok(Some(entry).filter(|entry| room && crc::is_right(&entry.bytes)))
    }

    /// Entries from one on, as long as each is the next.
    fn sequence(&mut self, at: u64) -> io::Result<Vec<Entry>> {
        let (mut found, mut next, mut total): (Vec<Entry>, _, _) = (Vec::new(), at, 0);
        while let Some(entry) = self.entry(next)? {
            total += entry.length();
            let follows = found.last().is_none_or(|last| entry.sequence() == last.sequence() + 1);
            if !follows || total > self.length() {
                break;
            }
            next = (next + entry.length()) % self.length();
            found.push(entry);
        }
        Ok(found)
    }

    /// The sequence that is in force: the newest whose last entry's first is in it.
    fn active(&mut self) -> io::Result<Vec<Entry>> {
        let mut best: Vec<Entry> = Vec::new();
        let mut at = 0;
        while at < self.length() {
            let mut found = self.sequence(at)?;
            at += found.iter().map(Entry::length).sum::<u64>().max(SECTOR);
            let Some(head) = found.last() else { continue };
            let (tail, newest) = (head.tail(), head.sequence());
            let Some(first) = found.iter().position(|entry| entry.at == tail) else { continue };
            if best.last().is_none_or(|head| newest > head.sequence()) {
                best = found.split_off(first);
            }
        }
        Ok(best)
    }
}

/// Does what the log says was about to be done.
pub fn replay(store: &dyn Store, header: &Header) -> Result<(), ImageError> {
    let mut reader = Reader { store, header, patience: 4 * u64::from(header.log_length) };
    let entries = reader.active()?;
    let Some(head) = entries.last() else { return Ok(()) };
    let (flushed, last) = (le64(&head.bytes, 48), le64(&head.bytes, 56));
    let length = store.size()?;
    if flushed > length {
        return Err(ImageError::damaged(
            Format::Vhdx,
            format!("it had {flushed} bytes when its log was written, and has {length}; it is cut short"),
        ));
    }
    for entry in &entries {
        apply(store, entry, length)?;
    }
    if last > store.size()? && last <= length.saturating_add(1 << 40) {
        store.set_size(last)?;
    }
    store.flush()?;
    Ok(())
}

fn apply(store: &dyn Store, entry: &Entry, length: u64) -> Result<(), ImageError> {
    let broken = |what: &str| ImageError::damaged(Format::Vhdx, format!("in its log {what}"));
    let mut data = (ENTRY + entry.descriptors() * DESCRIPTOR).next_multiple_of(SECTOR) as usize;
    for number in 0..entry.descriptors() {
        let at = (ENTRY + number * DESCRIPTOR) as usize;
        let descriptor = &entry.bytes[at..at + DESCRIPTOR as usize];
        let offset = le64(descriptor, 16);
        if le64(descriptor, 24) != entry.sequence() || !offset.is_multiple_of(SECTOR) {
            return Err(broken("a descriptor is wrong"));
        }
        match &descriptor[..4] {
            b"zero" => {
                let len = le64(descriptor, 8);
                if !len.is_multiple_of(SECTOR) || !crate::pages::whole(length, offset, len) {
                    return Err(broken("zeros would go behind the file's end"));
                }
                crate::store::zero(store, offset, len)?;
            }
            b"desc" => {
                let sector = entry.bytes.get(data..data + SECTOR as usize);
                let sector = sector.ok_or_else(|| broken("a page is missing"))?;
                data += SECTOR as usize;
                let sequence = u64::from(le32(sector, 4)) << 32 | u64::from(le32(sector, 4092));
                if !sector.starts_with(b"data") || sequence != entry.sequence() {
                    return Err(broken("a page is torn"));
                }
                if offset > length {
                    return Err(broken("a page would go behind the file's end"));
                }
                let mut page = sector.to_vec();
                page[..8].copy_from_slice(&descriptor[8..16]);
                page[4092..].copy_from_slice(&descriptor[4..8]);
                store.write_at(offset, &page)?;
            }
            _ => return Err(broken("a descriptor is of no known kind")),
        }
    }
    Ok(())
}

/// Where entries are written: in turn to the log's first half and to its second, so that one whole entry is always there.
pub struct Writer {
    half: u64,
    sequence: u64,
    second: bool,
}

impl Writer {
    pub fn new(header: &Header) -> Self {
        Self { half: u64::from(header.log_length) / 2 / SECTOR * SECTOR, sequence: 0, second: false }
    }

    /// Pages that one entry has room for.
    pub fn room(&self) -> usize {
        let sectors = self.half / SECTOR;
        // A sector of descriptors has 128, and the first 126.
        (sectors - sectors.div_ceil(128) - 1) as usize
    }

    /// Writes an entry with these pages of 4 KiB. `length`: of the file, as it was flushed.
    pub fn write(
        &mut self,
        store: &dyn Store,
        header: &Header,
        pages: &[(u64, Vec<u8>)],
        length: u64,
    ) -> io::Result<()> {
        self.sequence += 1;
        let at = if self.second { self.half } else { 0 };
        let first_data = (ENTRY + pages.len() as u64 * DESCRIPTOR).next_multiple_of(SECTOR) as usize;
        let mut bytes = vec![0; first_data + pages.len() * SECTOR as usize];
        let total = bytes.len() as u32;
        put(&mut bytes, 0, b"loge");
        put(&mut bytes, 8, &total.to_le_bytes());
        put(&mut bytes, 12, &(at as u32).to_le_bytes());
        put(&mut bytes, 16, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &(pages.len() as u32).to_le_bytes());
        put(&mut bytes, 32, &header.log.encoded());
        put(&mut bytes, 48, &length.to_le_bytes());
        put(&mut bytes, 56, &length.to_le_bytes());
        for (number, (offset, page)) in pages.iter().enumerate() {
            let descriptor = ENTRY as usize + number * DESCRIPTOR as usize;
            put(&mut bytes, descriptor, b"desc");
            put(&mut bytes, descriptor + 4, &page[4092..]);
            put(&mut bytes, descriptor + 8, &page[..8]);
            put(&mut bytes, descriptor + 16, &offset.to_le_bytes());
            put(&mut bytes, descriptor + 24, &self.sequence.to_le_bytes());
            let data = first_data + number * SECTOR as usize;
            put(&mut bytes, data, page);
            put(&mut bytes, data, b"data");
            put(&mut bytes, data + 4, &((self.sequence >> 32) as u32).to_le_bytes());
            put(&mut bytes, data + 4092, &(self.sequence as u32).to_le_bytes());
        }
        crc::sign(&mut bytes);
        store.write_at(header.log_offset + at, &bytes)?;
        self.second = !self.second;
        Ok(())
    }
}
