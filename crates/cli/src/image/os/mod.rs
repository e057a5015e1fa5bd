//! Disks with a system. One is of Debian's packages: found and verified by apt, unpacked here, and configured in a machine of ours by
//! their own scripts, so that nobody needs to be root. Others are images that distributions publish. Each is made or got once, and
//! kept; a machine's disk is a layer over it.

mod build;
mod catalogue;
mod fetch;
mod gpt;
pub mod installer;
pub(super) mod payload;

use super::{apt, cache};
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use catalogue::{Entry, Sum};
use ireko_manage::host::{NoSystem, SystemDisk};
use ireko_manage::seed;
use payload::{Taken, Unpacked};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// What a person expects of a machine, and what a machine needs to start. What they depend on, apt knows.
const PACKAGES: [&str; 24] = [
    apt::BUSYBOX,
    "linux-image-cloud-amd64",
    "grub-cloud-amd64",
    "initramfs-tools",
    "init",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "kmod",
    "cloud-init",
    "cloud-guest-utils",
    "qemu-guest-agent",
    "openssh-server",
    "sudo",
    "apt",
    "iproute2",
    "ca-certificates",
    "e2fsprogs",
    "dosfstools",
    "tzdata",
    "less",
    "nano",
    "usr-is-merged",
];

/// Whose packages they are, as archives say it.
const DEBIAN: &str = "Debian";
/// The package whose version is that of the distribution.
const RELEASE: &str = "base-files";

/// How it is put together; another whenever that changes.
const RECIPE: &str = "o3";
/// Ends the names of images that were got.
const PUBLISHED: &str = "p1";
const DISK: &str = "disk.img";
/// Of cloud-init's configuration in Debian.
const USER: &str = "debian";
/// As large as Debian's own. It holds what is written only.
const SIZE: u64 = 4 << 30;
/// Room for the packages, what they come to, and the disk.
const NEEDED_SPACE: u64 = 2 << 30;

/// A system that can be made: Debian as apt's lists have it, or only that version.
struct System {
    version: Option<u32>,
}

impl System {
    /// `debian`, `debian-12`.
    fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("debian")?;
        let version = match rest.strip_prefix('-') {
            Some(number) => Some(number.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { version })
    }
}

/// The disk of a system, which nobody may change: kept in `directory`, and made or got first if it is not there. What users have
/// on their list comes before what we know.
pub fn ensure(name: &str, directory: &Path, progress: &Progress) -> Result<SystemDisk, NoSystem> {
    let failed = |error: anyhow::Error| NoSystem::Failed(format!("{error:#}"));
    // Of two that want the same, one finds what the other has made.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let own = catalogue::own().map_err(failed)?;
    if let Some(entry) = own.get(name) {
        return published(name, entry, directory, progress).map_err(failed);
    }
    if let Some(system) = System::parse(name) {
        return packaged(&system, directory, progress).map_err(failed);
    }
    let built_in = catalogue::built_in();
    match built_in.get(name) {
        Some(entry) => published(name, entry, directory, progress).map_err(failed),
        None => {
            let known = own.keys().chain(built_in.keys()).map(String::as_str).collect::<Vec<_>>().join(", ");
            let file = catalogue::own_file().map_or_else(String::new, |file| file.display().to_string());
            Err(NoSystem::Unknown(format!(
                "There is no system '{}': debian, debian-12, {known} are known, and {file} may have more.",
                name.escape_debug()
            )))
        }
    }
}

/// One that a distribution publishes.
fn published(name: &str, entry: &Entry, directory: &Path, progress: &Progress) -> Result<SystemDisk> {
    let user = entry.user.clone().unwrap_or_else(|| "the system's own user".into());
    let login = entry.user.clone();
    let disk = |directory: PathBuf| {
        let (path, user, login) = (directory.join(DISK), user.clone(), login.clone());
        SystemDisk { path, user, login, listens: false }
    };
    // Without a sum on the list any that was got is it.
    let pinned = entry.sha256.as_deref().or(entry.sha512.as_deref()).and_then(Sum::parse);
    let start = pinned.map_or_else(|| format!("{name}+"), |sum| stem(name, &sum));
    if let Some(kept) = cache::newest(directory, &start, PUBLISHED) {
        return Ok(disk(kept));
    }
    let draft = cache::Draft::new(directory)?;
    let sum = fetch::sum_of(entry)?;
    let made = draft.path().join("made");
    fs::create_dir(&made)?;
    let file = made.join(DISK);
    fetch::file(name, &entry.url, &sum, &file, progress)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444))?;
    draft.keep("made", &format!("{}+{PUBLISHED}", stem(name, &sum))).map(disk)
}

