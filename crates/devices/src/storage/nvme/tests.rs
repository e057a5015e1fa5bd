use super::*;
use crate::probe::{Probe, messages};
use crate::storage::tests::Ram;
use ireko_vmcore::{ErrorPolicy, Msi};
use std::io::ErrorKind;
use vm_memory::{Bytes, GuestAddress};

const ADMIN_SQ: u64 = 0x1000;
const ADMIN_CQ: u64 = 0x2000;
const IO_SQ: u64 = 0x3000;
const IO_CQ: u64 = 0x4000;
const LIST: u64 = 0x5000;
const DATA: u64 = 0x1_0000;
const SIZE: u16 = 8;

struct Driver {
    function: Arc<Mutex<Nvme>>,
    memory: Arc<Memory>,
    probe: Arc<Probe>,
    messages: Arc<Mutex<Vec<Msi>>>,
    submitted: [u16; 2],
    done: [u16; 2],
}

/// A command: opcode and the dwords that are not 0.
fn command(opcode: u8, dwords: &[(usize, u32)]) -> [u32; 16] {
    let mut command = [0; 16];
    (command[0], command[1]) = (u32::from(opcode) | 0x77 << 16, 1);
    dwords.iter().for_each(|(at, value)| command[*at] = *value);
    command
}

fn moving(opcode: u8, lba: u32, sectors: u32) -> [u32; 16] {
    command(opcode, &[(6, DATA as u32), (10, lba), (12, sectors - 1)])
}

impl Driver {
    /// Enabled, without I/O queues.
    fn new(disk: &Ram) -> Self {
        let memory = Arc::new(Memory::new(&[(0, 1 << 20)]).unwrap());
        let (probe, (sink, messages)) = (Probe::new(), messages());
        let function = Nvme::new(disk.drive(), memory.clone(), sink, probe.line(0));
        let driver = Self { function, memory, probe, messages, submitted: [0; 2], done: [0; 2] };
        driver.write(AQA, u32::from(SIZE - 1) << 16 | u32::from(SIZE - 1));
        driver.write(ASQ, ADMIN_SQ as u32);
        driver.write(ACQ, ADMIN_CQ as u32);
        driver.write(CC, CC_ENABLE);
        driver
    }
    /// With queue 1 for I/O.
    fn started(disk: &Ram) -> Self {
        let mut driver = Self::new(disk);
        let size = u32::from(SIZE - 1) << 16 | 1;
        assert_eq!(driver.admin(command(CREATE_CQ, &[(6, IO_CQ as u32), (10, size), (11, 3)])), 0);
        assert_eq!(driver.admin(command(CREATE_SQ, &[(6, IO_SQ as u32), (10, size), (11, 1 << 16 | 1)])), 0);
        driver
    }
    fn write(&self, offset: u64, value: u32) {
        lock(&self.function).write_bar(BAR, offset, &value.to_le_bytes());
    }
    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        lock(&self.function).read_bar(BAR, offset, &mut data);
        u32::from_le_bytes(data)
    }
    fn work(&self) {
        Nvme::service(&self.function).turn();
    }
    /// Puts a command into a queue and rings.
    fn submit(&mut self, queue: usize, command: [u32; 16]) {
        let base = [ADMIN_SQ, IO_SQ][queue];
        let at = base + 64 * u64::from(self.submitted[queue]);
        let bytes: Vec<u8> = command.iter().flat_map(|dword| dword.to_le_bytes()).collect();
        self.memory.ram().write_slice(&bytes, GuestAddress(at)).unwrap();
        self.submitted[queue] = (self.submitted[queue] + 1) % SIZE;
        self.write(DOORBELLS + 8 * queue as u64, self.submitted[queue].into());
    }
    /// The next completion: result, and the dword of status, phase and command.
    fn completion(&mut self, queue: usize) -> (u32, u32) {
        let at = [ADMIN_CQ, IO_CQ][queue] + 16 * u64::from(self.done[queue]);
        self.done[queue] = (self.done[queue] + 1) % SIZE;
        let dword = |n: u64| self.memory.ram().read_obj::<u32>(GuestAddress(at + 4 * n)).unwrap();
        let entry = (dword(0), dword(3));
        self.write(DOORBELLS + 8 * queue as u64 + 4, self.done[queue].into());
        entry
    }
    fn run(&mut self, queue: usize, command: [u32; 16]) -> Status {
        self.submit(queue, command);
        self.work();
        let (_, last) = self.completion(queue);
        assert_eq!(last & 0xffff, 0x77);
        (last >> 17) as u16 & !FINAL
    }
    fn admin(&mut self, command: [u32; 16]) -> Status {
        self.run(0, command)
    }
    fn io(&mut self, command: [u32; 16]) -> Status {
        self.run(1, command)
    }
    fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.ram().read_slice(&mut data, GuestAddress(address)).unwrap();
        data
    }
}

#[test]
fn it_is_ready_once_enabled() {
    let driver = Driver::new(&Ram::new(8));
    assert_eq!(driver.read(CSTS), CSTS_READY);
    driver.write(CC, 0);
    assert_eq!(driver.read(CSTS), 0);
}

