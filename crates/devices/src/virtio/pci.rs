//! The PCI transport (4.1): one BAR with the configuration structures and MSI-X.

use super::common::{Asked, Common};
use super::regs::*;
use super::saved::SavedVirtio;
use super::{Broken, Permit, Queues, Registers, VirtioDevice, queue};
use crate::MsiSink;
use crate::access::{copy_out, fill, value};
use crate::pci::regs::COMMAND_INTX_DISABLE;
use crate::pci::{Bar, Bars, ConfigSpace, Function, Identity, Msix};
use crate::service::Service as _;
use ireko_vmcore::{Line, Memory, Record, RestoreError, SavedState};
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};
use virtio_queue::{Queue, QueueT};

/// A virtio device as a PCI function.
pub struct VirtioPci {
    pub(super) config: ConfigSpace,
    pub(super) msix: Msix,
    pub(super) common: Common,
    pub(super) isr: u8,
    pub(super) name: &'static str,
    pub(super) registers: Arc<dyn Registers>,
    /// What serves each queue; the first also serves those that have none of their own.
    pub(super) services: Vec<Arc<Queues>>,
    pub(super) memory: Arc<Memory>,
    pub(super) intx: Line,
    /// Where the PCI configuration access capability is.
    pub(super) access: usize,
    /// The BAR with the configuration structures, and what others there are.
    pub(super) bar: usize,
    pub(super) beside: Option<Box<dyn Bars>>,
    /// Why the device stopped.
    pub(super) broken: Option<Broken>,
}

impl VirtioPci {
    /// Whoever drives it needs somebody to [`Service::run`](crate::Service::run).
    pub fn new(
        device: Box<dyn VirtioDevice>,
        memory: Arc<Memory>,
        msi: MsiSink,
        intx: Line,
    ) -> Arc<Mutex<Self>> {
        Self::beside(None, device, memory, msi, intx)
    }

    /// As [`VirtioPci::new`], with other BARs, which have the first places.
    pub fn beside(
        beside: Option<Box<dyn Bars>>,
        device: Box<dyn VirtioDevice>,
        memory: Arc<Memory>,
        msi: MsiSink,
        intx: Line,
    ) -> Arc<Mutex<Self>> {
        Arc::new_cyclic(|own| Mutex::new(Self::with(own.clone(), beside, vec![device], memory, msi, intx)))
    }

    /// As [`VirtioPci::new`], with several of one kind that each serve a queue: the first the first. `None` without any.
    pub fn several(
        devices: Vec<Box<dyn VirtioDevice>>,
        memory: Arc<Memory>,
        msi: MsiSink,
        intx: Line,
    ) -> Option<Arc<Mutex<Self>>> {
        let there = !devices.is_empty();
        let with = |own: &Weak<Mutex<Self>>| Self::with(own.clone(), None, devices, memory, msi, intx);
        there.then(|| Arc::new_cyclic(|own| Mutex::new(with(own))))
    }

    /// The first device says what all of them are.
    fn with(
        own: Weak<Mutex<Self>>,
        beside: Option<Box<dyn Bars>>,
        devices: Vec<Box<dyn VirtioDevice>>,
        memory: Arc<Memory>,
        msi: MsiSink,
        intx: Line,
    ) -> Self {
        let device = &devices[0];
        let mut config = ConfigSpace::new(Identity {
            vendor: VENDOR,
            device: DEVICE_BASE + device.kind(),
            subsystem_vendor: VENDOR,
            subsystem: DEVICE_BASE,
            revision: REVISION,
            class: device.class(),
        });
        config.use_intx();
        beside.iter().for_each(|beside| beside.add(&mut config));
        let bar = if beside.is_some() { BAR_BESIDE } else { BAR };
        config.add_bar(bar, Bar::Memory32(BAR_SIZE));
        let access = add_capabilities(&mut config, bar as u8);
        let sizes = device.queue_sizes();
        let vectors = sizes.len() as u16 + 1;
        let msix = Msix::new(&mut config, vectors, bar as u8, MSIX_TABLE as u32, MSIX_PENDING as u32, msi);
        let common = Common::new(device.features(), sizes, vectors);
        let (name, registers) = (device.name(), device.registers());
        let serve = |device| Arc::new(Queues::new(device, memory.clone(), own.clone()));
        let services = devices.into_iter().map(serve).collect();
        Self {
            config,
            msix,
            common,
            isr: 0,
            name,
            registers,
            services,
            memory,
            intx,
            access,
            bar,
            beside,
            broken: None,
        }
    }