/// How the name begins under which an image is kept.
fn stem(name: &str, sum: &Sum) -> String {
    format!("{name}+{}", &sum.text()[..16])
}

/// One that is made of packages.
fn packaged(system: &System, directory: &Path, progress: &Progress) -> Result<SystemDisk> {
    let start = system.version.map_or("debian-".to_owned(), |version| format!("debian-{version}-"));
    let made = match cache::newest(directory, &start, RECIPE) {
        Some(made) => made,
        None => make(system, directory, progress)?,
    };
    let path = made.join(DISK);
    Ok(SystemDisk { path, user: USER.into(), login: Some(USER.into()), listens: true })
}

fn make(system: &System, directory: &Path, progress: &Progress) -> Result<PathBuf> {
    let draft = cache::Draft::new(directory)?;
    let free = crate::sys::free_space(directory)?;
    ensure!(
        free >= NEEDED_SPACE,
        "a system's disk needs {} in {}, where {} are free; set IREKO_HOME to another place",
        crate::size::show(NEEDED_SPACE),
        directory.display(),
        crate::size::show(free)
    );
    let packages = apt::installation(&PACKAGES, progress)?;
    let version = release(&packages, system)?;
    let names: Vec<&str> = packages.iter().map(|(name, _)| name.as_str()).collect();
    let files = apt::download(&names, draft.path(), progress)?;
    let payload = draft.path().join("payload");
    let step = progress.step("unpack packages");
    let taken = unpack(&files, &payload)?;
    step.done();
    let made = draft.path().join("made");
    fs::create_dir(&made)?;
    let disk = made.join(DISK);
    let file = File::create_new(&disk).context("cannot make the disk")?;
    file.set_len(SIZE)?;
    gpt::write(&file, SIZE, || Ok(ireko_manage::Guid::random()?.encoded()))
        .context("cannot write the disk")?;
    build::run(&taken, &disk, &payload)?;
    file.sync_all()?;
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o444))?;
    let kernel = files.iter().map(|file| apt::stem(file)).find(|stem| stem.starts_with("linux-image-6"));
    let name = format!("debian-{version}-{}+{RECIPE}", kernel.unwrap_or_default());
    draft.keep("made", &name)
}

/// The distribution's version, if it is the one that is wanted.
fn release(packages: &[(String, String)], system: &System) -> Result<u32> {
    let version = packages.iter().find(|(name, _)| name == RELEASE).map(|(_, version)| version.as_str());
    let version = version.context("apt would install no base-files, so its lists are not Debian's")?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let number: u32 = digits.parse().with_context(|| format!("{version} is no version of Debian"))?;
    if let Some(wanted) = system.version {
        ensure!(
            number == wanted,
            "apt's lists on this machine are of Debian {number}, and debian-{wanted} is wanted; ask for debian-{number}, or add the archive of Debian {wanted}"
        );
    }
    Ok(number)
}

/// Unpacks packages into one archive that the new system is unpacked from; gives what the machine is made of that does so.
fn unpack(files: &[PathBuf], payload: &Path) -> Result<Taken> {
    let (sender, unpacked) = mpsc::sync_channel(1);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut archive = File::create_new(payload).context("cannot write in the directory of systems")?;
    let mut write = |data: &[u8]| archive.write_all(data).context("cannot write in the directory of systems");
    write(&beginning()?)?;
    thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(payload::unpack(file, |path| build::is_part(file, path))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut taken, mut status) = (Taken::default(), String::new());
        for one in unpacked {
            let one: Unpacked = one?;
            write(&one.archive)?;
            status.push_str(&one.status);
            taken.add(one.taken);
        }
        write(&records(&status))?;
        Ok(taken)
    })
}

