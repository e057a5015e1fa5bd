//! Power cuts: whatever part of what was not flushed reached the store, the image can be opened, its tables are right, and what was
//! flushed is there.

use super::memory::MemoryStore;
use super::{KINDS, Kind, Random, behind};
use crate::{Image, Store};
use std::sync::Arc;

const SIZE: u64 = 2 << 20;
const SECTORS: usize = (SIZE / 512) as usize;

/// What a sector may hold.
#[derive(Clone, Default)]
struct Sector {
    /// What it held at the last flush, and since.
    values: Vec<u64>,
    /// It was discarded since.
    any: bool,
}

fn filled(value: u64) -> Vec<u8> {
    value.to_le_bytes().repeat(64)
}

struct Model {
    sectors: Vec<Sector>,
    stamp: u64,
}

impl Model {
    fn flushed(&mut self) {
        for sector in self.sectors.iter_mut().filter(|sector| !sector.any) {
            sector.values.drain(..sector.values.len().saturating_sub(1));
        }
    }

    /// Whether it was a flush, which is over.
    fn step(&mut self, image: &dyn Image, random: &mut Random) -> bool {
        let from = random.below(SECTORS as u64) as usize;
        let to = (from + 1 + random.below(40) as usize).min(SECTORS);
        let (offset, len) = (from as u64 * 512, (to - from) as u64 * 512);
        match random.below(12) {
            0 => {
                self.sectors[from..to].iter_mut().for_each(|sector| sector.values.push(0));
                image.write_zeroes(offset, len).unwrap();
            }
            1 => {
                self.sectors[from..to].iter_mut().for_each(|sector| sector.any = true);
                image.discard(offset, len).unwrap();
            }
            2 | 3 => {
                image.flush().unwrap();
                return true;
            }
            _ => {
                self.stamp += 1;
                let data: Vec<u8> = (from..to).flat_map(|at| filled(self.stamp << 16 | at as u64)).collect();
                for (at, sector) in self.sectors.iter_mut().enumerate().take(to).skip(from) {
                    sector.values.push(self.stamp << 16 | at as u64);
                }
                image.write_at(offset, &data).unwrap();
            }
        }
        false
    }

    /// Complains of what should not be there.
    fn compare(&self, image: &dyn Image) -> Result<(), String> {
        let mut bytes = [0; 512];
        for (at, sector) in self.sectors.iter().enumerate().filter(|(_, sector)| !sector.any) {
            image.read_at(at as u64 * 512, &mut bytes).map_err(|error| error.to_string())?;
            let value = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let whole = bytes.chunks(8).all(|part| part == value.to_le_bytes());
            if !whole {
                return Err(format!("sector {at} is torn"));
            }
            let fits = sector.values.contains(&value);
            if !fits {
                return Err(format!("sector {at} holds {value:#x} and not one of {:x?}", sector.values));
            }
        }
        Ok(())
    }
}

fn cut_again_and_again(kind: &Kind, layered: bool, rounds: u64) {
    for seed in 1..=rounds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut store = Arc::new(MemoryStore::new());
        let behind = layered.then(|| behind(kind, SIZE / 2, &mut random));
        (kind.make)(store.as_ref(), SIZE, behind.as_ref().map(|behind| &behind.facts));
        store.flush().unwrap();
        let value = |at: usize| match &behind {
            Some(behind) if at * 512 < behind.bytes.len() => {
                u64::from_le_bytes(behind.bytes[at * 512..at * 512 + 8].try_into().unwrap())
            }
            _ => 0,
        };
        let sectors = (0..SECTORS).map(|at| Sector { values: vec![value(at)], any: false }).collect();
        let mut model = Model { sectors, stamp: 0 };
        // Life goes on behind each cut, from what the cut left.
        for _ in 0..4 {
            let image = (kind.open)(store.clone(), behind.as_ref().map(|behind| behind.image.clone()));
            store.fail_after(random.below(300), random.next());
            let left = loop {
                let flushed = model.step(image.as_ref(), &mut random);
                match store.left() {
                    Some(left) => break left,
                    None if flushed => model.flushed(),
                    None => (),
                }
            };
            drop(image);
            store = Arc::new(left);
            let image = (kind.open)(store.clone(), behind.as_ref().map(|behind| behind.image.clone()));
            let compared = model.compare(image.as_ref());
            assert_eq!(compared, Ok(()), "{} behind: {}, seed {seed}", kind.name, behind.is_some());
            for (at, sector) in model.sectors.iter_mut().enumerate() {
                let mut bytes = [0; 8];
                image.read_at(at as u64 * 512, &mut bytes).unwrap();
                *sector = Sector { values: vec![u64::from_le_bytes(bytes)], any: false };
            }
            image.rest().unwrap();
            drop(image);
            store.flush().unwrap();
            let report = (kind.check)(&(store.clone() as Arc<dyn Store>));
            assert!(report.counts + report.broken == 0, "{} seed {seed}: {:?}", kind.name, report.sentences);
        }
    }
}

/// More of them by `IREKO_CUTS`.
fn rounds() -> u64 {
    std::env::var("IREKO_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn what_was_flushed_is_there_after_a_power_cut() {
    KINDS.iter().for_each(|kind| cut_again_and_again(kind, false, rounds()));
}

#[test]
fn what_was_flushed_to_a_layer_is_there_after_a_power_cut() {
    KINDS.iter().for_each(|kind| cut_again_and_again(kind, true, rounds()));
}
