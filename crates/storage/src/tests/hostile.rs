//! Images that were made to do harm: nothing in them panics, runs without end, or takes memory without bound.

use super::memory::MemoryStore;
use super::{KINDS, Random};
use crate::chain::{self, Link};
use crate::{Format, Store};
use std::sync::Arc;

/// Everything that can be done with an image, whatever comes of it.
fn use_it(bytes: Vec<u8>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::of(bytes));
    let Ok(format) = Format::of(store.as_ref()) else { return };
    let link = Link { store: store.clone(), format };
    let _ = chain::facts(&link);
    let _ = chain::check(&link, false);
    for writable in [false, true] {
        let Ok(image) = chain::open(std::slice::from_ref(&link), writable) else { continue };
        let mut data = [1; 4096];
        let size = image.size();
        for at in [0, size / 3 / 512 * 512, size.saturating_sub(4096)] {
            let _ = image.read_at(at, &mut data);
            let _ = image.try_read_at(at, &mut data);
            let _ = image.extent(at, 512);
            if writable {
                let _ = image.write_at(at, &data);
                let _ = image.discard(at, 70_000);
                let _ = image.write_zeroes(at, 5120);
            }
        }
        let _ = image.flush();
    }
    let _ = chain::check(&link, true);
}

/// Small images of every kind, with something in them.
fn seeds() -> Vec<Vec<u8>> {
    let made = KINDS.iter().map(|kind| {
        let store = Arc::new(MemoryStore::new());
        (kind.make)(store.as_ref(), 1 << 20, None);
        let image = (kind.open)(store.clone(), None);
        image.write_at(12 << 10, &[5; 9000]).unwrap();
        drop(image);
        store.bytes()
    });
    made.collect()
}

#[test]
fn fuzz_images() {
    let seeds = seeds();
    bolero::check!().with_type::<(u8, Vec<(u16, u8)>, u16)>().for_each(|(seed, changes, cut)| {
        let mut bytes = seeds[*seed as usize % seeds.len()].clone();
        for (at, byte) in changes {
            // Headers and tables are in the first pages.
            let at = *at as usize % bytes.len();
            bytes[at] = *byte;
        }
        if *cut > 512 {
            bytes.truncate(*cut as usize * 4);
        }
        use_it(bytes);
    });
}

/// Fields of headers and tables with the numbers that go wrong most.
#[test]
fn numbers_at_their_ends_do_no_harm() {
    let mut random = Random(77);
    for seed in seeds() {
        for _ in 0..1500 {
            let mut bytes = seed.clone();
            for _ in 0..1 + random.below(3) {
                let at = match random.below(3) {
                    0 => random.below(120) as usize,
                    _ => random.below(bytes.len() as u64 / 8) as usize * 8,
                };
                let value = match random.below(4) {
                    0 => u64::MAX,
                    1 => 1 << random.below(64),
                    2 => random.next(),
                    _ => random.below(1 << 20),
                };
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]);
            }
            use_it(bytes);
        }
    }
}
