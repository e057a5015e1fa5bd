//! The GPU device without 3D (5.7), on a VGA that firmware knows: one screen, and a cursor.
//!
//! Locks: the state's is held for moments only, also by a virtual processor that resets the device; pixels have their own.

mod edid;
mod regs;
mod resource;
pub mod saved;
#[cfg(test)]
mod tests;

use self::edid::PREFERRED;
use self::regs::*;
use self::resource::{Rectangle, Resource, Resources};
use super::regs::TYPE_GPU;
use super::{Broken, Buffers, Registers, VirtioDevice, VirtioPci};
use crate::access::value;
use crate::display::{self, Overlay, Picture};
use crate::service::Permit;
use crate::storage::Segment;
use crate::{MsiSink, lock};
use ireko_vmcore::{Line, Memory, SavedState};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

/// What is shown of which resource.
#[derive(Clone, Copy)]
struct Scanout {
    resource: u32,
    part: Rectangle,
}

/// Pixels of a cursor, and where its top left corner is.
#[derive(Default)]
struct Cursor {
    x: u32,
    y: u32,
    /// Red, green, blue and how much of it covers; without it nothing is shown.
    pixels: Option<Vec<[u8; 4]>>,
}

#[derive(Default)]
struct GpuState {
    resources: Resources,
    scanout: Option<Scanout>,
    cursor: Cursor,
    /// The driver has shown something: the VGA is not looked at any more.
    driven: bool,
}

type Shared = Arc<Mutex<GpuState>>;

/// The device.
struct Gpu {
    state: Shared,
    memory: Arc<Memory>,
}

/// A display that is a VGA until a driver of the GPU shows something; `None` where memory has no aperture.
pub fn gpu(memory: Arc<Memory>, msi: MsiSink, intx: Line) -> Option<display::Parts<VirtioPci>> {
    let state = Shared::default();
    let overlay: Arc<dyn Overlay> = Arc::new(Shown(state.clone()));
    let device = Box::new(Gpu { state, memory: memory.clone() });
    display::display_as(&memory.clone(), Some(overlay), |bars| {
        VirtioPci::beside(Some(Box::new(bars)), device, memory, msi, intx)
    })
}

/// A command's parameters, by their offset behind the header.
struct Command {
    bytes: Vec<u8>,
}

impl Command {
    fn at(&self, offset: usize) -> u32 {
        self.bytes.get(offset..offset + 4).map_or(0, value) as u32
    }
    fn wide(&self, offset: usize) -> u64 {
        self.bytes.get(offset..offset + 8).map_or(0, value)
    }
    fn rectangle(&self) -> Rectangle {
        let [x, y, width, height] = [0, 4, 8, 12].map(|offset| self.at(offset));
        Rectangle { x, y, width, height }
    }
}

/// How many bytes of parameters a command has; of backing, without its entries.
fn parameters(kind: u32) -> Option<usize> {
    Some(match kind {
        GET_DISPLAY_INFO => 0,
        RESOURCE_UNREF | RESOURCE_ATTACH_BACKING | RESOURCE_DETACH_BACKING | GET_EDID => 8,
        RESOURCE_CREATE_2D => 16,
        SET_SCANOUT | RESOURCE_FLUSH => 24,
        TRANSFER_TO_HOST_2D => 32,
        UPDATE_CURSOR | MOVE_CURSOR => 32,
        _ => return None,
    })
}

/// A response's type, and what follows its header. An error is a response as well.
type Answer = Result<(u32, Vec<u8>), u32>;

const DONE: Answer = Ok((OK_NODATA, Vec::new()));

fn done(result: Result<(), u32>) -> Answer {
    result.and(DONE)
}

impl Gpu {
    /// Changes the state for the driver that asked, if it is there still.
    fn change<T>(
        &self,
        permit: Permit<'_>,
        change: impl FnOnce(&mut GpuState) -> Result<T, u32>,
    ) -> Result<T, u32> {
        let mut state = lock(&self.state);
        // A reset that comes after this look clears the state behind us.
        if permit.over() { Err(ERR_UNSPEC) } else { change(&mut state) }
    }

