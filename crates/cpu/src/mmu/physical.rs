//! System-physical memory as the processor reaches it.

// UNSAFETY: guest memory is a host mapping that devices write at any time; it is reached through raw pointers, as
// hardware does, never through references.
#![allow(unsafe_code)]

use crate::mmu::walk::Tables;
use crate::single_copy;
use ireko_vmcore::Memory;
use ireko_vmcore::memory::{PAGE, Region};
use ireko_x86::smram::{ASEG_VALID, TSEG_VALID};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Guest memory with its regions at hand.
#[derive(Clone)]
pub struct Physical {
    memory: Arc<Memory>,
    regions: Vec<Region>,
    /// What is not there at present: see [`Physical::close`].
    closed: Closed,
    /// In system-management mode nothing is hidden.
    managing: bool,
}

/// Memory that is there in system-management mode only, as SMM_MASK and SMM_ADDR have it (APM vol. 2, 10.2.5).
#[derive(Clone, Copy, Default)]
struct Closed {
    valid: u64,
    address: u64,
    mask: u64,
}

impl Closed {
    fn has(self, address: u64) -> bool {
        let video = self.valid & ASEG_VALID != 0 && (0xa_0000..0xc_0000).contains(&address);
        video || self.valid & TSEG_VALID != 0 && (address ^ self.address) & self.mask == 0
    }
}

impl Physical {
    pub fn new(memory: Arc<Memory>) -> Self {
        Self { regions: memory.regions().to_vec(), memory, closed: Closed::default(), managing: false }
    }

    /// Closes memory, by the valid bits, the address and the mask of SMM_MASK and SMM_ADDR; all else is open.
    pub fn close(&mut self, valid: u64, address: u64, mask: u64) {
        self.closed = Closed { valid, address, mask };
    }

    /// Whether what the chipset hides is there: in system-management mode.
    pub fn manage(&mut self, on: bool) {
        self.managing = on;
    }

    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Host address of a byte of memory; valid to the end of its page. `None` where there is no memory.
    #[inline]
    pub fn host(&self, address: u64) -> Option<*mut u8> {
        if self.ordinary(address) {
            return self.host_at(address);
        }
        if self.hides(address) { None } else { self.host_of(address) }
    }

    /// Whether neither the chipset nor SMM_MASK has a say in an address.
    #[inline]
    fn ordinary(&self, address: u64) -> bool {
        self.closed.valid == 0 && self.memory.attributes().ordinary(address)
    }

    /// The same for reading: shadow RAM that cannot be read gives what is behind it.
    #[inline]
    fn host_of(&self, address: u64) -> Option<*mut u8> {
        let attributes = self.memory.attributes();
        if attributes.unread(address) {
            self.host_at(attributes.behind(address)?)
        } else {
            self.host_at(address)
        }
    }

    #[inline]
    fn host_at(&self, address: u64) -> Option<*mut u8> {
        let offset = |region: &Region| address.wrapping_sub(region.guest);
        match self.regions.iter().find(|region| offset(region) < region.size) {
            Some(region) if !region.later => Some(region.host.wrapping_add(offset(region) as usize)),
            region => self.host_of_what_moves(region, address),
        }
    }

    /// Whether an address is of memory that is there in system-management mode only, and this is not that, or the chipset shows the mode
    /// something else there, too.
    #[inline]
    pub fn hides(&self, address: u64) -> bool {
        self.hides_from(address, false)
    }

    /// The same for fetches of code.
    #[inline]
    pub fn hides_code(&self, address: u64) -> bool {
        self.hides_from(address, true)
    }

    #[inline]
    fn hides_from(&self, address: u64, code: bool) -> bool {
        let attributes = self.memory.attributes();
        let hidden = if self.managing { attributes.closes(address, code) } else { attributes.hides(address) };
        hidden || self.closed.valid != 0 && self.closed.has(address)
    }

    /// Whether an address is of memory that is there because this is system-management mode: nothing else is there then.
    pub fn manages(&self, address: u64) -> bool {
        self.managing && self.memory.attributes().hides(address) && !self.hides(address)
    }

    /// Whether a device at an address is written from here.
    pub fn reaches_device(&self, address: u64) -> bool {
        self.managing || !self.memory.attributes().guards(address)
    }

