//! A file system of a CD with a few files (ECMA-119), whose names are those of the Rock Ridge Interchange Protocol (IEEE P1282),
//! as these are longer than what ECMA-119 has.

const SECTOR: usize = 2048;
const DESCRIPTOR: usize = 16;
const TERMINATOR: usize = 17;
const PATHS_LITTLE: usize = 18;
const PATHS_BIG: usize = 19;
const ROOT: usize = 20;
const FILES: usize = 21;

/// An image with a label (capital letters and digits) and files in its only directory.
pub fn image(label: &str, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut image = vec![0; FILES * SECTOR];
    let mut root = directory(&[0], true);
    root.extend(directory(&[1], false));
    for (number, (name, data)) in files.iter().enumerate() {
        let at = image.len() / SECTOR;
        image.extend_from_slice(data);
        image.resize(image.len().next_multiple_of(SECTOR), 0);
        root.extend(file(number, name, at, data.len()));
    }
    assert!(root.len() <= SECTOR, "a few files fit into a sector");
    put(&mut image, ROOT, &root);
    put(&mut image, PATHS_LITTLE, &path_table(&(ROOT as u32).to_le_bytes(), &1u16.to_le_bytes()));
    put(&mut image, PATHS_BIG, &path_table(&(ROOT as u32).to_be_bytes(), &1u16.to_be_bytes()));
    put(&mut image, TERMINATOR, b"\xffCD001\x01");
    let descriptor = descriptor(label, image.len() / SECTOR);
    put(&mut image, DESCRIPTOR, &descriptor);
    image
}

fn put(image: &mut [u8], sector: usize, data: &[u8]) {
    image[sector * SECTOR..][..data.len()].copy_from_slice(data);
}

/// A number in both orders of bytes (7.2.3, 7.3.3).
fn both(number: usize) -> [u8; 8] {
    let number = number as u32;
    let mut both = [0; 8];
    both[..4].copy_from_slice(&number.to_le_bytes());
    both[4..].copy_from_slice(&number.to_be_bytes());
    both
}

fn both_short(number: u16) -> [u8; 4] {
    let [a, b] = number.to_le_bytes();
    [a, b, b, a]
}

/// The Primary Volume Descriptor (8.4).
fn descriptor(label: &str, sectors: usize) -> Vec<u8> {
    let mut bytes = b"\x01CD001\x01\0".to_vec();
    bytes.extend([b' '; 32]);
    bytes.extend(format!("{label:<32}").as_bytes());
    bytes.extend([0; 8]);
    bytes.extend(both(sectors));
    bytes.extend([0; 32]);
    bytes.extend([both_short(1), both_short(1), both_short(SECTOR as u16)].concat());
    bytes.extend(both(PATH_TABLE));
    bytes.extend((PATHS_LITTLE as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((PATHS_BIG as u32).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], ROOT, SECTOR, true, &[]));
    // Names of sets, publishers and files of text: none.
    bytes.resize(813, b' ');
    for _ in 0..4 {
        bytes.extend([b'0'; 16]);
        bytes.push(0);
    }
    bytes.push(1);
    bytes.resize(SECTOR, 0);
    bytes
}

const PATH_TABLE: usize = 10;

/// That of the root alone (9.4).
fn path_table(place: &[u8; 4], parent: &[u8; 2]) -> Vec<u8> {
    [&[1, 0][..], place, parent, &[0, 0]].concat()
}

/// A Directory Record (9.1), with entries of the System Use Sharing Protocol.
fn record(name: &[u8], at: usize, size: usize, is_directory: bool, system_use: &[u8]) -> Vec<u8> {
    // 1 January 2000.
    const TIME: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];
    const DIRECTORY: u8 = 2;
    let mut record = vec![0, 0];
    record.extend(both(at));
    record.extend(both(size));
    record.extend(TIME);
    record.extend([if is_directory { DIRECTORY } else { 0 }, 0, 0]);
    record.extend(both_short(1));
    record.push(name.len() as u8);
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record.extend(system_use);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).expect("our names are short");
    record
}

/// The root, or its parent, which is the root; the first says that Rock Ridge is used (SUSP 5.3 and 5.5).
fn directory(name: &[u8], first: bool) -> Vec<u8> {
    const PROTOCOL: &[u8] = b"IEEE_P1282";
    let mut system_use = Vec::new();
    if first {
        system_use.extend(b"SP\x07\x01\xbe\xef\0");
        system_use.extend([b'E', b'R', 8 + PROTOCOL.len() as u8, 1, PROTOCOL.len() as u8, 0, 0, 1]);
        system_use.extend(PROTOCOL);
    }
    system_use.extend(attributes(0o040_755, 2));
    record(name, ROOT, SECTOR, true, &system_use)
}

/// Beside its real name a file has one that ECMA-119 knows.
fn file(number: usize, name: &str, at: usize, size: usize) -> Vec<u8> {
    let mut system_use = attributes(0o100_644, 1);
    system_use.extend([b'N', b'M', 5 + name.len() as u8, 1, 0]);
    system_use.extend(name.as_bytes());
    record(format!("FILE{number}.;1").as_bytes(), at, size, false, &system_use)
}

/// PX (RRIP 4.1.1): mode, links, owner and group.
fn attributes(mode: usize, links: usize) -> Vec<u8> {
    [&b"PX\x24\x01"[..], &both(mode), &both(links), &both(0), &both(0)].concat()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn number(data: &[u8], at: usize) -> usize {
        u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize
    }

    /// The files of an image by the names of Rock Ridge.
    pub fn files(image: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let descriptor = &image[DESCRIPTOR * SECTOR..];
        let mut root = &image[number(descriptor, 158) * SECTOR..][..number(descriptor, 166)];
        let mut files = BTreeMap::new();
        while root[0] > 0 {
            let (record, rest) = root.split_at(usize::from(root[0]));
            root = rest;
            if let Some(at) = record.windows(2).position(|two| two == b"NM") {
                let name = &record[at + 5..at + usize::from(record[at + 2])];
                let data = &image[number(record, 2) * SECTOR..][..number(record, 10)];
                files.insert(String::from_utf8(name.to_vec()).unwrap(), data.to_vec());
            }
        }
        files
    }

    #[test]
    fn files_are_where_their_records_say() {
        let image = image("CIDATA", &[("meta-data", vec![1; 3000]), ("user-data", b"x".to_vec())]);
        let files = files(&image);
        assert_eq!((files["meta-data"].len(), files["user-data"].as_slice()), (3000, &b"x"[..]));
    }

    #[test]
    fn its_label_is_where_blkid_looks() {
        let image = image("CIDATA", &[]);
        assert_eq!(&image[DESCRIPTOR * SECTOR + 40..][..7], b"CIDATA ");
    }
}
