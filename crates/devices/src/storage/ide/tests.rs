use super::channel::{ChannelState, Job, Outcome};
use super::*;
use crate::probe::Probe;
use crate::service::Mailbox;
use crate::storage::ata::{DISK_SIGNATURE, ERR};
use crate::storage::tests::Ram;
use ireko_vmcore::ErrorPolicy;
use std::io::ErrorKind;
use vm_memory::{Bytes, GuestAddress};

const TABLE: u64 = 0x1000;
const DATA: u64 = 0x8000;
const READY: u8 = 0x50;
const WANTS: u8 = 0x58;

struct Board {
    ide: Ide,
    ports: Ports,
    memory: Arc<Memory>,
    probe: Arc<Probe>,
}

impl Board {
    fn new(drives: [Option<Media>; 4]) -> Self {
        let (memory, probe) = (Arc::new(Memory::new(&[(0, 1 << 20)]).unwrap()), Probe::new());
        let ide = Ide::new(drives, memory.clone(), [probe.line(0), probe.line(1)]);
        Self { ports: ide.ports(), ide, memory, probe }
    }
    fn disk(ram: &Ram) -> Self {
        Self::new([Some(Media::Disk(ram.drive())), None, None, None])
    }
    fn cd(ram: &Ram) -> Self {
        Self::new([Some(Media::cd(ram.drive())), None, None, None])
    }
    fn read(&mut self, register: u64) -> u8 {
        let mut data = [0];
        self.ports.read(0, register, &mut data);
        data[0]
    }
    fn write(&mut self, register: u64, byte: u8) {
        self.ports.write(0, register, &[byte]);
    }
    fn turn(&self) {
        self.ide.channels().iter().for_each(|channel| channel.turn());
    }
    /// By 28 bits of LBA, to the first drive.
    fn command(&mut self, command: u8, lba: u8, count: u8) {
        for (register, byte) in [(COUNT, count), (LOW, lba), (MIDDLE, 0), (HIGH, 0), (DEVICE, 0xe0)] {
            self.write(register, byte);
        }
        self.write(STATUS, command);
        self.turn();
    }
    fn words(&mut self, bytes: usize) -> Vec<u8> {
        let mut all = vec![0; bytes];
        all.chunks_mut(2).for_each(|word| self.ports.read(0, DATA_PORT, word));
        all
    }
    fn send(&mut self, bytes: &[u8]) {
        bytes.chunks(2).for_each(|word| self.ports.write(0, DATA_PORT, word));
    }
    fn put(&self, at: u64, data: &[u8]) {
        self.memory.ram().write_slice(data, GuestAddress(at)).unwrap();
    }
    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.ram().read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }
    /// Starts the bus master on a table of these regions.
    fn master(&mut self, regions: &[(u64, u16)], last: u8) {
        for (at, (address, len)) in (TABLE..).step_by(8).zip(regions) {
            self.put(at, &(*address as u32).to_le_bytes());
            self.put(at + 4, &u32::from(*len).to_le_bytes());
        }
        self.put(TABLE + 8 * regions.len() as u64 - 1, &[last]);
        self.ide.write_bar(MASTER_BAR, 4, &(TABLE as u32).to_le_bytes());
        self.ide.write_bar(MASTER_BAR, 0, &[MASTER_START | MASTER_TO_MEMORY]);
        self.turn();
    }
    fn master_status(&mut self) -> u8 {
        let mut data = [0];
        self.ide.read_bar(MASTER_BAR, 2, &mut data);
        data[0]
    }
}

const DATA_PORT: u64 = super::regs::DATA;

#[test]
fn sectors_are_read_one_by_one_with_an_interrupt_each() {
    let ram = Ram::new(8);
    let mut board = Board::disk(&ram);
    board.command(0x20, 2, 2);
    assert_eq!((board.probe.level(0), board.read(STATUS), board.probe.level(0)), (true, WANTS, false));
    assert_eq!(board.words(512), ram.sector(2));
    assert_eq!((board.probe.edges(0), board.read(STATUS)), (2, WANTS));
    assert_eq!(board.words(512), ram.sector(3));
    assert_eq!(board.read(STATUS), READY);
}

