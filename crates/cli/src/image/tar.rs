//! Reads and writes tar archives, as Debian packages have them (GNU tar with long names).

use anyhow::{Context, Result, bail};
use std::io::Read;

const BLOCK: usize = 512;
/// No file of a kernel package comes near this.
const LARGEST: u64 = 512 << 20;

/// Calls `keep` with the path (no leading `./`) and the contents of every regular file for which `wanted` says yes.
pub fn read(
    stream: &mut dyn Read,
    wanted: impl Fn(&str) -> bool,
    mut keep: impl FnMut(String, Vec<u8>) -> Result<()>,
) -> Result<()> {
    while let Some(entry) = next(stream)? {
        if entry.kind == FILE && wanted(&entry.path) {
            let data = body(stream, entry.size)?;
            keep(entry.path, data)?;
        } else {
            skip(stream, entry.size)?;
        }
    }
    Ok(())
}

pub const FILE: u8 = b'0';
pub const HARD_LINK: u8 = b'1';
pub const SYMBOLIC_LINK: u8 = b'2';
pub const DIRECTORY: u8 = b'5';
const LONG_LINK: u8 = b'K';
const LONG_NAME: u8 = b'L';

/// What is in an archive; its contents, if it has any, come next in the stream.
pub struct Entry {
    /// As it is there, with owner, mode and time.
    header: [u8; BLOCK],
    /// Without a leading `./`.
    pub path: String,
    /// Where a link leads.
    pub link: String,
    pub kind: u8,
    pub size: u64,
}

impl Entry {
    /// Its permissions.
    pub fn mode(&self) -> u32 {
        octal(&self.header[100..108]).unwrap_or(0) as u32 & 0o7777
    }
}

/// The next entry; none at the end, to which the stream is read.
pub fn next(stream: &mut dyn Read) -> Result<Option<Entry>> {
    let (mut long_name, mut long_link) = (None, None);
    loop {
        let mut header = [0; BLOCK];
        stream.read_exact(&mut header).context("the package's archive is cut short")?;
        if header.iter().all(|&byte| byte == 0) {
            std::io::copy(stream, &mut std::io::sink())?;
            return Ok(None);
        }
        let size = octal(&header[124..136]).context("the package's archive has a bad size field")?;
        match header[156] {
            LONG_NAME => long_name = Some(text(&body(stream, size)?)),
            LONG_LINK => long_link = Some(text(&body(stream, size)?)),
            kind => {
                let name = long_name.take().unwrap_or_else(|| short_name(&header));
                let link = long_link.take().unwrap_or_else(|| text(&header[157..257]));
                let path = name.trim_start_matches("./").to_owned();
                let kind = if kind == 0 { FILE } else { kind };
                return Ok(Some(Entry { header, path, link, kind, size }));
            }
        }
    }
}

/// Writes an entry as it was, but for its path and where it leads; its contents are to follow.
pub fn write_entry(archive: &mut Vec<u8>, entry: &Entry) {
    let mut header = entry.header;
    // Of the ustar format it may be the beginning of the name; GNU's own has times there.
    header[345..500].fill(0);
    header[156] = entry.kind;
    put_header(archive, header, &entry.path, &entry.link, entry.size);
}

/// Writes a file, or with `kind` something else, that belongs to root.
pub fn write(archive: &mut Vec<u8>, kind: u8, path: &str, link: &str, mode: u32, data: &[u8]) {
    let mut header = [0; BLOCK];
    header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar  \0");
    put_header(archive, header, path, link, data.len() as u64);
    archive.extend_from_slice(data);
    pad(archive);
}

/// What an archive ends with.
pub fn finish(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + 2 * BLOCK, 0);
}

