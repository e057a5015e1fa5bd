//! What of a guest's address space its process has: which pages, by which rights, and what it has to forget before it goes on.

use super::Heeded;
use super::stub::{Backing, Command, MOST_BYTES, Ran, Stub};
use crate::hash::FastHash;
use std::collections::HashMap;
use std::io;

/// Pages of 2 MiB.
const CHUNK: u64 = 512;

/// Neighbours go together up to so many.
const MOST_PAGES: u64 = MOST_BYTES >> 12;

/// The kernel's bound on mappings of a process is 65530.
const MOST: usize = 48 << 10;

/// One page, or 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    /// Number of the page that the engine has it at.
    page: u64,
    write: bool,
    execute: bool,
}

pub struct Space {
    stub: Stub,
    /// By page of the guest's address space.
    small: HashMap<u64, Mapped, FastHash>,
    /// By 2 MiB of it.
    large: HashMap<u64, Mapped, FastHash>,
    /// Where pages are mapped, and 2 MiB by their first one.
    places: HashMap<u64, Vec<u64>, FastHash>,
    /// What is mapped before the program goes on, in order.
    commands: Vec<Command>,
    /// Pages that go before: address and how many.
    going: Vec<(u64, u64)>,
    all_go: bool,
    /// The address space may be another program's.
    another: bool,
    /// Pages, and 2 MiB, that went when all went.
    lost: usize,
    /// By which rules its pages were looked at.
    heeded: Heeded,
}

impl Space {
    pub fn new(stub: Stub) -> Self {
        Self {
            stub,
            small: HashMap::default(),
            large: HashMap::default(),
            places: HashMap::default(),
            commands: Vec::new(),
            going: Vec::new(),
            all_go: false,
            another: false,
            lost: 0,
            heeded: Heeded::default(),
        }
    }

    pub fn stub(&mut self) -> &mut Stub {
        &mut self.stub
    }

    /// The process, which is to be another's.
    pub fn into_stub(mut self) -> Option<Stub> {
        let forgot = self.stub.forget();
        forgot.is_ok().then_some(self.stub)
    }

    /// What was looked at by other rules goes.
    pub fn heed(&mut self, heeded: Heeded) {
        if self.heeded != heeded {
            self.forget_all();
            self.heeded = heeded;
        }
    }

    fn forget_tables(&mut self) {
        self.small.clear();
        self.large.clear();
        self.places.clear();
    }

    /// Nothing is mapped any more, and the next program may be another.
    pub fn forget_all(&mut self) {
        self.another = true;
        if self.small.is_empty() && self.large.is_empty() {
            return;
        }
        self.lost = self.small.len() + self.large.len();
        self.forget_tables();
        self.commands.clear();
        self.going.clear();
        self.all_go = true;
    }

    /// A page is not mapped any more, nor the 2 MiB around it if they are mapped as a whole. What runs behind it was looked at with
    /// its bytes in front, and goes, too.
    pub fn forget(&mut self, address: u64) {
        let page = address >> 12;
        if self.small.get(&(page + 1)).is_some_and(|behind| behind.execute) {
            self.forget_page(page + 1);
        }
        self.forget_page(page);
    }

    fn forget_page(&mut self, page: u64) {
        if let Some(mapped) = self.small.remove(&page) {
            self.displaced(mapped.page, page);
            self.goes(page, 1);
        }
        let chunk = page / CHUNK;
        if let Some(mapped) = self.large.remove(&chunk) {
            self.displaced(mapped.page, (page / CHUNK * CHUNK) | LARGE);
            self.goes(chunk * CHUNK, CHUNK);
        }
    }

    /// 2 MiB are not mapped any more.
    pub fn forget_chunk(&mut self, address: u64) {
        let first = address >> 12 & !(CHUNK - 1);
        if self.small.is_empty() && self.large.is_empty() {
            return;
        }
        (first..first + CHUNK).for_each(|page| self.forget(page << 12));
    }

    /// Nobody writes to a page any more without being heard.
    pub fn protect(&mut self, page: u64) {
        self.take_away(page, |mapped| mapped.write);
    }

    /// Nobody runs code of it.
    pub fn no_code(&mut self, page: u64) {
        self.take_away(page, |mapped| mapped.execute);
    }