#[test]
fn what_the_host_cannot_read_sets_err() {
    let mut board = Board::disk(&Ram::failing(ErrorPolicy::Report, ErrorKind::UnexpectedEof).0);
    board.command(0x20, 2, 1);
    assert_eq!(board.read(STATUS) & ERR, ERR);
}

#[test]
fn more_than_a_part_is_read_in_parts() {
    let ram = Ram::new(300);
    let mut board = Board::disk(&ram);
    board.command(0x20, 0, 0);
    for sector in 0..256 {
        board.turn();
        assert_eq!((board.read(STATUS), board.words(512)), (WANTS, ram.sector(sector)), "{sector}");
    }
    assert_eq!(board.read(STATUS), READY);
}

/// Whoever polls while the thread is at it asks for nothing.
#[test]
fn a_part_is_fetched_once_however_often_the_status_is_read() {
    let (probe, mailbox) = (Probe::new(), Mailbox::default());
    let mut state = ChannelState::new([Some(DISK_SIGNATURE), None], probe.line(0));
    for (register, byte) in [(COUNT, 0), (LOW, 0), (DEVICE, 0xe0), (STATUS, 0x20)] {
        state.write(register, &[byte], &mailbox);
    }
    let fetched = |state: &mut ChannelState| match state.take() {
        Some((0, Job::Fetch { start, len })) => Some((start, len)),
        _ => None,
    };
    assert_eq!(fetched(&mut state), Some((0, 1 << 16)));
    mailbox.work_alone(|_, permit| state.finish(0, Outcome::Data(vec![0; 1 << 16]), false, permit));
    (0..1 << 15).for_each(|_| state.read(DATA_PORT, &mut [0; 2], &mailbox));
    assert_eq!(fetched(&mut state), Some((1 << 16, 1 << 16)));
    (0..3).for_each(|_| state.read(STATUS, &mut [0], &mailbox));
    assert_eq!(fetched(&mut state), None);
}

#[test]
fn what_is_sent_is_written() {
    let ram = Ram::new(300);
    let mut board = Board::disk(&ram);
    board.command(0x30, 1, 200);
    for sector in 0..200u8 {
        assert_eq!(board.read(STATUS), WANTS, "{sector}");
        board.send(&[sector; 512]);
        board.turn();
    }
    assert_eq!(board.read(STATUS), READY);
    assert!((0..200).all(|sector| ram.sector(sector + 1) == [sector as u8; 512]));
}

#[test]
fn blocks_of_several_sectors_have_the_size_that_was_set() {
    let ram = Ram::new(8);
    let mut board = Board::disk(&ram);
    board.command(0xc4, 0, 4);
    assert_eq!((board.read(STATUS), board.read(ERROR)), (0x51, 4));
    board.command(0xc6, 0, 4);
    board.command(0xc4, 0, 6);
    let before = board.probe.edges(0);
    board.words(2048);
    assert_eq!((board.read(STATUS), board.probe.edges(0)), (WANTS, before));
    assert_eq!(board.words(1024)[..512], ram.sector(4));
    assert_eq!(board.read(STATUS), READY);
}

#[test]
fn the_bus_master_scatters_and_interrupts() {
    let ram = Ram::new(8);
    let mut board = Board::disk(&ram);
    board.command(0xc8, 1, 2);
    board.master(&[(DATA, 512), (DATA + 0x1000, 512)], 0x80);
    assert_eq!((board.read(STATUS), board.master_status()), (READY, MASTER_INTERRUPT));
    assert_eq!((board.bytes(DATA, 512), board.bytes(DATA + 0x1000, 512)), (ram.sector(1), ram.sector(2)));
}

