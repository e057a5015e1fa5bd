use super::regs::*;
use super::*;
use crate::pci::Function;
use crate::pci::regs::{COMMAND, COMMAND_INTX_DISABLE, CONFIG_SIZE, HEADER_END};
use crate::probe::{Output, Probe, messages};
use crate::{Service, lock, shared};
use ireko_vmcore::{Disk, Memory, Msi};
use std::io;
use std::sync::{Arc, Mutex};
use vm_memory::{Bytes, GuestAddress};

pub(super) const DESC: u64 = 0x1000;
pub(super) const AVAIL: u64 = 0x2000;
pub(super) const USED: u64 = 0x3000;
pub(super) const DATA: u64 = 0x8000;
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
pub(super) const SIZE: u16 = 8;

/// A disk in memory.
struct Ram(Arc<Mutex<Vec<u8>>>, bool);

impl Disk for Ram {
    fn size(&self) -> u64 {
        lock(&self.0).len() as u64
    }
    fn read_only(&self) -> bool {
        self.1
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        data.copy_from_slice(&lock(&self.0)[offset as usize..][..data.len()]);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        lock(&self.0)[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a driver does, at the BAR and in memory. Its queue (index `queue`) lies at [`DESC`], [`AVAIL`] and [`USED`].
pub(super) struct Driver {
    pub(super) function: Arc<Mutex<VirtioPci>>,
    pub(super) memory: Arc<Memory>,
    pub(super) queue: u16,
    pub(super) submitted: u16,
    pub(super) messages: Arc<Mutex<Vec<Msi>>>,
    pub(super) probe: Arc<Probe>,
}

impl Driver {
    pub(super) fn new(device: impl VirtioDevice + 'static) -> Self {
        Self::with(|memory, msi, line| VirtioPci::new(Box::new(device), memory, msi, line))
    }

    pub(super) fn with(
        make: impl FnOnce(Arc<Memory>, crate::MsiSink, ireko_vmcore::Line) -> Arc<Mutex<VirtioPci>>,
    ) -> Self {
        Self::over(Memory::new(&[(0, 0x10_0000)]).unwrap(), make)
    }

    pub(super) fn over(
        memory: Memory,
        make: impl FnOnce(Arc<Memory>, crate::MsiSink, ireko_vmcore::Line) -> Arc<Mutex<VirtioPci>>,
    ) -> Self {
        let memory = Arc::new(memory);
        let ((sink, messages), probe) = (messages(), Probe::new());
        let function = make(memory.clone(), sink, probe.line(0));
        Self { function, memory, queue: 0, submitted: 0, messages, probe }
    }

    pub(super) fn disk(sectors: usize) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let bytes: Arc<Mutex<Vec<u8>>> = shared((0..sectors * 512).map(|i| (i / 512) as u8).collect());
        (Self::new(Blk::new(Box::new(Ram(bytes.clone(), false)), "serial")).started(0), bytes)
    }

    pub(super) fn write<const N: usize>(&self, offset: u64, bytes: [u8; N]) {
        lock(&self.function).write_bar(BAR, offset, &bytes);
    }
    pub(super) fn read(&self, offset: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        lock(&self.function).read_bar(BAR, offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }
    pub(super) fn status(&self) -> u8 {
        self.read(DEVICE_STATUS, 1) as u8
    }
    pub(super) fn set_status(&self, status: u8) {
        self.write(DEVICE_STATUS, [status]);
    }
    pub(super) fn accept(&self, features: u64) {
        for select in 0..2u32 {
            self.write(DRIVER_FEATURE_SELECT, select.to_le_bytes());
            self.write(DRIVER_FEATURE, ((features >> (32 * select)) as u32).to_le_bytes());
        }
    }
    pub(super) fn offered(&self) -> u64 {
        let half = |select: u32| {
            self.write(DEVICE_FEATURE_SELECT, select.to_le_bytes());
            self.read(DEVICE_FEATURE, 4)
        };
        half(0) | half(1) << 32
    }

    /// The whole initialization (3.1.1) with `queue` enabled and no event index.
    pub(super) fn started(self, queue: u16) -> Self {
        self.negotiated(queue, F_VERSION_1 | F_INDIRECT_DESC)
    }

    pub(super) fn negotiated(mut self, queue: u16, features: u64) -> Self {
        self.queue = queue;
        self.set_status(3);
        self.accept(features);
        self.set_status(3 | STATUS_FEATURES_OK);
        self.enable(DESC);
        self.set_status(3 | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
        self
    }

    pub(super) fn enable(&self, desc: u64) {
        self.enable_at(desc, USED);
    }
    pub(super) fn enable_at(&self, desc: u64, used: u64) {
        self.write(QUEUE_SELECT, self.queue.to_le_bytes());
        self.write(QUEUE_SIZE, SIZE.to_le_bytes());
        self.write(QUEUE_DESC, desc.to_le_bytes());
        self.write(QUEUE_DRIVER, AVAIL.to_le_bytes());
        self.write(QUEUE_DEVICE, (used as u32).to_le_bytes());
        self.write(QUEUE_ENABLE, 1u16.to_le_bytes());
    }

    pub(super) fn put<T: vm_memory::ByteValued>(&self, address: u64, value: T) {
        self.memory.ram().write_obj(value, GuestAddress(address)).unwrap();
    }
    pub(super) fn take<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.ram().read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    pub(super) fn describe(&self, table: u64, index: u16, address: u64, len: u32, flags: u16) {
        let at = table + 16 * u64::from(index);
        self.put(at, address);
        self.put(at + 8, len);
        self.put(at + 12, flags);
        self.put(at + 14, index + 1);
    }

    /// Lays out a chain from descriptor 0 on, makes it available and notifies.
    pub(super) fn submit(&mut self, chain: &[(u64, u32, u16)]) {
        for (index, &(address, len, flags)) in (0..).zip(chain) {
            let next = if usize::from(index) + 1 < chain.len() { NEXT } else { 0 };
            self.describe(DESC, index, address, len, flags | next);
        }
        self.offer(0);
        self.notify();
    }
    pub(super) fn offer(&mut self, head: u16) {
        self.put(AVAIL + 4 + 2 * u64::from(self.submitted % SIZE), head);
        self.submitted += 1;
        self.put(AVAIL + 2, self.submitted);
    }
    pub(super) fn notify(&self) {
        self.write(NOTIFY + 4 * u64::from(self.queue), self.queue.to_le_bytes());
        self.turn();
    }
    /// What the device's thread would do.
    pub(super) fn turn(&self) {
        let service = lock(&self.function).service();
        service.turn();
        service.lanes().iter().for_each(|lane| lane.turn());
    }
    pub(super) fn used(&self) -> u16 {
        self.turn();
        u16::from_le_bytes(self.take(USED + 2))
    }
    pub(super) fn used_len(&self, index: u64) -> u32 {
        u32::from_le_bytes(self.take(USED + 8 + 8 * index))
    }

    /// A block request with `len` bytes of data, and its status.
    pub(super) fn block(&mut self, kind: u32, sector: u64, len: u32, flags: u16) -> u8 {
        self.put(0x4000, kind);
        self.put(0x4008, sector);
        self.put(0x5000, 0xeeu8);
        self.submit(&[(0x4000, 16, 0), (DATA, len, flags), (0x5000, 1, WRITE)]);
        self.take::<1>(0x5000)[0]
    }

    pub(super) fn config(&self, at: usize, len: usize) -> u64 {
        let mut data = [0; 8];
        lock(&self.function).read_config(at as u16, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    /// Where the capability of virtio type `kind` is.
    pub(super) fn capability(&self, kind: u8) -> usize {
        let mut at = HEADER_END;
        while at != 0 && (self.config(at, 1) as u8, self.config(at + 3, 1) as u8) != (CAPABILITY, kind) {
            at = self.config(at + 1, 1) as usize;
        }
        at
    }

    /// Opens MSI-X with queue vector 1.
    pub(super) fn open_msix(&self) {
        let mut at = HEADER_END;
        while self.config(at, 1) != 0x11 {
            at = self.config(at + 1, 1) as usize;
            assert!(at != 0 && at < CONFIG_SIZE);
        }
        lock(&self.function).write_config(at as u16 + 2, &0x8000u16.to_le_bytes());
        for vector in 0..2u64 {
            let entry = MSIX_TABLE + 16 * vector;
            self.write(entry, 0xfee0_0000u64.to_le_bytes());
            self.write(entry + 8, (0x60 + vector as u32).to_le_bytes());
            self.write(entry + 12, 0u32.to_le_bytes());
        }
        self.write(CONFIG_VECTOR, 0u16.to_le_bytes());
        self.write(QUEUE_SELECT, self.queue.to_le_bytes());
        self.write(QUEUE_VECTOR, 1u16.to_le_bytes());
    }
}

fn entropy() -> Driver {
    Driver::new(Rng::new(Box::new(io::repeat(0x5a))))
}

#[test]
fn the_function_is_a_modern_virtio_device() {
    let driver = entropy();
    assert_eq!(driver.config(0, 4), 0x1044_1af4);
}

#[test]
fn every_configuration_structure_has_a_capability() {
    let driver = entropy();
    for kind in [CAP_COMMON, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI] {
        assert_ne!(driver.capability(kind), 0, "type {kind}");
    }
}

#[test]
fn common_features_are_offered() {
    let common = F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC;
    assert_eq!(entropy().offered() & common, common);
}

#[test]
fn features_without_version_1_are_refused() {
    let driver = entropy();
    driver.accept(F_EVENT_IDX);
    driver.set_status(3 | STATUS_FEATURES_OK);
    assert_eq!(driver.status(), 3);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let driver = entropy();
    driver.accept(F_VERSION_1 | 1 << 40);
    driver.set_status(3 | STATUS_FEATURES_OK);
    assert_eq!(driver.status(), 3);
}

#[test]
fn status_zero_resets_the_queues() {
    let driver = entropy().started(0);
    driver.set_status(0);
    assert_eq!((driver.status(), driver.read(QUEUE_ENABLE, 2), driver.read(QUEUE_DESC, 8)), (0, 0, 0));
}

#[test]
fn a_queue_that_is_not_there_has_size_zero() {
    let driver = entropy();
    driver.write(QUEUE_SELECT, 9u16.to_le_bytes());
    assert_eq!(driver.read(QUEUE_SIZE, 2), 0);
}

#[test]
fn a_vector_that_is_not_there_reads_back_as_none() {
    let driver = entropy();
    driver.write(QUEUE_VECTOR, 7u16.to_le_bytes());
    assert_eq!(driver.read(QUEUE_VECTOR, 2), u64::from(NO_VECTOR));
}

#[test]
fn queue_addresses_read_back_in_halves() {
    let driver = entropy();
    driver.write(QUEUE_DESC, 0x12_3456_7890u64.to_le_bytes());
    assert_eq!((driver.read(QUEUE_DESC, 4), driver.read(QUEUE_DESC + 4, 4)), (0x3456_7890, 0x12));
}

#[test]
fn entropy_fills_the_buffer() {
    let mut driver = entropy().started(0);
    driver.submit(&[(DATA, 32, WRITE)]);
    assert_eq!(driver.take::<33>(DATA)[..32], [0x5a; 32]);
    assert_eq!((driver.used(), driver.used_len(0)), (1, 32));
}

#[test]
fn a_huge_entropy_request_gets_a_part() {
    let mut driver = entropy().started(0);
    driver.submit(&[(DATA, 0x8_0000, WRITE)]);
    assert_eq!(driver.used_len(0), 1 << 16);
}

#[test]
fn an_indirect_chain_is_followed() {
    let mut driver = entropy().started(0);
    driver.describe(0x6000, 0, DATA, 4, WRITE | NEXT);
    driver.describe(0x6000, 1, DATA + 0x100, 4, WRITE);
    driver.submit(&[(0x6000, 32, INDIRECT)]);
    assert_eq!((driver.take::<4>(DATA + 0x100), driver.used_len(0)), ([0x5a; 4], 8));
}

#[test]
fn without_msix_an_interrupt_is_the_line_until_isr_is_read() {
    let mut driver = entropy().started(0);
    driver.submit(&[(DATA, 4, WRITE)]);
    assert!(driver.probe.level(0));
    assert_eq!(driver.read(ISR, 1), u64::from(ISR_QUEUE));
    assert!(!driver.probe.level(0));
}

#[test]
fn the_command_register_can_silence_the_line() {
    let mut driver = entropy().started(0);
    lock(&driver.function).write_config(COMMAND as u16, &COMMAND_INTX_DISABLE.to_le_bytes());
    driver.submit(&[(DATA, 4, WRITE)]);
    assert!(!driver.probe.level(0));
}

#[test]
fn with_msix_an_interrupt_is_the_queues_message() {
    let mut driver = entropy().started(0);
    driver.open_msix();
    driver.submit(&[(DATA, 4, WRITE)]);
    assert_eq!(*lock(&driver.messages), [Msi { address: 0xfee0_0000, data: 0x61 }]);
    assert!(!driver.probe.level(0));
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut driver = entropy().started(0);
    driver.put(AVAIL, 1u16);
    driver.submit(&[(DATA, 4, WRITE)]);
    assert_eq!((driver.used(), driver.probe.level(0)), (1, false));
}

#[test]
fn with_event_index_an_interrupt_waits_for_the_drivers_mark() {
    let mut driver = entropy().negotiated(0, F_VERSION_1 | F_EVENT_IDX);
    driver.put(AVAIL + 4 + 2 * u64::from(SIZE), 1u16);
    driver.submit(&[(DATA, 4, WRITE)]);
    assert!(!driver.probe.level(0));
    driver.submit(&[(DATA, 4, WRITE)]);
    assert!(driver.probe.level(0));
}

/// A disk of two queues; the first one's device is not turned.
#[test]
fn each_of_a_disks_queues_is_served_by_itself() {
    let bytes: Arc<Mutex<Vec<u8>>> = shared(vec![7; 4096]);
    let disk = || Box::new(Ram(bytes.clone(), false)) as Box<dyn Disk>;
    let devices = Blk::with_queues(vec![disk(), disk()], "serial");
    let driver = Driver::with(|memory, msi, line| VirtioPci::several(devices, memory, msi, line).unwrap());
    assert_eq!(driver.offered() >> 12 & 1, 1);
    assert_eq!((driver.read(NUM_QUEUES, 2), driver.read(DEVICE + 34, 2)), (2, 2));
    let mut driver = driver.started(1);
    let second = lock(&driver.function).services()[1].clone();
    driver.put(0x4000, [0u8; 16]);
    for (index, (address, len, flags)) in
        (0..).zip([(0x4000, 16, NEXT), (DATA, 512, NEXT | WRITE), (0x5000, 1, WRITE)])
    {
        driver.describe(DESC, index, address, len, flags);
    }
    driver.offer(0);
    driver.write(NOTIFY + 4, 1u16.to_le_bytes());
    second.turn();
    assert_eq!((driver.take::<2>(USED + 2), driver.take::<1>(DATA)), ([1, 0], [7]));
}

#[test]
fn a_disk_with_one_queue_offers_no_more() {
    let (driver, _) = Driver::disk(8);
    assert_eq!((driver.offered() >> 12 & 1, driver.read(DEVICE + 34, 2)), (0, 0x1));
}

/// What breaks a device: it says so, interrupts for it, and serves no more.
fn assert_broken(driver: &mut Driver) {
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, STATUS_NEEDS_RESET);
    assert!(lock(&driver.function).broken().is_some());
    let before = driver.used();
    driver.notify();
    assert_eq!(driver.used(), before);
}

#[test]
fn a_buffer_outside_memory_breaks_the_device() {
    let mut driver = entropy().started(0);
    driver.submit(&[(0xffff_ffff_ffff_fff0, 32, WRITE)]);
    assert_broken(&mut driver);
}

#[test]
fn a_chain_that_loops_breaks_the_device() {
    let mut driver = entropy().started(0);
    driver.describe(DESC, 0, DATA, 4, WRITE | NEXT);
    driver.put(DESC + 14, 0u16);
    driver.offer(0);
    driver.notify();
    assert_broken(&mut driver);
}

#[test]
fn a_head_outside_the_table_breaks_the_device() {
    let mut driver = entropy().started(0);
    driver.offer(SIZE);
    driver.notify();
    assert_broken(&mut driver);
}

#[test]
fn more_chains_than_the_queue_has_break_the_device() {
    let mut driver = entropy().started(0);
    driver.put(AVAIL + 2, SIZE + 1);
    driver.notify();
    assert_broken(&mut driver);
}

#[test]
fn a_readable_buffer_behind_a_writable_one_breaks_the_device() {
    let mut driver = entropy().started(0);
    driver.submit(&[(DATA, 4, WRITE), (DATA, 4, 0)]);
    assert_broken(&mut driver);
}

#[test]
fn an_indirect_table_in_an_indirect_table_breaks_the_device() {
    let mut driver = entropy().started(0);
    driver.describe(0x6000, 0, 0x6000, 16, INDIRECT);
    driver.submit(&[(0x6000, 16, INDIRECT)]);
    assert_broken(&mut driver);
}

#[test]
fn a_queue_outside_memory_breaks_the_device() {
    let mut driver = entropy();
    driver.enable(0x10_0000_0000);
    assert_broken(&mut driver);
}

#[test]
fn rings_that_overlap_break_the_device() {
    let mut driver = entropy();
    driver.enable_at(DESC, AVAIL);
    assert_broken(&mut driver);
}

#[test]
fn a_reset_mends_a_broken_device() {
    let mut driver = entropy().started(0);
    driver.offer(SIZE);
    driver.notify();
    driver.set_status(0);
    driver.submitted = 0;
    driver.put(USED + 2, 0u16);
    driver.put(AVAIL + 2, 0u16);
    let mut driver = driver.started(0);
    driver.submit(&[(DATA, 4, WRITE)]);
    assert_eq!(driver.used(), 1);
}

#[test]
fn a_notification_before_driver_ok_is_ignored() {
    let mut driver = entropy();
    driver.set_status(3);
    driver.accept(F_VERSION_1);
    driver.set_status(3 | STATUS_FEATURES_OK);
    driver.enable(DESC);
    driver.submit(&[(DATA, 4, WRITE)]);
    assert_eq!(driver.used(), 0);
}

#[test]
fn a_notification_of_a_queue_that_is_not_there_is_ignored() {
    let driver = entropy().started(0);
    driver.write(NOTIFY + 4 * 77, 77u16.to_le_bytes());
    assert_eq!(driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn the_configuration_access_capability_reads_the_bar() {
    let driver = entropy();
    let at = driver.capability(CAP_PCI);
    let mut function = lock(&driver.function);
    function.write_config((at + PCI_CAP_OFFSET) as u16, &(NUM_QUEUES as u32).to_le_bytes());
    function.write_config((at + PCI_CAP_LENGTH) as u16, &2u32.to_le_bytes());
    drop(function);
    assert_eq!(driver.config(at + PCI_CAP_DATA, 4), 1);
}

#[test]
fn the_configuration_access_capability_writes_the_bar() {
    let driver = entropy();
    let at = driver.capability(CAP_PCI);
    let mut function = lock(&driver.function);
    function.write_config((at + PCI_CAP_OFFSET) as u16, &(DEVICE_STATUS as u32).to_le_bytes());
    function.write_config((at + PCI_CAP_LENGTH) as u16, &1u32.to_le_bytes());
    function.write_config((at + PCI_CAP_DATA) as u16, &[1]);
    drop(function);
    assert_eq!(driver.status(), 1);
}

#[test]
fn a_disk_tells_its_capacity() {
    let (driver, _) = Driver::disk(9);
    assert_eq!(driver.read(super::regs::DEVICE, 8), 9);
}

#[test]
fn a_read_gives_the_sectors() {
    let (mut driver, _) = Driver::disk(9);
    assert_eq!(driver.block(0, 3, 1024, WRITE), 0);
    assert_eq!((driver.take::<1>(DATA), driver.take::<1>(DATA + 512)), ([3], [4]));
    assert_eq!(driver.used_len(0), 1025);
}

#[test]
fn a_write_changes_the_sectors() {
    let (mut driver, bytes) = Driver::disk(9);
    driver.put(DATA, 0x77u8);
    assert_eq!(driver.block(1, 5, 512, 0), 0);
    assert_eq!(lock(&bytes)[5 * 512], 0x77);
}

#[test]
fn a_request_past_the_end_is_an_io_error() {
    let (mut driver, _) = Driver::disk(9);
    assert_eq!(driver.block(0, 8, 1024, WRITE), 1);
    assert_eq!(driver.block(0, u64::MAX, 512, WRITE), 1);
}

#[test]
fn a_request_of_part_of_a_sector_is_an_io_error() {
    let (mut driver, _) = Driver::disk(9);
    assert_eq!(driver.block(0, 0, 100, WRITE), 1);
}

/// A range to discard or zero, at [`DATA`].
fn put_range(driver: &mut Driver, sector: u64, sectors: u32, flags: u32) {
    driver.put(DATA, sector);
    driver.put(DATA + 8, sectors);
    driver.put(DATA + 12, flags);
}

#[test]
fn write_zeroes_zeroes_its_range() {
    let (mut driver, bytes) = Driver::disk(9);
    put_range(&mut driver, 5, 2, 1);
    assert_eq!(driver.block(13, 0, 16, 0), 0);
    assert_eq!(lock(&bytes)[4 * 512..][..3 * 512].iter().filter(|byte| **byte == 0).count(), 1024);
}

#[test]
fn a_range_past_the_end_is_neither_zeroed_nor_discarded() {
    let (mut driver, _) = Driver::disk(9);
    put_range(&mut driver, 8, 2, 0);
    assert_eq!([11, 13].map(|kind| driver.block(kind, 0, 16, 0)), [1, 1]);
}

#[test]
fn a_range_with_flags_that_mean_nothing_is_unsupported() {
    let (mut driver, _) = Driver::disk(9);
    put_range(&mut driver, 0, 1, 2);
    assert_eq!([11, 13].map(|kind| driver.block(kind, 0, 16, 0)), [2, 2]);
}

#[test]
fn an_unknown_request_is_unsupported() {
    let (mut driver, _) = Driver::disk(9);
    assert_eq!(driver.block(99, 0, 512, WRITE), 2);
}

#[test]
fn a_disk_tells_its_serial_number() {
    let (mut driver, _) = Driver::disk(9);
    assert_eq!(driver.block(8, 0, 20, WRITE), 0);
    assert_eq!(driver.take::<7>(DATA), *b"serial\0");
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let disk = Ram(shared(vec![0; 512]), true);
    let mut driver = Driver::new(Blk::new(Box::new(disk), "")).started(0);
    assert_eq!(driver.offered() & 1 << 5, 1 << 5);
    assert_eq!(driver.block(1, 0, 512, 0), 1);
}

#[test]
fn a_request_without_room_for_a_status_breaks_the_device() {
    let (mut driver, _) = Driver::disk(9);
    driver.submit(&[(0x4000, 16, 0)]);
    assert_broken(&mut driver);
}

fn port(queue: u16) -> (Driver, ConsoleInput, Output) {
    let output = Output::default();
    let mut input = None;
    let driver = Driver::with(|memory, msi, line| {
        let (function, far_end) = console(memory, msi, line, Box::new(output.clone()));
        input = Some(far_end);
        function
    });
    (driver.started(queue), input.unwrap(), output)
}

#[test]
fn what_a_driver_transmits_reaches_the_output() {
    let (mut driver, _, output) = port(1);
    driver.memory.ram().write_slice(b"hello", GuestAddress(DATA)).unwrap();
    driver.submit(&[(DATA, 2, 0), (DATA + 2, 3, 0)]);
    assert_eq!(*lock(&output.0), b"hello");
}

#[test]
fn a_receive_buffer_waits_for_input() {
    let (mut driver, input, _) = port(0);
    driver.submit(&[(DATA, 16, WRITE)]);
    assert_eq!(driver.used(), 0);
    input.send(b"abc");
    assert_eq!((driver.used(), driver.used_len(0), driver.take::<3>(DATA)), (1, 3, *b"abc"));
    assert!(driver.probe.level(0));
}

#[test]
fn input_waits_for_a_receive_buffer() {
    let (mut driver, input, _) = port(0);
    input.send(b"abcd");
    driver.submit(&[(DATA, 3, WRITE)]);
    assert_eq!(driver.take::<3>(DATA), *b"abc");
    driver.submit(&[(DATA, 3, WRITE)]);
    assert_eq!((driver.used(), driver.used_len(1)), (2, 1));
}