    /// As [`Physical::host`], of what can be written, too.
    pub fn host_to_write(&self, address: u64) -> Option<*mut u8> {
        if self.ordinary(address) {
            return self.host_at(address);
        }
        let there = !self.hides(address) && self.memory.attributes().writable(address);
        if there { self.host_at(address) } else { None }
    }

    /// Whether the chipset lets what is read there be written.
    #[inline]
    pub fn writable(&self, address: u64) -> bool {
        let attributes = self.memory.attributes();
        attributes.ordinary(address) || attributes.writable(address) && !attributes.unread(address)
    }

    /// The same of memory that was added later, and of a device's.
    #[cold]
    fn host_of_what_moves(&self, region: Option<&Region>, address: u64) -> Option<*mut u8> {
        let Some(region) = region else { return self.memory.aperture()?.host(address) };
        let there = self.memory.plugged(address);
        there.then(|| region.host.wrapping_add((address - region.guest) as usize))
    }

    /// Whether all of a range is memory, in one run, and like any other.
    pub fn is_memory(&self, address: u64, size: u64) -> bool {
        if !self.memory.attributes().plain(address, size) {
            return false;
        }
        let within = |r: &Region| address >= r.guest && address - r.guest <= r.size.saturating_sub(size);
        let Some(region) = self.regions.iter().find(|r| r.size >= size && within(r)) else {
            return self.memory.aperture().is_some_and(|aperture| aperture.holds(address, size));
        };
        let plugged = || self.memory.blocks().and_then(|blocks| blocks.all(address, size)) == Some(true);
        !region.later || plugged()
    }

    /// Physical address of a byte of memory that `host` points at.
    pub fn guest(&self, host: *const u8) -> Option<u64> {
        let offset = |r: &&Region| (host as u64).wrapping_sub(r.host as u64);
        match self.regions.iter().find(|r| offset(r) < r.size) {
            Some(region) => Some(region.guest + offset(&region)),
            None => self.memory.aperture()?.guest(host),
        }
    }

    /// Whether there still is memory at a host address that [`Physical::host`] gave.
    pub fn holds(&self, host: *const u8) -> bool {
        self.guest(host).is_some_and(|address| self.memory.is_there(address))
    }

    /// Reads within one page; `false` where there is no memory.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        !self.hides(address) && self.read_what_is_shown(address, data)
    }

    /// As [`Physical::read`], of code.
    pub fn read_code(&self, address: u64, data: &mut [u8]) -> bool {
        !self.hides_code(address) && self.read_what_is_shown(address, data)
    }

    fn read_what_is_shown(&self, address: u64, data: &mut [u8]) -> bool {
        debug_assert!(address % PAGE + data.len() as u64 <= PAGE);
        let Some(host) = self.host_of(address) else { return false };
        // SAFETY: `host` is valid to the end of the page, and the access stays within it.
        unsafe { single_copy::operand(host, data.as_mut_ptr(), data.len()) };
        true
    }

    /// Writes within one page; `false` where there is no memory that can be written.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        debug_assert!(address % PAGE + data.len() as u64 <= PAGE);
        let Some(host) = self.host_to_write(address) else { return false };
        // SAFETY: as in `read_what_is_shown`.
        unsafe { single_copy::operand(data.as_ptr(), host, data.len()) };
        true
    }
}

impl Tables for Physical {
    #[inline]
    fn read(&self, address: u64, size: usize) -> Option<u64> {
        let host = self.host(address)?;
        // SAFETY: entries are naturally aligned, so they lie in one page; other threads may write them: atomics.
        Some(unsafe {
            if size == 4 {
                (*host.cast::<AtomicU32>()).load(Ordering::Relaxed).into()
            } else {
                (*host.cast::<AtomicU64>()).load(Ordering::Relaxed)
            }
        })
    }

    fn set_bits(&self, address: u64, size: usize, old: u64, bits: u64) -> bool {
        let Some(host) = self.host_to_write(address) else { return false };
        let order = Ordering::AcqRel;
        // SAFETY: as in `read_what_is_shown`.
        unsafe {
            if size == 4 {
                let entry = &*host.cast::<AtomicU32>();
                entry.compare_exchange(old as u32, (old | bits) as u32, order, Ordering::Relaxed).is_ok()
            } else {
                let entry = &*host.cast::<AtomicU64>();
                entry.compare_exchange(old, old | bits, order, Ordering::Relaxed).is_ok()
            }
        }
    }
}
