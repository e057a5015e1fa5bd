//! Reads the tar stream of a Debian package (GNU tar with long names).

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
    let mut long_name = None;
    loop {
        let mut header = [0; BLOCK];
        stream.read_exact(&mut header).context("the package's archive is cut short")?;
        if header.iter().all(|&byte| byte == 0) {
            std::io::copy(stream, &mut std::io::sink())?;
            return Ok(());
        }
        let size = octal(&header[124..136]).context("the package's archive has a bad size field")?;
        let name = long_name.take().unwrap_or_else(|| short_name(&header));
        let path = name.trim_start_matches("./").to_owned();
        match header[156] {
            b'L' => long_name = Some(text(&body(stream, size)?)),
            b'0' | 0 if wanted(&path) => keep(path, body(stream, size)?)?,
            _ => skip(stream, size)?,
        }
    }
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

fn body(stream: &mut dyn Read, size: u64) -> Result<Vec<u8>> {
    if size > LARGEST {
        bail!("the package's archive has a file of {size} bytes");
    }
    let mut data = Vec::with_capacity(size as usize);
    stream.take(size).read_to_end(&mut data)?;
    anyhow::ensure!(data.len() as u64 == size, "the package's archive is cut short");
    skip_exactly(stream, padding(size))?;
    Ok(data)
}

fn skip(stream: &mut dyn Read, size: u64) -> Result<()> {
    skip_exactly(stream, size + padding(size))
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
    fn an_archive_that_is_cut_short_is_an_error() {
        let mut archive = entry("./a", b'0', b"abc");
        archive.truncate(600);
        assert!(files(&archive).is_err());
    }
}
