//! Bootable disks, put together from Debian's packages without mounting anything.

use super::home::Home;
use super::kernel::multiboot;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Who says where the file system is: the old table for BIOS, the new one for UEFI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Mbr,
    Gpt,
}

const SECTOR: usize = 512;
/// First sector of the file system, and how many it has.
const START: usize = 2048;
const LENGTH: usize = (96 << 20) / SECTOR;
/// Behind the file system: room for the second copy of the new table.
const TAIL: usize = 2048;
/// Where the kernel of the machine inside lies, in front of the file system.
const INNER: usize = 1536;

/// What `GRUB` is told to load: nobody is asked, all is on the serial console.
const LOAD: &str = "serial --unit=0 --speed=115200\nterminal_output serial\nterminal_input serial\n\
    linux /vmlinuz console=ttyS0 panic=-1 no_timer_check random.trust_cpu=on quiet loglevel=3 \"ireko.exec=mkdir -p /etc; echo root::0:0::/root:/bin/sh > /etc/passwd; hostname debian; exec getty -L 115200 ttyS0 vt100\"\n\
    initrd /initramfs\nboot\n";

/// The same for Xen, by multiboot 2. It takes the first word of each command line for a file's name.
const LOAD_XEN: &str = "serial --unit=0 --speed=115200\nterminal_output serial\nterminal_input serial\n\
    multiboot2 /xen.gz xen console=com1 com1=115200,8n1 loglvl=error dom0_mem=512M,max:512M\n\
    module2 /vmlinuz vmlinuz console=hvc0 quiet loglevel=3 \"ireko.exec=COMMAND\"\n\
    module2 --nounzip /initramfs\nboot\n";

/// Programs and parts of programs, by the packages that they are in.
const PACKAGES: [&str; 7] = [
    "grub-common",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "grub-efi-amd64-signed",
    "shim-signed",
    "libdevmapper1.02.1",
    "mtools",
];

static TOOLS: Mutex<()> = Mutex::new(());

pub struct Medium {
    pub disk: PathBuf,
}

fn check(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

/// The packages, unpacked; got by apt once for all tests.
fn tools() -> PathBuf {
    let _alone = TOOLS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("signed-disk-tools");
    if tools.exists() {
        return tools;
    }
    let draft = tools.with_extension(format!("{}-{}", module_path!().replace("::", "-"), std::process::id()));
    fs::create_dir_all(&draft).unwrap();
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.arg("download").args(PACKAGES).current_dir(&draft).stdin(Stdio::null());
        apt
    };
    if !download().output().is_ok_and(|done| done.status.success()) {
        check(Command::new("apt-get").arg("update"));
        check(&mut download());
    }
    for entry in fs::read_dir(&draft).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|e| e == "deb") {
            check(Command::new("dpkg-deb").arg("-x").args([&entry, &draft]));
            fs::remove_file(entry).unwrap();
        }
    }
    fs::rename(draft, &tools).unwrap();
    tools
}

impl Medium {
    pub fn new(home: &Home, label: Label) -> Self {
        let parts = home.0.join("parts");
        fs::create_dir_all(&parts).unwrap();
        check(&mut home.command(&["image", "--write", parts.to_str().unwrap()]));
        let loader = loader(&tools(), &parts, label, LOAD, &["linux"]);
        Self::with_loader(home, label, &loader)
    }

    /// With Debian's signed loaders, which load its signed kernel.
    pub fn signed(home: &Home) -> Self {
        let (tools, parts) = (tools(), home.0.join("parts"));
        let (boot, debian) = (parts.join("EFI/BOOT"), parts.join("EFI/debian"));
        [&boot, &debian].into_iter().for_each(|directory| fs::create_dir_all(directory).unwrap());
        check(&mut home.command(&["image", "--write", parts.to_str().unwrap()]));
        fs::copy(tools.join("usr/lib/shim/shimx64.efi.signed"), boot.join("BOOTX64.EFI")).unwrap();
        let grub = tools.join("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed");
        fs::copy(grub, boot.join("grubx64.efi")).unwrap();
        fs::write(debian.join("grub.cfg"), format!("search --file --set=root /vmlinuz\n{LOAD}")).unwrap();
        Self::with_loader(home, Label::Gpt, &boot.join("BOOTX64.EFI"))
    }

