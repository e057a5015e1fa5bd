//! An image by its name, and those behind it: what they are is found out once, when somebody brings them.

use crate::{Layer, open_file};
use ireko_storage::chain::{self, Facts, Link};
use ireko_storage::{Format, ImageError, Store};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why an image cannot be used, without its name.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("{0}; check the path")]
    Missing(io::Error),
    #[error("it is a directory; give a disk image")]
    Directory,
    #[error("it is neither a file nor a block device; give a disk image")]
    NoFile,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("its disk has no bytes; give it a size")]
    Empty,
    /// An image from elsewhere could name any file of this host.
    #[error("it says that it is a layer over `{0}`, which may be any file of this host")]
    Unnamed(String),
    #[error("the image behind it, `{0}`, is not there, or is not the one any more that it was made over")]
    Unlinked(String),
    #[error("no image is behind it, and `{0}` was given")]
    NothingBehind(String),
    #[error("it would be behind itself; give another image")]
    Circle,
    #[error("too many images are behind it ({} are the most)", chain::MOST - 1)]
    TooMany,
}

/// An image's file, open to be read.
pub struct Opened {
    pub path: PathBuf,
    pub meta: Metadata,
    pub link: Link,
}

impl Opened {
    /// `format`: what it is said to be; otherwise its content tells.
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, Unfit> {
        let meta = std::fs::metadata(path).map_err(Unfit::Missing)?;
        if meta.is_dir() {
            return Err(Unfit::Directory);
        }
        if !(meta.is_file() || meta.file_type().is_block_device()) {
            return Err(Unfit::NoFile);
        }
        let file = open_file(path, true).map_err(Unfit::Missing)?;
        let store: Arc<dyn Store> = Arc::new(file);
        let format = match format {
            Some(format) => format,
            None => Format::of(store.as_ref()).map_err(ImageError::from)?,
        };
        Ok(Self { path: path.to_owned(), meta, link: Link { store, format } })
    }

    pub fn facts(&self) -> Result<Facts, Unfit> {
        Ok(chain::facts(&self.link)?)
    }

    /// Whether a machine or anybody else has it.
    pub fn is_used(&self) -> bool {
        crate::lock::is_held(&self.meta)
    }

    fn identity(&self) -> (u64, u64) {
        (self.meta.dev(), self.meta.ino())
    }
}

/// An image that is there.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub facts: Facts,
    /// Images behind it, the nearest first.
    pub behind: Vec<Layer>,
}

impl Found {
    /// Whether its name says what its content says: what looks raw is raw, whatever it is called.
    pub fn is_named_so(&self) -> bool {
        let extension = self.path.extension().unwrap_or_default().to_string_lossy().into_owned();
        self.facts.format == Format::Raw || Format::of_extension(&extension) == Some(self.facts.format)
    }
}

/// Finds out what an image is, and those behind it, which are named in their order. The error is of one of them.
pub fn find(path: &Path, format: Option<Format>, parents: &[PathBuf]) -> Result<Found, (PathBuf, Unfit)> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |unfit: Unfit| (path, unfit)
    };
    let first = Opened::open(path, format).map_err(of(path))?;
    let facts = first.facts().map_err(of(path))?;
    if facts.size == 0 {
        return Err((path.to_owned(), Unfit::Empty));
    }
    let mut seen = vec![first.identity()];
    let (mut above, mut next) = (path.to_owned(), facts.behind.clone());
    let (mut behind, mut named) = (Vec::new(), parents.iter());
    while let Some(told) = next {
        let opened = match named.next() {
            Some(parent) => Opened::open(parent, told.format).map_err(of(parent))?,
            None => linked(&above, &told).map_err(of(&above))?,
        };
        if seen.contains(&opened.identity()) {
            return Err((opened.path, Unfit::Circle));
        }
        seen.push(opened.identity());
        if seen.len() > chain::MOST {
            return Err((path.to_owned(), Unfit::TooMany));
        }
        next = opened.facts().map_err(of(&opened.path))?.behind;
        behind.push(Layer { path: opened.path.clone(), format: opened.link.format });
        above = opened.path;
    }
    match named.next() {
        Some(more) => Err((above, Unfit::NothingBehind(more.display().to_string()))),
        None => Ok(Found { path: path.to_owned(), facts, behind }),
    }
}

/// The image behind one of VHD or VHDX, which says by a number that nobody guesses which it is: whoever made the layer had that
/// image, so its name leads to nothing that they had not. Other formats only name files.
fn linked(above: &Path, told: &chain::Behind) -> Result<Opened, Unfit> {
    let directory = above.parent().unwrap_or(Path::new("/"));
    let candidates = told.names.iter().map(|name| directory.join(name).components().collect::<PathBuf>());
    let fits = |opened: &Opened| {
        let identity = opened.facts().ok().and_then(|facts| facts.identity);
        identity.is_some_and(|identity| told.linkage.contains(&identity))
    };
    let mut opened = candidates.filter_map(|path| Opened::open(&path, told.format).ok());
    opened.find(fits).ok_or_else(|| {
        let name = printable(told.names.first().map_or("", String::as_str));
        if told.linkage.is_empty() { Unfit::Unnamed(name) } else { Unfit::Unlinked(name) }
    })
}

/// A name out of an image.
fn printable(name: &str) -> String {
    name.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}