#[test]
fn a_shutdown_is_complete_at_once() {
    let driver = Driver::new(&Ram::new(8));
    driver.write(CC, CC_ENABLE | 1 << 14);
    assert_eq!(driver.read(CSTS), CSTS_READY | CSTS_SHUT);
}

#[test]
fn it_says_what_it_is() {
    let mut driver = Driver::new(&Ram::new(8));
    assert_eq!(driver.admin(command(IDENTIFY, &[(6, DATA as u32), (10, 1)])), 0);
    assert_eq!(driver.bytes(DATA + 4, 20), b"a serial number     ");
    assert_eq!(driver.admin(command(IDENTIFY, &[(6, DATA as u32), (10, 0)])), 0);
    assert_eq!((driver.bytes(DATA, 8), driver.bytes(DATA + 130, 1)), (vec![8, 0, 0, 0, 0, 0, 0, 0], vec![9]));
}

#[test]
fn a_namespace_that_is_not_there_is_refused() {
    let mut driver = Driver::started(&Ram::new(8));
    assert_eq!(driver.admin(command(IDENTIFY, &[(1, 2), (6, DATA as u32)])), INVALID_NAMESPACE);
    assert_eq!(driver.io(command(READ, &[(1, 2), (6, DATA as u32)])), INVALID_NAMESPACE);
}

#[test]
fn what_the_host_cannot_write_is_an_error_of_the_medium() {
    let mut driver = Driver::started(&Ram::failing(ErrorPolicy::Report, ErrorKind::StorageFull).0);
    assert_eq!(driver.io(moving(WRITE, 0, 1)), UNRECOVERED);
}

#[test]
fn a_read_gives_the_sectors() {
    let disk = Ram::new(8);
    let mut driver = Driver::started(&disk);
    assert_eq!(driver.io(moving(READ, 3, 1)), 0);
    assert_eq!(driver.bytes(DATA, 512), disk.sector(3));
}

#[test]
fn a_write_with_fua_is_in_storage() {
    let disk = Ram::new(8);
    let mut driver = Driver::started(&disk);
    driver.memory.ram().write_slice(&[7; 512], GuestAddress(DATA)).unwrap();
    let mut write = moving(WRITE, 2, 1);
    write[12] |= FUA;
    assert_eq!(driver.io(write), 0);
    assert_eq!((disk.sector(2), *lock(&disk.flushes)), (vec![7; 512], 1));
}

#[test]
fn data_is_where_the_list_says() {
    let disk = Ram::new(64);
    let mut driver = Driver::started(&disk);
    let pages = [0x2_0000u64, 0x1_8000, 0x3_0000];
    for (at, page) in (LIST..).step_by(8).zip(pages) {
        driver.memory.ram().write_obj(page, GuestAddress(at)).unwrap();
    }
    // Half a page, two pages, and half a page.
    let mut read = moving(READ, 0, 24);
    (read[6], read[8]) = (DATA as u32 + 2048, LIST as u32);
    assert_eq!(driver.io(read), 0);
    assert_eq!(driver.bytes(DATA + 2048, 512), disk.sector(0));
    assert_eq!(driver.bytes(pages[0], 512), disk.sector(4));
    assert_eq!(driver.bytes(pages[1] + 3584, 512), disk.sector(19));
    assert_eq!(driver.bytes(pages[2] + 1536, 512), disk.sector(23));
}

#[test]
fn a_region_off_its_page_is_refused() {
    let mut driver = Driver::started(&Ram::new(64));
    let mut read = moving(READ, 0, 16);
    read[8] = DATA as u32 + 0x4008;
    assert_eq!(driver.io(read), INVALID_PRP);
}

#[test]
fn a_list_that_leads_to_itself_has_no_more_pages_than_the_data() {
    let mut driver = Driver::started(&Ram::new(4096));
    // Every entry is the list's own page, the last one too.
    for at in (LIST..LIST + PAGE).step_by(8) {
        driver.memory.ram().write_obj(LIST, GuestAddress(at)).unwrap();
    }
    let mut read = moving(READ, 0, 1024);
    read[8] = (LIST + PAGE - 8) as u32;
    assert_eq!(driver.io(read), 0);
}

#[test]
fn data_where_no_memory_is_is_an_error() {
    let mut driver = Driver::started(&Ram::new(8));
    let mut read = moving(READ, 0, 1);
    read[6] = 0xfee0_0000;
    assert_eq!(driver.io(read), TRANSFER_ERROR);
}

#[test]
fn sectors_past_the_end_are_out_of_range() {
    let mut driver = Driver::started(&Ram::new(8));
    assert_eq!([READ, WRITE, WRITE_ZEROES].map(|opcode| driver.io(moving(opcode, 7, 2))), [OUT_OF_RANGE; 3]);
    let mut far = moving(READ, 0, 1);
    far[11] = u32::MAX;
    assert_eq!(driver.io(far), OUT_OF_RANGE);
}

