//! Which clusters of the file are in use (qcow2 specification, "Host cluster management"), and who gets the next one.

use super::header::{Header, MOST_OFFSET, MOST_REFTABLE, REFERENCES};
use crate::bytes::be64;
use crate::error::damaged;
use crate::{Pages, Store};
use std::io;
use std::sync::Arc;

/// What pages of refcounts take at most. One page of 4 KiB is about 128 MiB of an image with the usual clusters.
const MOST: usize = 2 << 20;

pub struct Refcounts {
    store: Arc<dyn Store>,
    cluster: u64,
    bits: u64,
    block_entries: u64,
    table_offset: u64,
    table: Vec<u64>,
    pub pages: Pages,
    /// Free runs of clusters that may hold old bytes: the first and how many.
    free: Vec<(u64, u64)>,
    /// Up to where free clusters were looked for.
    looked: u64,
    /// The first cluster behind all that the file has.
    end: u64,
    /// Clusters that nothing will refer to once L2 tables are written.
    pub leaving: Vec<(u64, u64)>,
}

/// So many clusters may wait for L2 tables.
const MOST_LEAVING: usize = 1 << 14;

impl Refcounts {
    pub fn open(store: Arc<dyn Store>, header: &Header) -> io::Result<Self> {
        let bytes = u64::from(header.reftable_clusters) * header.cluster();
        let mut table = vec![0; bytes.min(MOST_REFTABLE) as usize];
        store.read_at(header.reftable_offset, &mut table)?;
        let page = header.cluster().min(4096) as usize;
        Ok(Self {
            cluster: header.cluster(),
            bits: header.refcount_bits(),
            block_entries: header.block_entries(),
            table_offset: header.reftable_offset,
            table: table.chunks_exact(8).map(|entry| be64(entry, 0)).collect(),
            pages: Pages::new(store.clone(), page, MOST),
            free: Vec::new(),
            looked: 1,
            end: store.size()?.div_ceil(header.cluster()),
            leaving: Vec::new(),
            store,
        })
    }

