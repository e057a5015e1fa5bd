//! New images.

use super::footer::{FOOTER, Footer, Header, Kind, Locator, MOST_SIZE};
use crate::guid::Guid;
use crate::{ImageError, Store};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a new image is to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub size: u64,
    pub block: u64,
    pub fixed: bool,
    pub parent: Option<Parent>,
}

#[derive(Clone, Debug)]
pub struct Parent {
    pub identity: Guid,
    pub relative: String,
    pub absolute: String,
}

/// Seconds since the year 2000, as VHD counts them.
fn now() -> u32 {
    const TO_2000: Duration = Duration::from_secs(946_684_800);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(TO_2000);
    since.saturating_sub(TO_2000).as_secs() as u32
}

/// Writes an empty image into an empty file.
pub fn create(store: &dyn Store, options: &Options) -> Result<(), ImageError> {
    let Options { size, block, fixed, .. } = *options;
    if size > MOST_SIZE {
        return Err(ImageError::wrong(format!(
            "a disk of {size} bytes is too large for a VHD, which has 2040 GB at most; use VHDX or qcow2"
        )));
    }
    if !(1 << 19..=1 << 28).contains(&block) || !block.is_power_of_two() {
        return Err(ImageError::wrong(format!(
            "blocks of {block} bytes cannot be; give a power of 2 from 512 KB to 256 MB"
        )));
    }
    let kind = match &options.parent {
        Some(_) => Kind::Differencing,
        None if fixed => Kind::Fixed,
        None => Kind::Dynamic,
    };
    let footer = Footer::new(kind, size, Guid::random()?, now());
    if kind == Kind::Fixed {
        store.set_size(size + FOOTER)?;
        store.reserve(0, size + FOOTER)?;
        store.write_at(size, footer.bytes())?;
        return Ok(store.flush()?);
    }
    grow(store, options, &footer)
}

/// Footer, header, paths of the parent, table, footer.
fn grow(store: &dyn Store, options: &Options, footer: &Footer) -> Result<(), ImageError> {
    const PATHS: u64 = 1536;
    let parent = options.parent.as_ref().map(|parent| Locator {
        id: parent.identity,
        paths: vec![windows(&parent.relative), parent.absolute.clone()],
    });
    let entries = options.size.div_ceil(options.block);
    let mut header = Header { table: 0, entries: entries as u32, block: options.block, parent };
    let paths = header.encode(PATHS).1;
    let behind = |(at, path): &(u64, Vec<u8>)| at + (path.len() as u64).next_multiple_of(FOOTER);
    header.table = paths.iter().map(behind).max().unwrap_or(PATHS);
    let (bytes, paths) = header.encode(PATHS);
    let table = (entries * 4).next_multiple_of(FOOTER);
    let mut done = 0;
    while done < table {
        let part = (table - done).min(1 << 16);
        store.write_at(header.table + done, &vec![0xff; part as usize])?;
        done += part;
    }
    for (at, path) in paths {
        store.write_at(at, &path)?;
    }
    store.write_at(FOOTER, &bytes)?;
    store.write_at(header.table + table, footer.bytes())?;
    store.flush()?;
    store.write_at(0, footer.bytes())?;
    Ok(store.flush()?)
}

/// A relative path as Windows has it.
pub fn windows(path: &str) -> String {
    format!(".\\{}", path.replace('/', "\\"))
}
