//! A store in memory that can lose what was not flushed, as a host does whose power fails.

use super::Random;
use crate::Store;
use std::io;
use std::sync::Mutex;

#[derive(Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    /// As of the last flush.
    kept: Vec<u8>,
    /// Since then.
    since: Vec<Change>,
    /// So many bytes more may be written before the host is full.
    room: Option<u64>,
    /// The power fails behind so many changes and flushes, with this chance of what is kept.
    fails: Option<(u64, u64)>,
    /// What was there then.
    left: Option<Vec<u8>>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Size(u64),
    Zero(u64, u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = *offset as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(data);
            }
            Self::Size(size) => bytes.resize(*size as usize, 0),
            Self::Zero(offset, len) => {
                let end = offset.saturating_add(*len).min(bytes.len() as u64) as usize;
                if (*offset as usize) < end {
                    bytes[*offset as usize..end].fill(0);
                }
            }
        }
    }
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn of(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(Inner { kept: bytes.clone(), bytes, ..Inner::default() }))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    /// The host's file system takes so much more.
    pub fn leave_room(&self, room: Option<u64>) {
        self.0.lock().unwrap().room = room;
    }

    fn change(&self, change: Change) {
        let mut inner = self.0.lock().unwrap();
        inner.go_on();
        change.apply(&mut inner.bytes);
        inner.since.push(change);
    }

    /// The power fails after so many changes and flushes more.
    pub fn fail_after(&self, changes: u64, chance: u64) {
        self.0.lock().unwrap().fails = Some((changes, chance));
    }

    /// What is there after the power cut, if it was: what was flushed, and any part of what came later.
    pub fn left(&self) -> Option<Self> {
        self.0.lock().unwrap().left.take().map(Self::of)
    }
}

impl Inner {
    fn go_on(&mut self) {
        match &mut self.fails {
            None => (),
            Some((0, chance)) => {
                let mut random = Random(*chance | 1);
                self.left = Some(self.cut(&mut random));
                self.fails = None;
            }
            Some((changes, _)) => *changes -= 1,
        }
    }

    fn cut(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.kept.clone();
        let way = random.below(4);
        let stop = random.below(self.since.len() as u64 + 1) as usize;
        for (number, change) in self.since.iter().enumerate() {
            match way {
                // Everything, as when a process is killed; everything up to a moment.
                0 => change.apply(&mut bytes),
                1 if number >= stop => break,
                1 => change.apply(&mut bytes),
                // Each change or not.
                2 if random.below(2) == 0 => (),
                2 => change.apply(&mut bytes),
                // Each sector of each change or not.
                _ => apply_sectors(change, &mut bytes, random),
            }
        }
        bytes
    }
}

fn apply_sectors(change: &Change, bytes: &mut Vec<u8>, random: &mut Random) {
    let Change::Write(offset, data) = change else {
        if random.below(2) == 0 {
            change.apply(bytes);
        }
        return;
    };
    let (mut at, mut left) = (*offset, data.as_slice());
    while !left.is_empty() {
        let part = ((512 - at % 512) as usize).min(left.len());
        let (sector, rest) = left.split_at(part);
        if random.below(2) == 0 {
            Change::Write(at, sector.to_vec()).apply(bytes);
        }
        at += part as u64;
        left = rest;
    }
}

impl Store for MemoryStore {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        if size > 1 << 26 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.change(Change::Size(size));
        Ok(())
    }
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        let end = offset.checked_add(data.len() as u64).filter(|&end| end <= inner.bytes.len() as u64);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        data.copy_from_slice(&inner.bytes[offset as usize..end as usize]);
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // As a file system has a largest file.
        if offset.saturating_add(data.len() as u64) > 1 << 26 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        {
            let mut inner = self.0.lock().unwrap();
            if let Some(room) = &mut inner.room {
                *room = room.checked_sub(data.len() as u64).ok_or(io::ErrorKind::StorageFull)?;
            }
        }
        self.change(Change::Write(offset, data.to_vec()));
        Ok(())
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.change(Change::Zero(offset, len));
        Ok(true)
    }
    fn flush(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.go_on();
        let inner = &mut *inner;
        let mut kept = std::mem::take(&mut inner.kept);
        inner.since.drain(..).for_each(|change| change.apply(&mut kept));
        inner.kept = kept;
        Ok(())
    }
}
