//! The guest's root file system: ourselves as /init, busybox, the kernel and its modules for the next level.

use super::cpio::Cpio;
use super::elf;
use anyhow::{Context, Result};
use ireko_manage::place;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a guest keeps what it needs to start the next level.
pub const KERNEL: &str = "boot/vmlinuz";
pub const BUSYBOX: &str = "bin/busybox";
pub const MODULES: &str = "lib/modules";
/// The modules' names in the order to load them, one a line.
pub const ORDER: &str = "lib/modules/order";

/// All that a guest image is made of.
pub struct Parts {
    pub kernel: Vec<u8>,
    pub busybox: Vec<u8>,
    /// Names and contents, in load order.
    pub modules: Vec<(String, Vec<u8>)>,
}

/// The files of an image, open.
pub struct Files {
    kernel: File,
    busybox: File,
    modules: Vec<(String, File)>,
}

impl Files {
    pub fn open(root: &Path) -> Result<Self> {
        let file = |path: &str| {
            place::open_below(root, path)
                .with_context(|| format!("the guest image's {}", root.join(path).display()))
        };
        let order = String::from_utf8(whole(&file(ORDER)?)?).context("the list of modules is not text")?;
        let modules = order
            .lines()
            .map(|name| Ok((name.to_owned(), file(&format!("{MODULES}/{name}.ko"))?)))
            .collect::<Result<_>>()?;
        Ok(Self { kernel: file(KERNEL)?, busybox: file(BUSYBOX)?, modules })
    }

    pub fn read(&self) -> Result<Parts> {
        let modules = self.modules.iter().map(|(name, file)| Ok((name.clone(), whole(file)?)));
        Ok(Parts {
            kernel: whole(&self.kernel)?,
            busybox: whole(&self.busybox)?,
            modules: modules.collect::<Result<_>>()?,
        })
    }
}

/// All of a file, wherever its descriptor stands.
pub fn whole(file: &File) -> std::io::Result<Vec<u8>> {
    let mut data = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut data, 0)?;
    Ok(data)
}

impl Parts {
    /// Reads the parts below `root`: a directory of the cache, or a guest's own root file system.
    pub fn read(root: &Path) -> Result<Self> {
        Files::open(root)?.read()
    }

    /// Writes the parts below `root`, so that [`Parts::read`] finds them.
    pub fn write(&self, root: &Path) -> Result<()> {
        for (path, data) in self.files() {
            let path = root.join(path);
            let directory = path.parent().unwrap_or(root);
            fs::create_dir_all(directory)
                .and_then(|()| fs::write(&path, data))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![
            (KERNEL.to_owned(), self.kernel.clone()),
            (BUSYBOX.to_owned(), self.busybox.clone()),
            (ORDER.to_owned(), self.order().into_bytes()),
        ];
        files.extend(self.modules.iter().map(|(name, data)| (format!("{MODULES}/{name}.ko"), data.clone())));
        files
    }

    fn order(&self) -> String {
        order(self.modules.iter())
    }

    /// The archive with `init` (our own binary) as its first program. The kernel goes along only where a level
    /// below may need it: unpacking it costs time.
    pub fn archive(&self, init: &[u8], with_kernel: bool) -> Vec<u8> {
        self.archive_of(init, with_kernel, |_| true)
    }

    /// As [`Parts::archive`], without what levels of `nest` do without.
    pub fn archive_for_levels(&self, init: &[u8], with_kernel: bool) -> Vec<u8> {
        self.archive_of(init, with_kernel, |name| !super::SPARED.contains(&name))
    }

    fn archive_of(&self, init: &[u8], with_kernel: bool, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
        let init = elf::loaded_part(init);
        let modules: Vec<_> = self.modules.iter().filter(|(name, _)| wanted(name)).collect();
        let size: usize = modules.iter().map(|(_, data)| data.len()).sum();
        let mut cpio = Cpio::with_capacity(init.len() + self.kernel.len() + self.busybox.len() + size);
        for directory in ["dev", "proc", "sys", "tmp", "root", "bin", "boot", "lib", MODULES] {
            cpio.directory(directory);
        }
        // The kernel opens it as init's standard input and output before anything is mounted.
        cpio.character_device("dev/console", 5, 1);
        cpio.file("init", 0o755, &init);
        cpio.file(BUSYBOX, 0o755, &self.busybox);
        cpio.link("bin/ireko", "/init");
        cpio.file(ORDER, 0o644, order(modules.iter().copied()).as_bytes());
        for (name, data) in modules {
            cpio.file(&format!("{MODULES}/{name}.ko"), 0o644, data);
        }
        if with_kernel {
            cpio.file(KERNEL, 0o644, &self.kernel);
        }
        cpio.finish()
    }
}

fn order<'a>(modules: impl Iterator<Item = &'a (String, Vec<u8>)>) -> String {
    modules.map(|(name, _)| format!("{name}\n")).collect()
}
