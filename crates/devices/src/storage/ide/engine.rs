//! A channel's drives at work.

use super::channel::{ChannelState, Job, Master, Outcome};
use super::regs::*;
use crate::access::value;
use crate::lock;
use crate::service::{Mailbox, Permit, Service};
use crate::storage::ata::{self, Action, Taskfile};
use crate::storage::dma::{self, Dma, Segment};
use crate::storage::unit::Unit;
use crate::storage::{Drive, Failure, Media, Zeroing, scsi};
use ireko_vmcore::{Line, Memory};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard};

/// A channel with up to two drives, and a thread of its own.
pub struct Channel {
    mailbox: Mailbox,
    state: Mutex<ChannelState>,
    drives: Mutex<[Option<Media>; 2]>,
    memory: Arc<Memory>,
}

impl Channel {
    pub fn new(drives: [Option<Media>; 2], memory: Arc<Memory>, line: Line) -> Self {
        let signatures = [0, 1].map(|drive: usize| drives[drive].as_ref().map(Media::signature));
        let state = Mutex::new(ChannelState::new(signatures, line));
        Self { mailbox: Mailbox::default(), state, drives: Mutex::new(drives), memory }
    }

    /// Its drives and registers, while the machine is paused.
    pub(super) fn at_rest(&self) -> (MutexGuard<'_, [Option<Media>; 2]>, MutexGuard<'_, ChannelState>) {
        (lock(&self.drives), lock(&self.state))
    }

    /// What had rung before is not saved.
    pub(super) fn wake(&self) {
        self.mailbox.notify(0);
    }

    pub fn read(&self, register: u64, data: &mut [u8]) {
        lock(&self.state).read(register, data, &self.mailbox);
    }
    pub fn read_control(&self) -> u8 {
        lock(&self.state).read_control()
    }
    pub fn write(&self, register: u64, data: &[u8]) {
        lock(&self.state).write(register, data, &self.mailbox);
    }
    pub fn write_control(&self, byte: u8) {
        lock(&self.state).write_control(byte, &self.mailbox);
    }
    pub fn read_master(&self, offset: u64) -> u8 {
        lock(&self.state).read_master(offset)
    }
    pub fn write_master(&self, offset: u64, byte: u8) {
        lock(&self.state).write_master(offset, byte, &self.mailbox);
    }
    pub fn reset(&self) {
        lock(&self.state).reset(&self.mailbox);
    }

