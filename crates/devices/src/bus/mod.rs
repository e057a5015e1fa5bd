//! The machine's address spaces: which device has which port or address.
//!
//! Built once, then frozen: look-ups take no lock but the device's own.

mod map;
#[cfg(test)]
mod tests;

use crate::lock;
use ireko_vmcore::{Bus, Device, Line, Record, RestoreError, Space};
use map::{Entry, Map, Target};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Why a device could not be placed.
#[derive(Debug, PartialEq, Eq)]
pub enum BusError {
    /// The number of places is not the number of regions.
    Places { device: &'static str, regions: usize, places: usize },
    /// The range is empty or runs past the end of its space.
    Range { device: &'static str, start: u64, size: u64 },
    /// Something else is there.
    Overlap { device: &'static str, start: u64, size: u64, other: u64 },
}

impl std::fmt::Display for BusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Places { device, regions, places } => {
                write!(
                    f,
                    "{device} has {regions} regions but was given {places} places: give one place a region"
                )
            }
            Self::Range { device, start, size } => {
                write!(f, "{device} at {start:#x} with size {size:#x} lies outside its space: move it")
            }
            Self::Overlap { device, start, size, other } => {
                write!(
                    f,
                    "{device} at {start:#x} with size {size:#x} overlaps what is at {other:#x}: move one of them"
                )
            }
        }
    }
}

impl std::error::Error for BusError {}

/// How often a device was accessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    pub name: &'static str,
    pub reads: u64,
    pub writes: u64,
}

#[derive(Default)]
pub(crate) struct Count {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Count {
    pub fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
    pub fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
    pub fn counter(&self, name: &'static str) -> Counter {
        Counter {
            name,
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }
}

struct Attached {
    name: &'static str,
    device: Arc<Mutex<dyn Device>>,
    count: Arc<Count>,
}

/// A [`Bus`] of devices at fixed places; another bus has whatever is left (PCI).
#[derive(Default)]
pub struct SystemBus {
    ports: Map,
    mmio: Map,
    devices: Vec<Attached>,
    rest: Option<Arc<dyn Bus>>,
    x87_error: Option<Line>,
}

impl SystemBus {
    pub fn new() -> Self {
        Self::default()
    }

    /// Places `device`: one address for each of its regions, in their order.
    pub fn add(&mut self, device: Arc<Mutex<dyn Device>>, places: &[u64]) -> Result<(), BusError> {
        let (name, regions) = {
            let device = lock(&device);
            (device.name(), device.regions())
        };
        if regions.len() != places.len() {
            return Err(BusError::Places { device: name, regions: regions.len(), places: places.len() });
        }
        let count: Arc<Count> = Arc::default();
        for (region, (&(space, size), &start)) in regions.iter().zip(places).enumerate() {
            let target = Target { device: device.clone(), region, count: count.clone() };
            self.place(name, space, start, size, target)?;
        }
        self.devices.push(Attached { name, device, count });
        Ok(())
    }

    /// Gives what no device has to another bus, which sees absolute addresses: a guest may put BARs wherever nothing else is.
    pub fn set_rest(&mut self, rest: Arc<dyn Bus>) {
        self.rest = Some(rest);
    }

    fn place(
        &mut self,
        device: &'static str,
        space: Space,
        start: u64,
        size: u64,
        target: Target,
    ) -> Result<(), BusError> {
        let limit = if space == Space::Port { 0x1_0000 } else { u64::MAX };
        let end = start.checked_add(size).filter(|&end| size > 0 && end <= limit);
        let end = end.ok_or(BusError::Range { device, start, size })?;
        let map = if space == Space::Port { &mut self.ports } else { &mut self.mmio };
        map.insert(Entry { start, end, target }).map_err(|other| BusError::Overlap {
            device,
            start,
            size,
            other,
        })
    }

    /// Where FERR# goes.
    pub fn connect_x87_error(&mut self, line: Line) {
        self.x87_error = Some(line);
    }

    /// Resets every device; what is on the other bus is reset by whoever owns it.
    pub fn reset(&self) {
        for attached in &self.devices {
            lock(&attached.device).reset();
        }
    }

    /// What is saved of every device that has state, by its name; of several with one name the later ones have a number.
    pub fn records(&self) -> Vec<(String, Record)> {
        let record = |(name, device): (String, &Attached)| {
            let record = lock(&device.device).saved().map(|saved| saved.record());
            record.map(|record| (name, record))
        };
        self.named().filter_map(record).collect()
    }

    /// Restores the device of a name, if it is there; whether it is.
    pub fn restore(&self, name: &str, record: &Record) -> Result<bool, RestoreError> {
        let Some((_, device)) = self.named().find(|(other, _)| other == name) else { return Ok(false) };
        let mut device = lock(&device.device);
        let Some(saved) = device.saved() else { return Ok(false) };
        saved.restore_record(record).map(|()| true)
    }

    fn named(&self) -> impl Iterator<Item = (String, &Attached)> {
        self.devices.iter().enumerate().map(|(place, device)| {
            let before = self.devices[..place].iter().filter(|other| other.name == device.name).count();
            let number = if before > 0 { format!("-{}", before + 1) } else { String::new() };
            (format!("{}{number}", device.name), device)
        })
    }

    /// How often each device was accessed, in the order they were added.
    pub fn counters(&self) -> Vec<Counter> {
        self.devices.iter().map(|attached| attached.count.counter(attached.name)).collect()
    }

    fn map(&self, space: Space) -> &Map {
        if space == Space::Port { &self.ports } else { &self.mmio }
    }
}

impl Bus for SystemBus {
    fn read(&self, space: Space, address: u64, data: &mut [u8]) {
        let mut done = 0;
        while done < data.len() {
            let (at, left) = (address.wrapping_add(done as u64), data.len() - done);
            let (entry, piece) = self.map(space).piece(at, left);
            let part = &mut data[done..done + piece];
            match (entry, &self.rest) {
                (Some(entry), _) => entry.read(at, part),
                (None, Some(rest)) => rest.read(space, at, part),
                (None, None) => part.fill(0xff),
            }
            done += piece;
        }
    }

    fn write(&self, space: Space, address: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (at, left) = (address.wrapping_add(done as u64), data.len() - done);
            let (entry, piece) = self.map(space).piece(at, left);
            let part = &data[done..done + piece];
            match (entry, &self.rest) {
                (Some(entry), _) => entry.write(at, part),
                (None, Some(rest)) => rest.write(space, at, part),
                (None, None) => {}
            }
            done += piece;
        }
    }

    fn x87_error(&self, on: bool) {
        if let Some(line) = &self.x87_error {
            line.set(on);
        }
    }
}