/// Directories that are links into /usr, and what is not of a package.
fn beginning() -> Result<Vec<u8>> {
    use super::tar::{DIRECTORY, FILE, SYMBOLIC_LINK, write};
    let mut archive = Vec::new();
    write(&mut archive, DIRECTORY, "usr", "", 0o755, b"");
    for name in payload::MERGED {
        let below = format!("usr/{name}");
        write(&mut archive, DIRECTORY, &below, "", 0o755, b"");
        write(&mut archive, SYMBOLIC_LINK, name, &below, 0o777, b"");
    }
    let sources: String = apt::sources(DEBIAN)?.iter().map(|line| format!("{line}\n")).collect();
    for directory in
        ["etc", "etc/apt", "etc/cloud", "etc/cloud/cloud.cfg.d", "etc/default", "etc/default/grub.d"]
    {
        write(&mut archive, DIRECTORY, directory, "", 0o755, b"");
    }
    for directory in [
        "etc/grub.d",
        "etc/systemd",
        "etc/systemd/network",
        "etc/initramfs-tools",
        "etc/initramfs-tools/conf.d",
    ] {
        write(&mut archive, DIRECTORY, directory, "", 0o755, b"");
    }
    for (path, text) in FILES {
        write(&mut archive, FILE, path, "", 0o644, text.as_bytes());
    }
    for directory in ["etc/systemd/system", "etc/systemd/system/sockets.target.wants"] {
        write(&mut archive, DIRECTORY, directory, "", 0o755, b"");
    }
    for (unit, text) in seed::LISTENING {
        write(&mut archive, FILE, &format!("etc/systemd/system/{unit}"), "", 0o644, text.as_bytes());
    }
    let (socket, _) = seed::LISTENING[0];
    let wanted = format!("etc/systemd/system/sockets.target.wants/{socket}");
    write(&mut archive, SYMBOLIC_LINK, &wanted, &format!("../{socket}"), 0o777, b"");
    write(&mut archive, FILE, "etc/apt/sources.list", "", 0o644, sources.as_bytes());
    Ok(archive)
}

/// What makes of the packages a system for machines like ours.
const FILES: [(&str, &str); 10] = [
    ("etc/hostname", "debian\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"),
    ("etc/default/locale", "LANG=C.UTF-8\n"),
    // Asked by the package grub-cloud-amd64, which then installs the loaders of both kinds of firmware.
    ("etc/grub.d/enable_cloud", ""),
    (
        "etc/default/grub.d/90_ireko.cfg",
        "GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200\"\n",
    ),
    (
        "etc/cloud/cloud.cfg.d/90_ireko.cfg",
        "datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\napt: {preserve_sources_list: true}\n\
         ssh_genkeytypes: [ed25519, ecdsa]\n\
         grub_dpkg: {enabled: false}\nssh: {emit_keys_to_console: false}\nno_ssh_fingerprints: true\n",
    ),
    // Whatever is connected gets an address; nothing waits for it.
    (
        "etc/systemd/network/80-ireko.network",
        "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n\n[Link]\nRequiredForOnline=no\n",
    ),
    // What our machines have, and no more: it is quicker to make, and to load.
    ("etc/initramfs-tools/conf.d/ireko", "MODULES=list\n"),
    (
        "etc/initramfs-tools/modules",
        "virtio_pci\nvirtio_blk\nvirtio_scsi\nsd_mod\nsr_mod\nata_piix\nahci\nnvme\next4\n",
    ),
    ("etc/kernel-img.conf", "do_symlinks = no\n"),
];

fn records(status: &str) -> Vec<u8> {
    use super::tar::{FILE, finish, write};
    let mut archive = Vec::new();
    for (path, text) in [("status", status), ("available", ""), ("info/format", "1\n")] {
        write(&mut archive, FILE, &format!("var/lib/dpkg/{path}"), "", 0o644, text.as_bytes());
    }
    finish(&mut archive);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(version: &str) -> Vec<(String, String)> {
        vec![("libc6".into(), "2.36".into()), (RELEASE.into(), version.into())]
    }

    #[test]
    fn systems_are_debian_with_a_version_or_without() {
        assert_eq!(System::parse("debian").map(|system| system.version), Some(None));
        assert_eq!(System::parse("debian-12").map(|system| system.version), Some(Some(12)));
        assert!(
            ["debian-", "debian-x", "debianx", "ubuntu"].iter().all(|name| System::parse(name).is_none())
        );
    }

    #[test]
    fn an_image_of_another_sum_is_another_image() {
        let sum = |digit: &str| Sum::parse(&digit.repeat(64)).unwrap();
        assert_ne!(stem("x", &sum("a")), stem("x", &sum("b")));
    }

    #[test]
    fn another_release_than_the_wanted_one_is_said() {
        let wanted = System { version: Some(12) };
        assert_eq!(release(&packages("12.4+deb12u14"), &wanted).unwrap(), 12);
        let said = release(&packages("13.8"), &wanted).unwrap_err().to_string();
        assert!(said.contains("are of Debian 13, and debian-12 is wanted"), "{said}");
    }
}
