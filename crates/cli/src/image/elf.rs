//! Our own binary as it goes into a guest: only what is loaded, without symbols and debug information.

/// The static executable `elf` cut behind its last loaded byte. What is not a 64-bit ELF file stays as it is.
pub fn loaded_part(elf: &[u8]) -> Vec<u8> {
    match loaded_end(elf).filter(|&end| end >= 0x40) {
        Some(end) => {
            let mut cut = elf[..end].to_vec();
            // e_shoff, e_shnum, e_shstrndx: there are no section headers any more.
            cut[0x28..0x30].fill(0);
            cut[0x3c..0x40].fill(0);
            cut
        }
        None => elf.to_vec(),
    }
}

/// A little-endian field.
pub fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn loaded_end(elf: &[u8]) -> Option<usize> {
    elf.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let table = number(elf, 0x20, 8)? as usize;
    let (size, count) = (number(elf, 0x36, 2)? as usize, number(elf, 0x38, 2)? as usize);
    let mut end = table.checked_add(size.checked_mul(count)?)?;
    for index in 0..count {
        let header = table.checked_add(index * size)?;
        let (offset, length) =
            (number(elf, header.checked_add(8)?, 8)?, number(elf, header.checked_add(0x20)?, 8)?);
        end = end.max(offset.checked_add(length)? as usize);
    }
    (end <= elf.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_stays() {
        assert_eq!(loaded_part(b"#!/bin/sh\n"), b"#!/bin/sh\n");
    }

    #[test]
    fn our_own_binary_runs_without_its_sections() {
        use std::os::unix::fs::PermissionsExt;
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let cut = loaded_part(&whole);
        assert!(cut.len() < whole.len());
        let path = std::env::temp_dir().join(format!("ireko-cut-{}", std::process::id()));
        std::fs::write(&path, cut).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ran = loop {
            // A test beside this one may fork while the file is open for writing; its child holds
            // the file until it has called execve, and so long the kernel answers ETXTBSY.
            match std::process::Command::new(&path).arg("--list").output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                other => break other.unwrap(),
            }
        };
        std::fs::remove_file(&path).unwrap();
        assert!(ran.status.success());
    }
}
