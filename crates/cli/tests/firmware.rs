//! Firmware of Debian's packages, and machines that start again.

mod home;
mod kernel;

use home::Home;
use kernel::multiboot;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Output, Stdio};

/// A boot sector's code at 0x7c00 (real mode). It prints; reads the sector behind it; if that starts with 0, writes 1 there and
/// resets by port CF9h; else prints again and turns the machine off.
#[rustfmt::skip]
const BOOT_SECTOR: &[u8] = &[
    // xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00; cld
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfc,
    // mov si,0x7c67; call print
    0xbe, 0x67, 0x7c, 0xe8, 0x46, 0x00,
    // mov ax,0x201; call sector; jc failed
    0xb8, 0x01, 0x02, 0xe8, 0x35, 0x00, 0x72, 0x2b,
    // cmp byte [0x7e00],0; jne again; mov byte [0x7e00],1
    0x80, 0x3e, 0x00, 0x7e, 0x00, 0x75, 0x15, 0xc6, 0x06, 0x00, 0x7e, 0x01,
    // mov ax,0x301; call sector; jc failed
    0xb8, 0x01, 0x03, 0xe8, 0x21, 0x00, 0x72, 0x17,
    // mov dx,0xcf9; mov al,6; out dx,al; jmp self
    0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xeb, 0xfe,
    // again: mov si,0x7c74; call print
    0xbe, 0x74, 0x7c, 0xe8, 0x1c, 0x00,
    // off: mov dx,0x604; mov ax,0x3400; out dx,ax; jmp self
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef, 0xeb, 0xfe,
    // failed: mov si,0x7c81; call print; jmp off
    0xbe, 0x81, 0x7c, 0xe8, 0x0d, 0x00, 0xeb, 0xef,
    // sector: mov bx,0x7e00; mov cx,2; mov dh,0; int 0x13; ret
    0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13, 0xc3,
    // print: lodsb; test al,al; jz done; mov ah,0xe; mov bx,7; int 0x10; jmp print; done: ret
    0xac, 0x84, 0xc0, 0x74, 0x09, 0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xeb, 0xf2, 0xc3,
];
const TEXTS: &[u8] = b"boot sector \0second time \0disk error \0";

fn disk(home: &Home, sector: &[u8]) -> PathBuf {
    fs::create_dir_all(&home.0).unwrap();
    let path = home.0.join("disk");
    let mut content = vec![0; 1 << 20];
    content[..sector.len()].copy_from_slice(sector);
    fs::write(&path, content).unwrap();
    path
}

fn bootable(home: &Home) -> PathBuf {
    let mut sector = [BOOT_SECTOR, TEXTS].concat();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    disk(home, &sector)
}

