//! What a qcow2 image's tables come to: every cluster is referred to as often as its refcount says. And making it so.

use super::entry::{COMPRESSED, COPIED, Entry, OFFSET, compressed_range};
use super::header::{CORRUPT, DIRTY, Header, INCOMPATIBLE};
use super::refcounts::Refcounts;
use crate::bytes::{be16, be32, be64};
use crate::check::{Damage, Report};
use crate::pages::whole;
use crate::{Format, ImageError, Store};
use std::io;
use std::sync::Arc;

/// So many clusters are counted at a time, which bounds what a check takes whatever the file's length is.
const AT_A_TIME: u64 = 4 << 20;

/// More than these are walked as far as the clusters go.
const MOST_SNAPSHOTS: u32 = 256;

/// References to clusters of a window of the file.
struct Counts {
    first: u64,
    counts: Vec<u32>,
}

impl Counts {
    fn add(&mut self, first: u64, count: u64) {
        let from = first.max(self.first);
        let to = first.saturating_add(count).min(self.first + self.counts.len() as u64);
        for cluster in from..to {
            let count = &mut self.counts[(cluster - self.first) as usize];
            *count = count.saturating_add(1);
        }
    }
}

struct Walk<'a> {
    store: &'a dyn Store,
    header: &'a Header,
    length: u64,
    report: &'a mut Report,
    /// Damage is told once, however often tables are walked.
    tell: bool,
    /// So many L2 tables more can be real: each is a cluster, in the disk itself and in each snapshot.
    tables: u64,
}

impl Walk<'_> {
    fn complain(&mut self, what: String) {
        if self.tell {
            self.report.damage(Damage::Broken, what);
        }
    }

    fn table(&mut self, offset: u64, entries: u64, what: &str) -> io::Result<Option<Vec<u64>>> {
        if offset == 0
            || !offset.is_multiple_of(self.header.cluster())
            || !whole(self.length, offset, entries * 8)
        {
            self.complain(format!("{what} would be at {offset:#x}"));
            return Ok(None);
        }
        let mut bytes = vec![0; entries as usize * 8];
        self.store.read_at(offset, &mut bytes)?;
        Ok(Some(bytes.chunks_exact(8).map(|entry| be64(entry, 0)).collect()))
    }

    /// All that refers to clusters.
    fn walk(&mut self, counts: &mut Counts) -> io::Result<()> {
        let cluster = self.header.cluster();
        counts.add(0, 1);
        let table = u64::from(self.header.reftable_clusters);
        counts.add(self.header.reftable_offset / cluster, table);
        let entries = table * cluster / 8;
        for block in self.table(self.header.reftable_offset, entries, "the refcounts")?.into_iter().flatten()
        {
            if block != 0 {
                if block.is_multiple_of(cluster) && whole(self.length, block, cluster) {
                    counts.add(block / cluster, 1);
                } else {
                    self.complain(format!("a block of refcounts would be at {block:#x}"));
                }
            }
        }
        self.walk_l1(self.header.l1_offset, u64::from(self.header.l1_entries), counts, true)?;
        self.walk_snapshots(counts)
    }

    fn walk_l1(&mut self, offset: u64, entries: u64, counts: &mut Counts, active: bool) -> io::Result<()> {
        let cluster = self.header.cluster();
        if entries == 0 {
            return Ok(());
        }
        if entries * 8 > super::header::MOST_L1 {
            self.complain(format!("an L1 table has {entries} entries"));
            return Ok(());
        }
        counts.add(offset / cluster, (entries * 8).div_ceil(cluster));
        for word in self.table(offset, entries, "an L1 table")?.into_iter().flatten() {
            if word & OFFSET != 0 {
                self.walk_l2(word & OFFSET, counts, active)?;
            }
        }
        Ok(())
    }

    fn walk_l2(&mut self, offset: u64, counts: &mut Counts, active: bool) -> io::Result<()> {
        let cluster = self.header.cluster();
        let Some(left) = self.tables.checked_sub(1) else {
            self.complain("it has more L2 tables than clusters".into());
            return Ok(());
        };
        self.tables = left;
        counts.add(offset / cluster, 1);
        let Some(words) = self.table(offset, cluster / 8, "an L2 table")? else { return Ok(()) };
        for word in words.chunks_exact(self.header.l2_entry() as usize / 8) {
            let entry = Entry { word: word[0], bitmap: word.get(1).copied().unwrap_or(0) };
            self.walk_entry(&entry, counts)?;
            if active && self.tell && entry.word != 0 {
                self.report.allocated += cluster;
            }
        }
        Ok(())
    }

    fn walk_entry(&mut self, entry: &Entry, counts: &mut Counts) -> io::Result<()> {
        let cluster = self.header.cluster();
        if entry.word & COMPRESSED != 0 {
            let (offset, len) = compressed_range(entry.word, self.header.cluster_bits);
            if offset >= self.length {
                self.complain(format!("a compressed cluster would be at {offset:#x}"));
                return Ok(());
            }
            let (first, last) = (offset / cluster, (offset + len - 1) / cluster);
            counts.add(first, last - first + 1);
            return Ok(());
        }
        match entry.word & OFFSET {
            0 => (),
            place if !place.is_multiple_of(cluster) => {
                self.complain(format!("a cluster would be at {place:#x}"));
            }
            place if place >= self.length => {
                self.complain(format!("a cluster would be at {place:#x}, behind the file's end"));
            }
            place => counts.add(place / cluster, 1),
        }
        Ok(())
    }

    /// Snapshots of other programs (qcow2 specification, "Snapshots").
    fn walk_snapshots(&mut self, counts: &mut Counts) -> io::Result<()> {
        let (mut at, start) = (self.header.snapshots_offset, self.header.snapshots_offset);
        for _ in 0..self.header.snapshots {
            let mut head = [0; 40];
            if !whole(self.length, at, 40) {
                self.complain("a snapshot would be behind the file's end".into());
                return Ok(());
            }
            self.store.read_at(at, &mut head)?;
            self.walk_l1(be64(&head, 0), u64::from(be32(&head, 8)), counts, false)?;
            let names = u64::from(be16(&head, 12)) + u64::from(be16(&head, 14));
            at = (at + 40 + u64::from(be32(&head, 36)) + names).next_multiple_of(8);
        }
        let cluster = self.header.cluster();
        counts.add(start / cluster, (at - start).div_ceil(cluster));
        Ok(())
    }
}

