//! Media that change, as an initiator hears of them (SPC-4, 5.14; MMC-6, 6.6 and 6.14), and what fails behind a unit.

use super::scsi::{Action, Kind, Sense};
use super::tests::Ram;
use super::unit::Unit;

const NO_EVENT: u8 = 0;
const NEW_MEDIA: u8 = 2;
const MEDIA_REMOVAL: u8 = 3;

struct Nothing;

impl ireko_vmcore::Disk for Nothing {
    fn size(&self) -> u64 {
        0
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read_at(&mut self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Unit {
    fn say(&mut self, bytes: &[u8]) -> Action {
        let mut cdb = [0; 16];
        cdb[..bytes.len()].copy_from_slice(bytes);
        self.command(&cdb)
    }
    fn test_unit_ready(&mut self) -> Result<(), Sense> {
        match self.say(&[0x00]) {
            Action::Done => Ok(()),
            Action::Check(sense) => Err(sense),
            other => panic!("{other:?}"),
        }
    }
    /// Event and status of media.
    fn event(&mut self) -> (u8, u8) {
        match self.say(&[0x4a, 1, 0, 0, 1 << 4, 0, 0, 0, 8]) {
            Action::Data(data) => (data[4], data[5]),
            other => panic!("{other:?}"),
        }
    }
    fn lock(&mut self, locked: bool) {
        assert_eq!(self.say(&[0x1e, 0, 0, 0, locked.into()]), Action::Done);
    }
    fn blocks(&mut self) -> u32 {
        match self.say(&[0x25]) {
            Action::Data(data) => u32::from_be_bytes(data[..4].try_into().unwrap()) + 1,
            other => panic!("{other:?}"),
        }
    }
}

fn cd(blocks: usize) -> Ram {
    Ram { read_only: true, ..Ram::new(4 * blocks) }
}

fn drive() -> Unit {
    Unit::new(Kind::Cd, cd(8).drive())
}

/// A disk whose host can do nothing.
struct Dead;

impl ireko_vmcore::Disk for Dead {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&mut self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Other.into())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Other.into())
    }
}

#[test]
fn what_the_host_cannot_write_is_a_write_error_and_what_it_cannot_read_a_read_error() {
    let mut unit = Unit::new(Kind::Disk, super::Drive::new(Box::new(Dead), "x"));
    let mut outcome = |cdb: &[u8]| {
        let action = unit.say(cdb);
        let mut outcome = Ok(());
        crate::service::Mailbox::default().work_alone(|_, permit| {
            outcome = unit.carry_out(action, permit, &mut std::io::sink(), &mut std::io::repeat(1));
        });
        outcome
    };
    assert_eq!(outcome(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), Err(Sense::UNRECOVERED_READ));
    assert_eq!(outcome(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1]), Err(Sense::WRITE_ERROR));
    assert_eq!(outcome(&[0x35]), Err(Sense::WRITE_ERROR));
}

#[test]
fn another_medium_is_told_of_once_and_read_from() {
    let mut unit = drive();
    unit.event();
    unit.tray().put(Box::new(cd(16)));
    assert_eq!(unit.test_unit_ready(), Err(Sense::MEDIUM_CHANGED));
    assert_eq!((unit.test_unit_ready(), unit.blocks()), (Ok(()), 16));
}

#[test]
fn an_initiator_that_asks_for_no_events_sees_the_drive_empty_first() {
    let mut unit = drive();
    unit.tray().put(Box::new(cd(16)));
    let told = [(); 3].map(|()| unit.test_unit_ready());
    assert_eq!(told, [Err(Sense::NO_MEDIUM), Err(Sense::MEDIUM_CHANGED), Ok(())]);
}

#[test]
fn events_tell_that_a_medium_left_and_that_another_came() {
    let mut unit = drive();
    unit.tray().put(Box::new(cd(16)));
    let events = [(); 3].map(|()| unit.event());
    assert_eq!(events, [(MEDIA_REMOVAL, 2), (NEW_MEDIA, 2), (NO_EVENT, 2)]);
}

#[test]
fn an_emptied_drive_is_not_ready_and_its_tray_is_in() {
    let mut unit = drive();
    unit.tray().put(Box::new(Nothing));
    assert_eq!(unit.test_unit_ready(), Err(Sense::NO_MEDIUM));
    assert_eq!([(); 2].map(|()| unit.event()), [(MEDIA_REMOVAL, 0), (NO_EVENT, 0)]);
}

#[test]
fn what_can_always_be_asked_is_answered_before_the_change_is_told_of() {
    let mut unit = drive();
    unit.event();
    unit.tray().put(Box::new(cd(16)));
    for command in [&[0x12, 0, 0, 0, 36][..], &[0x46, 0, 0, 0, 0, 0, 0, 0, 64]] {
        assert!(matches!(unit.say(command), Action::Data(_)), "{command:x?}");
    }
    assert_eq!(unit.test_unit_ready(), Err(Sense::MEDIUM_CHANGED));
}

#[test]
fn request_sense_tells_of_the_change_by_itself() {
    let mut unit = drive();
    unit.event();
    unit.tray().put(Box::new(cd(16)));
    let Action::Data(sense) = unit.say(&[0x03, 0, 0, 0, 18]) else { panic!("no sense") };
    assert_eq!((sense[2], sense[12], sense[13]), (6, 0x28, 0));
    assert_eq!(unit.test_unit_ready(), Ok(()));
}

#[test]
fn a_locked_tray_stays_in_for_the_initiator_and_comes_out_for_the_host() {
    const EJECT: [u8; 5] = [0x1b, 0, 0, 0, 2];
    let mut unit = drive();
    unit.lock(true);
    assert_eq!(unit.say(&EJECT), Action::Check(Sense::REMOVAL_PREVENTED));
    unit.tray().put(Box::new(Nothing));
    assert_eq!(unit.test_unit_ready(), Err(Sense::NO_MEDIUM));
    assert_eq!(unit.say(&EJECT), Action::Done);
}

#[test]
fn a_tray_that_the_initiator_put_out_comes_in_with_what_the_host_puts_there() {
    let mut unit = drive();
    assert_eq!(unit.say(&[0x1b, 0, 0, 0, 2]), Action::Done);
    assert_eq!((unit.event(), unit.test_unit_ready()), ((MEDIA_REMOVAL, 1), Err(Sense::NO_MEDIUM)));
    unit.tray().put(Box::new(cd(16)));
    assert_eq!(unit.test_unit_ready(), Err(Sense::MEDIUM_CHANGED));
    assert_eq!((unit.event(), unit.blocks()), ((NEW_MEDIA, 2), 16));
}
