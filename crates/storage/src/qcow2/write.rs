//! Writing: in place where a cluster is this image's own, otherwise to a cluster that is got for it.

use super::entry::{Entry, bits, compressed_range};
use super::{Qcow2, Tables};
use crate::mapped::{Mapped, Mapping, within};
use std::io;

impl Qcow2 {
    /// A run that may be overwritten where it is.
    pub(super) fn own(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        let own = |cluster| Ok(Some(self.entry(tables, cluster)?).filter(Entry::own));
        let Some((len, Mapping::Here(place))) = self.find_by(offset, len, own)? else { return Ok(None) };
        let end = tables.refcounts()?.end() * self.header.cluster();
        Ok(Some((len, within(end, place, len, "cluster")?)))
    }

    /// Writes to clusters what cannot be written in place: how much of it.
    pub(super) fn write_cluster(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        if tables.l2.is_crowded() || tables.refcounts()?.pages.is_crowded() {
            self.write_back(tables)?;
        }
        let cluster = self.header.cluster();
        let entry = self.entry(tables, offset / cluster)?;
        match entry.place(cluster)?.filter(|_| entry.own()) {
            Some(place) => self.write_own(tables, offset, data, entry, place),
            None => self.write_to_new_clusters(tables, offset, data),
        }
    }

    /// To a cluster that has a place which is not all in use: it is zeros, or some subclusters are not here.
    fn write_own(
        &self,
        tables: &mut Tables,
        offset: u64,
        data: &[u8],
        entry: Entry,
        place: u64,
    ) -> io::Result<usize> {
        let (cluster, unit) = (self.header.cluster(), self.unit());
        let start = offset - offset % cluster;
        let len = (data.len() as u64).min(start + cluster - offset);
        let (from, to) = (offset / unit * unit, (offset + len).next_multiple_of(unit));
        let fill = Fill { from, to, skip_zeros: false };
        let bytes = self.filled(tables, offset, &data[..len as usize], &fill)?;
        self.layer.store.write_at(place + (bytes.start - start), bytes.as_ref())?;
        let new = match self.header.extended() {
            true => entry.with(place, bits(((from - start) / unit) as u32, ((to - start) / unit) as u32)),
            false => Entry::whole(place, false),
        };
        self.set_entry(tables, offset / cluster, new)?;
        Ok(len as usize)
    }

    fn write_to_new_clusters(&self, tables: &mut Tables, offset: u64, data: &[u8]) -> io::Result<usize> {
        let (cluster, first) = (self.header.cluster(), offset / self.header.cluster());
        let olds = self.without_place(tables, offset, data.len() as u64)?;
        let run = tables.refcounts()?.allocate(olds.len() as u64)?;
        let (within, place) = (offset % cluster, run.first * cluster);
        let len = (data.len() as u64).min(run.count * cluster - within);
        let olds = &olds[..run.count as usize];
        let written = self.write_run(tables, offset, &data[..len as usize], olds, place, run.clean);
        let range = match written {
            Ok(range) => range,
            Err(error) => {
                tables.refcounts()?.give_back(&run)?;
                return Err(error);
            }
        };
        for (number, old) in olds.iter().enumerate() {
            let at = (first + number as u64) * cluster;
            let place = place + number as u64 * cluster;
            let covered = range.0.max(at)..range.1.min(at + cluster);
            let new = match self.header.extended() && !self.needs_all(old) {
                false => Entry::whole(place, self.header.extended()),
                true => {
                    let unit = self.unit();
                    let end = (covered.end - at).div_ceil(unit) as u32;
                    Entry { word: place, ..*old }.with(place, bits(((covered.start - at) / unit) as u32, end))
                }
            };
            self.set_entry(tables, first + number as u64, new)?;
            self.leave(tables, old)?;
        }
        Ok(len as usize)
    }

    /// The entries of clusters from here on that need a new place, in one L2 table.
    fn without_place(&self, tables: &mut Tables, offset: u64, len: u64) -> io::Result<Vec<Entry>> {
        let (cluster, entries) = (self.header.cluster(), self.header.l2_entries());
        let first = offset / cluster;
        let last = (offset + len).div_ceil(cluster).min((first / entries + 1) * entries);
        let mut olds = Vec::new();
        for number in first..last {
            match self.entry(tables, number)? {
                entry if entry.own() => break,
                entry => olds.push(entry),
            }
        }
        Ok(olds)
    }

