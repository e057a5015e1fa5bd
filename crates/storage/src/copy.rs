//! All of a disk to another, and layers into those behind them.

use crate::{Content, Image};
use std::io;

/// What moves at a time.
const PIECE: u64 = 1 << 20;

/// Copies a disk to an empty one that is not smaller, without what reads as zeros. `layered`: something is behind `from`.
/// `progress` hears how many bytes are done.
pub fn copy(
    from: &dyn Image,
    to: &dyn Image,
    layered: bool,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE as usize];
    let mut done = 0;
    while done < from.size() {
        let extent = from.extent(done, from.size() - done)?;
        let nothing = match extent.content {
            Content::Zeros => true,
            Content::Behind => !layered,
            Content::Data => false,
        };
        // A piece that ends where others do: blocks are written once.
        let len = if nothing { extent.len } else { (PIECE - done % PIECE).min(from.size() - done) };
        if !nothing {
            let piece = &mut piece[..len as usize];
            from.read_at(done, piece)?;
            if piece.iter().any(|byte| *byte != 0) {
                to.write_at(done, piece)?;
            }
        }
        done += len;
        progress(done);
    }
    to.rest()
}

/// Writes what a layer has itself into the image behind it, which is not smaller.
pub fn merge(layer: &dyn Image, into: &dyn Image, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut piece = vec![0; PIECE as usize];
    let mut done = 0;
    while done < layer.size() {
        let extent = layer.extent(done, layer.size() - done)?;
        let len = match extent.content {
            Content::Behind => extent.len,
            Content::Zeros => {
                let len = extent.len.min(64 * PIECE);
                into.write_zeroes(done, len)?;
                len
            }
            Content::Data => {
                let piece = &mut piece[..extent.len.min(PIECE) as usize];
                layer.read_at(done, piece)?;
                into.write_at(done, piece)?;
                piece.len() as u64
            }
        };
        done += len;
        progress(done);
    }
    into.rest()
}

/// Gives back what an image keeps for zeros.
pub fn compact(image: &dyn Image, block: u64, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    let block = block.clamp(4096, 1 << 28);
    let mut piece = vec![0; PIECE.min(block) as usize];
    let mut done = 0;
    while done < image.size() {
        let extent = image.extent(done, image.size() - done)?;
        let len = (block - done % block).min(image.size() - done);
        if extent.content == Content::Data && is_zero(image, done, len, &mut piece)? {
            image.write_zeroes(done, len)?;
        }
        done += if extent.content == Content::Data { len } else { extent.len };
        progress(done);
    }
    image.rest()
}

fn is_zero(image: &dyn Image, offset: u64, len: u64, piece: &mut [u8]) -> io::Result<bool> {
    let mut done = 0;
    while done < len {
        let part = (len - done).min(piece.len() as u64) as usize;
        image.read_at(offset + done, &mut piece[..part])?;
        if piece[..part].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        done += part as u64;
    }
    Ok(true)
}
