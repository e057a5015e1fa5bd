//! Guest memory as devices reach it, through `vm-memory`.

// UNSAFETY: makes slices of guest memory from host addresses.
#![allow(unsafe_code)]

use super::aperture::Aperture;
use super::attributes::Attributes;
use super::blocks::{Blocks, Pin};
use super::watch::Watch;
use super::{PAGE, Region, mapping::Mapping};
use std::iter::FusedIterator;
use std::sync::Arc;
use vm_memory::bitmap::{BS, Bitmap, WithBitmapSlice};
use vm_memory::guest_memory::{Error, GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice};

/// What `vm-memory` calls guest memory. What was not plugged is not there for a device, either; and while a device holds
/// a slice of a block, that block cannot go.
#[derive(Debug)]
pub struct GuestRam {
    pub(super) regions: Vec<Region>,
    pub(super) blocks: Option<Arc<Blocks>>,
    pub(super) watch: Arc<Watch>,
    /// One for each region.
    pub(super) mappings: Vec<Mapping>,
    pub(super) aperture: Option<Arc<Aperture>>,
    pub(super) attributes: Attributes,
}

impl GuestRam {
    pub(super) fn region(&self, address: u64) -> Option<(usize, &Region)> {
        self.regions.iter().enumerate().find(|(_, r)| address.wrapping_sub(r.guest) < r.size)
    }

    /// The memory from `address` on that is in one piece for the host: at most `size` bytes, as far as they are for devices.
    fn slice(&self, address: u64, size: usize, write: bool) -> Option<VolatileSlice<'_, WatchBitmap>> {
        let Some((_, region)) = self.region(address) else { return self.aperture_slice(address, size) };
        let size = self.attributes.reach(address, size as u64, write)? as usize;
        let (mut room, mut pin) = (region.guest + region.size - address, None);
        if region.later {
            let (pinned, there) = Pin::new(self.blocks.as_ref()?, address, room.min(size as u64))?;
            (room, pin) = (there, Some(Arc::new(pinned)));
        }
        let host = region.host.wrapping_add((address - region.guest) as usize);
        let bitmap = WatchBitmap { watch: self.watch.clone(), address, pin };
        let size = room.min(size as u64) as usize;
        // SAFETY: the range lies in our mapping, which lives as long as `self`; it is open, as blocks that are pinned are
        // there. All access to it is volatile or atomic.
        Some(unsafe { VolatileSlice::with_bitmap(host, size, bitmap, None) })
    }

    /// A whole page, whatever the chipset makes of it: for who saves or restores a machine that rests.
    pub(super) fn page(&self, address: u64) -> Option<VolatileSlice<'_, WatchBitmap>> {
        let (_, region) = self.region(address).filter(|_| address.is_multiple_of(PAGE))?;
        let pin = match region.later {
            true => Some(Arc::new(Pin::new(self.blocks.as_ref()?, address, PAGE)?.0)),
            false => None,
        };
        let host = region.host.wrapping_add((address - region.guest) as usize);
        let bitmap = WatchBitmap { watch: self.watch.clone(), address, pin };
        // SAFETY: regions are whole pages, so this one lies in our mapping, which lives as long as `self`; it is open, as blocks that
        // are pinned are there. All access to it is volatile.
        Some(unsafe { VolatileSlice::with_bitmap(host, PAGE as usize, bitmap, None) })
    }

    fn aperture_slice(&self, address: u64, size: usize) -> Option<VolatileSlice<'_, WatchBitmap>> {
        let (host, size) = self.aperture.as_ref()?.run(address, size)?;
        let bitmap = WatchBitmap { watch: self.watch.clone(), address, pin: None };
        // SAFETY: the range lies in the aperture's mapping, which is open and lives as long as `self`, wherever the guest has it.
        Some(unsafe { VolatileSlice::with_bitmap(host, size, bitmap, None) })
    }
}

impl GuestMemory for GuestRam {
    type PhysicalMemory = GuestMemoryMmap<()>;
    type Bitmap = WatchBitmap;

    fn check_range(&self, address: GuestAddress, count: usize, access: Permissions) -> bool {
        Slices { ram: self, address: address.0, left: count, write: access.has_write() }
            .all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        address: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, WatchBitmap>>> {
        Ok(Slices { ram: self, address: address.0, left: count, write: access.has_write() })
    }
}

/// The pieces of a range, one after the other.
struct Slices<'a> {
    ram: &'a GuestRam,
    address: u64,
    left: usize,
    write: bool,
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a, WatchBitmap>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let Some(slice) = self.ram.slice(self.address, self.left, self.write) else {
            self.left = 0;
            return Some(Err(Error::InvalidGuestAddress(GuestAddress(self.address))));
        };
        self.left -= slice.len();
        self.address += slice.len() as u64;
        Some(Ok(slice))
    }
}

impl FusedIterator for Slices<'_> {}
impl<'a> GuestMemorySliceIterator<'a, WatchBitmap> for Slices<'a> {}

/// The hook in `vm-memory` through which device writes become known. Belongs to a slice of memory, and keeps that there.
#[derive(Clone)]
pub struct WatchBitmap {
    watch: Arc<Watch>,
    /// Of the slice's first byte.
    address: u64,
    pin: Option<Arc<Pin>>,
}

impl std::fmt::Debug for WatchBitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pinned = if self.pin.is_some() { ", pinned" } else { "" };
        write!(f, "WatchBitmap({:#x}{pinned})", self.address)
    }
}

impl<'a> WithBitmapSlice<'a> for WatchBitmap {
    type S = Self;
}

impl vm_memory::bitmap::BitmapSlice for WatchBitmap {}

impl Bitmap for WatchBitmap {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.watch.wrote(self.address + offset as u64, len as u64);
    }
    fn dirty_at(&self, _: usize) -> bool {
        false
    }
    fn slice_at(&self, offset: usize) -> Self {
        Self { address: self.address + offset as u64, ..self.clone() }
    }
}