fn run(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let common = ["run", "--engine", "soft", "--memory", "64M"];
    let mut command = home.command(&[&common[..], arguments].concat());
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn seabios_loads_a_boot_sector_whose_reset_starts_the_machine_again() {
    let home = Home::new("bios");
    let disk = bootable(&home);
    let (code, screen, said) = run(&home, &["--firmware", "bios", "--disk", disk.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(screen.matches("SeaBIOS (version ").count(), 2, "{screen}");
    assert!(screen.trim_end().ends_with("boot sector second time"), "{screen}");
}

#[test]
fn seabios_reads_and_writes_disks_behind_every_controller() {
    for bus in ["sata", "ide", "nvme", "scsi"] {
        let home = Home::new(&format!("bios-{bus}"));
        let disk = bootable(&home);
        let argument = format!("{},bus={bus}", disk.display());
        let (code, screen, said) = run(&home, &["--firmware", "bios", "--disk", &argument]);
        assert_eq!(code, Some(0), "{bus}: {said}");
        assert!(screen.trim_end().ends_with("boot sector second time"), "{bus}: {screen}");
        assert_eq!(fs::read(&disk).unwrap()[512], 1, "{bus}");
    }
}

/// A CD that starts without emulation of another medium (El Torito 1.0): a boot record in sector 17, a catalog, and four sectors of 512
/// bytes, which print and turn the machine off.
fn bootable_cd() -> Vec<u8> {
    const SECTOR: usize = 2048;
    const CATALOG: u8 = 18;
    const PROGRAM: u8 = 19;
    let mut disc = vec![0; 20 * SECTOR];
    let mut put = |sector: u8, at: usize, data: &[u8]| {
        disc[usize::from(sector) * SECTOR + at..][..data.len()].copy_from_slice(data);
    };
    put(16, 0, b"\x01CD001\x01");
    put(17, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &[CATALOG]);
    // The validation entry sums up to nothing, by words.
    put(CATALOG, 0, &[1]);
    put(CATALOG, 28, &[0xaa, 0x55, 0x55, 0xaa]);
    put(CATALOG, 32, &[0x88, 0, 0, 0, 0, 0, 4, 0, PROGRAM]);
    // xor ax,ax; mov ds,ax; mov si,7c40h; next: lodsb; test al,al; jz off; mov ah,0eh; mov bx,7; int 10h; jmp next
    // off: mov dx,604h; mov ax,3400h; out dx,ax; jmp self
    #[rustfmt::skip]
    put(PROGRAM, 0, &[
        0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x40, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x09, 0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xeb, 0xf2,
        0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef, 0xeb, 0xfe,
    ]);
    put(PROGRAM, 0x40, b"from a CD. \0");
    disc
}

#[test]
fn seabios_starts_from_a_cd_behind_every_controller_that_has_drives() {
    for bus in ["ide", "sata", "scsi"] {
        let home = Home::new(&format!("cd-{bus}"));
        let disc = disk(&home, &bootable_cd());
        let argument = format!("{},bus={bus}", disc.display());
        let (code, screen, said) = run(&home, &["--firmware", "bios", "--cdrom", &argument]);
        assert_eq!(code, Some(0), "{bus}: {said}{screen}");
        assert!(screen.contains("from a CD"), "{bus}: {screen}");
    }
}

#[test]
fn an_unknown_controller_is_refused_by_its_name() {
    for (kind, name, sentence) in [
        ("--disk", "disk,bus=floppy", "there is no disk controller `floppy`"),
        (
            "--cdrom",
            "disc,bus=nvme",
            "the CD `disc` cannot be behind nvme, which has no drives; use ide, sata or scsi",
        ),
    ] {
        let (code, _, said) = run(&Home::new("bus"), &["--firmware", "bios", kind, name]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_reset_is_the_end_where_that_is_asked_for() {
    let home = Home::new("exit");
    let disk = bootable(&home);
    let arguments = ["--firmware", "bios", "--reboot", "exit", "--disk", disk.to_str().unwrap()];
    let (code, screen, said) = run(&home, &arguments);
    assert_eq!((code, screen.matches("boot sector").count()), (Some(0), 1), "{screen}");
    assert!(said.contains("the guest asked for a reset"), "{said}");
}

/// It has no I/O APIC then and no message-signalled interrupts.
#[test]
fn linux_without_acpi_finds_its_disk_by_the_pic_and_turns_the_machine_off() {
    let said = finds_its_disk("noacpi", "acpi=off", "grep XT-PIC.*virtio /proc/interrupts");
    assert!(said.contains("XT-PIC"), "{said}");
}

/// ACPI is told that the PIC is in use, and says where PCI's wires end there.
#[test]
fn linux_without_a_local_apic_finds_its_disk_by_the_pic() {
    let said = finds_its_disk("nolapic", "nolapic", "grep XT-PIC.*virtio /proc/interrupts");
    assert!(said.contains("XT-PIC"), "{said}");
}

/// It takes none of the places that BARs have then, and chooses others.
#[test]
fn linux_that_does_not_ask_acpi_about_pci_finds_its_disk() {
    finds_its_disk("pcinoacpi", "pci=noacpi", "true");
}

/// The machine itself takes the firmware's part; what is cached of the disk is forgotten, so that it is asked again.
#[test]
fn linux_sleeps_in_memory_until_its_clocks_alarm() {
    let sleep =
        "cd /sys/class/rtc/rtc0 && echo 0 > wakealarm && echo +4 > wakealarm && echo mem > /sys/power/state";
    let again = "echo 3 > /proc/sys/vm/drop_caches && head -n 1 /dev/vda && dmesg | grep state.S3";
    let said = finds_its_disk("suspend", "quiet", &format!("{sleep} && {again}"));
    assert_eq!(said.matches("what the disk begins with").count(), 2, "{said}");
    assert!(said.contains("Waking up from system sleep state S3"), "{said}");
}

fn finds_its_disk(name: &str, append: &str, more: &str) -> String {
    let home = Home::new(name);
    let disk = disk(&home, b"what the disk begins with\n").display().to_string();
    let script = format!("head -n 1 /dev/vda && {more}");
    let append = format!("--append={append}");
    let output =
        home.run(&["run", "--engine", "soft", "--image", &append, "--disk", &disk, "--exec", &script]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("what the disk begins with"), "{said}");
    said
}

#[test]
fn what_firmware_says_at_its_debug_port_can_be_seen() {
    let home = Home::new("debug");
    let disk = bootable(&home);
    let arguments = ["--firmware", "bios", "--firmware-debug", "--disk", disk.to_str().unwrap()];
    let (_, _, said) = run(&home, &arguments);
    assert!(said.contains("QEMU fw_cfg DMA interface supported"), "{said}");
}

#[test]
fn a_file_that_is_no_firmware_is_refused_with_its_size() {
    let home = Home::new("refused");
    let disk = disk(&home, &[]);
    let (code, _, said) = run(&home, &["--firmware", disk.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("has more than 524288 bytes, and a BIOS image has 128, 256 or 512 KiB"), "{said}");
}

#[test]
fn a_triple_fault_starts_a_kernel_again_until_it_is_stopped() {
    let home = Home::new("triple");
    fs::create_dir_all(&home.0).unwrap();
    let kernel = home.0.join("kernel");
    // mov dx,0x3f8; mov al,'x'; out dx,al; ud2
    fs::write(&kernel, multiboot(&[0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0x0f, 0x0b])).unwrap();
    let arguments = ["run", "--engine", "soft", "--memory", "64M", "--reboot", "reset", "--kernel"];
    let mut command = home.command(&arguments);
    let mut running = command
        .arg(&kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut twice = [0; 2];
    running.stdout.as_mut().unwrap().read_exact(&mut twice).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(&twice, b"xx");
}

/// Reads what a machine prints until `text` comes; then the machine goes.
fn until(mut running: std::process::Child, text: &str) -> String {
    let (mut screen, mut byte) = (Vec::new(), [0]);
    let mut output = running.stdout.take().unwrap();
    while !screen.ends_with(text.as_bytes()) && output.read(&mut byte).unwrap() > 0 {
        screen.push(byte[0]);
    }
    let _ = running.kill();
    running.wait().unwrap();
    String::from_utf8_lossy(&screen).into_owned()
}

#[test]
fn ovmf_reaches_its_shell_and_keeps_its_variables() {
    const SIZE: u64 = 128 << 10;
    let home = Home::new("uefi");
    fs::create_dir_all(&home.0).unwrap();
    let variables = home.0.join("variables");
    let start = || {
        let arguments = ["run", "--engine", "soft", "--memory", "256M", "--firmware", "uefi", "--variables"];
        let mut command = home.command(&arguments);
        command.arg(&variables).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let screen = until(start(), "UEFI Interactive Shell");
    assert!(screen.ends_with("UEFI Interactive Shell"), "{screen}");
    let kept = fs::read(&variables).unwrap();
    assert_eq!(kept.len() as u64, SIZE);
    // The shell is entry 0 of the boot order that OVMF made.
    let name: Vec<u8> = "Boot0000".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(kept.windows(name.len()).any(|bytes| bytes == name));
    // A second start takes the file as it is.
    let screen = until(start(), "UEFI Interactive Shell");
    assert!(screen.ends_with("UEFI Interactive Shell"), "{screen}");
}

#[test]
fn ovmf_waits_for_no_drive_that_is_not_there() {
    let home = Home::new("uefi-ide");
    let disk = format!("{},bus=ide", disk(&home, &[]).display());
    // Three of IDE's four drives, and a channel.
    let arguments = ["run", "--engine", "soft", "--memory", "256M", "--firmware", "uefi", "--disk", &disk];
    let mut command = home.command(&arguments);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let screen = until(running, "UEFI Interactive Shell");
    assert!(screen.ends_with("UEFI Interactive Shell"), "{screen}");
}

#[test]
fn a_file_that_is_no_variables_is_refused_with_both_sizes() {
    let home = Home::new("variables");
    let disk = disk(&home, &[]);
    let (code, _, said) = run(&home, &["--firmware", "uefi", "--variables", disk.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("(1048576 bytes) do not belong together"), "{said}");
}

#[test]
fn variables_of_the_other_kind_are_refused_for_secure_boot() {
    let home = Home::new("kinds");
    fs::create_dir_all(&home.0).unwrap();
    for (bytes, options, kind) in [(528 << 10, &[][..], "with"), (128 << 10, &["--secure-boot"], "without")] {
        let file = home.0.join(kind);
        fs::File::create(&file).unwrap().set_len(bytes).unwrap();
        let arguments = ["--firmware", "uefi", "--variables", file.to_str().unwrap()];
        let (code, _, said) = run(&home, &[&arguments, options].concat());
        assert_eq!(code, Some(1));
        assert!(said.contains(&format!("those of UEFI {kind} secure boot")), "{said}");
    }
}

#[test]
fn damaged_variables_are_refused_before_the_start() {
    let home = Home::new("noise");
    fs::create_dir_all(&home.0).unwrap();
    let file = home.0.join("noise.fd");
    fs::write(
        &file,
        (0..128 << 10).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    let (code, _, said) = run(&home, &["--firmware", "uefi", "--variables", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("noise.fd` is damaged: it does not begin"), "{said}");
}

#[test]
fn secure_boot_without_uefi_is_refused() {
    let (code, _, said) = run(&Home::new("secure"), &["--firmware", "bios", "--secure-boot"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("use --secure-boot with --firmware uefi"), "{said}");
}

#[test]
fn a_managed_machine_starts_with_its_generations_firmware_and_stays_running_over_a_reset() {
    let home = Home::new("managed");
    let disk = bootable(&home);
    let ok = |arguments: &[&str]| {
        let output = home.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let path = disk.to_str().unwrap();
    ok(&[
        "vm",
        "create",
        "pc",
        "--memory",
        "64M",
        "--engine",
        "soft",
        "--start-with",
        "firmware",
        "--disk",
        path,
    ]);
    assert!(ok(&["vm", "firmware", "pc"]).contains("Firmware"));
    ok(&["vm", "start", "pc"]);
    // It resets itself once, then turns itself off.
    while !ok(&["vm", "list"]).contains("Off") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(fs::read(&disk).unwrap()[512], 1);
}