    /// With Xen, whose dom0 runs `command`.
    pub fn xen(home: &Home, label: Label, command: &str) -> Self {
        let parts = home.0.join("parts");
        fs::create_dir_all(&parts).unwrap();
        check(&mut home.command(&["image", "--xen", "--write", parts.to_str().unwrap()]));
        let load = LOAD_XEN.replace("COMMAND", command);
        let loader = loader(&tools(), &parts, label, &load, &["multiboot2", "gzio"]);
        Self::with_loader(home, label, &loader)
    }

    /// With a loader that shows a menu on the screen and has nothing to load.
    pub fn menu(home: &Home, label: Label) -> Self {
        fs::create_dir_all(home.0.join("parts")).unwrap();
        let loader = menu_loader(&tools(), &home.0.join("parts"), label);
        Self::with_loader(home, label, &loader)
    }

    fn with_loader(home: &Home, label: Label, loader: &Path) -> Self {
        let (tools, parts) = (tools(), home.0.join("parts"));
        let mut disk = vec![0; (START + LENGTH + TAIL) * SECTOR];
        match label {
            Label::Mbr => mbr(&mut disk, &tools, &fs::read(loader).unwrap()),
            Label::Gpt => gpt(&mut disk),
        }
        put(&mut disk, INNER, &multiboot(&inner()));
        let files = file_system(&tools, &parts, (label == Label::Gpt).then_some(loader));
        put(&mut disk, START, &files);
        let path = home.0.join("disk");
        fs::write(&path, disk).unwrap();
        Self { disk: path }
    }

    /// The command that starts the machine inside.
    pub fn nest(&self) -> String {
        format!(
            "dd if=/dev/vda of=/inner bs={SECTOR} skip={INNER} count=1; \
             ireko run --engine kvm --memory 16M --kernel /inner"
        )
    }
}

fn put(disk: &mut [u8], sector: usize, data: &[u8]) {
    disk[sector * SECTOR..][..data.len()].copy_from_slice(data);
}

/// A kernel that prints, then resets, which ends `ireko run`.
fn inner() -> Vec<u8> {
    let print = b"a machine in a machine\r\n".iter().flat_map(|&byte| [0xb0, byte, 0xee]); // mov al,byte; out dx,al
    let port = [0x66, 0xba, 0xf8, 0x03]; // mov dx,3f8h
    let reset = [0xb0, 0xfe, 0xe6, 0x64, 0xf4]; // mov al,0feh; out 64h,al; hlt
    port.into_iter().chain(print).chain(reset).collect()
}

/// GRUB with what it needs for one disk in itself, and the commands of `load`.
fn loader(tools: &Path, parts: &Path, label: Label, load: &str, commands: &[&str]) -> PathBuf {
    let (format, prefix, modules) = match label {
        Label::Mbr => ("i386-pc", "(hd0,msdos1)/", &["biosdisk", "part_msdos"][..]),
        Label::Gpt => ("x86_64-efi", "/EFI/BOOT", &["part_gpt", "search"][..]),
    };
    let place =
        if label == Label::Mbr { "set root=(hd0,msdos1)\n" } else { "search --file --set=root /vmlinuz\n" };
    let (script, loader) = (parts.join("script"), parts.join("loader"));
    fs::write(&script, [place, load].concat()).unwrap();
    let mut make = grub_mkimage(tools, format, &script, &loader);
    check(make.args(["-p", prefix]).args(modules).args(commands).args(["fat", "serial", "terminal", "boot"]));
    loader
}

/// What [`Medium::menu`] shows.
const MENU: &str = "set timeout=-1\nset color_normal=light-gray/black\n\
    menuentry 'First of all' { echo }\nmenuentry 'Second' { echo }\nmenuentry 'Third' { echo }\n";

/// GRUB with a menu in itself.
fn menu_loader(tools: &Path, parts: &Path, label: Label) -> PathBuf {
    let format = if label == Label::Mbr { "i386-pc" } else { "x86_64-efi" };
    let [menu, archive, script, loader] =
        ["grub.cfg", "menu.tar", "script", "loader"].map(|name| parts.join(name));
    fs::write(&menu, MENU).unwrap();
    check(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(parts).arg("grub.cfg"));
    fs::write(&script, "configfile (memdisk)/grub.cfg\n").unwrap();
    let mut make = grub_mkimage(tools, format, &script, &loader);
    make.arg("-p").arg("(memdisk)/").arg("-m").arg(archive);
    make.args(["memdisk", "tar", "normal", "configfile", "echo"]);
    check(make.args(if label == Label::Mbr { &["biosdisk"][..] } else { &[] }));
    loader
}

