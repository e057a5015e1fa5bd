//! What tests watch devices with.

use crate::{MsiSink, lock};
use ireko_vmcore::{Device, Line, LineSink, Msi};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A sink that remembers every level set.
#[derive(Default)]
pub struct Probe(Mutex<Vec<(u32, bool)>>);

impl LineSink for Probe {
    fn set(&self, pin: u32, level: bool) {
        lock(&self.0).push((pin, level));
    }
}

impl Probe {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    pub fn line(self: &Arc<Self>, pin: u32) -> Line {
        Line::new(self.clone(), pin)
    }
    /// The last level of `pin`.
    pub fn level(&self, pin: u32) -> bool {
        lock(&self.0).iter().rev().find(|(p, _)| *p == pin).is_some_and(|(_, level)| *level)
    }
    /// How many rising edges `pin` has seen.
    pub fn edges(&self, pin: u32) -> usize {
        let levels: Vec<bool> = lock(&self.0).iter().filter(|(p, _)| *p == pin).map(|(_, l)| *l).collect();
        levels.first().is_some_and(|l| *l) as usize + levels.windows(2).filter(|w| !w[0] && w[1]).count()
    }
}

/// Waits for another thread's work, which a broken device never does.
pub fn until(what: &str, ready: impl Fn() -> bool) {
    const EVER: Duration = Duration::from_secs(60);
    let since = Instant::now();
    while !ready() {
        assert!(since.elapsed() < EVER, "{what}: not within {EVER:?}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A message sink and the messages it got.
pub fn messages() -> (MsiSink, Arc<Mutex<Vec<Msi>>>) {
    let seen: Arc<Mutex<Vec<Msi>>> = Arc::default();
    let log = seen.clone();
    (Arc::new(move |msi| lock(&log).push(msi)), seen)
}

/// An output that can be looked at.
#[derive(Clone, Default)]
pub struct Output(pub Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn read8(device: &mut impl Device, region: usize, offset: u64) -> u8 {
    let mut data = [0];
    device.read(region, offset, &mut data);
    data[0]
}
pub fn read16(device: &mut impl Device, region: usize, offset: u64) -> u16 {
    let mut data = [0; 2];
    device.read(region, offset, &mut data);
    u16::from_le_bytes(data)
}
pub fn read32(device: &mut impl Device, region: usize, offset: u64) -> u32 {
    let mut data = [0; 4];
    device.read(region, offset, &mut data);
    u32::from_le_bytes(data)
}
pub fn write8(device: &mut impl Device, region: usize, offset: u64, value: u8) {
    device.write(region, offset, &[value]);
}
pub fn write16(device: &mut impl Device, region: usize, offset: u64, value: u16) {
    device.write(region, offset, &value.to_le_bytes());
}
pub fn write32(device: &mut impl Device, region: usize, offset: u64, value: u32) {
    device.write(region, offset, &value.to_le_bytes());
}
