//! The translator by itself: how fast it turns cold code into host code, and how much longer that is.

use anyhow::{Context, Result, ensure};
use ireko_translate::block::Request;
use ireko_translate::classify::Env;
use ireko_translate::{Key, Translator};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// The longest instruction (APM vol. 3, 1.1).
const LONGEST: usize = 15;

/// What a translation of a whole program took and gave.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    pub blocks: u64,
    pub instructions: u64,
    pub guest_bytes: u64,
    pub host_bytes: u64,
    pub seconds: f64,
    pub instructions_per_second: f64,
    pub blocks_per_second: f64,
    pub host_bytes_per_guest_byte: f64,
}

/// Translates all code of a static 64-bit program, `rounds` times; the times are the median round's.
pub fn measure(path: &Path, rounds: u32) -> Result<Measured> {
    let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parts = code(&file);
    ensure!(!parts.is_empty(), "{} is not a 64-bit x86 ELF program with code", path.display());
    let mut rounds: Vec<Measured> = (0..rounds.max(1)).map(|_| translate(&parts)).collect();
    rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(rounds.swap_remove(rounds.len() / 2))
}

pub fn show(path: &Path, measured: &Measured) -> String {
    format!(
        "{}: {} blocks, {} instructions, {} bytes of code\n\
         {:.2} million instructions a second, {:.2} million blocks a second, {:.0} ns a block\n\
         {:.2} bytes of host code for one of the guest's, out-of-line parts included\n",
        path.display(),
        measured.blocks,
        measured.instructions,
        measured.guest_bytes,
        measured.instructions_per_second / 1e6,
        measured.blocks_per_second / 1e6,
        1e9 / measured.blocks_per_second.max(1e-9),
        measured.host_bytes_per_guest_byte,
    )
}

/// A stretch of code and the address it runs at.
type Part<'a> = (u64, &'a [u8]);

/// The executable segments of an ELF file (ELF-64 object file format, figures 2 and 8).
fn code(file: &[u8]) -> Vec<Part<'_>> {
    const LOADED: u64 = 1;
    const EXECUTABLE: u64 = 1;
    if !file.starts_with(b"\x7fELF\x02\x01") || number(file, 0x12, 2) != Some(62) {
        return Vec::new();
    }
    let header = |at: u64| {
        let field = |offset, size| number(file, usize::try_from(at).ok()?.checked_add(offset)?, size);
        let wanted = field(0, 4)? == LOADED && field(4, 4)? & EXECUTABLE != 0;
        let (offset, length) = (field(8, 8)? as usize, field(0x20, 8)? as usize);
        wanted.then_some((field(0x10, 8)?, file.get(offset..offset.checked_add(length)?)?))
    };
    let (Some(table), Some(size), Some(count)) =
        (number(file, 0x20, 8), number(file, 0x36, 2), number(file, 0x38, 2))
    else {
        return Vec::new();
    };
    (0..count).filter_map(|index| header(table.checked_add(index * size)?)).collect()
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// User code in 64-bit mode with flat segments and all vector units on.
fn key() -> Key {
    let segments = 0x3f << Key::FLAT_SHIFT | 0x3f << Key::ZERO_SHIFT;
    Key(Key::CODE64 | Key::CODE32 | Key::STACK32 | Key::USER | Key::SSE | Key::AVX | segments)
}

fn translate(parts: &[Part<'_>]) -> Measured {
    let mut translator =
        Translator::new(Env { routine: ireko_cpu::isa::has_routine, feature: ireko_cpu::isa::engine_has });
    let mut measured = Measured::default();
    let mut taken = Duration::ZERO;
    for &(address, bytes) in parts {
        let mut at = 0;
        while at < bytes.len() {
            let request = request(address, bytes, at);
            let start = Instant::now();
            let block = translator.translate(&request);
            taken += start.elapsed();
            // Where no instruction begins, as in tables between functions, the next byte is tried.
            let Some(block) = block.filter(|block| block.length > 0) else {
                at += 1;
                continue;
            };
            measured.blocks += 1;
            measured.instructions += u64::from(block.instructions);
            measured.guest_bytes += block.length as u64;
            measured.host_bytes += block.code.len() as u64;
            at += block.length;
        }
    }
    measured.seconds = taken.as_secs_f64();
    let seconds = measured.seconds.max(1e-9);
    measured.instructions_per_second = measured.instructions as f64 / seconds;
    measured.blocks_per_second = measured.blocks as f64 / seconds;
    measured.host_bytes_per_guest_byte = measured.host_bytes as f64 / measured.guest_bytes.max(1) as f64;
    measured
}

fn request(address: u64, bytes: &[u8], at: usize) -> Request<'_> {
    let rip = address.wrapping_add(at as u64);
    let page_offset = rip as usize % PAGE;
    let left = bytes.len() - at;
    let in_page = (PAGE - page_offset).min(left);
    Request {
        bytes: &bytes[at..at + (in_page + LONGEST).min(left)],
        rip,
        in_page,
        page_offset,
        key: key(),
        first_site: 0,
        first_link: 0,
        block: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_code_is_translated_whole() {
        let file = fs::read("/proc/self/exe").unwrap();
        let (address, bytes) = *code(&file).iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let measured = translate(&[(address, &bytes[..64 << 10])]);
        assert!(
            measured.guest_bytes > 60 << 10 && measured.host_bytes > measured.guest_bytes,
            "{measured:?}"
        );
    }

    #[test]
    fn what_is_no_program_has_no_code() {
        let mut cut = b"\x7fELF\x02\x01".to_vec();
        assert!(code(&cut).is_empty() && code(b"text").is_empty());
        cut.resize(64, 0xff);
        cut[0x12..0x14].copy_from_slice(&[62, 0]);
        assert!(code(&cut).is_empty());
    }
}