#[test]
fn a_table_without_end_ends() {
    let mut board = Board::disk(&Ram::new(8));
    board.command(0xc8, 0, 8);
    board.master(&[(DATA, 2)], 0);
    assert_eq!(board.read(STATUS) & 0x81, 0);
    board.ide.write_bar(MASTER_BAR, 0, &[0]);
    board.command(0xc8, 0, 8);
    board.ide.write_bar(MASTER_BAR, 4, &0xffff_fff0u32.to_le_bytes());
    board.ide.write_bar(MASTER_BAR, 0, &[MASTER_START]);
    board.turn();
    assert_eq!((board.read(STATUS), board.read(ERROR)), (0x51, 4));
}

#[test]
fn a_range_past_the_disk_is_refused() {
    let mut board = Board::disk(&Ram::new(8));
    board.command(0x20, 7, 2);
    assert_eq!((board.read(STATUS), board.read(ERROR)), (0x51, 0x10));
}

#[test]
fn a_reset_shows_what_is_there() {
    let mut board = Board::cd(&Ram::new(8));
    board.ports.write(1, 0, &[CONTROL_RESET]);
    board.ports.write(1, 0, &[0]);
    let signature = [COUNT, LOW, MIDDLE, HIGH].map(|register| board.read(register));
    assert_eq!(signature, [1, 1, 0x14, 0xeb]);
    board.write(DEVICE, DEVICE_SECOND);
    assert_eq!(board.read(STATUS), 0);
}

#[test]
fn a_reset_cancels_what_was_begun() {
    let ram = Ram::new(8);
    let mut board = Board::disk(&ram);
    let before = ram.sector(0);
    board.command(0x30, 0, 1);
    board.send(&[9; 512]);
    board.ports.write(1, 0, &[CONTROL_RESET]);
    board.turn();
    assert_eq!((ram.sector(0), board.read(STATUS)), (before, 0x80));
}

#[test]
fn a_channel_without_drives_floats_and_is_not_busy() {
    let mut board = Board::new([None, None, None, None]);
    assert_eq!((board.read(STATUS), board.read(COUNT)), (0x7f, 0x7f));
}

fn packet(board: &mut Board, features: u8, most: u16, cdb: [u8; 12]) {
    board.write(DEVICE, 0xa0);
    board.write(ERROR, features);
    board.write(MIDDLE, most as u8);
    board.write(HIGH, (most >> 8) as u8);
    board.write(STATUS, 0xa0);
    assert_eq!((board.read(STATUS), board.read(COUNT)), (WANTS, 1));
    board.send(&cdb);
    board.turn();
}

const READ_2: [u8; 12] = [0x28, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0];

#[test]
fn a_packet_reads_a_cd_in_blocks_that_the_host_can_take() {
    let ram = Ram::new(16);
    let mut board = Board::cd(&ram);
    packet(&mut board, 0, 2048, READ_2);
    for block in [1, 2] {
        assert_eq!((board.read(STATUS), board.read(COUNT), board.read(HIGH)), (WANTS, 2, 8));
        assert_eq!(board.words(2048)[..512], ram.sector(4 * block));
    }
    assert_eq!((board.read(STATUS), board.read(COUNT)), (READY, 3));
}

#[test]
fn a_packet_reads_a_cd_by_bus_master() {
    let ram = Ram::new(16);
    let mut board = Board::cd(&ram);
    packet(&mut board, 1, 0, READ_2);
    board.master(&[(DATA, 4096)], 0x80);
    assert_eq!((board.read(STATUS), board.bytes(DATA, 512)), (READY, ram.sector(4)));
}

#[test]
fn a_packet_that_fails_says_why() {
    let mut board = Board::cd(&Ram::new(8));
    packet(&mut board, 0, 2048, READ_2);
    assert_eq!((board.read(STATUS), board.read(ERROR)), (0x51, 0x54));
    packet(&mut board, 0, 2048, [3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(board.words(18)[2], 5);
}
