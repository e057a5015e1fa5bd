//! Debian's Xen with a dom0 of Debian's packages, made on first use and kept in the cache: the hypervisor, the kernel of dom0 and
//! of its guests, and a root file system with `xl`, QEMU as device model, and three guests to start.

use super::root::Root;
use super::{apt, cache, libraries, modules};
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use ireko_machine::spec::MIB;
use ireko_machine::{ModuleSpec, Source, Spec};
use ireko_manage::place;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A hypervisor and its tools, a device model for HVM guests, a shell.
const ROOTS: [&str; 3] = ["xen-system-amd64", "qemu-system-xen", apt::BUSYBOX];
const KERNEL: &str = "linux-image-amd64";
/// What of their dependencies can have something that runs in dom0. Scripts in Python and Perl do not.
const WANTED: [&str; 7] =
    ["lib", "zlib", "xen-utils-", "xen-hypervisor-", "qemu-system-", "seabios", "busybox-static"];
const UNWANTED: [&str; 3] = ["libpython", "libperl", "libc-bin"];

/// Programs of dom0, by the ends of their paths. What they are linked with, they say.
const PROGRAMS: [&str; 7] = [
    "/bin/xl",
    "/bin/xenstored",
    "/bin/xenconsoled",
    "/bin/xenconsole",
    "/bin/libxl-save-helper",
    "/bin/xen-init-dom0",
    "libexec/xen-qemu-system-i386",
];
/// What HVM guests start with: the loader of firmware, the firmware, and QEMU's parts that load a kernel.
const DATA: [&str; 5] = [
    "/boot/hvmloader",
    "seabios/bios-256k.bin",
    "qemu/linuxboot.bin",
    "qemu/linuxboot_dma.bin",
    // It wants one also where there is no screen.
    "qemu/keymaps/en-us",
];
const MODULES: [&str; 5] = ["xen_privcmd", "xen_evtchn", "xen_gntdev", "xen_gntalloc", "xenfs"];

const XEN: &str = "xen.gz";
const VMLINUZ: &str = "vmlinuz";
const INITRAMFS: &str = "initramfs";
pub const FILES: [&str; 3] = [XEN, VMLINUZ, INITRAMFS];

/// How it is put together; another whenever that changes.
const RECIPE: &str = "x4";
/// Room for the packages and what is made of them.
const NEEDED_SPACE: u64 = 500 << 20;

const DOM0_MEMORY: u64 = 512;
/// With less there is no room for a guest.
const LEAST_MEMORY: u64 = 768 * MIB;

/// A machine that starts with it. `exec` is a command for dom0, `append` more words for Xen.
pub fn spec(exec: Option<&str>, append: &str, memory: u64, progress: &Progress) -> Result<Spec> {
    ensure!(
        memory >= LEAST_MEMORY,
        "{} are too little for Xen with a guest; use --memory {}M or more",
        crate::size::show(memory),
        LEAST_MEMORY / MIB
    );
    let directory = ensure_made(false, progress)?;
    let file = |name: &str| Source::from(directory.join(name).as_path());
    let mut spec = Spec::new(file(XEN));
    // Only what is wrong is said by the hypervisor; its console is the guests' way out.
    spec.command_line = format!(
        "console=com1 com1=115200,8n1 loglvl=error guest_loglvl=error dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M {append}"
    );
    let mut words = "console=hvc0 panic=-1 quiet loglevel=3".to_owned();
    if let Some(command) = exec {
        words.push_str(&format!(" ireko.exec=\"{command}\""));
    }
    spec.modules = vec![
        ModuleSpec { source: file(VMLINUZ), command_line: words },
        ModuleSpec { source: file(INITRAMFS), command_line: String::new() },
    ];
    Ok(spec)
}

/// The directory with [`FILES`]; made first if it is not there, or `refresh` asks for the newest packages.
pub fn ensure_made(refresh: bool, progress: &Progress) -> Result<PathBuf> {
    let cache = cache::directory()?;
    place::check(&cache).context("the cache of Xen is not used; IREKO_CACHE can name another place")?;
    match cache::newest(&cache, "xen-", RECIPE) {
        Some(directory) if !refresh => Ok(directory),
        _ => make(&cache, progress),
    }
}