    fn take_away(&mut self, page: u64, concerned: impl Fn(&Mapped) -> bool) {
        for place in self.places.get(&page).cloned().unwrap_or_default() {
            if self.small.get(&place).is_some_and(&concerned) {
                self.forget_page(place);
            }
        }
        // The engine has guest memory at multiples of 2 MiB where the guest has it at such.
        let first = page & !(CHUNK - 1);
        for place in self.places.get(&first).cloned().unwrap_or_default() {
            if place & LARGE != 0 && self.large.get(&((place & !LARGE) / CHUNK)).is_some_and(&concerned) {
                self.forget_page(place & !LARGE);
            }
        }
    }

    fn displaced(&mut self, page: u64, place: u64) {
        if let Some(places) = self.places.get_mut(&page) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.places.remove(&page);
            }
        }
    }

    fn goes(&mut self, page: u64, count: u64) {
        match self.going.last_mut() {
            Some((first, pages)) if *first + *pages == page && *pages < MOST_PAGES => *pages += count,
            _ => self.going.push((page, count)),
        }
    }

    /// Whether what is mapped was most likely mapped before all went.
    pub fn maps_again(&self) -> bool {
        self.small.len() + self.large.len() < self.lost
    }

    /// Whether a page is mapped.
    pub fn has(&self, address: u64) -> bool {
        let page = address >> 12;
        self.small.contains_key(&page) || self.large.contains_key(&(page / CHUNK))
    }

    /// Maps a page to that which the engine has at `host`, and the file at `offset`.
    pub fn map(&mut self, address: u64, host: *mut u8, place: Backing, write: bool, execute: bool) {
        self.enter(address, (host as u64 >> 12, place), write, execute, false);
    }

    /// Maps the 2 MiB around an address to those from `host` and `offset` on; they can be written or read, and are not run.
    pub fn map_large(&mut self, address: u64, host: *mut u8, offset: u64, write: bool) {
        self.enter(
            address & !((CHUNK << 12) - 1),
            (host as u64 >> 12, Backing::Memory(offset)),
            write,
            false,
            true,
        );
    }

    fn enter(
        &mut self,
        address: u64,
        (page, there): (u64, Backing),
        write: bool,
        execute: bool,
        large: bool,
    ) {
        if self.small.len() + self.large.len() > MOST {
            self.forget_all();
        }
        let place = address >> 12;
        if large {
            self.forget_chunk(address);
        } else {
            self.forget_page(place);
        }
        let mapped = Mapped { page, write, execute };
        let mark = if large { LARGE } else { 0 };
        if large {
            self.large.insert(place / CHUNK, mapped);
        } else {
            self.small.insert(place, mapped);
        }
        self.places.entry(page).or_default().push(place | mark);
        let bytes = if large { CHUNK << 12 } else { 4096 };
        self.unmap_going();
        let command = self.stub.map(address & !0xfff, bytes, there, write, execute);
        match self.commands.last_mut() {
            Some(last) if last.goes_on_with(&command) => last.add(&command),
            _ => self.commands.push(command),
        }
    }

    /// What goes is ordered before what comes.
    fn unmap_going(&mut self) {
        if std::mem::take(&mut self.all_go) {
            let all = self.stub.unmap_all();
            self.commands.extend(all);
        }
        if self.going.is_empty() {
            return;
        }
        let mut going = std::mem::take(&mut self.going);
        going.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::with_capacity(going.len());
        for (page, count) in going {
            match runs.last_mut() {
                Some((first, pages)) if *first + *pages == page && *pages < MOST_PAGES => *pages += count,
                _ => runs.push((page, count)),
            }
        }
        let commands = runs.into_iter().map(|(page, count)| self.stub.unmap(page << 12, count << 12));
        self.commands.extend(commands);
    }

    /// Runs the program until something is to be told.
    /// `wanted` tells whether somebody has signalled its process.
    pub fn run(&mut self, wanted: impl Fn() -> bool) -> io::Result<Ran> {
        self.unmap_going();
        if std::mem::take(&mut self.another) {
            self.stub.wipe();
        }
        let commands = std::mem::take(&mut self.commands);
        let ran = self.stub.run(&commands, wanted);
        self.commands = commands;
        self.commands.clear();
        ran
    }
}

/// Marks a place as one of 2 MiB.
const LARGE: u64 = 1 << 63;
