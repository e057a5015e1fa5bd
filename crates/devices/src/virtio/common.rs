//! The common configuration structure (4.1.4.3): features, status and queue set-up.

use super::regs::*;
use virtio_queue::{Queue, QueueT};

/// A queue and its interrupt.
pub(super) struct Vring {
    pub queue: Queue,
    pub vector: u16,
}

/// What a write to the common configuration asks of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Reset,
    /// A queue was enabled.
    Enabled(usize),
}

/// State of the common configuration structure.
pub(super) struct Common {
    pub(super) offered: u64,
    pub(super) accepted: u64,
    pub(super) device_select: u32,
    pub(super) driver_select: u32,
    pub status: u8,
    /// Counts changes of the type's configuration structure.
    pub generation: u8,
    pub config_vector: u16,
    pub(super) select: u16,
    pub rings: Vec<Vring>,
    /// MSI-X vectors there are.
    pub(super) vectors: u16,
}

impl Common {
    pub fn new(features: u64, sizes: &[u16], vectors: u16) -> Self {
        let ring = |&size: &u16| Queue::new(size).ok().map(|queue| Vring { queue, vector: NO_VECTOR });
        Self {
            offered: features | F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX,
            accepted: 0,
            device_select: 0,
            driver_select: 0,
            status: 0,
            generation: 0,
            config_vector: NO_VECTOR,
            select: 0,
            rings: sizes.iter().filter_map(ring).collect(),
            vectors,
        }
    }

    pub fn reset(&mut self) {
        let rings = std::mem::take(&mut self.rings);
        *self =
            Self { offered: self.offered, generation: self.generation, ..Self::new(0, &[], self.vectors) };
        self.rings = rings;
        for ring in &mut self.rings {
            ring.queue.reset();
            ring.vector = NO_VECTOR;
        }
    }

    pub fn running(&self) -> bool {
        self.status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET) == STATUS_DRIVER_OK
    }

    fn ring(&self) -> Option<&Vring> {
        self.rings.get(usize::from(self.select))
    }

    /// The register at `offset`, zero where there is none. Queue registers of a queue that is not there read zero.
    pub fn read(&self, offset: u64) -> u64 {
        let queue = |read: fn(&Vring) -> u64| self.ring().map_or(0, read);
        match offset {
            DEVICE_FEATURE_SELECT => u64::from(self.device_select),
            DEVICE_FEATURE => word(self.offered, self.device_select),
            DRIVER_FEATURE_SELECT => u64::from(self.driver_select),
            DRIVER_FEATURE => word(self.accepted, self.driver_select),
            CONFIG_VECTOR => u64::from(self.config_vector),
            NUM_QUEUES => self.rings.len() as u64,
            DEVICE_STATUS => u64::from(self.status),
            CONFIG_GENERATION => u64::from(self.generation),
            QUEUE_SELECT => u64::from(self.select),
            QUEUE_SIZE => queue(|ring| u64::from(ring.queue.size())),
            QUEUE_VECTOR => self.ring().map_or(u64::from(NO_VECTOR), |ring| u64::from(ring.vector)),
            QUEUE_ENABLE => queue(|ring| u64::from(ring.queue.ready())),
            QUEUE_NOTIFY_OFF => u64::from(self.select),
            QUEUE_DESC => queue(|ring| ring.queue.desc_table()),
            QUEUE_DRIVER => queue(|ring| ring.queue.avail_ring()),
            QUEUE_DEVICE => queue(|ring| ring.queue.used_ring()),
            _ => match offset.checked_sub(4) {
                Some(low @ (QUEUE_DESC | QUEUE_DRIVER | QUEUE_DEVICE)) => self.read(low) >> 32,
                _ => 0,
            },
        }
    }

    pub fn write(&mut self, offset: u64, value: u64) -> Asked {
        match offset {
            DEVICE_FEATURE_SELECT => self.device_select = value as u32,
            DRIVER_FEATURE_SELECT => self.driver_select = value as u32,
            DRIVER_FEATURE => self.accept(value),
            CONFIG_VECTOR => self.config_vector = self.vector(value),
            DEVICE_STATUS => return self.set_status(value as u8),
            QUEUE_SELECT => self.select = value as u16,
            _ => return self.write_queue(offset, value),
        }
        Asked::Nothing
    }

    /// A vector that is not there reads back as none (4.1.5.1.2.1).
    pub fn vector(&self, value: u64) -> u16 {
        if value < u64::from(self.vectors) { value as u16 } else { NO_VECTOR }
    }

    pub fn event_idx(&self) -> bool {
        self.accepted & self.offered & F_EVENT_IDX != 0
    }

    fn accept(&mut self, value: u64) {
        if self.driver_select > 1 || self.status & STATUS_FEATURES_OK != 0 {
            return;
        }
        let shift = 32 * self.driver_select;
        let half = 0xffff_ffff << shift;
        self.accepted = (self.accepted & !half) | ((value << shift) & half);
    }

    fn set_status(&mut self, value: u8) -> Asked {
        if value == 0 {
            return Asked::Reset;
        }
        // The driver cannot take its bits back one by one, nor clear what the device set (2.1.1).
        let mut status = self.status | value & !STATUS_NEEDS_RESET;
        let sane = self.accepted & !self.offered == 0 && self.accepted & F_VERSION_1 != 0;
        if status & STATUS_FEATURES_OK != 0 && !sane {
            status &= !STATUS_FEATURES_OK;
        }
        self.status = status;
        let event_idx = self.event_idx();
        if status & STATUS_FEATURES_OK != 0 {
            self.rings.iter_mut().for_each(|ring| ring.queue.set_event_idx(event_idx));
        }
        Asked::Nothing
    }

    fn write_queue(&mut self, offset: u64, value: u64) -> Asked {
        let (index, vector) = (usize::from(self.select), self.vector(value));
        let Some(ring) = self.rings.get_mut(index) else { return Asked::Nothing };
        match offset {
            QUEUE_VECTOR => ring.vector = vector,
            // Everything else stands once the queue is enabled.
            _ if ring.queue.ready() => {}
            QUEUE_SIZE => ring.queue.set_size(value as u16),
            QUEUE_ENABLE if value == 1 => {
                ring.queue.set_ready(true);
                return Asked::Enabled(index);
            }
            _ => set_address(&mut ring.queue, offset, value as u32),
        }
        Asked::Nothing
    }
}

/// Addresses that break alignment are ignored, and the queue is then refused when it is enabled.
fn set_address(queue: &mut Queue, offset: u64, value: u32) {
    let (low, high) = if offset & 4 == 0 { (Some(value), None) } else { (None, Some(value)) };
    match offset & !4 {
        QUEUE_DESC => queue.set_desc_table_address(low, high),
        QUEUE_DRIVER => queue.set_avail_ring_address(low, high),
        QUEUE_DEVICE => queue.set_used_ring_address(low, high),
        _ => {}
    }
}

fn word(features: u64, select: u32) -> u64 {
    if select < 2 { features >> (32 * select) & 0xffff_ffff } else { 0 }
}