    fn answer(&self, kind: u32, buffers: &mut Buffers<'_>) -> Answer {
        let size = parameters(kind).ok_or(ERR_UNSPEC)?;
        let mut command = Command { bytes: vec![0; size] };
        buffers.reader.read_exact(&mut command.bytes).map_err(|_| ERR_INVALID_PARAMETER)?;
        let (permit, command) = (buffers.permit, &command);
        match kind {
            GET_DISPLAY_INFO => Ok((OK_DISPLAY_INFO, display_info())),
            GET_EDID if command.at(0) != 0 => Err(ERR_INVALID_SCANOUT_ID),
            GET_EDID => Ok((OK_EDID, edid_answer())),
            RESOURCE_CREATE_2D => {
                let [id, format, width, height] = [0, 4, 8, 12].map(|offset| command.at(offset));
                done(self.change(permit, |state| state.resources.create(id, format, width, height)))
            }
            RESOURCE_UNREF => done(self.change(permit, |state| state.remove(command.at(0)))),
            SET_SCANOUT => done(self.change(permit, |state| state.set_scanout(command))),
            RESOURCE_FLUSH => done(self.flush(permit, command)),
            TRANSFER_TO_HOST_2D => done(self.transfer(permit, command)),
            RESOURCE_ATTACH_BACKING => done(self.attach(command, buffers)),
            RESOURCE_DETACH_BACKING => {
                done(self.change(permit, |state| state.resources.back(command.at(0), Vec::new())))
            }
            UPDATE_CURSOR => done(self.update_cursor(permit, command)),
            _ => done(self.change(permit, |state| state.move_cursor(command))),
        }
    }

    /// What was transferred is what is shown: there is nothing left to do.
    fn flush(&self, permit: Permit<'_>, command: &Command) -> Result<(), u32> {
        let resource = self.resource(permit, command.at(16))?;
        let fits = command.rectangle().fits(resource.width, resource.height);
        fits.then_some(()).ok_or(ERR_INVALID_PARAMETER)
    }

    fn transfer(&self, permit: Permit<'_>, command: &Command) -> Result<(), u32> {
        let (rectangle, resource) = (command.rectangle(), self.resource(permit, command.at(24))?);
        if !rectangle.fits(resource.width, resource.height) {
            return Err(ERR_INVALID_PARAMETER);
        }
        let moved = resource.transfer(&self.memory, permit, rectangle, command.wide(16));
        moved.map_err(|_| ERR_INVALID_PARAMETER)
    }

    fn resource(&self, permit: Permit<'_>, id: u32) -> Result<Resource, u32> {
        self.change(permit, |state| state.resources.find(id).cloned())
    }

    /// Entries: address, length, nothing.
    fn attach(&self, command: &Command, buffers: &mut Buffers<'_>) -> Result<(), u32> {
        let (id, count) = (command.at(0), command.at(4) as usize);
        let room = self.change(buffers.permit, |state| state.resources.room(id))?;
        if count > room {
            return Err(ERR_OUT_OF_MEMORY);
        }
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            let mut entry = [0; 16];
            buffers.reader.read_exact(&mut entry).map_err(|_| ERR_INVALID_PARAMETER)?;
            segments.push(Segment { address: value(&entry[..8]), len: value(&entry[8..12]) });
        }
        self.change(buffers.permit, |state| state.resources.back(id, segments))
    }

    fn update_cursor(&self, permit: Permit<'_>, command: &Command) -> Result<(), u32> {
        let id = command.at(16);
        let pixels = match id {
            0 => None,
            _ => Some(cursor_pixels(&self.resource(permit, id)?)?),
        };
        self.change(permit, |state| {
            state.cursor.pixels = pixels;
            state.move_cursor(command)
        })
    }
}

fn cursor_pixels(resource: &Resource) -> Result<Vec<[u8; 4]>, u32> {
    if (resource.width, resource.height) != (CURSOR, CURSOR) {
        return Err(ERR_INVALID_PARAMETER);
    }
    let [red, green, blue] = resource.order;
    // The byte that is no colour.
    let alpha = 6 - red - green - blue;
    let pixels = lock(&resource.pixels);
    Ok(pixels.chunks_exact(PIXEL as usize).map(|p| [p[red], p[green], p[blue], p[alpha]]).collect())
}

