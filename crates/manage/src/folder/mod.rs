//! Folders of the host's that guests have: what is shared, and the process that serves each of them.
//!
//! A machine's process sees no files. So each folder has a process of its own ([`run`]), which is the folder's owner, has it as its root
//! directory and nothing else, and answers what the guest's kernel asks (`serve`, FUSE). Between the two is a socket that was
//! open before the walls (`link`). Neither end believes the other.

mod directory;
mod link;
mod nodes;
mod serve;
mod session;
#[cfg(test)]
mod tests;

pub use link::Linked;
pub use serve::run;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// As virtio has it (5.11.4).
const LONGEST_NAME: usize = 36;

/// A folder, and the name by which the guest mounts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub name: String,
    pub path: PathBuf,
    #[serde(default)]
    pub read_only: bool,
}

impl Share {
    /// `NAME=PATH[,ro]`. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{}' shares nothing: {why}.", text.escape_debug());
        let (name, path) =
            text.split_once('=').ok_or_else(|| wrong("write NAME=FOLDER, or NAME=FOLDER,ro"))?;
        let (path, read_only) = path.strip_suffix(",ro").map_or((path, false), |path| (path, true));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
            return Err(wrong("a name has letters, digits, - _ and ., and 36 of them at most"));
        }
        if path.is_empty() {
            return Err(wrong("its folder has no name"));
        }
        let path = std::path::absolute(path).map_err(|error| wrong(&error.to_string()))?;
        // Links on the way are followed now and never again: a guest may own the folder that they are in.
        let path = path.canonicalize().unwrap_or(path);
        Ok(Self { name: name.into(), path, read_only })
    }

    /// As it is written.
    pub fn shown(&self) -> String {
        format!("{}={}{}", self.name, self.path.display(), if self.read_only { ",ro" } else { "" })
    }

    /// Whether it may be a guest's. What is in `home` decides what machines may do on this host. The error is a sentence.
    pub fn check(&self, home: &Path) -> Result<(), String> {
        let named = self.path.display();
        let real = self
            .path
            .canonicalize()
            .map_err(|error| format!("the folder '{named}' cannot be shared: {error}; check the path"))?;
        if real != self.path {
            return Err(format!(
                "'{named}' cannot be shared: it leads to '{}' by now; set the share anew",
                real.display()
            ));
        }
        if !real.is_dir() {
            return Err(format!("'{named}' cannot be shared: it is no folder"));
        }
        let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
        if home.starts_with(&real) || real.starts_with(&home) {
            return Err(format!(
                "'{named}' cannot be shared: Ireko keeps its virtual machines in {}, which would be the guest's to change; share another folder",
                home.display()
            ));
        }
        Ok(())
    }
}
