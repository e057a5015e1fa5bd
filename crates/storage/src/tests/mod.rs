//! What holds for every format.

mod cuts;
mod hostile;
mod memory;
mod peers;
mod same;

use crate::{Image, Report, Store, qcow2};
use memory::MemoryStore;
use std::sync::Arc;

/// xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 8) % limit
    }
}

type Open = fn(Arc<dyn Store>, Option<Arc<dyn Image>>) -> Arc<dyn Image>;

/// A format, and how an image of it is made, opened and looked at.
pub struct Kind {
    pub name: &'static str,
    /// Of a disk of so many bytes; with something behind it or not.
    pub make: fn(&dyn Store, u64, bool),
    pub open: Open,
    pub check: fn(&Arc<dyn Store>) -> Report,
}

fn make_qcow2(store: &dyn Store, size: u64, behind: bool, cluster_bits: u32, extended: bool) {
    let backing =
        behind.then(|| qcow2::header::Backing { name: "parent".into(), format: Some("raw".into()) });
    let options =
        qcow2::create::Options { cluster_bits, extended, backing, ..qcow2::create::Options::new(size) };
    qcow2::create::create(store, &options).unwrap();
}

fn open_qcow2(store: Arc<dyn Store>, parent: Option<Arc<dyn Image>>) -> Arc<dyn Image> {
    Arc::new(qcow2::Qcow2::open(store, true, parent).unwrap())
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "qcow2",
        make: |store, size, behind| make_qcow2(store, size, behind, 12, false),
        open: open_qcow2,
        check: |store| qcow2::check(store, false).unwrap(),
    },
    Kind {
        name: "qcow2 with extended L2 entries",
        make: |store, size, behind| make_qcow2(store, size, behind, 14, true),
        open: open_qcow2,
        check: |store| qcow2::check(store, false).unwrap(),
    },
];

/// A parent whose sectors repeat a random number each.
pub fn parent(size: u64, random: &mut Random) -> (Arc<dyn Image>, Vec<u8>) {
    let store = MemoryStore::new();
    let bytes: Vec<u8> = (0..size / 512).flat_map(|_| random.next().to_le_bytes().repeat(64)).collect();
    store.write_at(0, &bytes).unwrap();
    (Arc::new(crate::Raw::open(Arc::new(store), false).unwrap()), bytes)
}
