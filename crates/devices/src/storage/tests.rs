use super::*;
use crate::service::Mailbox;
use ireko_vmcore::{Disk, DiskErrors, ErrorHandling, ErrorPolicy, Memory};
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A disk in memory that can be looked at.
#[derive(Clone)]
pub struct Ram {
    pub bytes: Arc<Mutex<Vec<u8>>>,
    pub read_only: bool,
    pub flushes: Arc<Mutex<u32>>,
    /// What all that is asked of it ends with.
    pub fails: Arc<Mutex<Option<ErrorKind>>>,
    pub errors: Arc<ErrorHandling>,
}

impl Ram {
    pub fn new(sectors: usize) -> Self {
        let bytes = (0..sectors * 512).map(|at| (at / 512 + at) as u8).collect();
        let (bytes, flushes) = (Arc::new(Mutex::new(bytes)), Arc::default());
        Self { bytes, read_only: false, flushes, fails: Arc::default(), errors: Arc::default() }
    }
    /// One that fails so, and who hears of it.
    pub fn failing(policy: ErrorPolicy, kind: ErrorKind) -> (Self, DiskErrors) {
        let (ram, errors) = (Self::new(8), DiskErrors::default());
        ram.errors.tell("ram", &errors);
        ram.errors.set(policy);
        ram.fail(Some(kind));
        (ram, errors)
    }
    pub fn fail(&self, kind: Option<ErrorKind>) {
        *crate::lock(&self.fails) = kind;
    }
    fn check(&self) -> io::Result<()> {
        crate::lock(&self.fails).map_or(Ok(()), |kind| Err(kind.into()))
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
    fn error_handling(&self) -> Arc<ErrorHandling> {
        self.errors.clone()
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.check()?;
        data.copy_from_slice(&crate::lock(&self.bytes)[offset as usize..][..data.len()]);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        crate::lock(&self.bytes)[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        *crate::lock(&self.flushes) += 1;
        Ok(())
    }
}

#[test]
fn a_range_past_the_disk_is_no_range() {
    let mut drive = Ram::new(4).drive();
    Mailbox::default().work_alone(|_, permit| {
        for (start, len) in [(3 * 512, 1024), (u64::MAX, 512), (4 * 512, 1), (0, u64::MAX)] {
            let read = drive.read(start, len, &mut io::sink(), permit);
            assert!(matches!(read, Err(Failure::Range)), "{start} {len}");
        }
    });
}

/// Writes nines to sector 1.
fn write(disk: &Ram) -> Result<(), Failure> {
    let mut written = Ok(());
    Mailbox::default().work_alone(|_, permit| {
        written = disk.drive().write(512, 512, &mut Cursor::new(vec![9; 512]), permit);
    });
    written
}

/// Waits for a request that waits.
pub fn until_one_waits(errors: &DiskErrors) {
    let begun = Instant::now();
    while errors.standing().waiting == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no request waits");
        std::thread::yield_now();
    }
}

#[test]
fn what_the_host_cannot_do_is_told_and_heard_of() {
    let (disk, errors) = Ram::failing(ErrorPolicy::Report, ErrorKind::StorageFull);
    assert!(matches!(write(&disk), Err(Failure::Host(error)) if error.kind() == ErrorKind::StorageFull));
    assert_eq!((errors.standing().count, errors.standing().waiting), (1, 0));
}

#[test]
fn what_is_held_for_room_is_done_when_there_is_some() {
    let (disk, errors) = Ram::failing(ErrorPolicy::Stop, ErrorKind::StorageFull);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&disk).is_ok());
        until_one_waits(&errors);
        disk.fail(None);
        assert!(writing.join().unwrap());
    });
    assert_eq!((disk.sector(1), errors.standing().waiting), (vec![9; 512], 0));
}

#[test]
fn what_is_held_for_another_reason_is_done_when_somebody_says_so() {
    let (disk, errors) = Ram::failing(ErrorPolicy::Stop, ErrorKind::Other);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&disk).is_ok());
        until_one_waits(&errors);
        disk.fail(None);
        errors.try_again();
        assert!(writing.join().unwrap());
    });
    assert_eq!(disk.sector(1), vec![9; 512]);
}

#[test]
fn what_is_written_is_read_again() {
    let disk = Ram::new(4);
    write(&disk).unwrap();
    assert_eq!(disk.sector(1), [9; 512]);
    assert_ne!(disk.sector(2), [9; 512]);
}

#[test]
fn a_disk_to_read_is_not_written_in_any_way() {
    let mut drive = Ram { read_only: true, ..Ram::new(4) }.drive();
    Mailbox::default().work_alone(|_, permit| {
        let written = drive.write(0, 512, &mut Cursor::new(vec![0; 512]), permit);
        assert!(matches!(written, Err(Failure::ReadOnly)));
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
