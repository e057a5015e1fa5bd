//! Sorted ranges of one address space, and how an access falls on them.

use super::Count;
use crate::lock;
use ireko_vmcore::Device;
use std::sync::{Arc, Mutex};

/// Who answers for a range.
pub(super) struct Target {
    pub device: Arc<Mutex<dyn Device>>,
    pub region: usize,
    pub count: Arc<Count>,
}

/// The range `start..end` and who answers for it.
pub(super) struct Entry {
    pub start: u64,
    pub end: u64,
    pub target: Target,
}

impl Entry {
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let Target { device, region, count } = &self.target;
        count.read();
        lock(device).read(*region, address - self.start, data);
    }

    pub fn write(&self, address: u64, data: &[u8]) {
        let Target { device, region, count } = &self.target;
        count.wrote();
        lock(device).write(*region, address - self.start, data);
    }
}

/// Disjoint ranges in ascending order.
#[derive(Default)]
pub(super) struct Map(Vec<Entry>);

impl Map {
    /// Fails with the start of a range that is in the way.
    pub fn insert(&mut self, entry: Entry) -> Result<(), u64> {
        let at = self.0.partition_point(|e| e.end <= entry.start);
        match self.0.get(at) {
            Some(next) if next.start < entry.end => Err(next.start),
            _ => {
                self.0.insert(at, entry);
                Ok(())
            }
        }
    }

    /// The first naturally sized piece of an access of `len` bytes at `address`, and whose it is.
    pub fn piece(&self, address: u64, len: usize) -> (Option<&Entry>, usize) {
        let at = self.0.partition_point(|e| e.end <= address);
        let (entry, room) = match self.0.get(at) {
            Some(e) if e.start <= address => (Some(e), e.end - address),
            Some(e) => (None, e.start - address),
            None => (None, u64::MAX),
        };
        if room >= len as u64 && len.is_power_of_two() {
            return (entry, len);
        }
        let room = (len as u64).min(room);
        (entry, 1 << room.ilog2())
    }
}
