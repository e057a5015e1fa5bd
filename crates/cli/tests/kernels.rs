//! Kernels of every boot protocol, from Debian's packages: of 32 bits, of real mode, of PVH.

mod archive;
mod home;
mod packages;

use archive::Archive;
use home::Home;
use packages::{Architecture, packages};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs until the guest ends; `timeout` ends what hangs. Gives what both said.
fn run(arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg("150").arg(env!("CARGO_BIN_EXE_ireko")).args(["run", "--engine", "soft"]);
    if !arguments.contains(&"--memory") {
        command.args(["--memory", "256M"]);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn string(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A directory of the test's own.
fn scratch(name: &str) -> Home {
    let home = Home::new(name);
    fs::create_dir_all(&home.0).unwrap();
    home
}

fn write(home: &Home, name: &str, content: &[u8]) -> String {
    let path = home.0.join(name);
    fs::write(&path, content).unwrap();
    string(&path)
}

/// An archive in which process 1 says what it runs on and turns the machine off.
fn initramfs(busybox: &[u8]) -> Vec<u8> {
    const SCRIPT: &[u8] =
        b"#!/busybox sh\n/busybox echo user space on $(/busybox uname -m)\n/busybox poweroff -f\n";
    let mut archive = Archive::default();
    archive.add("init", 0o100_755, SCRIPT);
    archive.add("busybox", 0o100_755, busybox);
    archive.finish()
}

/// The file of a directory whose name begins so.
fn file(directory: &Path, start: &str) -> PathBuf {
    let named = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(start);
    fs::read_dir(directory)
        .unwrap()
        .flatten()
        .find(named)
        .unwrap_or_else(|| panic!("no {start} in {directory:?}"))
        .path()
}

fn of_32_bits() -> (String, Vec<u8>) {
    let files = packages("kernel-32", Architecture::I386, &["linux-image-686-pae", "busybox-static"]);
    (string(&file(&files.join("boot"), "vmlinuz-")), fs::read(files.join("bin/busybox")).unwrap())
}

#[test]
fn debians_32_bit_kernel_starts_at_its_32_bit_entry_and_by_seabios() {
    let home = scratch("kernel-32");
    let (kernel, busybox) = of_32_bits();
    let initrd = write(&home, "initramfs", &initramfs(&busybox));
    let common = ["--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyS0 quiet panic=-1"];
    for firmware in [&[][..], &["--firmware", "bios", "--display", "none"]] {
        let said = run(&[&common[..], firmware].concat());
        assert!(said.contains("user space on i686"), "{firmware:?}: {said}");
    }
}

/// Its decompressed kernel has the note of PVH; it comes up to where it wants a root file system.
#[test]
fn debians_vmlinux_starts_by_pvh_and_by_linuxs_own_protocol() {
    let home = scratch("vmlinux");
    let parts = string(&home.0);
    assert!(home.run(&["image", "--xen", "--write", &parts]).status.success());
    let kernel = write(&home, "vmlinux", &vmlinux(&home, &fs::read(home.0.join("vmlinuz")).unwrap()));
    for protocol in ["pvh", "linux"] {
        let arguments =
            ["--kernel", &kernel, "--protocol", protocol, "--append", "console=ttyS0 panic=-1 debug"];
        let said = run(&arguments);
        assert!(said.contains("Unable to mount root fs"), "{protocol}: {said}");
    }
}

/// The content of a bzImage, which Debian packs by xz but for the cloud (boot protocol, payload_offset and payload_length).
fn vmlinux(home: &Home, image: &[u8]) -> Vec<u8> {
    let field = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    let start = (usize::from(image[0x1f1]) + 1) * 512 + field(0x248);
    let packed = write(home, "vmlinux.xz", &image[start..start + field(0x24c)]);
    let unpacked = Command::new("xz").args(["-dc", "--single-stream", &packed]).output().unwrap();
    assert!(unpacked.stdout.starts_with(b"\x7fELF"), "{}", String::from_utf8_lossy(&unpacked.stderr));
    unpacked.stdout
}

#[test]
fn ipxe_starts_in_real_mode_and_runs_the_script_that_is_its_initrd() {
    let home = scratch("ipxe");
    let files = packages("ipxe", Architecture::Amd64, &["ipxe"]);
    let script = write(&home, "script", b"#!ipxe\necho hello from the script.\nreboot\n");
    let said = run(&["--kernel", &string(&files.join("boot/ipxe.lkrn")), "--initrd", &script]);
    assert!(said.contains("iPXE initialising devices...ok"), "{said}");
    assert!(said.contains("hello from the script") && said.contains("the guest asked for a reset"), "{said}");
}

#[test]
fn a_managed_machine_of_generation_1_starts_a_kernel_of_real_mode() {
    let home = scratch("managed");
    let files = packages("ipxe", Architecture::Amd64, &["ipxe"]);
    let script = write(&home, "script", b"#!ipxe\necho hello from the script\nshell\n");
    let kernel = string(&files.join("boot/ipxe.lkrn"));
    let create = |name, generation| {
        // With less, iPXE overwrites its initrd.
        let fixed = ["--memory", "128M", "--engine", "soft", "--kernel", &kernel, "--initrd", &script];
        assert!(
            home.run(&[&["vm", "create", name, "--generation", generation][..], &fixed].concat())
                .status
                .success()
        );
        home.run(&["vm", "start", name])
    };
    let refused = create("second", "2");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("starts in real mode with a BIOS"),
        "{refused:?}"
    );
    assert!(create("first", "1").status.success());
    let screen = || String::from_utf8_lossy(&home.run(&["vm", "screenshot", "first"]).stdout).into_owned();
    let seen = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        screen().contains("hello from the script")
    });
    assert!(seen, "{}", screen());
}

