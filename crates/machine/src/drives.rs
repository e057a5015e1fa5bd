//! What is at the controllers of a running machine, by serial number; media that change, and disks that come and go.

use crate::device_threads::DeviceThreads;
use crate::run_state::RunState;
use crate::storage::{self, Sockets};
use crate::{DiskBus, DiskSpec, MachineError, disk};
use ireko_devices::storage::Tray;
use ireko_devices::{AcpiPm, MsiSink, PciBus, Service, pci};
use ireko_vmcore::{Memory, Rates, Throttle};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// The general-purpose event by which the guest hears of slots (`_E01` in the DSDT).
pub const EVENT: u8 = 1;

/// One drive.
pub struct Drive {
    pub throttle: Arc<Throttle>,
    pub at: At,
}

/// How it can change.
pub enum At {
    /// Not at all.
    Fixed,
    /// It has a slot of its own, and may go.
    Slot { slot: u8, services: Vec<Arc<dyn Service>> },
    /// Its medium may go.
    Tray { tray: Tray, service: Arc<dyn Service> },
}

#[derive(Default)]
struct Inner {
    drives: Mutex<BTreeMap<String, Drive>>,
    hot: Mutex<Option<Hot>>,
}

/// What new disks are plugged into. It keeps no machine alive.
#[derive(Clone)]
struct Hot {
    pci: Weak<PciBus>,
    memory: Weak<Memory>,
    msi: MsiSink,
    threads: DeviceThreads,
    slots: pci::HotPlug,
    acpi: AcpiPm,
    run_state: RunState,
    vcpus: u32,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Drives(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// What a machine without such slots is told.
const COLD: &str = "this machine has no slots whose disks may come and go";

impl Drives {
    pub fn add(&self, serial: &str, drive: Drive) {
        lock(&self.0.drives).insert(serial.to_owned(), drive);
    }

    /// Bounds the use of a drive from now on.
    pub fn limit(&self, serial: &str, limits: Rates) {
        lock(&self.0.drives).get(serial).iter().for_each(|drive| drive.throttle.set(limits));
    }

    /// The machine is gone.
    pub fn clear(&self) {
        lock(&self.0.drives).clear();
        *lock(&self.0.hot) = None;
    }

    /// From now on disks may come, and those that are there and have slots may go: the device with the registers.
    pub fn make_hot(
        &self,
        sockets: &Sockets<'_>,
        acpi: AcpiPm,
        run_state: RunState,
    ) -> Arc<Mutex<pci::HotPlug>> {
        let own = Arc::downgrade(&self.0);
        let slots = pci::HotPlug::new(Arc::new(move |slot| {
            if let Some(inner) = own.upgrade() {
                Self(inner).ejected(slot);
            }
        }));
        for drive in lock(&self.0.drives).values() {
            if let At::Slot { slot, .. } = drive.at {
                slots.allow(slot);
            }
        }
        *lock(&self.0.hot) = Some(Hot {
            pci: Arc::downgrade(sockets.pci),
            memory: Arc::downgrade(sockets.memory),
            msi: sockets.msi.clone(),
            threads: sockets.threads.clone(),
            slots: slots.clone(),
            acpi,
            run_state,
            vcpus: sockets.vcpus,
        });
        ireko_devices::shared(slots)
    }

    /// The guest has let go of a slot. On a virtual processor's thread.
    fn ejected(&self, slot: u8) {
        let Some(hot) = lock(&self.0.hot).clone() else { return };
        let found = {
            let mut drives = lock(&self.0.drives);
            let of_slot = |drive: &Drive| matches!(drive.at, At::Slot { slot: own, .. } if own == slot);
            let serial = drives.iter().find(|(_, drive)| of_slot(drive)).map(|(serial, _)| serial.clone());
            serial.and_then(|serial| drives.remove(&serial))
        };
        if let Some(pci) = hot.pci.upgrade() {
            pci.remove(slot);
        }
        if let Some(Drive { at: At::Slot { services, .. }, .. }) = found {
            services.iter().for_each(|service| hot.threads.forget(service));
        }
    }

    fn hot(&self) -> Result<Hot, MachineError> {
        lock(&self.0.hot).clone().ok_or_else(|| MachineError::Platform(COLD.into()))
    }

    /// Another disk, whose file is open; the guest hears of it.
    pub fn plug(&self, spec: &DiskSpec) -> Result<(), MachineError> {
        let hot = self.hot()?;
        let (Some(pci), Some(memory)) = (hot.pci.upgrade(), hot.memory.upgrade()) else { return Ok(()) };
        if lock(&self.0.drives).contains_key(&spec.serial) {
            let told = format!("the machine has a drive {} still", spec.serial);
            return Err(MachineError::Platform(told));
        }
        let slot = storage::HOT_SLOTS.into_iter().find(|slot| pci.is_free(*slot));
        let slot = slot.ok_or_else(|| MachineError::Platform("all slots for disks are taken".into()))?;
        let (threads, vcpus) = (&hot.threads, hot.vcpus);
        let sockets = Sockets { pci: &pci, memory: &memory, msi: &hot.msi, threads, vcpus };
        let services = match spec.bus {
            DiskBus::Virtio => sockets.add_blk(slot, &format!("blk-{slot}"), spec)?,
            DiskBus::Nvme => {
                sockets.add_nvme(slot, &format!("nvme-{slot}"), disk::content(spec)?, &spec.serial)?
            }
            _ => return Err(MachineError::Platform(COLD.into())),
        };
        let throttle = spec.throttle.clone();
        self.add(&spec.serial, Drive { throttle, at: At::Slot { slot, services } });
        hot.slots.allow(slot);
        hot.slots.plugged(slot);
        hot.acpi.raise_gpe(EVENT);
        Ok(())
    }

    /// Asks the guest to let go of a disk, and gives the slot that it is in; `None`: it is not there.
    pub fn ask_for(&self, serial: &str) -> Result<Option<u8>, MachineError> {
        let hot = self.hot()?;
        let slot = match lock(&self.0.drives).get(serial) {
            None => return Ok(None),
            Some(Drive { at: At::Slot { slot, .. }, .. }) => *slot,
            Some(_) => return Err(MachineError::Platform(COLD.into())),
        };
        hot.slots.ask(slot);
        hot.acpi.raise_gpe(EVENT);
        Ok(Some(slot))
    }

    /// Waits until the guest has let go of a disk. False: it has not within the time, and the disk stays.
    pub fn wait_for(&self, serial: &str, patience: Duration) -> bool {
        let Ok(hot) = self.hot() else { return false };
        let until = Instant::now() + patience;
        let there = || lock(&self.0.drives).contains_key(serial);
        while there() && !hot.run_state.ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        !there() || hot.run_state.ended()
    }

    /// The guest is asked for the disk in a slot no more.
    pub fn withdraw(&self, slot: u8) {
        if let Ok(hot) = self.hot() {
            hot.slots.withdraw(slot);
        }
    }

    /// Another medium in a drive, or none. What the guest has locked comes out all the same.
    pub fn change_medium(&self, spec: &DiskSpec) -> Result<(), MachineError> {
        let content = disk::content(spec)?;
        let mut drives = lock(&self.0.drives);
        let Some(drive) = drives.get_mut(&spec.serial) else { return Ok(()) };
        let At::Tray { tray, service } = &drive.at else {
            return Err(MachineError::Platform(format!("the drive {} has no tray", spec.serial)));
        };
        tray.put(content);
        service.kick();
        drive.throttle = spec.throttle.clone();
        Ok(())
    }
}