/// One screen of the preferred size; of the others none is there.
fn display_info() -> Vec<u8> {
    let mut info = vec![0; SCANOUTS * 24];
    for (at, number) in (8..).step_by(4).zip([PREFERRED.0, PREFERRED.1, 1]) {
        info[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    info
}

fn edid_answer() -> Vec<u8> {
    let mut answer = vec![0; 8 + EDID_ROOM];
    answer[..4].copy_from_slice(&(edid::SIZE_OF as u32).to_le_bytes());
    answer[8..8 + edid::SIZE_OF].copy_from_slice(&edid::block());
    answer
}

impl GpuState {
    fn remove(&mut self, id: u32) -> Result<(), u32> {
        self.scanout = self.scanout.filter(|scanout| scanout.resource != id);
        self.resources.remove(id)
    }

    fn set_scanout(&mut self, command: &Command) -> Result<(), u32> {
        let (part, scanout, id) = (command.rectangle(), command.at(16), command.at(20));
        if scanout != 0 {
            return Err(ERR_INVALID_SCANOUT_ID);
        }
        if id == 0 {
            self.scanout = None;
            return Ok(());
        }
        let resource = self.resources.find(id)?;
        let most = (u32::from(display::regs::MOST_WIDTH), u32::from(display::regs::MOST_HEIGHT));
        if !part.fits(resource.width, resource.height) || part.width > most.0 || part.height > most.1 {
            return Err(ERR_INVALID_PARAMETER);
        }
        self.scanout = Some(Scanout { resource: id, part });
        self.driven = true;
        Ok(())
    }

    fn move_cursor(&mut self, command: &Command) -> Result<(), u32> {
        if command.at(0) != 0 {
            return Err(ERR_INVALID_SCANOUT_ID);
        }
        (self.cursor.x, self.cursor.y) = (command.at(4), command.at(8));
        Ok(())
    }
}

/// What is on the screen.
struct Shown(Shared);

impl Overlay for Shown {
    fn covers(&self) -> bool {
        lock(&self.0).driven
    }

    fn picture(&self) -> Option<Picture> {
        let (resource, part, cursor) = {
            let state = lock(&self.0);
            if !state.driven {
                return None;
            }
            let scanout = state.scanout.and_then(|scanout| {
                Some((state.resources.find(scanout.resource).ok()?.clone(), scanout.part))
            });
            let Some((resource, part)) = scanout else { return Some(Picture::blank()) };
            let cursor = state.cursor.pixels.clone().map(|pixels| (state.cursor.x, state.cursor.y, pixels));
            (resource, part, cursor)
        };
        let mut picture = part_of(&resource, part);
        if let Some((x, y, pixels)) = cursor {
            lay(&mut picture, x, y, &pixels);
        }
        Some(picture)
    }
}

fn part_of(resource: &Resource, part: Rectangle) -> Picture {
    let mut picture = Picture::new(part.width as usize, part.height as usize);
    let (pixels, order, size) = (lock(&resource.pixels), resource.order, PIXEL as usize);
    for line in part.y..part.y + part.height {
        let start = line as usize * resource.pitch() + part.x as usize * size;
        let row = pixels.get(start..start + part.width as usize * size).unwrap_or_default();
        picture.pixels.extend(row.chunks_exact(size).flat_map(|pixel| order.map(|byte| pixel[byte])));
    }
    picture
}

/// Lays a cursor over a picture, as far as it is on it. Its colours are multiplied by how much they cover.
fn lay(picture: &mut Picture, x: u32, y: u32, pixels: &[[u8; 4]]) {
    for (number, &[red, green, blue, alpha]) in (0u32..).zip(pixels) {
        // A corner that is left of the picture, or above it, comes as a negative number.
        let column = x.wrapping_add(number % CURSOR) as usize;
        let line = y.wrapping_add(number / CURSOR) as usize;
        if column >= picture.width || line >= picture.height {
            continue;
        }
        let at = (line * picture.width + column) * 3;
        for (shown, over) in picture.pixels[at..at + 3].iter_mut().zip([red, green, blue]) {
            let under = u16::from(*shown) * u16::from(255 - alpha) / 255;
            *shown = over.saturating_add(under as u8);
        }
    }
}

impl VirtioDevice for Gpu {
    fn name(&self) -> &'static str {
        "virtio-gpu"
    }
    fn kind(&self) -> u16 {
        TYPE_GPU
    }
    /// A VGA, as which firmware uses it.
    fn class(&self) -> u32 {
        display::regs::CLASS
    }
    fn features(&self) -> u64 {
        F_EDID
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[256, 16]
    }
    fn registers(&self) -> Arc<dyn Registers> {
        Arc::new(Configuration(self.state.clone()))
    }
    fn serve(&mut self, queue: usize, mut buffers: Buffers<'_>) -> Result<u32, Broken> {
        let mut header = [0; HEADER];
        buffers.reader.read_exact(&mut header)?;
        let kind = value(&header[..4]) as u32;
        let (answer, data) = match self.answer(kind, &mut buffers) {
            Ok(answer) => answer,
            Err(error) => (error, Vec::new()),
        };
        if queue != CONTROL && buffers.writer.available_bytes() == 0 {
            return Ok(0);
        }
        // The fence comes back with the rest of the header; nothing else of the flags does.
        header[..4].copy_from_slice(&answer.to_le_bytes());
        let flags = value(&header[4..8]) as u32 & FLAG_FENCE;
        header[4..8].copy_from_slice(&flags.to_le_bytes());
        buffers.writer.write_all(&header)?;
        buffers.writer.write_all(&data)?;
        Ok((HEADER + data.len()) as u32)
    }
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        Some(self)
    }
}

struct Configuration(Shared);

impl Registers for Configuration {
    /// Events, events to clear, scanouts, capability sets (5.7.4).
    fn read(&self) -> Vec<u8> {
        [0u32, 0, 1, 0].iter().flat_map(|field| field.to_le_bytes()).collect()
    }
    fn reset(&self) {
        // What goes is dropped behind the lock.
        let old = std::mem::take(&mut *lock(&self.0));
        drop(old);
    }
}