    /// What the driver did that stopped the device, if it did.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Whether a driver runs the device.
    pub fn driven(&self) -> bool {
        self.common.running()
    }

    /// Tells the driver that the type's configuration structure has changed (2.5, 4.1.5.3).
    pub fn config_changed(&mut self) {
        self.common.generation = self.common.generation.wrapping_add(1);
        if self.common.running() {
            self.interrupt(self.common.config_vector, ISR_CONFIG);
        }
    }

    /// What serves the queues, or the first of them.
    pub fn service(&self) -> Arc<Queues> {
        self.services[0].clone()
    }

    /// All that serve queues.
    pub fn services(&self) -> &[Arc<Queues>] {
        &self.services
    }

    /// Another than [`VirtioPci::service`] serves queue `index`.
    pub(super) fn own_server(&self, index: usize) -> bool {
        index > 0 && self.services.get(index).is_some()
    }

    pub(super) fn server(&self, index: usize) -> &Queues {
        self.services.get(index).unwrap_or(&self.services[0])
    }

    /// There is something for queue `index`: by the driver's notification, or from whoever has something for the device.
    pub fn kick(&self, index: usize) {
        if self.serves(index) {
            self.server(index).notify(index);
        }
    }

    fn serves(&self, index: usize) -> bool {
        self.common.running() && self.common.rings.get(index).is_some_and(|ring| ring.queue.ready())
    }

    /// The driver's own notification.
    fn notified(&mut self, index: usize) {
        let Some(vector) = self.common.rings.get(index).map(|ring| ring.vector) else { return };
        if !self.serves(index) {
            return;
        }
        match self.server(index).attempt(index, || self.queue(index)) {
            Ok(false) => {}
            Ok(true) => self.interrupt(vector, ISR_QUEUE),
            Err(broken) => self.fail(broken),
        }
    }

    /// The queue as the driver has set it up, not yet served.
    pub(super) fn queue(&self, index: usize) -> Option<Queue> {
        let ring = self.common.rings.get(index).filter(|_| self.serves(index))?;
        Queue::try_from(ring.queue.state()).ok()
    }

    /// The driver is to look at a queue, unless it has reset the device since.
    pub(super) fn used(&mut self, index: usize, permit: Permit<'_>) {
        if let Some(vector) = self.common.rings.get(index).map(|ring| ring.vector)
            && !permit.over()
        {
            self.interrupt(vector, ISR_QUEUE);
        }
    }

    pub(super) fn broke(&mut self, broken: Broken, permit: Permit<'_>) {
        if !permit.over() {
            self.fail(broken);
        }
    }

    /// The device needs a reset (2.1.2).
    fn fail(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
        self.common.status |= STATUS_NEEDS_RESET;
        if self.common.status & STATUS_DRIVER_OK != 0 {
            self.interrupt(self.common.config_vector, ISR_CONFIG);
        }
    }

    fn interrupt(&mut self, vector: u16, isr: u8) {
        if self.msix.enabled() {
            return self.msix.notify(vector);
        }
        self.isr |= isr;
        self.set_intx();
    }

    fn set_intx(&mut self) {
        let asserted = self.isr != 0;
        self.config.set_interrupt_status(asserted);
        let allowed = self.config.command() & COMMAND_INTX_DISABLE == 0 && !self.msix.enabled();
        self.intx.set(asserted && allowed);
    }

    /// As new, whatever it was.
    pub(super) fn reset_for_restore(&mut self) {
        self.msix.reset();
        self.reset_device();
    }

    pub(super) fn beside_record(&self) -> Option<Record> {
        self.beside.as_ref().map(|beside| beside.record())
    }

