use super::*;
use crate::probe::Probe;
use crate::service::Service;
use crate::storage::tests::Ram;
use ireko_vmcore::ErrorPolicy;
use std::io::ErrorKind;
use vm_memory::{Bytes, GuestAddress};

const LIST: u64 = 0x1000;
const RECEIVED: u64 = 0x2000;
const TABLE: u64 = 0x3000;
const DATA: u64 = 0x8000;

/// A controller with one device, and a driver that has started the port.
struct Board {
    ahci: Arc<Mutex<Ahci>>,
    memory: Arc<Memory>,
    probe: Arc<Probe>,
}

impl Board {
    fn new(media: Media) -> Self {
        let memory = Arc::new(Memory::new(&[(0, 1 << 20)]).unwrap());
        let probe = Probe::new();
        let ahci = Ahci::new(vec![media], memory.clone(), probe.line(0));
        let board = Self { ahci, memory, probe };
        board.write(GHC, GHC_AHCI | GHC_INTERRUPTS);
        board.write(PORT + CLB, LIST as u32);
        board.write(PORT + FB, RECEIVED as u32);
        board.write(PORT + PXIE, u32::MAX);
        board.write(PORT + CMD, CMD_RECEIVE);
        board.write(PORT + CMD, CMD_RECEIVE | CMD_START);
        board
    }

    fn disk(ram: &Ram) -> Self {
        Self::new(Media::Disk(ram.drive()))
    }

    fn read(&self, register: u64) -> u32 {
        let mut data = [0; 4];
        crate::lock(&self.ahci).read_bar(BAR, register, &mut data);
        u32::from_le_bytes(data)
    }
    fn write(&self, register: u64, value: u32) {
        crate::lock(&self.ahci).write_bar(BAR, register, &value.to_le_bytes());
    }
    fn put(&self, at: u64, data: &[u8]) {
        self.memory.ram().write_slice(data, GuestAddress(at)).unwrap();
    }
    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut data = [0; N];
        self.memory.ram().read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }
    fn turn(&self) {
        let engines = crate::lock(&self.ahci).engines();
        engines.iter().for_each(|engine| engine.turn());
    }

    /// Lays out a command in slot 0 with these regions.
    fn prepare(&self, fis: [u8; 16], flags: u32, regions: &[(u64, u32)]) {
        let header = 5 | flags | (regions.len() as u32) << 16;
        self.put(LIST, &[header.to_le_bytes(), [0; 4], (TABLE as u32).to_le_bytes(), [0; 4]].concat());
        self.put(TABLE, &fis);
        for (at, (address, len)) in (TABLE + 0x80..).step_by(16).zip(regions) {
            self.put(at, &address.to_le_bytes());
            self.put(at + 12, &(len - 1).to_le_bytes());
        }
    }

    /// Carries out what was laid out; the task file's error and status.
    fn go(&self) -> (u8, u8) {
        self.write(PORT + CI, 1);
        self.turn();
        let task = self.read(PORT + TFD);
        ((task >> 8) as u8, task as u8)
    }

    fn command(&self, fis: [u8; 16], regions: &[(u64, u32)]) -> (u8, u8) {
        self.prepare(fis, 0, regions);
        self.go()
    }
}

/// A command's FIS: the LBA has 24 bits here.
fn fis(command: u8, lba: u32, count: u8) -> [u8; 16] {
    let [a, b, c, _] = lba.to_le_bytes();
    [FIS_HOST, FIS_COMMAND, command, 0, a, b, c, 0x40, 0, 0, 0, 0, count, 0, 0, 0]
}

const READ_DMA: u8 = 0x25;
const WRITE_DMA: u8 = 0x35;
const DONE: (u8, u8) = (0, 0x50);

#[test]
fn a_disk_shows_itself_at_its_port() {
    let board = Board::disk(&Ram::new(8));
    assert_eq!((board.read(PI), board.read(PORT + SSTS), board.read(PORT + SIG)), (1, 0x113, 0x101));
}

#[test]
fn a_read_scatters_its_sectors_and_interrupts() {
    let ram = Ram::new(8);
    let board = Board::disk(&ram);
    assert_eq!(board.command(fis(READ_DMA, 3, 2), &[(DATA, 512), (DATA + 0x1000, 512)]), DONE);
    assert_eq!(board.bytes::<512>(DATA).to_vec(), ram.sector(3));
    assert_eq!(board.bytes::<512>(DATA + 0x1000).to_vec(), ram.sector(4));
    assert_eq!((board.read(PORT + CI), board.read(PORT + PXIS), board.read(IS)), (0, INT_REGISTER, 1));
    assert_eq!(board.bytes(LIST + HEADER_MOVED), 1024u32.to_le_bytes());
    assert_eq!(board.bytes(RECEIVED + RECEIVED_REGISTER), [FIS_REGISTER, 0x40, 0x50, 0]);
    assert!(board.probe.level(0));
    board.write(PORT + PXIS, u32::MAX);
    assert!(!board.probe.level(0));
}

#[test]
fn a_write_is_on_the_disk_and_one_with_fua_is_flushed() {
    let ram = Ram::new(8);
    let board = Board::disk(&ram);
    board.put(DATA, &[7; 512]);
    assert_eq!(board.command(fis(WRITE_DMA, 2, 1), &[(DATA, 512)]), DONE);
    assert_eq!((ram.sector(2), *crate::lock(&ram.flushes)), (vec![7; 512], 0));
    assert_eq!(board.command(fis(0x3d, 3, 1), &[(DATA, 512)]), DONE);
    assert_eq!((ram.sector(3), *crate::lock(&ram.flushes)), (vec![7; 512], 1));
}