#[test]
fn memdisk_boots_the_floppy_that_is_its_initrd() {
    const FLOPPY: usize = 1440 << 10;
    let home = scratch("memdisk");
    let files = packages("memdisk", Architecture::Amd64, &["syslinux-common"]);
    // SeaBIOS holds the last character back. mov si,7c20h; next: lodsb; test al,al; jz off; mov ah,0eh; mov bx,7; int 10h; jmp next
    // off: mov al,0feh; out 64h,al; hlt
    let mut floppy = vec![
        0xbe, 0x20, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x09, 0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xeb, 0xf2,
        0xb0, 0xfe, 0xe6, 0x64, 0xf4,
    ];
    floppy.resize(0x20, 0);
    floppy.extend(b"booted from memory.\0");
    floppy.resize(510, 0);
    floppy.extend([0x55, 0xaa]);
    floppy.resize(FLOPPY, 0);
    let floppy = write(&home, "floppy", &floppy);
    let kernel = string(&files.join("usr/lib/syslinux/memdisk"));
    let said = run(&["--kernel", &kernel, "--initrd", &floppy, "--append", "floppy"]);
    assert!(said.contains("Disk is fd0, 1440 K"), "{said}");
    assert!(said.contains("booted from memory"), "{said}");
}

#[test]
fn ovmf_starts_a_kernel_by_its_stub() {
    let home = scratch("stub");
    let parts = string(&home.0);
    assert!(home.run(&["image", "--write", &parts]).status.success());
    let kernel = string(&home.0.join("vmlinuz"));
    let said = run(&[
        "--firmware",
        "uefi",
        "--reboot",
        "exit",
        "--kernel",
        &kernel,
        "--append",
        "console=ttyS0 panic=-1",
    ]);
    assert!(said.contains("efi: EFI v2"), "{said}");
    assert!(said.contains("Unable to mount root fs"), "{said}");
}

/// Nobody that UEFI trusts signed the kernel, but it comes from outside of the machine: OVMF starts it another way.
#[test]
fn with_secure_boot_ovmf_starts_a_kernel_that_finds_its_initrd() {
    let home = scratch("secure");
    let parts = string(&home.0);
    assert!(home.run(&["image", "--write", &parts]).status.success());
    let [kernel, initrd] = ["vmlinuz", "initramfs"].map(|name| string(&home.0.join(name)));
    let kernel = ["--firmware", "uefi", "--secure-boot", "--kernel", &kernel, "--initrd", &initrd];
    let append = "console=ttyS0 ireko.exec=\"dmesg | grep -i secureboot; echo from the initrd\"";
    let said = run(&[&kernel[..], &["--memory", "512M", "--append", append]].concat());
    assert!(said.contains("Secure boot enabled") && said.contains("from the initrd"), "{said}");
}

/// SeaBIOS starts and parks the others, has its system-management interrupts to itself, and Linux starts them again. Secure boot's firmware waits for all of
/// them in that mode.
#[test]
fn firmware_of_every_kind_starts_a_kernel_on_two_processors() {
    let home = scratch("two");
    let parts = string(&home.0);
    assert!(home.run(&["image", "--write", &parts]).status.success());
    let [kernel, initrd] = ["vmlinuz", "initramfs"].map(|name| string(&home.0.join(name)));
    let kernel = ["--cpus", "2", "--kernel", &kernel, "--initrd", &initrd, "--memory", "512M"];
    let append = ["--append", "console=ttyS0 quiet ireko.exec=\"echo there are $(nproc)\""];
    for firmware in [&["bios"][..], &["uefi"], &["uefi", "--secure-boot"]] {
        let said = run(&[&kernel[..], &append, &["--firmware"], firmware].concat());
        assert!(said.contains("there are 2"), "{firmware:?}: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_kernel_is_one_sentence() {
    let home = scratch("wrong");
    let gzip = write(&home, "gzip", &[0x1f, 0x8b, 8, 0, 0, 0]);
    let text = write(&home, "text", b"no kernel\n");
    let parts = string(&home.0);
    assert!(home.run(&["image", "--write", &parts]).status.success());
    let linux = string(&home.0.join("vmlinuz"));
    for (arguments, sentence) in [
        (&["--kernel", &gzip][..], "its gzip data is damaged"),
        (&["--kernel", &text], "is not a kernel but text"),
        (
            &["--kernel", &linux, "--module", &format!("{text} a b")],
            "modules are for multiboot and PVH, and --initrd for Linux",
        ),
        (&["--kernel", &linux, "--protocol", "multiboot2"], "cannot be started by the protocol multiboot2"),
        (&["--kernel", &linux, "--protocol", "efi"], "there is no boot protocol `efi`"),
        (&["--kernel", &linux, "--initrd", "/nowhere"], "the initrd `/nowhere` does not exist"),
        (&["--firmware", "bios", "--append", "quiet"], "--append are for a kernel"),
        (&["--firmware", "bios", "--kernel", &text], "firmware cannot start"),
    ] {
        let said = run(arguments);
        assert!(said.contains(sentence) && said.trim().lines().count() == 1, "{arguments:?}: {said}");
    }
}
