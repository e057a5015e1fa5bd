//! Compressed clusters: read, never written in place.

use super::entry::compressed_range;
use super::header::Compression;
use super::{Qcow2, Tables};
use crate::error::damaged;
use crate::store::read_padded;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, Read};

impl Qcow2 {
    /// Bytes of the disk from a compressed cluster.
    pub(super) fn unpack_part(
        &self,
        tables: &mut Tables,
        word: u64,
        offset: u64,
        data: &mut [u8],
    ) -> io::Result<()> {
        let within = (offset % self.header.cluster()) as usize;
        let bytes = match tables.unpacked.take() {
            Some((known, bytes)) if known == word => bytes,
            _ => self.unpacked(word)?,
        };
        let part = bytes.get(within..within + data.len()).ok_or_else(crate::error::beyond)?;
        data.copy_from_slice(part);
        tables.unpacked = Some((word, bytes));
        Ok(())
    }

    fn unpacked(&self, word: u64) -> io::Result<Vec<u8>> {
        let (offset, len) = compressed_range(word, self.header.cluster_bits);
        if offset >= self.layer.store.size()? {
            return Err(damaged(format_args!("a compressed cluster would be at {offset:#x}")));
        }
        let mut packed = vec![0; len as usize];
        read_padded(self.layer.store.as_ref(), offset, &mut packed)?;
        let mut bytes = vec![0; self.header.cluster() as usize];
        match self.header.compression {
            Compression::Deflate => inflate(&packed, &mut bytes),
            Compression::Zstd => unzstd(&packed, &mut bytes),
        }
        .map_err(|why| damaged(format_args!("the compressed cluster at {offset:#x}: {why}")))?;
        Ok(bytes)
    }
}

/// Without a header. The packed bytes end somewhere in their last sector.
fn inflate(packed: &[u8], bytes: &mut [u8]) -> Result<(), String> {
    let mut inflater = Decompress::new(false);
    let (mut from, mut to) = (0, 0);
    while to < bytes.len() {
        let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
        let status = inflater
            .decompress(&packed[from..], &mut bytes[to..], FlushDecompress::None)
            .map_err(|error| error.to_string())?;
        from += (inflater.total_in() - before_in) as usize;
        to += (inflater.total_out() - before_out) as usize;
        let stuck = inflater.total_in() == before_in && inflater.total_out() == before_out;
        if to < bytes.len() && (stuck || status == Status::StreamEnd) {
            return Err(format!("it has {to} bytes"));
        }
    }
    Ok(())
}

fn unzstd(packed: &[u8], bytes: &mut [u8]) -> Result<(), String> {
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|error| error.to_string())?;
    decoder.read_exact(bytes).map_err(|error| error.to_string())
}
