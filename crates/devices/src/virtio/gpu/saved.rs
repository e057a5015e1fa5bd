//! What is saved of the GPU: its resources with their pixels, what is shown, and the cursor.

use super::regs::{CURSOR, FORMATS};
use super::resource::{MOST_SEGMENTS, MOST_SEGMENTS_IN_ALL, Rectangle, Resource, Resources};
use super::{Cursor, Gpu, GpuState, Scanout};
use crate::display::regs::{MOST_HEIGHT, MOST_WIDTH};
use crate::lock;
use crate::storage::Segment;
use ireko_vmcore::saved::{Blob, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedGpu {
    pub resources: Vec<SavedResource>,
    /// The resource that is shown, and which part: column, line, width and height.
    pub scanout: Option<(u32, [u32; 4])>,
    pub cursor: (u32, u32),
    /// Red, green, blue and how much of it covers, of each of its pixels.
    pub cursor_pixels: Option<Blob>,
    pub driven: bool,
}

/// A picture that the host keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedResource {
    pub id: u32,
    pub format: u32,
    pub width: u32,
    pub height: u32,
    pub pixels: Blob,
    /// Address and length of what is behind it.
    pub backing: Vec<(u64, u64)>,
}

impl Saved for SavedGpu {
    const NAME: &'static str = "virtio-gpu";
    const VERSION: u32 = 1;
}

impl SavedResource {
    fn of((id, resource): (&u32, &Resource)) -> Self {
        let format =
            FORMATS.iter().find(|(_, order)| *order == resource.order).map_or(0, |(format, _)| *format);
        Self {
            id: *id,
            format,
            width: resource.width,
            height: resource.height,
            pixels: Blob(lock(&resource.pixels).clone()),
            backing: resource.backing().segments().iter().map(|part| (part.address, part.len)).collect(),
        }
    }

    fn restore(self, resources: &mut Resources) -> Result<(), RestoreError> {
        let refused = |_: u32| RestoreError::invalid::<SavedGpu>(format!("resource {}", self.id));
        resources.create(self.id, self.format, self.width, self.height).map_err(refused)?;
        let resource = resources.find(self.id).map_err(refused)?;
        let Blob(pixels) = self.pixels;
        {
            let mut room = lock(&resource.pixels);
            ensure::<SavedGpu>(pixels.len() == room.len(), format!("{} bytes of pixels", pixels.len()))?;
            *room = pixels;
        }
        let small = self.backing.iter().all(|(_, len)| *len <= u64::from(u32::MAX));
        ensure::<SavedGpu>(small && self.backing.len() <= MOST_SEGMENTS, "too much is behind a resource")?;
        let segments = self.backing.into_iter().map(|(address, len)| Segment { address, len }).collect();
        resources.back(self.id, segments).map_err(refused)
    }
}

impl SaveRestore for Gpu {
    type Saved = SavedGpu;

    fn save(&self) -> SavedGpu {
        let state = lock(&self.state);
        let part = |part: Rectangle| [part.x, part.y, part.width, part.height];
        SavedGpu {
            resources: state.resources.all().map(SavedResource::of).collect(),
            scanout: state.scanout.map(|scanout| (scanout.resource, part(scanout.part))),
            cursor: (state.cursor.x, state.cursor.y),
            cursor_pixels: state.cursor.pixels.as_ref().map(|pixels| Blob(pixels.as_flattened().to_vec())),
            driven: state.driven,
        }
    }

    fn restore(&mut self, saved: SavedGpu) -> Result<(), RestoreError> {
        let segments: usize = saved.resources.iter().map(|resource| resource.backing.len()).sum();
        ensure::<SavedGpu>(segments <= MOST_SEGMENTS_IN_ALL, "too much is behind its resources")?;
        let mut resources = Resources::default();
        saved.resources.into_iter().try_for_each(|resource| resource.restore(&mut resources))?;
        let scanout = saved.scanout.map(|(resource, [x, y, width, height])| Scanout {
            resource,
            part: Rectangle { x, y, width, height },
        });
        if let Some(Scanout { resource, part }) = scanout {
            let shown = resources.find(resource).is_ok_and(|shown| part.fits(shown.width, shown.height));
            let small = part.width <= MOST_WIDTH.into() && part.height <= MOST_HEIGHT.into();
            ensure::<SavedGpu>(shown && small, format!("resource {resource} is shown"))?;
        }
        let (x, y) = saved.cursor;
        let pixels = saved.cursor_pixels.map(|Blob(bytes)| bytes.as_chunks::<4>().0.to_vec());
        let whole = pixels.as_ref().is_none_or(|pixels| pixels.len() == (CURSOR * CURSOR) as usize);
        ensure::<SavedGpu>(whole, "its cursor is of another size")?;
        *lock(&self.state) =
            GpuState { resources, scanout, cursor: Cursor { x, y, pixels }, driven: saved.driven };
        Ok(())
    }
}
