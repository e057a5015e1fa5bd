//! What holds for every format.

mod copies;
mod cuts;
mod hostile;
mod memory;
mod peers;
mod peers_vhd;
mod same;
mod set;

use crate::chain::{self, Facts, Link};
use crate::create::{self, Parent, Plan};
use crate::{Format, Image, Report, Store, qcow2, vhd, vhdx};
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
    /// Of a disk of so many bytes, over something or not.
    pub make: fn(&dyn Store, u64, Option<&Facts>),
    pub open: Open,
    pub check: fn(&Arc<dyn Store>) -> Report,
    /// Of what can be behind it.
    pub behind: Format,
}

fn plan(format: Format, size: u64, behind: Option<&Facts>, block: u64) -> Plan {
    let parent = |facts: &Facts| Parent {
        absolute: "/parent".into(),
        relative: "parent".into(),
        facts: facts.clone(),
    };
    Plan { block: Some(block), behind: behind.map(parent), ..Plan::new(format, size) }
}

fn make_qcow2(store: &dyn Store, size: u64, behind: Option<&Facts>, block: u64, extended_l2: bool) {
    let plan = plan(Format::Qcow2, size, behind, block);
    create::create(store, &Plan { extended_l2, ..plan }).unwrap();
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "qcow2",
        make: |store, size, behind| make_qcow2(store, size, behind, 4096, false),
        open: |store, parent| Arc::new(qcow2::Qcow2::open(store, true, parent).unwrap()),
        check: |store| qcow2::check(store, false).unwrap(),
        behind: Format::Raw,
    },
    Kind {
        name: "qcow2 with extended L2 entries",
        make: |store, size, behind| make_qcow2(store, size, behind, 16384, true),
        open: |store, parent| Arc::new(qcow2::Qcow2::open(store, true, parent).unwrap()),
        check: |store| qcow2::check(store, false).unwrap(),
        behind: Format::Raw,
    },
    Kind {
        name: "VHDX",
        make: |store, size, behind| {
            create::create(store, &plan(Format::Vhdx, size, behind, 1 << 20)).unwrap();
        },
        open: |store, parent| Arc::new(vhdx::Vhdx::open(store, true, parent).unwrap()),
        check: |store| vhdx::check(store, false).unwrap(),
        behind: Format::Vhdx,
    },
    Kind {
        name: "VHD",
        make: |store, size, behind| {
            create::create(store, &plan(Format::Vhd, size, behind, 1 << 19)).unwrap();
        },
        open: |store, parent| Arc::new(vhd::Vhd::open(store, true, parent).unwrap()),
        check: |store| vhd::check(store, false).unwrap(),
        behind: Format::Vhd,
    },
];

/// What is behind an image: sectors that repeat a random number each.
pub struct Behind {
    pub image: Arc<dyn Image>,
    pub facts: Facts,
    pub bytes: Vec<u8>,
}

pub fn behind(kind: &Kind, size: u64, random: &mut Random) -> Behind {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let bytes: Vec<u8> = (0..size / 512).flat_map(|_| random.next().to_le_bytes().repeat(64)).collect();
    let format = kind.behind;
    create::create(store.as_ref(), &Plan::new(format, size)).unwrap();
    let link = Link { store, format };
    let links = std::slice::from_ref(&link);
    chain::open(links, true).unwrap().write_at(0, &bytes).unwrap();
    Behind { image: chain::open(links, false).unwrap(), facts: chain::facts(&link).unwrap(), bytes }
}