#[test]
fn identify_comes_by_programmed_io() {
    let board = Board::disk(&Ram::new(8));
    assert_eq!(board.command(fis(0xec, 0, 0), &[(DATA, 512)]), DONE);
    assert_eq!(board.read(PORT + PXIS), INT_PIO);
    assert_eq!(board.bytes(DATA + 200), [8, 0, 0, 0]);
    assert_eq!(&board.bytes::<8>(DATA + 20), b" aesirla");
}

#[test]
fn a_queued_read_ends_with_its_bit() {
    let ram = Ram::new(8);
    let board = Board::disk(&ram);
    let mut queued = fis(0x60, 1, 0);
    queued[3] = 1;
    board.write(PORT + SACT, 1);
    assert_eq!(board.command(queued, &[(DATA, 512)]), DONE);
    assert_eq!((board.read(PORT + SACT), board.read(PORT + PXIS)), (0, INT_BITS));
    assert_eq!(board.bytes(RECEIVED + RECEIVED_BITS), [FIS_BITS, 0x40, 0x50, 0, 1, 0, 0, 0]);
    assert_eq!(board.bytes::<512>(DATA).to_vec(), ram.sector(1));
}

#[test]
fn an_error_stops_the_port_until_the_driver_starts_it_again() {
    let board = Board::disk(&Ram::new(8));
    assert_eq!(board.command(fis(READ_DMA, 8, 1), &[(DATA, 512)]), (0x10, 0x51));
    assert_eq!((board.read(PORT + CI), board.read(PORT + PXIS)), (1, INT_ERROR | INT_REGISTER));
    board.write(PORT + CMD, CMD_RECEIVE);
    assert_eq!(board.read(PORT + CI), 0);
    board.write(PORT + CMD, CMD_RECEIVE | CMD_START);
    assert_eq!(board.command(fis(READ_DMA, 7, 1), &[(DATA, 512)]), DONE);
}

#[test]
fn what_the_host_cannot_write_sets_err() {
    let board = Board::disk(&Ram::failing(ErrorPolicy::Report, ErrorKind::StorageFull).0);
    assert_eq!(board.command(fis(WRITE_DMA, 0, 1), &[(DATA, 512)]).1, 0x51);
    assert_eq!(board.read(PORT + PXIS), INT_ERROR | INT_REGISTER);
}

#[test]
fn regions_that_are_no_memory_fail() {
    let board = Board::disk(&Ram::new(8));
    for region in [(1 << 20, 512), (u64::MAX - 0xff, 512), (0xfec0_0000, 512), ((1 << 20) - 256, 512)] {
        assert_eq!(board.command(fis(READ_DMA, 0, 1), &[region]), (4, 0x51), "{region:x?}");
        board.write(PORT + CMD, CMD_RECEIVE);
        board.write(PORT + CMD, CMD_RECEIVE | CMD_START);
    }
}

#[test]
fn fewer_regions_than_data_fail() {
    assert_eq!(Board::disk(&Ram::new(8)).command(fis(READ_DMA, 0, 2), &[(DATA, 512)]), (4, 0x51));
}

#[test]
fn a_disk_to_read_is_not_written() {
    let ram = Ram { read_only: true, ..Ram::new(8) };
    let before = ram.sector(0);
    assert_eq!(Board::disk(&ram).command(fis(WRITE_DMA, 0, 1), &[(DATA, 512)]), (4, 0x51));
    assert_eq!(ram.sector(0), before);
}

#[test]
fn what_a_stopped_port_was_asked_is_not_done() {
    let ram = Ram::new(8);
    let board = Board::disk(&ram);
    board.prepare(fis(WRITE_DMA, 0, 1), 0, &[(DATA, 512)]);
    let before = ram.sector(0);
    board.write(PORT + CI, 1);
    board.write(PORT + CMD, CMD_RECEIVE);
    board.turn();
    assert_eq!((ram.sector(0), board.read(PORT + PXIS)), (before, 0));
}

#[test]
fn software_reset_says_what_the_device_is() {
    let board = Board::new(Media::cd(Ram::new(8).drive()));
    let mut reset = [0; 16];
    (reset[0], reset[15]) = (FIS_HOST, CONTROL_RESET);
    board.command(reset, &[]);
    reset[15] = 0;
    assert_eq!(board.command(reset, &[]), (1, 0x50));
    assert_eq!(board.bytes(RECEIVED + RECEIVED_REGISTER + 4), [1, 0x14, 0xeb]);
    assert_eq!(board.read(PORT + SIG), 0xeb14_0101);
}

#[test]
fn a_cd_is_read_by_packets() {
    let ram = Ram::new(16);
    let board = Board::new(Media::cd(ram.drive()));
    board.prepare(fis(0xa0, 0, 0), HEADER_ATAPI, &[(DATA, 2048)]);
    // READ(10) of block 2.
    board.put(TABLE + 0x40, &[0x28, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0]);
    assert_eq!(board.go(), DONE);
    assert_eq!(board.bytes::<512>(DATA).to_vec(), ram.sector(8));
}

#[test]
fn a_cd_says_why_it_failed() {
    let board = Board::new(Media::cd(Ram::new(16).drive()));
    board.prepare(fis(0xa0, 0, 0), HEADER_ATAPI, &[(DATA, 2048)]);
    board.put(TABLE + 0x40, &[0x28, 0, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0]);
    assert_eq!(board.go(), (0x54, 0x51));
    board.write(PORT + CMD, CMD_RECEIVE);
    board.write(PORT + CMD, CMD_RECEIVE | CMD_START);
    board.prepare(fis(0xa0, 0, 0), HEADER_ATAPI, &[(DATA, 18)]);
    board.put(TABLE + 0x40, &[3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(board.go(), DONE);
    assert_eq!((board.bytes(DATA + 2), board.bytes(DATA + 12)), ([5], [0x21]));
}