fn grub_mkimage(tools: &Path, format: &str, script: &Path, loader: &Path) -> Command {
    let mut make = Command::new(tools.join("usr/bin/grub-mkimage"));
    make.env("LD_LIBRARY_PATH", tools.join("lib/x86_64-linux-gnu"));
    make.args(["-O", format]).arg("-d").arg(tools.join("usr/lib/grub").join(format));
    make.arg("-c").arg(script).arg("-o").arg(loader);
    make
}

/// A FAT file system with kernel and root file system, and UEFI's loader.
fn file_system(tools: &Path, parts: &Path, loader: Option<&Path>) -> Vec<u8> {
    let image = parts.join("files");
    let mtools = |program: &str| {
        let mut command = Command::new(tools.join("usr/bin/mtools"));
        command.arg("-c").arg(program).arg("-i").arg(&image);
        command
    };
    check(mtools("mformat").args(["-C", "-F", "-h", "64", "-s", "32", "-T", &LENGTH.to_string(), "::"]));
    let files = ["xen.gz", "vmlinuz", "initramfs"].map(|name| parts.join(name));
    for file in files.iter().filter(|file| file.exists()) {
        check(mtools("mcopy").arg(file).arg("::/"));
    }
    let signed = parts.join("EFI");
    if signed.exists() {
        check(mtools("mcopy").arg("-s").arg(signed).arg("::/"));
    } else if let Some(loader) = loader {
        check(mtools("mmd").args(["::/EFI", "::/EFI/BOOT"]));
        check(mtools("mcopy").arg(loader).arg("::/EFI/BOOT/BOOTX64.EFI"));
    }
    fs::read(image).unwrap()
}

/// An entry of the old table for sectors from `start` on.
fn entry(disk: &mut [u8], flag: u8, kind: u8, start: usize, length: usize) {
    disk[446] = flag;
    disk[450] = kind;
    disk[454..458].copy_from_slice(&(start as u32).to_le_bytes());
    disk[458..462].copy_from_slice(&(length as u32).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// The old table, with GRUB's first sector in front of it and the rest behind.
fn mbr(disk: &mut [u8], tools: &Path, loader: &[u8]) {
    let first = fs::read(tools.join("usr/lib/grub/i386-pc/boot.img")).unwrap();
    disk[..440].copy_from_slice(&first[..440]);
    assert!(loader.len() < (INNER - 1) * SECTOR);
    put(disk, 1, loader);
    entry(disk, 0x80, 0x0c, START, LENGTH);
}

/// The new table (UEFI, 5.3) with one EFI system partition, and its second copy at the end.
fn gpt(disk: &mut [u8]) {
    /// C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
    const SYSTEM: [u8; 16] =
        [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
    const ENTRIES: usize = 32;
    let last = disk.len() / SECTOR - 1;
    entry(disk, 0, 0xee, 1, last);
    let mut entries = vec![0; ENTRIES * SECTOR];
    entries[..16].copy_from_slice(&SYSTEM);
    entries[16..32].fill(1);
    entries[32..40].copy_from_slice(&(START as u64).to_le_bytes());
    entries[40..48].copy_from_slice(&((START + LENGTH - 1) as u64).to_le_bytes());
    for (here, other, at) in [(1, last, 2), (last, 1, last - ENTRIES)] {
        put(disk, at, &entries);
        put(disk, here, &header(here, other, at, last, &entries));
    }
}

/// The header at sector `here` for the entries at sector `at`.
fn header(here: usize, other: usize, at: usize, last: usize, entries: &[u8]) -> Vec<u8> {
    let mut header = [&b"EFI PART"[..], &[0, 0, 1, 0, 92, 0, 0, 0], &[0; 8]].concat();
    for sector in [here, other, 34, last - 34] {
        header.extend((sector as u64).to_le_bytes());
    }
    header.extend([2; 16]);
    header.extend((at as u64).to_le_bytes());
    header.extend([128u32, 128, crc32(entries)].iter().flat_map(|word| word.to_le_bytes()));
    let sum = crc32(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

/// CRC-32 of IEEE 802.3, as UEFI has it.
fn crc32(data: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !data.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}