pub fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// What does not fit into a header comes before it.
fn put_header(archive: &mut Vec<u8>, mut header: [u8; BLOCK], path: &str, link: &str, size: u64) {
    const NAME: usize = 100;
    for (text, kind) in [(link, LONG_LINK), (path, LONG_NAME)] {
        if text.len() > NAME {
            let data = [text.as_bytes(), &[0]].concat();
            write(archive, kind, "././@LongLink", "", 0, &data);
        }
    }
    for (field, text) in [(0, path), (157, link)] {
        let text = &text.as_bytes()[..text.len().min(NAME)];
        header[field..field + NAME].fill(0);
        header[field..field + text.len()].copy_from_slice(text);
    }
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend_from_slice(&header);
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The ustar name: prefix and name.
fn short_name(header: &[u8; BLOCK]) -> String {
    let name = text(&header[..100]);
    let prefix = text(&header[345..500]);
    // GNU tar's own format uses the prefix field for other things; its magic ends in a space.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

fn octal(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(field).trim(), 8).ok()
}

pub fn body(stream: &mut dyn Read, size: u64) -> Result<Vec<u8>> {
    if size > LARGEST {
        bail!("the package's archive has a file of {size} bytes");
    }
    let mut data = Vec::with_capacity(size as usize);
    stream.take(size).read_to_end(&mut data)?;
    anyhow::ensure!(data.len() as u64 == size, "the package's archive is cut short");
    skip_padding(stream, size)?;
    Ok(data)
}

pub fn skip(stream: &mut dyn Read, size: u64) -> Result<()> {
    skip_exactly(stream, size + padding(size))
}

/// What is between a file's contents and the next entry.
pub fn skip_padding(stream: &mut dyn Read, size: u64) -> Result<()> {
    skip_exactly(stream, padding(size))
}

fn skip_exactly(stream: &mut dyn Read, size: u64) -> Result<()> {
    let copied = std::io::copy(&mut stream.take(size), &mut std::io::sink())?;
    anyhow::ensure!(copied == size, "the package's archive is cut short");
    Ok(())
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: usize) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block
    }

    fn entry(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, kind, data.len());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn files(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        read(
            &mut &archive[..],
            |path| path != "skipped",
            |path, data| {
                found.push((path, data));
                Ok(())
            },
        )?;
        Ok(found)
    }

    #[test]
    fn wanted_files_come_with_their_contents() {
        let archive = [
            entry("./boot/", b'5', b""),
            entry("./skipped", b'0', &[1; 700]),
            entry("./boot/vmlinuz", b'0', b"kernel"),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        assert_eq!(files(&archive).unwrap(), [("boot/vmlinuz".into(), b"kernel".to_vec())]);
    }

    #[test]
    fn a_long_name_is_that_of_the_next_file() {
        let long = format!("./{}", "d/".repeat(100));
        let archive =
            [entry("././@LongLink", b'L', long.as_bytes()), entry("x", b'0', b"!"), vec![0; 1024]].concat();
        assert_eq!(files(&archive).unwrap()[0].0, long[2..]);
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "d/".repeat(100) + "file";
        let mut archive = Vec::new();
        write(&mut archive, FILE, &long, "", 0o644, b"data");
        write(&mut archive, SYMBOLIC_LINK, "l", &long, 0o777, b"");
        finish(&mut archive);
        let stream = &mut &archive[..];
        let file = next(stream).unwrap().unwrap();
        assert_eq!((file.path, file.size), (long.clone(), 4));
        skip(stream, file.size).unwrap();
        let link = next(stream).unwrap().unwrap();
        assert_eq!((link.path, link.link, link.kind), ("l".into(), long, SYMBOLIC_LINK));
        assert!(next(stream).unwrap().is_none());
    }

    #[test]
    fn an_entry_of_another_name_keeps_its_mode() {
        let mut archive = Vec::new();
        write(&mut archive, FILE, "before", "", 0o4755, b"");
        finish(&mut archive);
        let mut entry = next(&mut &archive[..]).unwrap().unwrap();
        entry.path = "after".into();
        let mut copy = Vec::new();
        write_entry(&mut copy, &entry);
        finish(&mut copy);
        let entry = next(&mut &copy[..]).unwrap().unwrap();
        assert_eq!((entry.path.as_str(), &entry.header[100..107]), ("after", &b"0004755"[..]));
    }

    #[test]
    fn an_archive_that_is_cut_short_is_an_error() {
        let mut archive = entry("./a", b'0', b"abc");
        archive.truncate(600);
        assert!(files(&archive).is_err());
    }
}
