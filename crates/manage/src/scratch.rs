//! A directory of its own for a test, gone afterwards.

use std::path::{Path, PathBuf};

pub struct Scratch(PathBuf);

impl Scratch {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let name = format!("ireko-manage-{}", crate::Guid::random().expect("a random source"));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory for a test");
        Self(path)
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
