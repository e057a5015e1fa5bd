//! What a device is to the machine.

use crate::{ErrorHandling, SavedState, Throttle};
use std::sync::Arc;

/// A device with registers in some regions of the bus. The machine decides where the regions lie; a device sees the
/// region's index (in the order of [`Device::regions`]) and the offset in it.
pub trait Device: Send {
    fn name(&self) -> &'static str;
    /// Region sizes in bytes, and the space they are in.
    fn regions(&self) -> Vec<(crate::Space, u64)>;
    /// `data.len()` is 1, 2, 4 or 8. Fill all of it; what the device does not have reads as all ones or zeros as the
    /// part's data sheet says.
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]);
    fn write(&mut self, region: usize, offset: u64, data: &[u8]);
    fn reset(&mut self);
    /// What is to be saved of it; `None`: nothing that a guest could tell.
    fn saved(&mut self) -> Option<&mut dyn SavedState>;
}

/// A block store of whole 512-byte sectors.
pub trait Disk: Send {
    /// Size in bytes, a multiple of 512.
    fn size(&self) -> u64;
    fn read_only(&self) -> bool;
    /// What bounds its use.
    fn throttle(&self) -> Arc<Throttle> {
        Arc::default()
    }
    /// What is done about its errors.
    fn error_handling(&self) -> Arc<ErrorHandling> {
        Arc::default()
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> std::io::Result<()>;
    /// Reads what needs no waiting for. False: it would need some.
    fn try_read_at(&mut self, offset: u64, data: &mut [u8]) -> bool {
        let _ = (offset, data);
        false
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()>;
    fn flush(&mut self) -> std::io::Result<()>;
    /// Makes a range read as zeros, and gives what it takes back where that is possible.
    fn write_zeroes(&mut self, offset: u64, len: u64) -> std::io::Result<()> {
        self.write_every_zero(offset, len)
    }
    /// The same where nothing better is possible.
    fn write_every_zero(&mut self, offset: u64, len: u64) -> std::io::Result<()> {
        static ZEROS: [u8; 1 << 15] = [0; 1 << 15];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(ZEROS.len() as u64);
            self.write_at(offset + done, &ZEROS[..part as usize])?;
            done += part;
        }
        Ok(())
    }
    /// A range that nobody needs any more: it may read as anything.
    fn discard(&mut self, offset: u64, len: u64) -> std::io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }
}