fn make(cache: &Path, progress: &Progress) -> Result<PathBuf> {
    let draft = cache::Draft::new(cache)?;
    let free = crate::sys::free_space(cache)?;
    if free < NEEDED_SPACE {
        bail!(
            "Xen's image needs {} in {}, where {} are free; set IREKO_CACHE to another place",
            crate::size::show(NEEDED_SPACE),
            cache.display(),
            crate::size::show(free)
        );
    }
    let kernel = apt::newest_kernel_of(KERNEL, progress)?;
    ROOTS.iter().try_for_each(|package| apt::know(package, progress))?;
    let mut packages = vec![kernel];
    packages.extend(apt::dependencies(&ROOTS)?.into_iter().filter(|name| is_wanted(name)));
    let names: Vec<_> = packages.iter().map(String::as_str).collect();
    let files = apt::download(&names, draft.path(), progress)?;
    let step = progress.step("make Xen's dom0");
    let parts = Parts::unpack(&files)?;
    let made = draft.path().join("files");
    fs::create_dir(&made)?;
    let initramfs = packed(&parts.dom0()?)?;
    for (name, data) in [(XEN, &parts.xen), (VMLINUZ, &parts.kernel), (INITRAMFS, &initramfs)] {
        fs::write(made.join(name), data).with_context(|| format!("cannot keep {name} in the cache"))?;
    }
    let version = |start: &str| {
        let file = files.iter().map(|file| apt::stem(file)).find(|stem| stem.starts_with(start));
        file.unwrap_or_default()
    };
    let name = format!("{}+{}+{RECIPE}", version("xen-hypervisor-"), version("linux-image-"));
    let kept = draft.keep("files", &name)?;
    step.done();
    Ok(kept)
}

fn is_wanted(package: &str) -> bool {
    WANTED.iter().any(|start| package.starts_with(start))
        && !UNWANTED.iter().any(|start| package.starts_with(start))
}

