//! An image is a disk: it reads as what was written to it, whatever it is in the file.

use super::memory::MemoryStore;
use super::{KINDS, Kind, Random, behind};
use crate::{Image, Store};
use std::sync::Arc;

const SIZE: u64 = 3 << 20;

/// Does something to an image and to plain bytes.
fn step(image: &dyn Image, bytes: &mut [u8], random: &mut Random, sector: u64) {
    let most = if random.below(4) == 0 { 200 } else { 20 };
    let (at, len) = (random.below(SIZE / sector), 1 + random.below(most));
    let (from, to) = (at * sector, ((at + len) * sector).min(SIZE));
    let range = from as usize..to as usize;
    match random.below(8) {
        0 => {
            image.write_zeroes(from, to - from).unwrap();
            bytes[range].fill(0);
        }
        1 => {
            image.discard(from, to - from).unwrap();
            image.read_at(from, &mut bytes[range]).unwrap();
        }
        2 => image.flush().unwrap(),
        _ => {
            let data: Vec<u8> = (from..to).map(|_| random.next() as u8).collect();
            image.write_at(from, &data).unwrap();
            bytes[range].copy_from_slice(&data);
        }
    }
}

fn all(image: &dyn Image) -> Vec<u8> {
    let mut bytes = vec![0xaa; image.size() as usize];
    for (number, part) in bytes.chunks_mut(77 * 512).enumerate() {
        image.read_at(number as u64 * 77 * 512, part).unwrap();
    }
    bytes
}

fn lives(kind: &Kind, layered: bool) {
    for seed in 1..6 {
        let mut random = Random(seed * 0x9e37_79b9);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let behind = layered.then(|| behind(kind, SIZE / 2 + 512, &mut random));
        (kind.make)(store.as_ref(), SIZE, behind.as_ref().map(|behind| &behind.facts));
        let mut bytes = vec![0; SIZE as usize];
        if let Some(behind) = &behind {
            bytes[..behind.bytes.len()].copy_from_slice(&behind.bytes);
        }
        let parent = behind.map(|behind| behind.image);
        for round in 0..4 {
            let image = (kind.open)(store.clone(), parent.clone());
            for _ in 0..60 {
                step(image.as_ref(), &mut bytes, &mut random, 512);
            }
            assert!(all(image.as_ref()) == bytes, "{} {layered} seed {seed} round {round}", kind.name);
            drop(image);
            let report = (kind.check)(&store);
            assert!(
                report.clean(),
                "{} {layered} seed {seed} round {round}: {report} {:?}",
                kind.name,
                report.sentences
            );
        }
    }
}

#[test]
fn an_image_reads_as_it_was_written() {
    KINDS.iter().for_each(|kind| lives(kind, false));
}

#[test]
fn a_layer_shows_what_is_behind_where_nothing_was_written() {
    KINDS.iter().for_each(|kind| lives(kind, true));
}

/// A full host is asked again and again.
#[test]
fn what_the_host_cannot_take_leaves_no_room_behind_that_is_nobodys() {
    for kind in KINDS {
        let store = Arc::new(MemoryStore::new());
        (kind.make)(store.as_ref(), SIZE, None);
        let image = (kind.open)(store.clone(), None);
        image.write_at(0, &[1; 512]).unwrap();
        store.leave_room(Some(0));
        let most =
            (0..2).map(|_| image.write_at(1 << 20, &[2; 512]).map_or_else(|_| store.bytes().len(), |()| 0));
        let most = most.max().unwrap_or(0);
        for _ in 0..100 {
            let _ = image.write_at(1 << 20, &[2; 512]);
        }
        assert!(store.bytes().len() <= most, "{}", kind.name);
    }
}

#[test]
fn what_the_host_cannot_take_is_an_error_and_the_image_stays_right() {
    for kind in KINDS {
        let store = Arc::new(MemoryStore::new());
        (kind.make)(store.as_ref(), SIZE, None);
        let image = (kind.open)(store.clone(), None);
        image.write_at(0, &[1; 8192]).unwrap();
        image.flush().unwrap();
        let mut random = Random(5);
        for room in 0..40 {
            store.leave_room(Some(room * 700));
            for _ in 0..8 {
                let _ = image.write_at(8192 + random.below(SIZE / 512 - 24) * 512, &[2; 3072]);
            }
            let _ = image.flush();
        }
        store.leave_room(None);
        image.write_at(1 << 20, &[3; 4096]).unwrap();
        image.flush().unwrap();
        drop(image);
        let report = (kind.check)(&(store.clone() as Arc<dyn Store>));
        assert!(report.sound(), "{}: {report} {:?}", kind.name, report.sentences);
        let image = (kind.open)(store, None);
        let (mut first, mut last) = ([0; 8192], [0; 4096]);
        image.read_at(0, &mut first).unwrap();
        image.read_at(1 << 20, &mut last).unwrap();
        assert!(first == [1; 8192] && last == [3; 4096], "{}", kind.name);
    }
}