    /// Whether all of a cluster moves when a part of it is written.
    fn needs_all(&self, old: &Entry) -> bool {
        old.compressed() || old.word & super::OFFSET != 0 || !self.header.extended()
    }

    /// Writes data to new clusters, with what was around it: the range that is in them now.
    fn write_run(
        &self,
        tables: &mut Tables,
        offset: u64,
        data: &[u8],
        olds: &[Entry],
        place: u64,
        clean: bool,
    ) -> io::Result<(u64, u64)> {
        let (cluster, unit) = (self.header.cluster(), self.unit());
        let (start, end) = (offset - offset % cluster, offset + data.len() as u64);
        let whole =
            |old: Option<&Entry>| if old.is_none_or(|old| self.needs_all(old)) { cluster } else { unit };
        let (head, tail) = (whole(olds.first()), whole(olds.last()));
        let (from, to) = (offset / head * head, end.next_multiple_of(tail));
        let bytes = self.filled(tables, offset, data, &Fill { from, to, skip_zeros: clean })?;
        self.layer.store.write_at(place + (bytes.start - start), bytes.as_ref())?;
        Ok((from, to))
    }

    /// Data with what is around it up to the ends of a range, as far as that is not zeros anyway.
    fn filled<'a>(
        &self,
        tables: &mut Tables,
        offset: u64,
        data: &'a [u8],
        fill: &Fill,
    ) -> io::Result<Filled<'a>> {
        let end = offset + data.len() as u64;
        let from = if self.is_needed(tables, fill.from, offset, fill)? { fill.from } else { offset };
        let to = if self.is_needed(tables, end, fill.to, fill)? { fill.to } else { end };
        if (from, to) == (offset, end) {
            return Ok(Filled { start: offset, bytes: std::borrow::Cow::Borrowed(data) });
        }
        let mut bytes = vec![0; (to - from) as usize];
        let (head, rest) = bytes.split_at_mut((offset - from) as usize);
        self.read_within(tables, from, head)?;
        let (middle, tail) = rest.split_at_mut(data.len());
        middle.copy_from_slice(data);
        self.read_within(tables, end, tail)?;
        Ok(Filled { start: from, bytes: std::borrow::Cow::Owned(bytes) })
    }

    fn is_needed(&self, tables: &mut Tables, from: u64, to: u64, fill: &Fill) -> io::Result<bool> {
        if from >= to {
            return Ok(false);
        }
        if !fill.skip_zeros {
            return Ok(true);
        }
        let (len, place) = self.run(tables, from, to - from)?;
        Ok(!(self.layer.is_zeros(place) && len == to - from))
    }

    /// The last cluster may go on behind the disk's end.
    fn read_within(&self, tables: &mut Tables, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let there = self.header.size.saturating_sub(offset).min(data.len() as u64) as usize;
        self.read_held(tables, offset, &mut data[..there])
    }

    /// What an entry referred to is referred to once less.
    pub(super) fn leave(&self, tables: &mut Tables, old: &Entry) -> io::Result<()> {
        let cluster = self.header.cluster();
        let leaving = if old.compressed() {
            let (offset, len) = compressed_range(old.word, self.header.cluster_bits);
            let (first, last) = (offset / cluster, (offset + len - 1) / cluster);
            Some((first, last - first + 1))
        } else {
            old.place(cluster)?.map(|place| (place / cluster, 1))
        };
        if old.compressed() {
            tables.unpacked = None;
        }
        tables.refcounts()?.leaving.extend(leaving);
        Ok(())
    }
}

/// Up to where what is around the data is wanted.
struct Fill {
    from: u64,
    to: u64,
    /// Zeros are there already.
    skip_zeros: bool,
}

struct Filled<'a> {
    start: u64,
    bytes: std::borrow::Cow<'a, [u8]>,
}

impl AsRef<[u8]> for Filled<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