    /// The table of regions (82371SB, 3.3.2), up to its last entry or its end.
    fn segments(&self, master: Master, permit: Permit<'_>) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for at in (master.table..).step_by(TABLE_ENTRY).take(TABLE_ENTRIES) {
            let mut entry = [0; TABLE_ENTRY];
            dma::read(&self.memory, permit, at, &mut entry)?;
            let len = match value(&entry[4..6]) & 0xfffe {
                0 => 1 << 16,
                len => len,
            };
            segments.push(Segment { address: value(&entry[0..4]) & !1, len });
            if entry[7] & TABLE_LAST != 0 {
                break;
            }
        }
        Ok(segments)
    }

    fn perform(&self, media: &mut Media, job: Job, permit: Permit<'_>) -> Outcome {
        let done = match (job, media) {
            (Job::Command(taskfile, None), media) => command(media, &taskfile, permit),
            (Job::Command(taskfile, Some(master)), Media::Disk(drive)) => {
                self.by_master(drive, &taskfile, master, permit).map(|()| Outcome::Done)
            }
            (Job::Fetch { start, len }, media) => fetch(media.drive(), start, len, permit).map(Outcome::Data),
            (Job::Store { start, data, last, fua }, Media::Disk(drive)) => {
                store(drive, start, &data, last && fua, permit).map(|()| Outcome::Done)
            }
            (Job::Packet { cdb, master }, Media::Cd(unit)) => return self.packet(unit, &cdb, master, permit),
            _ => return Outcome::Failed(ata::ABORT),
        };
        done.unwrap_or_else(|failure| Outcome::Failed(ata::error(&failure)))
    }

    fn by_master(
        &self,
        drive: &mut Drive,
        taskfile: &Taskfile,
        master: Master,
        permit: Permit<'_>,
    ) -> Result<(), Failure> {
        let segments = self.segments(master, permit).map_err(Failure::Memory)?;
        let mut data = Dma::new(&self.memory, permit, segments);
        match taskfile.disk() {
            Action::Read { start, len, .. } => {
                drive.pay(permit, len).map_err(Failure::Memory)?;
                drive.read(start, len, &mut data, permit)
            }
            Action::Write { start, len, fua, .. } => {
                drive.pay(permit, len).map_err(Failure::Memory)?;
                drive.write(start, len, &mut data, permit)?;
                if fua { drive.flush(permit) } else { Ok(()) }
            }
            Action::Trim { len } => {
                let mut list = vec![0; len as usize];
                data.read_exact(&mut list).map_err(Failure::Memory)?;
                let mut ranges = ata::trim_ranges(&list);
                ranges.try_for_each(|(start, len)| drive.zero(Zeroing::Discard, start, len, permit))
            }
            _ => Ok(()),
        }
    }

    fn packet(&self, unit: &mut Unit, cdb: &[u8; 16], master: Option<Master>, permit: Permit<'_>) -> Outcome {
        let action = unit.command(cdb);
        match (action, master) {
            (scsi::Action::Check(sense), _) => failed(sense),
            (action, Some(master)) => {
                let Ok(segments) = self.segments(master, permit) else {
                    return Outcome::PacketFailed(ata::ABORT);
                };
                let mut data = Dma::new(&self.memory, permit, segments);
                let len = if let scsi::Action::Read { len, .. } = action { len } else { 0 };
                let paid = unit.drive.pay(permit, len);
                match paid
                    .map_err(|_| scsi::Sense::BAD_LIST)
                    .and_then(|()| unit.carry_out(action, permit, &mut data, &mut io::empty()))
                {
                    Ok(()) => Outcome::PacketDone,
                    Err(sense) => failed(sense),
                }
            }
            (scsi::Action::Data(data), None) if data.is_empty() => Outcome::PacketDone,
            (scsi::Action::Data(data), None) => Outcome::PacketData(data, None),
            (scsi::Action::Read { len: 0, .. }, None) => Outcome::PacketDone,
            (scsi::Action::Read { start, len }, None) => {
                const FIRST: u64 = 1 << 16;
                let first = len.min(FIRST);
                match fetch(&mut unit.drive, start, first, permit) {
                    Ok(data) => Outcome::PacketData(data, Some((start + first, len - first))),
                    Err(failure) => failed(unit.failed(&failure)),
                }
            }
            (action, None) => match unit.carry_out(action, permit, &mut io::sink(), &mut io::empty()) {
                Ok(()) => Outcome::PacketDone,
                Err(sense) => failed(sense),
            },
        }
    }
}

fn failed(sense: scsi::Sense) -> Outcome {
    Outcome::PacketFailed(sense.0 << 4 | ata::ABORT)
}

fn command(media: &mut Media, taskfile: &Taskfile, permit: Permit<'_>) -> Result<Outcome, Failure> {
    let (action, identity) = match media {
        Media::Disk(drive) => (taskfile.disk(), ata::identify_disk(drive, false)),
        Media::Cd(unit) => (taskfile.packet_device(), ata::identify_packet_device(&unit.drive)),
    };
    let drive = media.drive();
    match action {
        Action::Identify => Ok(Outcome::Data(identity)),
        Action::Verify { start, len } => drive.check(start, len).map(|()| Outcome::Done),
        Action::Flush => drive.flush(permit).map(|()| Outcome::Done),
        Action::Signature => Ok(Outcome::Signature),
        Action::PowerMode => Ok(Outcome::Awake),
        Action::Done => Ok(Outcome::Done),
        _ => Ok(Outcome::Failed(ata::ABORT)),
    }
}

fn fetch(drive: &mut Drive, start: u64, len: u64, permit: Permit<'_>) -> Result<Vec<u8>, Failure> {
    drive.pay(permit, len).map_err(Failure::Memory)?;
    let mut data = Vec::with_capacity(len as usize);
    drive.read(start, len, &mut data, permit)?;
    Ok(data)
}

fn store(drive: &mut Drive, start: u64, data: &[u8], flush: bool, permit: Permit<'_>) -> Result<(), Failure> {
    drive.pay(permit, data.len() as u64).map_err(Failure::Memory)?;
    drive.write(start, data.len() as u64, &mut &*data, permit)?;
    if flush { drive.flush(permit) } else { Ok(()) }
}

impl Service for Channel {
    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    fn turn(&self) {
        self.mailbox.work(
            || lock(&self.drives),
            |drives, _, permit| {
                drives.iter_mut().flatten().for_each(Media::look);
                let Some((drive, job)) = lock(&self.state).take() else { return };
                let by_master = matches!(job, Job::Command(_, Some(_)) | Job::Packet { master: Some(_), .. });
                let outcome = match &mut drives[drive] {
                    Some(media) => self.perform(media, job, permit),
                    None => Outcome::Failed(ata::ABORT),
                };
                lock(&self.state).finish(drive, outcome, by_master, permit);
            },
        );
    }
}