/// Looks at an image that nobody writes to. `repair`: refcounts are made right.
pub fn check(store: &Arc<dyn Store>, repair: bool) -> Result<Report, ImageError> {
    let mut report = Report::new(Format::Qcow2);
    run(store, repair, &mut report)?;
    Ok(report)
}

/// Refcounts are made right, silently.
pub(super) fn repair(store: &Arc<dyn Store>) -> Result<(), ImageError> {
    let mut report = Report::new(Format::Qcow2);
    run(store, true, &mut report)?;
    match report.broken() {
        None => Ok(()),
        Some(what) => Err(ImageError::damaged(Format::Qcow2, what)),
    }
}

fn run(store: &Arc<dyn Store>, repair: bool, report: &mut Report) -> Result<(), ImageError> {
    let header = Header::read(store.as_ref())?;
    let length = store.size()?;
    let clusters = length.div_ceil(header.cluster());
    let mut refcounts = Refcounts::open(store.clone(), &header)?;
    let tables = clusters.saturating_mul(1 + u64::from(header.snapshots.min(MOST_SNAPSHOTS)));
    let mut first = 0;
    while first < clusters {
        let count = (clusters - first).min(AT_A_TIME);
        let mut counts = Counts { first, counts: vec![0; count as usize] };
        let mut walk =
            Walk { store: store.as_ref(), header: &header, length, report, tell: first == 0, tables };
        walk.walk(&mut counts)?;
        if report.broken().is_some() && repair {
            return Ok(());
        }
        compare(&counts, &mut refcounts, repair, report)?;
        first += count;
    }
    if header.incompatible & DIRTY != 0 {
        report.damage(Damage::Counts, "it was not closed, and its refcounts may be old".into());
    }
    if repair && report.broken().is_none() {
        refcounts.pages.write_back()?;
        store.flush()?;
        let incompatible = header.incompatible & !(DIRTY | CORRUPT);
        if header.version >= 3 && incompatible != header.incompatible {
            store.write_at(INCOMPATIBLE as u64, &incompatible.to_be_bytes())?;
        }
        copied_flags(store, &header, &mut refcounts)?;
        store.flush()?;
        report.repaired();
    }
    Ok(())
}

fn compare(counts: &Counts, refcounts: &mut Refcounts, repair: bool, report: &mut Report) -> io::Result<()> {
    for (index, &found) in counts.counts.iter().enumerate() {
        let cluster = counts.first + index as u64;
        let said = refcounts.count(cluster)?;
        let found = u64::from(found);
        if said == found {
            continue;
        }
        if said > found {
            report.damage(Damage::Leak, format!("cluster {cluster} is kept for {said} and used by {found}"));
        } else {
            report.damage(
                Damage::Counts,
                format!("cluster {cluster} is used by {found} and counted for {said}"),
            );
        }
        if repair {
            refcounts.set(cluster, found)?;
            if refcounts.pages.is_crowded() {
                refcounts.pages.write_back()?;
            }
        }
    }
    Ok(())
}

/// An entry says that a cluster is its own if, and only if, one refers to it.
fn copied_flags(store: &Arc<dyn Store>, header: &Header, refcounts: &mut Refcounts) -> io::Result<()> {
    let cluster = header.cluster();
    let mut bytes = vec![0; header.l1_entries as usize * 8];
    store.read_at(header.l1_offset, &mut bytes)?;
    let tables = store.size()?.div_ceil(cluster) as usize;
    let words = bytes.chunks_exact(8).map(|entry| be64(entry, 0)).enumerate();
    for (index, word) in words.filter(|(_, word)| word & OFFSET != 0).take(tables) {
        let table = word & OFFSET;
        if table == 0 || !table.is_multiple_of(cluster) || !whole(store.size()?, table, cluster) {
            continue;
        }
        set_flag(store, header.l1_offset + index as u64 * 8, word, refcounts.count(table / cluster)?)?;
        let mut entries = vec![0; cluster as usize];
        store.read_at(table, &mut entries)?;
        for (index, entry) in entries.chunks_exact(header.l2_entry() as usize).enumerate() {
            let word = be64(entry, 0);
            if word & COMPRESSED == 0 && word & OFFSET != 0 {
                let count = refcounts.count((word & OFFSET) / cluster)?;
                set_flag(store, table + index as u64 * header.l2_entry(), word, count)?;
            }
        }
    }
    Ok(())
}

fn set_flag(store: &Arc<dyn Store>, at: u64, word: u64, count: u64) -> io::Result<()> {
    let right = if count == 1 { word | COPIED } else { word & !COPIED };
    if right == word { Ok(()) } else { store.write_at(at, &right.to_be_bytes()) }
}
