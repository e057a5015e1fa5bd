//! What is saved of the controller: the channels' registers, data on its way, and what a drive is to do and has not begun.

use super::Ide;
use super::channel::{Job, Master, PART, Phase, Registers};
use super::engine::Channel;
use super::regs::*;
use crate::pci::saved::SavedConfig;
use crate::storage::ata::Taskfile;
use crate::storage::saved::SavedUnit;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedIde {
    pub config: SavedConfig,
    pub channels: [SavedChannel; 2],
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedChannel {
    pub drives: [SavedDrive; 2],
    pub device: u8,
    pub control: u8,
    /// What the data register is for.
    pub phase: SavedPhase,
    pub buffer: Blob,
    /// How far the buffer is, where the block ends that DRQ is set for, and how long blocks are.
    pub at: u64,
    pub end: u64,
    pub block: u64,
    /// Where on the medium what follows is, and how much.
    pub rest: (u64, u64),
    /// What a drive is to do.
    pub job: Option<(u8, SavedJob)>,
    /// What begins once the bus master is started.
    pub waits: Option<SavedJob>,
    pub master_command: u8,
    pub master_status: u8,
    pub table: u32,
    pub interrupting: bool,
}

/// A drive's registers: the byte that was written last above the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedDrive {
    pub features: u16,
    pub count: u16,
    pub low: u16,
    pub middle: u16,
    pub high: u16,
    pub multiple: u8,
    pub status: u8,
    pub error: u8,
    pub unit: Option<SavedUnit>,
}

/// What the data register is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedPhase {
    None,
    In { packet: bool },
    Out { fua: bool },
    Packet { dma: bool },
}

/// What a drive is to do. `master`: the bus master's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedJob {
    Command { features: u16, count: u16, lba: u64, device: u8, command: u8, master: Option<u64> },
    Fetch { start: u64, len: u64 },
    Store { start: u64, data: Blob, last: bool, fua: bool },
    Packet { cdb: Bytes<16>, master: Option<u64> },
}

impl Saved for SavedIde {
    const NAME: &'static str = "ide";
    const VERSION: u32 = 1;
}

/// The longest block: a packet command's.
const BLOCK_MOST: u64 = 0xfffe;
/// Places on a medium end before.
const FARTHEST: u64 = 1 << 60;

impl SavedJob {
    fn of(job: &Job) -> Self {
        let table = |master: &Option<Master>| master.map(|master| master.table);
        match job {
            Job::Command(taskfile, master) => {
                let Taskfile { features, count, lba, device, command } = *taskfile;
                Self::Command { features, count, lba, device, command, master: table(master) }
            }
            Job::Fetch { start, len } => Self::Fetch { start: *start, len: *len },
            Job::Store { start, data, last, fua } => {
                Self::Store { start: *start, data: Blob(data.clone()), last: *last, fua: *fua }
            }
            Job::Packet { cdb, master } => Self::Packet { cdb: Bytes(*cdb), master: table(master) },
        }
    }

    fn job(self) -> Result<Job, RestoreError> {
        let master = |table: Option<u64>| table.map(|table| Master { table: table & 0xffff_fffc });
        Ok(match self {
            Self::Command { features, count, lba, device, command, master: table } => {
                ensure::<SavedIde>(lba >> 48 == 0, format!("sector {lba}"))?;
                Job::Command(Taskfile { features, count, lba, device, command }, master(table))
            }
            Self::Fetch { start, len } => {
                let near = start < FARTHEST && len <= PART.max(BLOCK_MOST);
                ensure::<SavedIde>(near, format!("{len} bytes at {start} are fetched"))?;
                Job::Fetch { start, len }
            }
            Self::Store { start, data: Blob(data), last, fua } => {
                ensure::<SavedIde>(start < FARTHEST, format!("bytes at {start} are stored"))?;
                Job::Store { start, data, last, fua }
            }
            Self::Packet { cdb, master: table } => Job::Packet { cdb: cdb.0, master: master(table) },
        })
    }
}