fn packed(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

/// What is taken out of the packages.
#[derive(Default)]
struct Parts {
    xen: Vec<u8>,
    kernel: Vec<u8>,
    busybox: Vec<u8>,
    modules: modules::Modules,
    /// By path: programs and data.
    files: BTreeMap<String, Vec<u8>>,
    libraries: libraries::Libraries,
}

impl Parts {
    fn unpack(packages: &[PathBuf]) -> Result<Self> {
        let mut parts = Self::default();
        for package in packages {
            apt::unpack(package, is_part, |path, data| {
                parts.take(path, data);
                Ok(())
            })?;
        }
        for (what, data) in [("Xen", &parts.xen), ("kernel", &parts.kernel), ("busybox", &parts.busybox)] {
            ensure!(!data.is_empty(), "the packages have no {what}");
        }
        let lacking =
            PROGRAMS.iter().chain(&DATA).find(|end| !parts.files.keys().any(|path| path.ends_with(*end)));
        ensure!(lacking.is_none(), "the packages have no {}", lacking.unwrap_or(&""));
        Ok(parts)
    }

    fn take(&mut self, path: String, data: Vec<u8>) {
        if is_xen(&path) {
            self.xen = data;
        } else if path.starts_with("boot/vmlinuz-") {
            self.kernel = data;
        } else if path.ends_with("bin/busybox") {
            self.busybox = data;
        } else if let Some(name) = modules::name_of(&path) {
            self.modules.insert(name, data);
        } else if is_file(&path) {
            self.files.insert(path, data);
        } else {
            self.libraries.add(data);
        }
    }

    /// The root file system of dom0.
    fn dom0(&self) -> Result<Vec<u8>> {
        const LOADER: &str = "ld-linux-x86-64.so.2";
        let mut root = Root::new();
        let guest = self.guest();
        root.program("init", include_bytes!("dom0.sh"));
        root.program("bin/busybox", &self.busybox);
        let order = modules::load_order(&MODULES, &self.modules)?;
        root.data(
            "lib/modules/order",
            order.iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes(),
        );
        for name in &order {
            root.data(&format!("lib/modules/{name}.ko"), &self.modules[name]);
        }
        let programs = self.files.iter().filter(|(path, _)| PROGRAMS.iter().any(|end| path.ends_with(end)));
        for (name, data) in
            self.libraries.needed_by(programs.map(|(path, data)| (path.as_str(), data.as_slice())))?
        {
            root.program(&format!("lib/{name}"), data);
        }
        root.link(&format!("lib64/{LOADER}"), &format!("/lib/{LOADER}"));
        self.files.iter().for_each(|(path, data)| root.program(path, data));
        root.data("etc/xen/xl.conf", b"autoballoon=\"off\"\n");
        root.data("guest/vmlinuz", &self.kernel);
        root.data("guest/initramfs", &packed(&guest)?);
        for (name, console, more) in GUESTS {
            root.data(&format!("guest/{name}.cfg"), configuration(name, console, more).as_bytes());
        }
        Ok(root.finish())
    }

    /// That of a guest.
    fn guest(&self) -> Vec<u8> {
        let mut root = Root::new();
        root.program("init", include_bytes!("guest.sh"));
        root.program("bin/busybox", &self.busybox);
        root.finish()
    }
}

fn is_part(path: &str) -> bool {
    let library = path.contains("lib/") && path.contains(".so");
    let module = modules::name_of(path).is_some_and(|_| path.contains("/xen/"));
    is_xen(path)
        || path.starts_with("boot/vmlinuz-")
        || path.ends_with("bin/busybox")
        || module
        || is_file(path)
        || library
}

fn is_xen(path: &str) -> bool {
    path.starts_with("boot/xen-") && path.ends_with(".gz")
}

/// Below /usr/lib/xen-VERSION are the programs that others only find the version's for.
fn is_file(path: &str) -> bool {
    let of_xen = path.starts_with("usr/lib/xen-") || path.starts_with("usr/libexec/");
    let program = of_xen && PROGRAMS.iter().any(|end| path.ends_with(end));
    program || DATA.iter().any(|end| path.ends_with(end))
}

/// The kinds of guests, with their consoles and what else their kinds need.
const GUESTS: [(&str, &str, &str); 3] = [
    ("pv", "hvc0", ""),
    ("pvh", "hvc0", ""),
    ("hvm", "ttyS0", "serial = \"pty\"\nvga = \"none\"\nvnc = 0\nnographic = 1\n"),
];

/// As `xl` reads it.
fn configuration(kind: &str, console: &str, more: &str) -> String {
    format!(
        "type = \"{kind}\"\nname = \"{kind}\"\nmemory = 192\nvcpus = 1\n\
         kernel = \"/guest/vmlinuz\"\nramdisk = \"/guest/initramfs\"\n\
         extra = \"console={console} panic=1 quiet loglevel=3\"\n\
         on_reboot = \"destroy\"\non_crash = \"destroy\"\n{more}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_tools_are_wanted_and_scripting_languages_are_not() {
        assert!(["libxenstore4", "zlib1g", "xen-utils-4.17", "seabios"].iter().all(|name| is_wanted(name)));
        assert!(
            ["libpython3.11-stdlib", "python3", "debconf", "perl-base"].iter().all(|name| !is_wanted(name))
        );
    }

    #[test]
    fn only_the_programs_of_xens_version_are_taken() {
        assert!(is_file("usr/lib/xen-4.17/bin/xl") && is_file("usr/lib/xen-4.17/boot/hvmloader"));
        assert!(!is_file("usr/sbin/xl") && !is_file("usr/share/bash-completion/completions/xl"));
    }

    #[test]
    fn too_little_memory_says_the_minimum() {
        let error = spec(None, "", 512 * MIB, &Progress::new()).unwrap_err().to_string();
        assert!(error.contains("--memory 768M"), "{error}");
    }
}
