//! The guest image, made from Debian's own packages on first use and kept in the cache.

mod apt;
mod cache;
mod cpio;
mod elf;
pub mod firmware;
mod initramfs;
mod libraries;
pub mod modules;
pub mod os;
pub mod programs;
mod root;
mod tar;
pub mod xen;

use initramfs::{KERNEL, ORDER};
pub use initramfs::{MODULES, Parts};

use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use ireko_manage::place;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What guests load: drivers for our devices, and KVM for the next level. What depends on what, the modules say.
const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtio_rng",
    "virtio_balloon",
    "virtio_mem",
    "virtio_net",
    // Disks and CDs at IDE and SCSI controllers.
    "ata_piix",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "isofs",
    // Shared folders.
    "virtiofs",
    // The host's side of an Internal switch, and NAT.
    "tun",
    "nft_chain_nat",
    "nft_masq",
    // UEFI's variables.
    "efivarfs",
    "kvm_amd",
    "kvm_intel",
    // The power button and its events.
    "button",
    "evdev",
];

/// What only networks, shared folders, UEFI and other controllers than virtio's and NVMe's need, with what it depends on: levels of `nest` do without.
const SPARED: &[&str] = &[
    "efivarfs",
    "ata_piix",
    "cdrom",
    "isofs",
    "libata",
    "scsi_common",
    "scsi_mod",
    "sd_mod",
    "sr_mod",
    "virtio_scsi",
    "failover",
    "net_failover",
    "virtio_net",
    "fuse",
    "virtiofs",
    "tun",
    "nfnetlink",
    "libcrc32c",
    "nf_tables",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_nat",
    "nft_chain_nat",
    "nft_masq",
];

/// How an image is put together; another whenever that changes.
const RECIPE: &str = "r3";

/// Ends the names of images, so that those of another recipe or with other modules are not used.
fn recipe() -> String {
    // FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv), of 32 bits.
    let hash = WANTED
        .iter()
        .flat_map(|name| name.bytes().chain([0]))
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{RECIPE}.{hash:08x}")
}

/// Room for the packages and what is made of them.
const NEEDED_SPACE: u64 = 160 << 20;

/// The parts of the image; made first if there are none, or `refresh` asks for the newest packages.
pub fn ensure(refresh: bool, progress: &Progress) -> Result<Parts> {
    let directory = match state()? {
        ImageCache { image: Some(image), .. } if !refresh => image,
        ImageCache { cache, .. } => make(&cache, progress)?,
    };
    Parts::read(&directory).with_context(|| damaged(&directory))
}

/// An image whose files are open, to be read again and again without their names.
pub struct Open {
    files: initramfs::Files,
    init: File,
}

/// Opens the image; made first if there is none.
pub fn open(progress: &Progress) -> Result<Open> {
    let directory = match state()? {
        ImageCache { image: Some(image), .. } => image,
        ImageCache { cache, .. } => make(&cache, progress)?,
    };
    let init = File::open(OWN_BINARY).with_context(|| format!("cannot open {OWN_BINARY}"))?;
    Ok(Open { files: initramfs::Files::open(&directory).with_context(|| damaged(&directory))?, init })
}

impl Open {
    pub fn parts(&self) -> Result<Parts> {
        self.files.read()
    }
    pub fn init(&self) -> Result<Vec<u8>> {
        initramfs::whole(&self.init).context("cannot read our own binary")
    }
}

fn damaged(directory: &Path) -> String {
    format!("the guest image {} is damaged; make it anew with: ireko image --refresh", directory.display())
}

/// Where images are kept, and the one that would be used.
pub struct ImageCache {
    pub cache: PathBuf,
    pub image: Option<PathBuf>,
}

pub fn state() -> Result<ImageCache> {
    let root = Path::new("/");
    if root.join(ORDER).exists() && root.join(KERNEL).exists() {
        // We run in a guest of our own: its root file system is the image.
        return Ok(ImageCache { cache: root.to_owned(), image: Some(root.to_owned()) });
    }
    let cache = cache::directory()?;
    place::check(&cache)
        .context("the cache of the guest image is not used; IREKO_CACHE can name another place")?;
    let image = cache::newest(&cache, "image-", &recipe());
    Ok(ImageCache { cache, image })
}

/// Whether the image's kernel can be found by apt now, for `doctor`.
pub fn packages_known() -> Result<String> {
    apt::newest_known()
}

const OWN_BINARY: &str = "/proc/self/exe";

/// Our own binary, that guests get as their init.
pub fn own_binary() -> Result<Vec<u8>> {
    std::fs::read(OWN_BINARY).with_context(|| format!("cannot read our own binary through {OWN_BINARY}"))
}

fn make(cache: &Path, progress: &Progress) -> Result<PathBuf> {
    let draft = cache::Draft::new(cache)?;
    let free = crate::sys::free_space(cache)?;
    if free < NEEDED_SPACE {
        bail!(
            "the guest image needs {} in {}, where {} are free; set IREKO_CACHE to another place",
            crate::size::show(NEEDED_SPACE),
            cache.display(),
            crate::size::show(free)
        );
    }
    let kernel = apt::newest_kernel(progress)?;
    let files = apt::download(&[&kernel, apt::BUSYBOX], draft.path(), progress)?;
    let step = progress.step("unpack the packages");
    let parts = unpack(&files[0], &files[1])?;
    parts.write(&draft.path().join("root"))?;
    let name = format!("image-{}+{}+{}", apt::stem(&files[0]), apt::stem(&files[1]), recipe());
    let made = draft.keep("root", &name)?;
    step.done();
    Ok(made)
}

fn unpack(kernel: &Path, busybox: &Path) -> Result<Parts> {
    let mut vmlinuz = None;
    let mut all = modules::Modules::new();
    let wanted = |path: &str| path.starts_with("boot/vmlinuz-") || path.ends_with(".ko");
    apt::unpack(kernel, wanted, |path, data| {
        match modules::name_of(&path) {
            Some(name) => drop(all.insert(name, data)),
            None => vmlinuz = Some(data),
        }
        Ok(())
    })?;
    let mut shell = None;
    apt::unpack(
        busybox,
        |path| path.ends_with("bin/busybox"),
        |_, data| {
            shell = Some(data);
            Ok(())
        },
    )?;
    let order = modules::load_order(WANTED, &all)?;
    Ok(Parts {
        kernel: vmlinuz.with_context(|| format!("{} has no kernel", kernel.display()))?,
        busybox: shell.with_context(|| format!("{} has no busybox", busybox.display()))?,
        modules: order.into_iter().filter_map(|name| all.remove_entry(&name)).collect(),
    })
}