    /// The first cluster behind all that the file has.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn is_crowded(&self) -> bool {
        self.pages.is_crowded() || self.leaving.len() >= MOST_LEAVING
    }

    /// Where the block is that is about a cluster.
    fn block(&self, cluster: u64) -> io::Result<Option<u64>> {
        match self.table.get((cluster / self.block_entries) as usize).copied().unwrap_or(0) {
            0 => Ok(None),
            place if place.is_multiple_of(self.cluster) && place < MOST_OFFSET => Ok(Some(place)),
            place => Err(damaged(format_args!("a block of refcounts would be at {place:#x}"))),
        }
    }

    /// A refcount's first byte in its block, and by how much it is shifted there.
    fn place(&self, cluster: u64) -> (u64, u32) {
        let bit = cluster % self.block_entries * self.bits;
        (bit / 8, (bit % 8) as u32)
    }

    pub fn count(&mut self, cluster: u64) -> io::Result<u64> {
        let Some(block) = self.block(cluster)? else { return Ok(0) };
        let (byte, shift) = self.place(cluster);
        Ok(decode(self.pages.from(block + byte)?, self.bits, shift))
    }

    pub fn set(&mut self, cluster: u64, count: u64) -> io::Result<()> {
        let block = self.make_block(cluster)?;
        let (byte, shift) = self.place(cluster);
        encode(self.pages.change(block + byte)?, self.bits, shift, count)
    }

    /// A run of clusters, as long as wanted if that is to be had in one piece; whether they read as zeros.
    pub fn allocate(&mut self, wanted: u64) -> io::Result<Run> {
        self.look_for_free()?;
        if let Some((first, length)) = self.free.pop() {
            let taken = length.min(wanted);
            if taken < length {
                self.free.push((first + taken, length - taken));
            }
            // The table may know better: the run was found free some time ago, and only leaves this list by here.
            (first..first + taken).try_for_each(|cluster| self.set(cluster, 1))?;
            return Ok(Run { first, count: taken, clean: false });
        }
        let (first, count) = (self.end, wanted);
        if first + count > MOST_OFFSET / self.cluster {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.end += count;
        for cluster in first..first + count {
            self.make_block(cluster)?;
        }
        // A block that was put behind the run's first cluster is not in the run: it comes from behind `end`.
        (first..first + count).try_for_each(|cluster| self.set(cluster, 1))?;
        Ok(Run { first, count, clean: true })
    }

    /// Clusters in a row behind all others, for a table.
    pub fn allocate_row(&mut self, count: u64) -> io::Result<u64> {
        let first = self.end;
        self.end += count;
        (first..first + count).try_for_each(|cluster| self.set(cluster, 1))?;
        Ok(first)
    }

    /// Looks at some more of the table, as long as nothing free is known.
    fn look_for_free(&mut self) -> io::Result<()> {
        const AT_A_TIME: u64 = 2048;
        if !self.free.is_empty() || self.looked >= self.end {
            return Ok(());
        }
        let until = (self.looked + AT_A_TIME).min(self.end);
        let mut run: Option<(u64, u64)> = None;
        for cluster in self.looked..until {
            match (self.count(cluster)?, &mut run) {
                (0, Some((_, length))) => *length += 1,
                (0, None) => run = Some((cluster, 1)),
                (_, _) => self.free.extend(run.take()),
            }
        }
        self.free.extend(run);
        self.looked = until;
        Ok(())
    }

    /// The block about a cluster; a new one is in the file, and the table leads to it, before this returns.
    fn make_block(&mut self, cluster: u64) -> io::Result<u64> {
        if let Some(block) = self.block(cluster)? {
            return Ok(block);
        }
        let number = cluster / self.block_entries;
        if number >= self.table.len() as u64 {
            self.grow(number)?;
            if let Some(block) = self.block(cluster)? {
                return Ok(block);
            }
        }
        let place = self.end;
        self.end += 1;
        let mut bytes = vec![0; self.cluster as usize];
        let own = place / self.block_entries == number;
        if own {
            let (byte, shift) = self.place(place);
            encode(&mut bytes[byte as usize..], self.bits, shift, 1)?;
        }
        self.store.write_at(place * self.cluster, &bytes)?;
        self.store.flush()?;
        self.enter(number, place * self.cluster)?;
        if !own {
            self.set(place, 1)?;
        }
        Ok(place * self.cluster)
    }

    fn enter(&mut self, number: u64, block: u64) -> io::Result<()> {
        let entry = self.table.get_mut(number as usize).ok_or_else(|| damaged("no room for refcounts"))?;
        *entry = block;
        self.store.write_at(self.table_offset + number * 8, &block.to_be_bytes())
    }

    /// A larger table behind everything, with the blocks that are about it and what lies between.
    fn grow(&mut self, number: u64) -> io::Result<()> {
        let per_cluster = self.cluster / 8;
        let mut blocks = 1;
        // The new region: blocks, then the table.
        let (first_block, clusters) = loop {
            let last =
                (self.end + blocks + MOST_REFTABLE / self.cluster.max(1)).max(number * self.block_entries);
            let entries = (last / self.block_entries + 1 + self.table.len() as u64 / 2).max(number + 1);
            let clusters = entries.div_ceil(per_cluster);
            if clusters * self.cluster > MOST_REFTABLE {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let first_block = self.end / self.block_entries;
            let needed = (self.end + blocks + clusters - 1) / self.block_entries - first_block + 1;
            if needed <= blocks {
                break (first_block, clusters);
            }
            blocks = needed;
        };
        let start = self.end;
        let mut table = self.table.clone();
        table.resize((clusters * per_cluster) as usize, 0);
        let table_start = start + blocks;
        self.end = table_start + clusters;
        let mut fresh = Vec::new();
        for number in first_block..first_block + blocks {
            let entry = table.get_mut(number as usize).ok_or_else(|| damaged("no room for refcounts"))?;
            if *entry == 0 {
                let place = start + (number - first_block);
                *entry = place * self.cluster;
                fresh.push(number);
            }
        }
        for number in &fresh {
            self.store.write_at(table[*number as usize], &vec![0; self.cluster as usize])?;
        }
        let (old_offset, old) = (self.table_offset, std::mem::replace(&mut self.table, table));
        self.table_offset = table_start * self.cluster;
        let used = fresh.iter().map(|number| start + (number - first_block)).chain(table_start..self.end);
        if let Err(error) = self.move_table(used.collect(), clusters as u32) {
            // The file has the old one.
            self.pages.forget(start * self.cluster..self.end * self.cluster);
            (self.table_offset, self.table) = (old_offset, old);
            return Err(error);
        }
        self.store.flush()?;
        self.leaving.push((old_offset / self.cluster, (old.len() as u64 * 8).div_ceil(self.cluster)));
        Ok(())
    }

    /// Writes the table to its new place, and that it is there. `used`: the clusters of the new region that are in use.
    fn move_table(&mut self, used: Vec<u64>, clusters: u32) -> io::Result<()> {
        // Blocks that were not needed leave holes in the region, which are found free some day.
        for cluster in used {
            self.set(cluster, 1)?;
        }
        let bytes: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.store.write_at(self.table_offset, &bytes)?;
        self.pages.write_back()?;
        self.store.flush()?;
        let mut fields = self.table_offset.to_be_bytes().to_vec();
        fields.extend(clusters.to_be_bytes());
        self.store.write_at(REFERENCES as u64, &fields)
    }

    /// What somebody got and did not use: nothing has referred to it.
    pub fn give_back(&mut self, run: &Run) -> io::Result<()> {
        for cluster in run.first..run.first + run.count {
            self.set(cluster, 0)?;
            self.free(cluster)?;
        }
        Ok(())
    }

    /// What was given up is free from now on: nothing in the file refers to it.
    pub fn let_go(&mut self) -> io::Result<()> {
        for (first, count) in std::mem::take(&mut self.leaving) {
            for cluster in first..first + count {
                let before = self.count(cluster)?;
                self.set(cluster, before.saturating_sub(1))?;
                if before == 1 {
                    self.free(cluster)?;
                }
            }
        }
        Ok(())
    }

    fn free(&mut self, cluster: u64) -> io::Result<()> {
        self.store.punch(cluster * self.cluster, self.cluster)?;
        // What was not looked at yet is found by looking.
        if cluster < self.looked {
            match self.free.last_mut() {
                Some((first, length)) if *first + *length == cluster => *length += 1,
                _ => self.free.push((cluster, 1)),
            }
        }
        Ok(())
    }
}

/// Clusters that somebody got.
pub struct Run {
    pub first: u64,
    pub count: u64,
    /// They read as zeros.
    pub clean: bool,
}

pub fn decode(bytes: &[u8], bits: u64, shift: u32) -> u64 {
    match bits {
        1 | 2 | 4 => u64::from(bytes.first().copied().unwrap_or(0)) >> shift & ((1 << bits) - 1),
        8.. => bytes.iter().take(bits as usize / 8).fold(0, |value, byte| value << 8 | u64::from(*byte)),
        _ => 0,
    }
}

pub fn encode(bytes: &mut [u8], bits: u64, shift: u32, count: u64) -> io::Result<()> {
    if bits < 64 && count >> bits != 0 {
        return Err(damaged(format_args!("{count} references are more than it can count")));
    }
    match bits {
        1 | 2 | 4 => {
            let mask = ((1u8 << bits) - 1) << shift;
            if let Some(byte) = bytes.first_mut() {
                *byte = *byte & !mask | (count as u8) << shift;
            }
        }
        _ => crate::bytes::put(bytes, 0, &count.to_be_bytes()[8 - bits as usize / 8..]),
    }
    Ok(())
}
