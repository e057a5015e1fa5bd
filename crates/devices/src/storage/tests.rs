use super::*;
use crate::service::Mailbox;
use ireko_vmcore::{Disk, Memory};
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex};

/// A disk in memory that can be looked at.
#[derive(Clone)]
pub struct Ram {
    pub bytes: Arc<Mutex<Vec<u8>>>,
    pub read_only: bool,
    pub flushes: Arc<Mutex<u32>>,
}

impl Ram {
    pub fn new(sectors: usize) -> Self {
        let bytes = (0..sectors * 512).map(|at| (at / 512 + at) as u8).collect();
        Self { bytes: Arc::new(Mutex::new(bytes)), read_only: false, flushes: Arc::default() }
    }
    pub fn sector(&self, number: usize) -> Vec<u8> {
        crate::lock(&self.bytes)[number * 512..][..512].to_vec()
    }
    pub fn drive(&self) -> Drive {
        Drive::new(Box::new(self.clone()), "a serial number")
    }
}

impl Disk for Ram {
    fn size(&self) -> u64 {
        crate::lock(&self.bytes).len() as u64
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        data.copy_from_slice(&crate::lock(&self.bytes)[offset as usize..][..data.len()]);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        crate::lock(&self.bytes)[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        *crate::lock(&self.flushes) += 1;
        Ok(())
    }
}

#[test]
fn a_range_past_the_disk_is_no_range() {
    let mut drive = Ram::new(4).drive();
    for (start, len) in [(3 * 512, 1024), (u64::MAX, 512), (4 * 512, 1), (0, u64::MAX)] {
        assert!(matches!(drive.read(start, len, &mut io::sink()), Err(Failure::Range)), "{start} {len}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let disk = Ram::new(4);
    disk.drive().write(512, 512, &mut Cursor::new(vec![9; 512])).unwrap();
    assert_eq!(disk.sector(1), [9; 512]);
    assert_ne!(disk.sector(2), [9; 512]);
}

#[test]
fn a_disk_to_read_is_not_written_in_any_way() {
    let mut drive = Ram { read_only: true, ..Ram::new(4) }.drive();
    assert!(matches!(drive.write(0, 512, &mut Cursor::new(vec![0; 512])), Err(Failure::ReadOnly)));
    Mailbox::default().work_alone(|_, permit| {
        assert!(matches!(drive.zero(Zeroing::Zero, 0, 512, permit), Err(Failure::ReadOnly)));
    });
}

#[test]
fn zeroing_zeroes_its_range_only() {
    let disk = Ram::new(4);
    Mailbox::default().work_alone(|_, permit| disk.drive().zero(Zeroing::Zero, 512, 1024, permit).unwrap());
    assert_eq!(disk.sector(2), [0; 512]);
    assert_ne!(disk.sector(0), [0; 512]);
    assert_ne!(disk.sector(3), [0; 512]);
}

#[test]
fn segments_are_one_stream() {
    let memory = Memory::new(&[(0, 1 << 16)]).unwrap();
    let segments = || {
        vec![
            Segment { address: 0x1000, len: 3 },
            Segment { address: 0, len: 0 },
            Segment { address: 8, len: 5 },
        ]
    };
    Mailbox::default().work_alone(|_, permit| {
        std::io::Write::write_all(&mut Dma::new(&memory, permit, segments()), b"abcdefgh").unwrap();
        let mut back = Vec::new();
        Dma::new(&memory, permit, segments()).read_to_end(&mut back).unwrap();
        assert_eq!(back, b"abcdefgh");
    });
}

#[test]
fn a_segment_where_no_memory_is_is_an_error() {
    let memory = Memory::new(&[(0, 1 << 16)]).unwrap();
    Mailbox::default().work_alone(|_, permit| {
        for address in [1 << 16, 0xfec0_0000, u64::MAX, (1 << 16) - 4] {
            let mut dma = Dma::new(&memory, permit, vec![Segment { address, len: 8 }]);
            assert!(std::io::Write::write_all(&mut dma, &[1; 8]).is_err(), "{address:#x}");
        }
    });
}

#[test]
fn after_a_reset_nothing_is_copied() {
    let memory = Memory::new(&[(0, 1 << 16)]).unwrap();
    let mailbox = Mailbox::default();
    mailbox.work_alone(|_, permit| {
        let mut dma = Dma::new(&memory, permit, vec![Segment { address: 0, len: 8 }]);
        mailbox.renew();
        assert!(std::io::Write::write_all(&mut dma, &[1; 8]).is_err());
    });
}
