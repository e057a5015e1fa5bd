//! Raw images, ISO images among them: a file whose content is the disk's.

use crate::image::{self, Content, Extent, Image};
use crate::{Format, ImageError, SECTOR, Store};
use std::io;
use std::sync::Arc;

pub struct Raw {
    store: Arc<dyn Store>,
    size: u64,
    writable: bool,
}

impl Raw {
    pub fn open(store: Arc<dyn Store>, writable: bool) -> Result<Self, ImageError> {
        let size = store.size()?;
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(ImageError::wrong(format!("its size, {size} bytes, is not a multiple of {SECTOR}")));
        }
        Ok(Self { store, size, writable })
    }
}

impl Image for Raw {
    fn format(&self) -> Format {
        Format::Raw
    }
    fn size(&self) -> u64 {
        self.size
    }
    fn writable(&self) -> bool {
        self.writable
    }
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        image::check(self.size, offset, data.len() as u64)?;
        self.store.read_at(offset, data)
    }
    fn try_read_at(&self, offset: u64, data: &mut [u8]) -> bool {
        self.store.try_read_at(offset, data)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        image::check_writable(self, offset, data.len() as u64)?;
        self.store.write_at(offset, data)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        image::check_writable(self, offset, len)?;
        match self.store.punch(offset, len)? {
            true => Ok(()),
            false => image::write_every_zero(self, offset, len),
        }
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        image::check_writable(self, offset, len)?;
        self.store.punch(offset, len).map(drop)
    }
    fn flush(&self) -> io::Result<()> {
        self.store.flush()
    }
    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        image::check(self.size, offset, len)?;
        Ok(match self.store.hole(offset) {
            Some((true, hole)) => Extent { len: hole.clamp(1, len), content: Content::Zeros },
            Some((false, data)) => Extent { len: data.clamp(1, len), content: Content::Data },
            None => Extent { len, content: Content::Data },
        })
    }
}
