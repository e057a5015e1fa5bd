//! Shared libraries by the names that programs are linked with (System V ABI, "Dynamic Linking").

use super::elf::number;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

const PROGRAM_HEADER_LOAD: u64 = 1;
const PROGRAM_HEADER_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;

/// Libraries by DT_SONAME.
#[derive(Default)]
pub struct Libraries(BTreeMap<String, Vec<u8>>);

impl Libraries {
    /// Keeps `data` if it is a library with a name.
    pub fn add(&mut self, data: Vec<u8>) {
        if let Some(name) = names(&data, DT_SONAME).and_then(|names| names.into_iter().next()) {
            self.0.insert(name, data);
        }
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// What programs (with their names, for errors) need, and what that needs.
    pub fn needed_by<'a>(
        &'a self,
        programs: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<BTreeMap<&'a str, &'a [u8]>> {
        let mut found = BTreeMap::new();
        let mut open: Vec<(&str, &[u8])> = programs.collect();
        while let Some((who, data)) = open.pop() {
            for name in names(data, DT_NEEDED).unwrap_or_default() {
                let (name, library) = self
                    .0
                    .get_key_value(&name)
                    .with_context(|| format!("the packages lack the library {name}, which {who} needs"))?;
                if found.insert(name.as_str(), library.as_slice()).is_none() {
                    open.push((name, library));
                }
            }
        }
        // What every thread that is cancelled loads.
        const UNNAMED: &str = "libgcc_s.so.1";
        found.extend(self.0.get_key_value(UNNAMED).map(|(name, data)| (name.as_str(), data.as_slice())));
        Ok(found)
    }
}

/// A 64-bit ELF file's program headers: type, offset, address, size in the file.
fn headers(elf: &[u8]) -> Option<Vec<[u64; 4]>> {
    elf.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let table = usize::try_from(number(elf, 0x20, 8)?).ok()?;
    let (size, count) = (number(elf, 0x36, 2)? as usize, number(elf, 0x38, 2)? as usize);
    let field = |at: usize, offset, length| number(elf, at.checked_add(offset)?, length);
    let header = |n: usize| {
        let at = table.checked_add(n * size)?;
        Some([field(at, 0, 4)?, field(at, 8, 8)?, field(at, 16, 8)?, field(at, 32, 8)?])
    };
    (0..count).map(header).collect()
}

/// The strings of all entries of the dynamic section with this tag.
fn names(elf: &[u8], tag: u64) -> Option<Vec<String>> {
    const ENTRY: usize = 16;
    let headers = headers(elf)?;
    let [_, offset, _, size] = *headers.iter().find(|header| header[0] == PROGRAM_HEADER_DYNAMIC)?;
    let (offset, size) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
    let section = elf.get(offset..offset.checked_add(size)?)?;
    let entries: Vec<_> =
        section.chunks_exact(ENTRY).filter_map(|e| Some((number(e, 0, 8)?, number(e, 8, 8)?))).collect();
    let strings = entries.iter().find(|(other, _)| *other == DT_STRTAB)?.1;
    let loaded = |[kind, _, address, size]: &&[u64; 4]| {
        *kind == PROGRAM_HEADER_LOAD && strings.checked_sub(*address).is_some_and(|at| at < *size)
    };
    let [_, offset, address, _] = headers.iter().find(loaded)?;
    let table = usize::try_from(strings - address + offset).ok()?;
    let text = |at: u64| {
        let bytes = elf.get(table.checked_add(usize::try_from(at).ok()?)?..)?;
        Some(String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next()?).into_owned())
    };
    entries.iter().filter(|(other, _)| *other == tag).map(|(_, at)| text(*at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library with a name, linked with others: one loaded segment with the dynamic section and its strings.
    fn library(name: &str, needed: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut dynamic = Vec::new();
        for (tag, text) in needed.iter().map(|text| (DT_NEEDED, *text)).chain([(DT_SONAME, name)]) {
            dynamic.extend([tag, strings.len() as u64]);
            strings.extend(text.bytes().chain([0]));
        }
        let (start, address) = (64 + 2 * 56, 0x4000u64);
        let size = (dynamic.len() as u64 + 2) * 8;
        dynamic.extend([DT_STRTAB, address + size]);
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        elf[0x20] = 64;
        (elf[0x36], elf[0x38]) = (56, 2);
        for (kind, length) in
            [(PROGRAM_HEADER_LOAD, size + strings.len() as u64), (PROGRAM_HEADER_DYNAMIC, size)]
        {
            let fields = [kind, start, address, address, length, length, 8];
            elf.extend(fields.iter().flat_map(|field: &u64| field.to_le_bytes()));
        }
        elf.extend(dynamic.iter().flat_map(|field| field.to_le_bytes()));
        elf.extend(strings);
        elf
    }

    #[test]
    fn what_libraries_need_is_needed_too() {
        let mut libraries = Libraries::default();
        [library("a", &["b"]), library("b", &["a"]), library("c", &[])]
            .into_iter()
            .for_each(|l| libraries.add(l));
        let program = library("program", &["a"]);
        let found = libraries.needed_by([("program", program.as_slice())].into_iter()).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_is_lacking_is_named_with_who_needs_it() {
        let program = library("program", &["libmissing.so.1"]);
        let error =
            Libraries::default().needed_by([("xl", program.as_slice())].into_iter()).unwrap_err().to_string();
        assert!(error.contains("libmissing.so.1") && error.contains("xl"), "{error}");
    }

    #[test]
    fn no_prefix_panics() {
        let whole = library("a", &["b"]);
        (0..whole.len()).for_each(|length| drop(names(&whole[..length], DT_NEEDED)));
    }
}
