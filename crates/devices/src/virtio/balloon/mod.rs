//! The memory balloon (5.5): pages that the guest's driver takes from its own kernel, and the host gets back.

mod regs;
pub mod saved;
#[cfg(test)]
mod tests;

use self::regs::*;
use super::regs::TYPE_BALLOON;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::access::{copy_in, value};
use crate::{MsiSink, lock};
use ireko_vmcore::memory::PAGE;
use ireko_vmcore::{Line, Memory, SavedState};
use std::io::Read;
use std::sync::{Arc, Mutex, Weak};

/// Page frame numbers in one buffer; drivers send 256 (Linux), and nobody needs more than this.
const MOST_PAGES: usize = 1 << 16;
/// Statistics in one buffer; there are ten kinds.
const MOST_STATISTICS: usize = 64;
/// A buffer of statistics holds what was true when the driver last got it back. So the first one only makes the driver
/// fill another.
const EXCHANGES: u8 = 2;

/// What the guest's kernel says of its memory, as far as it says it: bytes, and counts since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub total: Option<u64>,
    pub free: Option<u64>,
    /// Could be had without swapping.
    pub available: Option<u64>,
    pub caches: Option<u64>,
    pub swap_in: Option<u64>,
    pub swap_out: Option<u64>,
    pub major_faults: Option<u64>,
    pub minor_faults: Option<u64>,
    /// Which answer to a question this is.
    pub number: u64,
}

impl Statistics {
    pub(crate) const COUNT: usize = 8;

    /// By the order of their tags.
    fn values(&self) -> [Option<u64>; Self::COUNT] {
        [
            self.swap_in,
            self.swap_out,
            self.major_faults,
            self.minor_faults,
            self.free,
            self.total,
            self.available,
            self.caches,
        ]
    }

    fn of(number: u64, values: [Option<u64>; Self::COUNT]) -> Self {
        let [swap_in, swap_out, major_faults, minor_faults, free, total, available, caches] = values;
        Self { total, free, available, caches, swap_in, swap_out, major_faults, minor_faults, number }
    }

    fn set(&mut self, tag: u16, value: u64) {
        let place = match tag {
            S_SWAP_IN => &mut self.swap_in,
            S_SWAP_OUT => &mut self.swap_out,
            S_MAJFLT => &mut self.major_faults,
            S_MINFLT => &mut self.minor_faults,
            S_MEMFREE => &mut self.free,
            S_MEMTOT => &mut self.total,
            S_AVAIL => &mut self.available,
            S_CACHES => &mut self.caches,
            // What newer drivers count is not asked for.
            _ => return,
        };
        *place = Some(value);
    }
}

#[derive(Default)]
struct BalloonState {
    /// Pages that the device wants.
    target: u32,
    /// What the driver says it gave; shown back to it and not believed.
    actual: [u8; 4],
    inside: Pages,
    statistics: Option<Statistics>,
    answers: u64,
    /// Buffers of statistics that are wanted now.
    exchanges: u8,
}

/// A set of page frame numbers.
#[derive(Default)]
struct Pages {
    words: Vec<u64>,
    count: u64,
}

impl Pages {
    fn place(frame: u32) -> (usize, u64) {
        (frame as usize / 64, 1 << (frame % 64))
    }
    /// Whether it was not there.
    fn insert(&mut self, frame: u32) -> bool {
        let (at, bit) = Self::place(frame);
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        let new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.count += u64::from(new);
        new
    }
    /// Whether it was there.
    fn remove(&mut self, frame: u32) -> bool {
        let (at, bit) = Self::place(frame);
        let Some(word) = self.words.get_mut(at).filter(|word| **word & bit != 0) else { return false };
        *word &= !bit;
        self.count -= 1;
        true
    }
}

/// The device.
struct Balloon {
    memory: Arc<Memory>,
    state: Arc<Mutex<BalloonState>>,
}

/// The host's end of a balloon.
#[derive(Clone)]
pub struct BalloonControl {
    state: Arc<Mutex<BalloonState>>,
    function: Weak<Mutex<VirtioPci>>,
}

/// A balloon function and the end that blows it up.
pub fn balloon(memory: Arc<Memory>, msi: MsiSink, intx: Line) -> (Arc<Mutex<VirtioPci>>, BalloonControl) {
    let state = Arc::<Mutex<BalloonState>>::default();
    let device = Balloon { memory: memory.clone(), state: state.clone() };
    let function = VirtioPci::new(Box::new(device), memory, msi, intx);
    let control = BalloonControl { state, function: Arc::downgrade(&function) };
    (function, control)
}

