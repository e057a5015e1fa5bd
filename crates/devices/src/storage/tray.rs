//! The tray of a drive: where the host puts another medium, whatever the drive is doing.

use crate::lock;
use ireko_vmcore::Disk;
use std::sync::{Arc, Mutex};

/// Cheap to clone. Nobody waits: the drive finds what was put here before its next command.
#[derive(Clone, Default)]
pub struct Tray(Arc<Mutex<Option<Box<dyn Disk>>>>);

impl Tray {
    /// The next medium; one without any bytes is none. What was put here before and not found yet was never there.
    pub fn put(&self, medium: Box<dyn Disk>) {
        *lock(&self.0) = Some(medium);
    }

    pub(super) fn take(&self) -> Option<Box<dyn Disk>> {
        lock(&self.0).take()
    }
}