impl SavedChannel {
    fn of(channel: &Channel) -> Self {
        let (media, state) = channel.at_rest();
        let drive = |number: usize| {
            let Registers { features, count, low, middle, high } = state.registers[number];
            let (status, error) = (state.status[number], state.error[number]);
            let unit = media[number].as_ref().and_then(|media| media.save());
            let multiple = state.multiple[number];
            SavedDrive { features, count, low, middle, high, multiple, status, error, unit }
        };
        Self {
            drives: [drive(0), drive(1)],
            device: state.device,
            control: state.control,
            phase: match state.phase {
                Phase::None => SavedPhase::None,
                Phase::In { packet } => SavedPhase::In { packet },
                Phase::Out { fua } => SavedPhase::Out { fua },
                Phase::Packet { dma } => SavedPhase::Packet { dma },
            },
            buffer: Blob(state.buffer.clone()),
            at: state.at as u64,
            end: state.end as u64,
            block: state.block as u64,
            rest: state.rest,
            job: state.job.as_ref().map(|(drive, job)| (*drive as u8, SavedJob::of(job))),
            waits: state.waits.as_ref().map(SavedJob::of),
            master_command: state.master_command,
            master_status: state.master_status,
            table: state.table,
            interrupting: state.interrupting,
        }
    }

    /// What the registers' own rules make sure of.
    fn check(&self) -> Result<(), RestoreError> {
        let (buffer, most) = (self.buffer.0.len() as u64, PART + BLOCK_MOST);
        let inside = match self.phase {
            SavedPhase::None => true,
            SavedPhase::In { .. } => self.end <= buffer && (1..=BLOCK_MOST).contains(&self.block),
            SavedPhase::Out { .. } => self.end <= self.rest.1 && (1..=BLOCK_MOST).contains(&self.block),
            SavedPhase::Packet { .. } => self.end <= 12,
        };
        ensure::<SavedIde>(self.at <= self.end && inside, format!("block {} to {}", self.at, self.end))?;
        ensure::<SavedIde>(buffer <= most && self.end <= most, format!("{buffer} bytes are on their way"))?;
        let packet = |job: &SavedJob| matches!(job, SavedJob::Packet { .. });
        let moves = self.job.iter().map(|(_, job)| job).chain(&self.waits).any(packet);
        let block = self.block <= BLOCK_MOST && (self.block > 0 || !moves);
        ensure::<SavedIde>(block, format!("blocks of {} bytes", self.block))?;
        let near = self.rest.0 < FARTHEST && self.rest.1 < FARTHEST;
        ensure::<SavedIde>(near, format!("{} bytes at {} follow", self.rest.1, self.rest.0))
    }

    fn restore(self, channel: &Channel) -> Result<(), RestoreError> {
        self.check()?;
        channel.reset();
        let job = match self.job {
            Some((drive @ 0..2, job)) => Some((usize::from(drive), job.job()?)),
            Some((drive, _)) => return Err(RestoreError::invalid::<SavedIde>(format!("drive {drive}"))),
            None => None,
        };
        let waits = self.waits.map(SavedJob::job).transpose()?;
        {
            let (mut media, mut state) = channel.at_rest();
            for (number, drive) in self.drives.iter().enumerate() {
                match (&mut media[number], &drive.unit) {
                    (Some(media), unit) => media.restore::<SavedIde>(unit.as_ref())?,
                    (None, None) => {}
                    _ => return Err(RestoreError::invalid::<SavedIde>(format!("drive {number} is there"))),
                }
                let SavedDrive { features, count, low, middle, high, multiple, status, error, .. } = *drive;
                state.registers[number] = Registers { features, count, low, middle, high };
                state.multiple[number] = multiple;
                (state.status[number], state.error[number]) = (status, error);
            }
            (state.device, state.control) = (self.device, self.control);
            state.phase = match self.phase {
                SavedPhase::None => Phase::None,
                SavedPhase::In { packet } => Phase::In { packet },
                SavedPhase::Out { fua } => Phase::Out { fua },
                SavedPhase::Packet { dma } => Phase::Packet { dma },
            };
            state.buffer = self.buffer.0;
            (state.at, state.end) = (self.at as usize, self.end as usize);
            state.block = self.block as usize;
            (state.rest, state.job, state.waits) = (self.rest, job, waits);
            state.master_command = self.master_command & (MASTER_START | MASTER_TO_MEMORY);
            (state.master_status, state.table) = (self.master_status, self.table & !3);
            state.interrupting = self.interrupting;
            state.set_line();
        }
        channel.wake();
        Ok(())
    }
}

impl SaveRestore for Ide {
    type Saved = SavedIde;

    fn save(&self) -> SavedIde {
        let channels = self.channels.each_ref().map(|channel| SavedChannel::of(channel));
        SavedIde { config: self.config.save(), channels }
    }

    fn restore(&mut self, saved: SavedIde) -> Result<(), RestoreError> {
        self.config.restore(&saved.config);
        saved.channels.into_iter().zip(&self.channels).try_for_each(|(saved, channel)| saved.restore(channel))
    }
}