    pub(super) fn restore_beside(&mut self, record: Option<&Record>) -> Result<(), RestoreError> {
        match (&mut self.beside, record) {
            (Some(beside), Some(record)) => beside.restore(record),
            (None, None) => Ok(()),
            _ => Err(RestoreError::invalid::<SavedVirtio>("it has other BARs")),
        }
    }

    /// Shows what was restored.
    pub(super) fn show_intx(&mut self) {
        self.set_intx();
    }

    /// A driver writing status 0: everything but PCI's own state starts anew.
    fn reset_device(&mut self) {
        self.common.reset();
        self.services.iter().for_each(|service| service.reset());
        self.registers.reset();
        self.broken = None;
        self.isr = 0;
        self.set_intx();
    }

    fn write_common(&mut self, offset: u64, data: &[u8]) {
        // Drivers may write 64-bit fields whole or as two halves.
        for (at, part) in (offset..).step_by(4).zip(data.chunks(4)) {
            match self.common.write(at, value(part)) {
                Asked::Nothing => {}
                Asked::Reset => self.reset_device(),
                Asked::Enabled(queue) => self.check_queue(queue),
            }
        }
    }

    fn check_queue(&mut self, index: usize) {
        let ram = self.memory.ram();
        let checked = self.common.rings.get(index).map_or(Ok(()), |ring| queue::check(&ring.queue, ram));
        if let Err(broken) = checked {
            self.fail(broken);
        }
    }

    fn read_isr(&mut self, data: &mut [u8]) {
        fill(data, u64::from(std::mem::take(&mut self.isr)));
        self.set_intx();
    }

    fn read_device(&self, offset: u64, data: &mut [u8]) {
        let mut config = self.registers.read();
        config.resize(config.len().max(offset as usize + data.len()), 0);
        copy_out(&config, offset, data);
    }

    fn read_structures(&mut self, offset: u64, data: &mut [u8]) {
        let len = data.len();
        if let Some(at) = within(offset, len, span(COMMON, COMMON_SIZE)) {
            return fill(data, self.common.read(at));
        }
        if within(offset, len, span(ISR, 4)).is_some() {
            return self.read_isr(data);
        }
        if let Some(at) = within(offset, len, span(DEVICE, DEVICE_SIZE)) {
            return self.read_device(at, data);
        }
        if let Some(at) = within(offset, len, span(MSIX_TABLE, self.msix.table_size())) {
            return self.msix.read_table(at, data);
        }
        match within(offset, len, MSIX_PENDING..BAR_SIZE) {
            Some(at) => self.msix.read_pending(at, data),
            None => data.fill(0),
        }
    }

    fn write_structures(&mut self, offset: u64, data: &[u8]) {
        let len = data.len();
        if let Some(at) = within(offset, len, span(NOTIFY, NOTIFY_SIZE)) {
            return self.notified((at / u64::from(NOTIFY_MULTIPLIER)) as usize);
        }
        if let Some(at) = within(offset, len, span(COMMON, COMMON_SIZE)) {
            return self.write_common(at, data);
        }
        if let Some(at) = within(offset, len, span(DEVICE, DEVICE_SIZE)) {
            return self.registers.write(at, data);
        }
        if let Some(at) = within(offset, len, span(MSIX_TABLE, self.msix.table_size())) {
            self.msix.write_table(at, data);
        }
    }

    /// The access that the PCI configuration access capability describes (4.1.4.9), if it is a proper one.
    fn described(&self) -> Option<(u64, usize)> {
        let field = |at: usize, len: usize| {
            let mut bytes = [0; 4];
            self.config.read((self.access + at) as u16, &mut bytes[..len]);
            value(&bytes[..len])
        };
        let (bar, offset) = (field(PCI_CAP_BAR, 1), field(PCI_CAP_OFFSET, 4));
        let length = field(PCI_CAP_LENGTH, 4);
        let proper = bar == self.bar as u64 && matches!(length, 1 | 2 | 4) && offset % length == 0;
        (proper && offset + length <= BAR_SIZE).then_some((offset, length as usize))
    }