#[test]
fn write_zeroes_zeroes_its_range() {
    let disk = Ram::new(8);
    assert_eq!(Driver::started(&disk).io(moving(WRITE_ZEROES, 5, 2)), 0);
    assert_eq!((disk.sector(5), disk.sector(6)), (vec![0; 512], vec![0; 512]));
    assert_ne!(disk.sector(7), [0; 512]);
}

#[test]
fn a_disk_to_read_is_not_written() {
    let mut driver = Driver::started(&Ram { read_only: true, ..Ram::new(8) });
    assert_eq!([WRITE, WRITE_ZEROES].map(|opcode| driver.io(moving(opcode, 0, 1))), [READ_ONLY; 2]);
}

#[test]
fn a_queue_needs_its_completion_queue_and_a_size() {
    let mut driver = Driver::new(&Ram::new(8));
    let create = |size: u32, cq: u32| {
        command(CREATE_SQ, &[(6, IO_SQ as u32), (10, size << 16 | 1), (11, cq << 16 | 1)])
    };
    assert_eq!(driver.admin(create(7, 1)), CQ_INVALID);
    assert_eq!(driver.admin(create(0, 1)), QUEUE_SIZE);
    assert_eq!(driver.admin(create(1024, 1)), QUEUE_SIZE);
    assert_eq!(
        driver.admin(command(CREATE_CQ, &[(6, IO_CQ as u32), (10, 7 << 16 | 99), (11, 1)])),
        QUEUE_INVALID
    );
}

#[test]
fn a_completion_queue_in_use_is_not_deleted() {
    let mut driver = Driver::started(&Ram::new(8));
    assert_eq!(driver.admin(command(DELETE_CQ, &[(10, 1)])), INVALID_DELETION);
    assert_eq!(driver.admin(command(DELETE_SQ, &[(10, 1)])), 0);
    assert_eq!(driver.admin(command(DELETE_CQ, &[(10, 1)])), 0);
}

#[test]
fn event_requests_wait_up_to_a_bound() {
    let mut driver = Driver::new(&Ram::new(8));
    (0..MOST_EVENTS).for_each(|_| driver.submit(0, command(ASYNC_EVENT, &[])));
    assert_eq!(driver.admin(command(ASYNC_EVENT, &[])), TOO_MANY_EVENTS);
}

#[test]
fn a_full_completion_queue_holds_commands_back() {
    let mut driver = Driver::started(&Ram::new(8));
    (0..SIZE - 1).for_each(|_| driver.submit(1, command(FLUSH, &[])));
    driver.work();
    driver.submit(1, command(FLUSH, &[]));
    driver.work();
    let last = IO_CQ + 16 * u64::from(SIZE - 1) + 12;
    assert_eq!(driver.bytes(last, 4), [0; 4]);
    driver.completion(1);
    driver.work();
    assert_ne!(driver.bytes(last, 4), [0; 4]);
}

#[test]
fn without_msix_the_line_is_up_until_the_completion_is_taken() {
    let mut driver = Driver::new(&Ram::new(8));
    driver.submit(0, command(ABORT, &[]));
    driver.work();
    assert!(driver.probe.level(0));
    driver.completion(0);
    assert!(!driver.probe.level(0));
}

#[test]
fn with_msix_a_completion_sends_its_queues_message() {
    let mut driver = Driver::new(&Ram::new(8));
    lock(&driver.function).write_config(0x42, &0x8000u16.to_le_bytes());
    for (n, value) in [0xfee0_0000u32, 0, 0x41, 0].into_iter().enumerate() {
        driver.write(MSIX_TABLE + 4 * n as u64, value);
    }
    driver.admin(command(ABORT, &[]));
    assert_eq!(*lock(&driver.messages), [Msi { address: 0xfee0_0000, data: 0x41 }]);
}

#[test]
fn what_was_submitted_before_a_reset_is_not_done() {
    let disk = Ram::new(8);
    let mut driver = Driver::started(&disk);
    driver.submit(1, moving(WRITE_ZEROES, 0, 1));
    driver.write(CC, 0);
    driver.write(CC, CC_ENABLE);
    driver.work();
    assert_ne!(disk.sector(0), [0; 512]);
}

/// Commands of all kinds with addresses, lengths and queues as they come: each ends, and nothing is written behind the disk.
#[test]
fn random_commands_harm_nobody() {
    let disk = Ram::new(64);
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for _ in 0..200 {
        let mut driver = Driver::started(&disk);
        for _ in 0..20 {
            let mut command = command((random() % 13) as u8, &[]);
            command[1] = random() % 3;
            for dword in [6, 8, 10, 11, 12] {
                command[dword] =
                    [0, 1, 0x1000 * (random() % 300), random(), random() % 2000][random() as usize % 5];
            }
            let queue = random() as usize % 2;
            driver.submit(queue, command);
            driver.write(DOORBELLS + 8 * queue as u64 + 4, driver.submitted[queue].into());
            driver.work();
        }
    }
    assert_eq!(lock(&disk.bytes).len(), 64 * 512);
}
