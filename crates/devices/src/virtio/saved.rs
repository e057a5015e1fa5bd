//! What is saved of the PCI transport with its queues, and of the device behind it.

use super::common::Common;
use super::regs::NO_VECTOR;
use super::scsi::Target;
use super::{Broken, VirtioPci, queue};
use crate::pci::saved::{SavedConfig, SavedMsix};
use crate::storage::saved::SavedUnit;
use ireko_vmcore::Record;
use ireko_vmcore::saved::{RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueState, QueueT};

/// A virtio device as a PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedVirtio {
    pub config: SavedConfig,
    pub msix: SavedMsix,
    pub isr: u8,
    pub accepted: u64,
    pub device_feature_select: u32,
    pub driver_feature_select: u32,
    pub status: u8,
    pub generation: u8,
    pub config_vector: u16,
    pub queue_select: u16,
    pub queues: Vec<SavedQueue>,
    /// What had rung and was not served, of each thread that serves queues: a bit for each queue.
    pub pending: Vec<u64>,
    /// What the driver did that stopped the device.
    pub broken: Option<String>,
    /// What the type has besides, its disks each have, and the BARs beside this one.
    pub device: Option<Record>,
    pub lanes: Vec<Option<Record>>,
    pub beside: Option<Record>,
}

/// A queue as the driver has set it up, and how far it was served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedQueue {
    pub size: u16,
    pub ready: bool,
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    pub vector: u16,
    /// The next index of the available ring and of the used one; none before the device looked at the queue.
    pub served: Option<(u16, u16)>,
}

impl Saved for SavedVirtio {
    const NAME: &'static str = "virtio";
    const VERSION: u32 = 2;
}

impl SaveRestore for VirtioPci {
    type Saved = SavedVirtio;

    fn save(&self) -> SavedVirtio {
        let service = self.service();
        let mut engine = service.saved();
        let common = &self.common;
        let queue = |(index, ring): (usize, &super::common::Vring)| {
            let state = ring.queue.state();
            SavedQueue {
                size: state.size,
                ready: state.ready,
                descriptors: state.desc_table,
                driver: state.avail_ring,
                device: state.used_ring,
                vector: ring.vector,
                served: if self.own_server(index) {
                    self.server(index).saved().served(index)
                } else {
                    engine.served(index)
                },
            }
        };
        let queues = common.rings.iter().enumerate().map(queue).collect();
        SavedVirtio {
            config: self.config.save(),
            msix: self.msix.save(),
            isr: self.isr,
            accepted: common.accepted,
            device_feature_select: common.device_select,
            driver_feature_select: common.driver_select,
            status: common.status,
            generation: common.generation,
            config_vector: common.config_vector,
            queue_select: common.select,
            queues,
            pending: self.services().iter().map(|service| service.pending()).collect(),
            broken: self.broken.as_ref().map(|broken| broken.0.clone()),
            device: engine.device(),
            lanes: service.lanes().iter().map(|lane| lane.record()).collect(),
            beside: self.beside_record(),
        }
    }

    fn restore(&mut self, saved: SavedVirtio) -> Result<(), RestoreError> {
        self.reset_for_restore();
        self.config.restore(&saved.config);
        self.msix.restore::<SavedVirtio>(saved.msix)?;
        let rings = self.common.rings.len();
        let count = saved.queues.len();
        ensure::<SavedVirtio>(count == rings, format!("{count} queues and not {rings}"))?;
        self.common.restore(&Head {
            accepted: saved.accepted,
            device_select: saved.device_feature_select,
            driver_select: saved.driver_feature_select,
            status: saved.status,
            generation: saved.generation,
            config_vector: saved.config_vector,
            select: saved.queue_select,
        });
        let service = self.service();
        let mut engine = service.saved();
        match (&saved.device, engine.has_device()) {
            (Some(record), true) => engine.restore_device(record)?,
            (None, false) => {}
            _ => return Err(RestoreError::invalid::<SavedVirtio>("its device is of another kind")),
        }
        let lanes = service.lanes();
        ensure::<SavedVirtio>(lanes.len() == saved.lanes.len(), format!("{} disks", saved.lanes.len()))?;
        lanes.iter().zip(&saved.lanes).try_for_each(|(lane, record)| lane.restore(record.as_ref()))?;
        self.restore_beside(saved.beside.as_ref())?;
        drop(engine);
        for (index, queue) in saved.queues.iter().enumerate() {
            self.restore_queue(index, queue)?;
        }
        self.broken = saved.broken.map(Broken);
        self.isr = saved.isr;
        self.show_intx();
        let threads = self.services().len();
        ensure::<SavedVirtio>(saved.pending.len() == threads, format!("{} threads", saved.pending.len()))?;
        self.services().iter().zip(saved.pending).for_each(|(service, what)| service.notify_all(what));
        Ok(())
    }
}

/// The common configuration without its queues.
pub(super) struct Head {
    pub accepted: u64,
    pub device_select: u32,
    pub driver_select: u32,
    pub status: u8,
    pub generation: u8,
    pub config_vector: u16,
    pub select: u16,
}

impl VirtioPci {
    fn restore_queue(&mut self, index: usize, saved: &SavedQueue) -> Result<(), RestoreError> {
        let event_idx = self.common.event_idx();
        let vector = self.common.vector(saved.vector.into());
        let ring = &mut self.common.rings[index];
        let state = QueueState {
            max_size: ring.queue.max_size(),
            next_avail: 0,
            next_used: 0,
            event_idx_enabled: event_idx,
            size: saved.size,
            ready: saved.ready,
            desc_table: saved.descriptors,
            avail_ring: saved.driver,
            used_ring: saved.device,
        };
        let wrong = |error: &dyn std::fmt::Display| {
            RestoreError::invalid::<SavedVirtio>(format!("queue {index}: {error}"))
        };
        ring.queue = Queue::try_from(state).map_err(|error| wrong(&error))?;
        ring.vector = vector;
        if !(saved.ready && self.common.running()) {
            return ensure::<SavedVirtio>(
                saved.served.is_none() || !self.common.running(),
                format!("queue {index} is served and not ready"),
            );
        }
        queue::check(&self.common.rings[index].queue, self.memory.ram()).map_err(|broken| wrong(&broken))?;
        if let Some((available, used)) = saved.served {
            let served = QueueState { next_avail: available, next_used: used, ..state };
            let served = Queue::try_from(served).map_err(|error| wrong(&error))?;
            self.server(index).saved().serve_from(index, served);
        }
        Ok(())
    }
}

impl Common {
    pub(super) fn restore(&mut self, head: &Head) {
        self.reset();
        self.accepted = head.accepted;
        (self.device_select, self.driver_select) = (head.device_select, head.driver_select);
        (self.status, self.generation, self.select) = (head.status, head.generation, head.select);
        self.config_vector = self.vector(head.config_vector.into());
        debug_assert!(self.rings.iter().all(|ring| ring.vector == NO_VECTOR));
    }
}

/// A lane of the SCSI host.
impl SaveRestore for Target {
    type Saved = SavedUnit;

    fn save(&self) -> SavedUnit {
        self.0.save()
    }

    fn restore(&mut self, saved: SavedUnit) -> Result<(), RestoreError> {
        self.0.restore::<SavedUnit>(&saved)
    }
}