    fn access_data(&self, offset: u16, len: usize) -> bool {
        let start = usize::from(offset);
        start < self.access + PCI_CAP_DATA + 4 && start + len > self.access + PCI_CAP_DATA
    }
}

/// What serves a function's queues.
pub fn service(function: &Mutex<VirtioPci>) -> Arc<Queues> {
    crate::lock(function).service()
}

/// What serves each of a function's queues.
pub fn services(function: &Mutex<VirtioPci>) -> Vec<Arc<dyn crate::Service>> {
    let function = crate::lock(function);
    function.services().iter().map(|service| service.clone() as Arc<dyn crate::Service>).collect()
}

/// Adds the configuration structures' capabilities; the place of the PCI configuration access capability.
fn add_capabilities(config: &mut ConfigSpace, bar: u8) -> usize {
    let structures =
        [(CAP_COMMON, COMMON, COMMON_SIZE), (CAP_ISR, ISR, ISR_SIZE), (CAP_DEVICE, DEVICE, DEVICE_SIZE)];
    for (kind, offset, size) in structures {
        config.add_capability(CAPABILITY, &capability(bar, kind, offset, size, None), &[]);
    }
    config.add_capability(
        CAPABILITY,
        &capability(bar, CAP_NOTIFY, NOTIFY, NOTIFY_SIZE, Some(NOTIFY_MULTIPLIER)),
        &[],
    );
    let mut writable = [0; 18];
    writable[PCI_CAP_BAR - 2] = 0xff;
    writable[PCI_CAP_OFFSET - 2..].fill(0xff);
    config.add_capability(CAPABILITY, &capability(bar, CAP_PCI, 0, 0, Some(0)), &writable).unwrap_or(0)
}

/// A `virtio_pci_cap` from its third byte on.
fn capability(bar: u8, kind: u8, offset: u64, size: u64, more: Option<u32>) -> Vec<u8> {
    let len = if more.is_some() { 20 } else { 16 };
    let mut body = vec![len, kind, bar, 0, 0, 0];
    body.extend((offset as u32).to_le_bytes());
    body.extend((size as u32).to_le_bytes());
    body.extend(more.iter().flat_map(|more| more.to_le_bytes()));
    body
}

/// The offset of an access of `len` bytes in the structure at `start`, if it lies there.
fn within(offset: u64, len: usize, structure: Range<u64>) -> Option<u64> {
    let inside = structure.start <= offset && offset + len as u64 <= structure.end;
    inside.then(|| offset - structure.start)
}

const fn span(start: u64, size: u64) -> Range<u64> {
    start..start + size
}

impl Function for VirtioPci {
    fn name(&self) -> &'static str {
        self.name
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn read_config(&mut self, offset: u16, data: &mut [u8]) {
        if self.access_data(offset, data.len())
            && let Some((at, len)) = self.described()
        {
            let mut bytes = [0; 4];
            self.read_structures(at, &mut bytes[..len]);
            self.config.put(self.access + PCI_CAP_DATA, &bytes);
        }
        self.config.read(offset, data);
    }

    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        if self.access_data(offset, data.len())
            && let Some((at, len)) = self.described()
        {
            let mut bytes = [0; 4];
            self.config.read((self.access + PCI_CAP_DATA) as u16, &mut bytes);
            self.write_structures(at, &bytes[..len]);
        }
        self.msix.config_written(&self.config);
        self.set_intx();
    }

    fn placed(&mut self) {
        if let Some(beside) = &mut self.beside {
            beside.placed(&self.config);
        }
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        match &mut self.beside {
            Some(beside) if bar != self.bar => beside.read(bar, offset, data),
            _ => self.read_structures(offset, data),
        }
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8]) {
        match &mut self.beside {
            Some(beside) if bar != self.bar => beside.write(bar, offset, data),
            _ => self.write_structures(offset, data),
        }
    }

    fn reset(&mut self) {
        self.msix.reset();
        self.reset_device();
        self.beside.iter_mut().for_each(|beside| beside.reset());
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

impl Drop for VirtioPci {
    fn drop(&mut self) {
        for service in &self.services {
            service.end();
            service.lanes().iter().for_each(|lane| lane.end());
        }
    }
}
