//! What is in a drive: an image's files, opened and locked by name once, and the disk that they come to.

use crate::{DiskSpec, MachineError, lock};
use ireko_storage::{Format, Image, ImageError, Link, Opened, Store, chain};
use ireko_vmcore::{Disk, ErrorHandling, Throttle};
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// An image by its name: the one of a disk, or one behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub path: PathBuf,
    pub format: Format,
}

/// What has positions: a file or a block device. Of anything else nobody is waited for.
pub fn open_file(path: &Path, read_only: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(!read_only).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(file),
        false => Err(io::Error::other("it is neither a file nor a block device; give one of these")),
    }
}

/// A disk's files, open: its own, and those behind it, the nearest first. What the first bytes in them say is looked at only when
/// somebody asks for the disk.
pub struct DiskFiles {
    links: Vec<(Arc<File>, Format)>,
    read_only: bool,
    image: Mutex<Option<Arc<dyn Image>>>,
    errors: Arc<ErrorHandling>,
    traffic: Arc<DiskTraffic>,
}

/// What a guest has read and written, as long as the files are open.
#[derive(Debug, Default)]
pub struct DiskTraffic {
    read: AtomicU64,
    written: AtomicU64,
    operations: AtomicU64,
}

/// Bytes, and operations of 8 KiB, as Hyper-V normalizes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub operations: u64,
}

const OPERATION: u64 = 8 << 10;

impl DiskTraffic {
    fn count(&self, bytes: &AtomicU64, more: u64) {
        bytes.fetch_add(more, Ordering::Relaxed);
        self.operations.fetch_add(more.div_ceil(OPERATION), Ordering::Relaxed);
    }

    pub fn counts(&self) -> DiskCounts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskCounts {
            read_bytes: now(&self.read),
            written_bytes: now(&self.written),
            operations: now(&self.operations),
        }
    }
}

impl std::ops::Add for DiskCounts {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            read_bytes: self.read_bytes + more.read_bytes,
            written_bytes: self.written_bytes + more.written_bytes,
            operations: self.operations + more.operations,
        }
    }
}

/// Who has a file, by the number of its layer.
pub type Taken = (usize, lock::User);

impl DiskFiles {
    pub fn new(links: Vec<(Arc<File>, Format)>, read_only: bool) -> Self {
        Self { links, read_only, image: Mutex::default(), errors: Arc::default(), traffic: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<dyn Image>>> {
        self.image.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What is done about what the host cannot do with them.
    pub fn errors(&self) -> &Arc<ErrorHandling> {
        &self.errors
    }

    /// What the guest has done with them.
    pub fn traffic(&self) -> DiskCounts {
        self.traffic.counts()
    }

    /// Locks all files for as long as they are open: many may read, or one may write. Those behind are only read.
    pub fn lock(&self) -> Result<(), Taken> {
        for (number, (file, _)) in self.links.iter().enumerate() {
            lock::lock(file, self.read_only || number > 0).map_err(|user| (number, user))?;
        }
        Ok(())
    }

    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.links.iter().map(|(file, _)| file.as_ref())
    }

    /// The disk that they come to: the same one for all who ask, so that nobody's tables are another's past.
    pub fn image(&self) -> Result<Arc<dyn Image>, ImageError> {
        let mut held = self.held();
        if let Some(image) = &*held {
            return Ok(image.clone());
        }
        let link = |(file, format): &(Arc<File>, Format)| Link {
            store: file.clone() as Arc<dyn Store>,
            format: *format,
        };
        let links: Vec<Link> = self.links.iter().map(link).collect();
        let image = chain::open(&links, !self.read_only)?;
        *held = Some(image.clone());
        Ok(image)
    }

    /// Brings the tables into order and gives the files free, whoever has them open still.
    pub fn release(&self) -> io::Result<()> {
        let rested = self.held().take().map_or(Ok(()), |image| image.rest());
        for file in self.files() {
            let _ = flock(file, FlockOperation::Unlock);
        }
        rested
    }
}

impl fmt::Debug for DiskFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskFiles").field("links", &self.links).field("read_only", &self.read_only).finish()
    }
}

fn failed(spec: &DiskSpec, why: impl fmt::Display) -> MachineError {
    MachineError::Disk { name: spec.path.display().to_string(), why: why.to_string() }
}

/// The files of a disk and what is behind it, by their names.
pub fn open_layers(layers: &[Layer], read_only: bool) -> Result<DiskFiles, (usize, io::Error)> {
    let open = |(number, layer): (usize, &Layer)| {
        let file = open_file(&layer.path, read_only || number > 0).map_err(|error| (number, error))?;
        Ok((Arc::new(file), layer.format))
    };
    let links = layers.iter().enumerate().map(open).collect::<Result<_, _>>()?;
    Ok(DiskFiles::new(links, read_only))
}

/// The disk's files: those that are open, or by their names.
pub fn open(spec: &DiskSpec) -> Result<Arc<DiskFiles>, MachineError> {
    if let Some(files) = &spec.files {
        return Ok(files.clone());
    }
    let layers = spec.layers();
    let opened = open_layers(&layers, spec.read_only);
    opened.map(Arc::new).map_err(|(number, why)| MachineError::Disk {
        name: layers[number].path.display().to_string(),
        why: why.to_string(),
    })
}

/// What is in a CD drive without a CD.
struct Nothing(Arc<Throttle>);

impl Disk for Nothing {
    fn size(&self) -> u64 {
        0
    }
    fn read_only(&self) -> bool {
        true
    }
    fn throttle(&self) -> Arc<Throttle> {
        self.0.clone()
    }
    fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that counts what moves.
struct Counted {
    disk: Opened,
    traffic: Arc<DiskTraffic>,
}

impl Disk for Counted {
    fn size(&self) -> u64 {
        self.disk.size()
    }
    fn read_only(&self) -> bool {
        self.disk.read_only()
    }
    fn throttle(&self) -> Arc<Throttle> {
        self.disk.throttle()
    }
    fn error_handling(&self) -> Arc<ErrorHandling> {
        self.disk.error_handling()
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, data)?;
        self.traffic.count(&self.traffic.read, data.len() as u64);
        Ok(())
    }
    fn try_read_at(&mut self, offset: u64, data: &mut [u8]) -> bool {
        let done = self.disk.try_read_at(offset, data);
        if done {
            self.traffic.count(&self.traffic.read, data.len() as u64);
        }
        done
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, data)?;
        self.traffic.count(&self.traffic.written, data.len() as u64);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.write_zeroes(offset, len)
    }
    fn write_every_zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.write_every_zero(offset, len)
    }
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.discard(offset, len)
    }
}

/// What a disk or a CD drive holds.
pub fn content(spec: &DiskSpec) -> Result<Box<dyn Disk>, MachineError> {
    if spec.empty {
        return Ok(Box::new(Nothing(spec.throttle.clone())));
    }
    let files = open(spec)?;
    files.errors.set(spec.error_policy);
    let image = files.image().map_err(|why| failed(spec, why))?;
    if image.size() == 0 {
        return Err(failed(spec, "its disk has no bytes; give it a size"));
    }
    let disk = Opened::new(image, spec.throttle.clone(), files.errors.clone());
    Ok(Box::new(Counted { disk, traffic: files.traffic.clone() }))
}
