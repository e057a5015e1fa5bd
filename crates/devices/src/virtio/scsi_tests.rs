use super::tests::{DATA, Driver, WRITE};
use super::*;
use crate::storage::tests::Ram;
use crate::storage::{Kind, Unit};

const REQUEST: u64 = 0x4000;
const RESPONSE: u64 = 0x5000;

/// A disk at target 0 and a CD at target 1.
fn host(disk: &Ram) -> Driver {
    let cd = Ram { read_only: true, ..Ram::new(64) };
    let units = vec![Unit::new(Kind::Disk, disk.drive()), Unit::new(Kind::Cd, cd.drive())];
    Driver::new(Scsi::new(units)).started(2)
}

impl Driver {
    /// A command to a target's unit; the response's answer and status. `flags`: which way the data goes.
    fn scsi(&mut self, (target, unit): (u8, u8), cdb: &[u8], len: u32, flags: u16) -> (u8, u8) {
        let mut head = [0; 51];
        (head[0], head[1], head[2], head[3]) = (1, target, 0x40, unit);
        head[19..19 + cdb.len()].copy_from_slice(cdb);
        head.into_iter().zip(REQUEST..).for_each(|(byte, at)| self.put(at, byte));
        match flags {
            WRITE => self.submit(&[(REQUEST, 51, 0), (RESPONSE, 108, WRITE), (DATA, len, WRITE)]),
            _ => self.submit(&[(REQUEST, 51, 0), (DATA, len, 0), (RESPONSE, 108, WRITE)]),
        }
        let [status, answer] = self.take::<2>(RESPONSE + 10);
        (answer, status)
    }
}

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0];
const WRITE_10: [u8; 10] = [0x2a, 8, 0, 0, 0, 2, 0, 0, 1, 0];

#[test]
fn a_read_gives_the_blocks() {
    let disk = Ram::new(8);
    let mut driver = host(&disk);
    assert_eq!(driver.scsi((0, 0), &READ, 512, WRITE), (0, 0));
    assert_eq!(driver.take::<512>(DATA).to_vec(), disk.sector(3));
    assert_eq!(driver.used_len(0), 108 + 512);
}

#[test]
fn a_cds_blocks_have_2048_bytes() {
    let mut driver = host(&Ram::new(8));
    assert_eq!(driver.scsi((1, 0), &READ, 2048, WRITE), (0, 0));
    assert_eq!(driver.take::<512>(DATA).to_vec(), Ram::new(64).sector(12));
}

#[test]
fn a_write_with_fua_is_in_storage() {
    let disk = Ram::new(8);
    let mut driver = host(&disk);
    (DATA..DATA + 512).for_each(|at| driver.put(at, 7u8));
    assert_eq!(driver.scsi((0, 0), &WRITE_10, 512, 0), (0, 0));
    assert_eq!((disk.sector(2), *crate::lock(&disk.flushes)), (vec![7; 512], 1));
}

#[test]
fn a_cd_is_not_written() {
    let mut driver = host(&Ram::new(8));
    assert_eq!(driver.scsi((1, 0), &WRITE_10, 2048, 0), (0, 2));
    assert_eq!(driver.take::<3>(RESPONSE + 12)[2], 7);
}

#[test]
fn who_is_not_there_does_not_answer() {
    let mut driver = host(&Ram::new(8));
    assert_eq!(driver.scsi((2, 0), &READ, 512, WRITE).0, 3);
    assert_eq!(driver.scsi((0, 1), &READ, 512, WRITE).0, 12);
}

#[test]
fn a_command_that_fails_says_why() {
    let mut driver = host(&Ram::new(8));
    let past = [0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0];
    assert_eq!(driver.scsi((0, 0), &past, 512, WRITE), (0, 2));
    assert_eq!(driver.take::<14>(RESPONSE + 12)[2..], [5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0]);
}

#[test]
fn a_unit_lists_itself() {
    let mut driver = host(&Ram::new(8));
    let mut report = [0; 12];
    (report[0], report[9]) = (0xa0, 16);
    assert_eq!(driver.scsi((0, 0), &report, 16, WRITE), (0, 0));
    assert_eq!(driver.take::<4>(DATA), [0, 0, 0, 8]);
}

#[test]
fn unmapped_ranges_are_on_the_disk() {
    let mut driver = host(&Ram::new(8));
    let mut unmap = [0; 10];
    (unmap[0], unmap[8]) = (0x42, 24);
    let mut list = [0u8; 24];
    (list[1], list[3], list[15], list[19]) = (22, 16, 7, 1);
    list.into_iter().zip(DATA..).for_each(|(byte, at)| driver.put(at, byte));
    assert_eq!(driver.scsi((0, 0), &unmap, 24, 0), (0, 0));
    driver.put(DATA + 19, 2u8);
    assert_eq!(driver.scsi((0, 0), &unmap, 24, 0), (0, 2));
}

#[test]
fn write_same_zeroes_its_range() {
    let disk = Ram::new(8);
    let mut driver = host(&disk);
    (DATA..DATA + 512).for_each(|at| driver.put(at, 0u8));
    let same = [0x41, 8, 0, 0, 0, 5, 0, 0, 2, 0];
    assert_eq!(driver.scsi((0, 0), &same, 512, 0), (0, 0));
    assert_eq!((disk.sector(5), disk.sector(6)), (vec![0; 512], vec![0; 512]));
    assert_ne!(disk.sector(7), [0; 512]);
}

/// Commands of all kinds with parameters as they come, to both units and to none: each is answered, and the disk keeps its size.
#[test]
fn random_commands_harm_nobody() {
    const OPCODES: [u8; 28] = [
        0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46,
        0x4a, 0x51, 0x52, 0x55, 0x5a, 0x88, 0x8a, 0x93, 0x9e, 0xa0, 0xbd,
    ];
    let disk = Ram::new(64);
    let mut state = 3u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as u8
    };
    for _ in 0..400 {
        let mut driver = host(&disk);
        for _ in 0..8 {
            let mut cdb = [0; 16];
            cdb.fill_with(|| [0, 0, random(), random() & 0x1f][usize::from(random()) % 4]);
            cdb[0] = OPCODES[usize::from(random()) % OPCODES.len()];
            (DATA..DATA + 64).for_each(|at| driver.put(at, random() & random()));
            let flags = if random() & 1 == 0 { WRITE } else { 0 };
            let (answer, status) =
                driver.scsi((random() % 3, random() % 2), &cdb, u32::from(random()) * 32 + 1, flags);
            assert!(matches!((answer, status), (0, 0 | 2) | (3 | 12, 0)), "{cdb:x?}: {answer} {status}");
        }
    }
    assert_eq!(crate::lock(&disk.bytes).len(), 64 * 512);
}