impl BalloonControl {
    /// Asks the driver for so many bytes, or to take back what is above.
    pub fn want(&self, bytes: u64) {
        let pages = u32::try_from(bytes / PAGE).unwrap_or(u32::MAX);
        if std::mem::replace(&mut lock(&self.state).target, pages) != pages
            && let Some(function) = self.function.upgrade()
        {
            lock(&function).config_changed();
        }
    }
    pub fn wanted(&self) -> u64 {
        u64::from(lock(&self.state).target) * PAGE
    }
    /// Bytes that the guest has given and not taken back.
    pub fn size(&self) -> u64 {
        lock(&self.state).inside.count * PAGE
    }
    /// Asks the driver for statistics, unless the machine is paused; [`BalloonControl::statistics`] has them soon.
    pub fn poll(&self) {
        let Some(function) = self.function.upgrade() else { return };
        let service = lock(&function).service();
        let asked = service.happens_now(|| {
            let mut state = lock(&self.state);
            // A question that is still open is answered first.
            if state.exchanges == 0 {
                state.exchanges = EXCHANGES;
            }
        });
        if asked {
            lock(&function).kick(STATS);
        }
    }
    /// The newest ones, if a driver has given any.
    pub fn statistics(&self) -> Option<Statistics> {
        lock(&self.state).statistics
    }
    /// Whether the guest has a driver for it.
    pub fn driven(&self) -> bool {
        self.function.upgrade().is_some_and(|function| lock(&function).driven())
    }
}

impl Balloon {
    fn inflate(&mut self, mut frames: Vec<u32>) {
        let mut state = lock(&self.state);
        frames.retain(|&frame| self.has(frame) && state.inside.insert(frame));
        for (start, size) in self.runs(frames) {
            // A host that refuses keeps the pages with us; they are the guest's no more all the same.
            let _ = self.memory.give_back(start, size);
        }
    }

    fn deflate(&mut self, mut frames: Vec<u32>) {
        let mut state = lock(&self.state);
        frames.retain(|&frame| state.inside.remove(frame));
        self.runs(frames).into_iter().for_each(|(start, size)| self.memory.take_again(start, size));
    }

    /// Numbers of pages end before.
    fn pages(&self) -> u64 {
        self.memory
            .regions()
            .iter()
            .map(|region| (region.guest + region.size) >> PAGE_SHIFT)
            .max()
            .unwrap_or(0)
    }

    fn has(&self, frame: u32) -> bool {
        self.memory.is_there(u64::from(frame) << PAGE_SHIFT)
    }

    /// Address and size of what lies side by side in one region: one call to the host instead of many.
    fn runs(&self, mut frames: Vec<u32>) -> Vec<(u64, u64)> {
        frames.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for frame in frames {
            let address = u64::from(frame) << PAGE_SHIFT;
            let border = self.memory.regions().iter().any(|region| region.guest == address);
            match runs.last_mut() {
                Some((start, size)) if *start + *size == address && !border => *size += PAGE,
                _ => runs.push((address, PAGE)),
            }
        }
        runs
    }

    fn take_statistics(&mut self, mut buffers: Buffers<'_>) -> Result<(), Broken> {
        let count = (buffers.reader.available_bytes() / STATISTIC_SIZE).min(MOST_STATISTICS);
        let mut bytes = vec![0; count * STATISTIC_SIZE];
        buffers.reader.read_exact(&mut bytes)?;
        let mut statistics = Statistics::default();
        for one in bytes.chunks_exact(STATISTIC_SIZE) {
            statistics.set(value(&one[..2]) as u16, value(&one[2..]));
        }
        let mut state = lock(&self.state);
        state.exchanges = state.exchanges.saturating_sub(1);
        if state.exchanges == 0 {
            state.answers += 1;
            statistics.number = state.answers;
            state.statistics = Some(statistics);
        }
        Ok(())
    }
}

/// The page frame numbers in a buffer.
fn frames(mut buffers: Buffers<'_>) -> Result<Vec<u32>, Broken> {
    let count = buffers.reader.available_bytes() / 4;
    if count > MOST_PAGES {
        return Err(Broken(format!("{count} pages for the balloon in one buffer")));
    }
    let mut bytes = vec![0; count * 4];
    buffers.reader.read_exact(&mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|four| value(four) as u32).collect())
}

impl VirtioDevice for Balloon {
    fn name(&self) -> &'static str {
        "virtio-balloon"
    }
    fn kind(&self) -> u16 {
        TYPE_BALLOON
    }
    fn class(&self) -> u32 {
        0xff_00_00
    }
    fn features(&self) -> u64 {
        F_STATS_VQ | F_DEFLATE_ON_OOM
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[128, 128, 8]
    }
    fn registers(&self) -> Arc<dyn Registers> {
        self.state.clone()
    }
    fn wants(&self, queue: usize) -> bool {
        queue != STATS || lock(&self.state).exchanges > 0
    }
    fn serve(&mut self, queue: usize, buffers: Buffers<'_>) -> Result<u32, Broken> {
        let permit = buffers.permit;
        match queue {
            INFLATE => {
                let frames = frames(buffers)?;
                let _pass = permit.pass()?;
                self.inflate(frames);
            }
            DEFLATE => {
                let frames = frames(buffers)?;
                let _pass = permit.pass()?;
                self.deflate(frames);
            }
            _ => self.take_statistics(buffers)?,
        }
        Ok(0)
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

impl Registers for Mutex<BalloonState> {
    fn read(&self) -> Vec<u8> {
        let state = lock(self);
        [state.target.to_le_bytes(), state.actual].concat()
    }
    fn write(&self, offset: u64, data: &[u8]) {
        if let Some(at) = offset.checked_sub(ACTUAL) {
            copy_in(&mut lock(self).actual, at, data);
        }
    }
    /// A driver that starts anew has all pages (5.5.5); what is wanted stands.
    fn reset(&self) {
        let mut state = lock(self);
        *state = BalloonState { target: state.target, answers: state.answers, ..BalloonState::default() };
    }
}
