//! Managed machines whose kernel is a few instructions: what is loaded beside it, its serial port, its display.

mod home;
mod kernel;

use home::Home;
use kernel::multiboot;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Prints the command line of its first module (Multiboot 0.6.96, 3.3 and 3.4) at COM 1, and turns the machine off.
#[rustfmt::skip]
const TELLS_ITS_MODULE: &[u8] = &[
    // mov esi,[ebx+24]; mov esi,[esi+8]
    0x8b, 0x73, 0x18, 0x8b, 0x76, 0x08,
    // next: lodsb; test al,al; jz off; mov dx,0x3f8; out dx,al; jmp next
    0xac, 0x84, 0xc0, 0x74, 0x07, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf4,
    // off: mov dx,0x604; mov ax,0x3400; out dx,ax; jmp self
    0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xeb, 0xfe,
];

/// Answers each byte at COM 1 with the next one.
#[rustfmt::skip]
const ANSWERS: &[u8] = &[
    // next: mov dx,0x3fd; in al,dx; test al,1; jz next
    0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7,
    // mov dx,0x3f8; in al,dx; inc al; out dx,al; jmp next
    0x66, 0xba, 0xf8, 0x03, 0xec, 0xfe, 0xc0, 0xee, 0xeb, 0xed,
];

impl Home {
    /// A machine named `pc` with this kernel.
    fn machine(&self, code: &[u8]) {
        fs::create_dir_all(&self.0).unwrap();
        let kernel = self.0.join("kernel");
        fs::write(&kernel, multiboot(code)).unwrap();
        self.vm_ok(&[
            "create",
            "pc",
            "--memory",
            "64M",
            "--engine",
            "soft",
            "--kernel",
            kernel.to_str().unwrap(),
        ]);
    }

    fn until_off(&self) {
        let begun = Instant::now();
        while !self.vm_ok(&["list"]).contains("Off") {
            assert!(begun.elapsed() < Duration::from_secs(300), "it runs on");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Halts with interrupts off: cli; hlt.
const HALTS: &[u8] = &[0xfa, 0xf4];

#[test]
fn an_end_is_shown_in_one_sentence_and_its_registers_are_in_the_log() {
    let home = Home::new("end");
    home.machine(HALTS);
    home.vm_ok(&["start", "pc"]);
    home.until_off();
    let shown = home.vm_ok(&["show", "pc"]);
    let reason = shown.lines().find(|line| line.starts_with("EndReason")).unwrap();
    assert!(
        reason.ends_with(": the guest halted with interrupts off for good; its registers are in worker.log"),
        "{reason}"
    );
    let machine = fs::read_dir(home.0.join("vms")).unwrap().next().unwrap().unwrap().path();
    let log = fs::read_to_string(machine.join("worker.log")).unwrap();
    assert!(log.contains("halted with interrupts off for good: ") && log.contains("rip"), "{log}");
}

#[test]
fn damaged_variables_keep_a_machine_off_with_their_name() {
    let home = Home::new("variables");
    home.vm_ok(&["create", "pc", "--generation", "2", "--start-with", "Firmware", "--engine", "soft"]);
    let machine = fs::read_dir(home.0.join("vms")).unwrap().next().unwrap().unwrap().path();
    fs::write(machine.join("variables.fd"), vec![7; 128 << 10]).unwrap();
    let said = home.vm_error(&["start", "pc"]);
    assert!(said.contains("variables.fd` is damaged: it does not begin"), "{said}");
}

#[test]
fn a_kernel_has_its_modules_each_with_a_command_line() {
    let home = Home::new("modules");
    home.machine(TELLS_ITS_MODULE);
    let module = home.0.join("a module");
    fs::write(&module, "content").unwrap();
    let given = format!("{} first=1,2 second", module.display());
    home.vm_ok(&["firmware-set", "pc", "--module", &given, "--module", &given, "--protocol", "multiboot"]);
    assert!(home.vm_ok(&["firmware", "pc", "--json"]).contains("first=1,2 second"));
    home.vm_ok(&["start", "pc"]);
    home.until_off();
    let log = home.vm_ok(&["log", "pc"]);
    assert!(log.contains("first=1,2 second"), "{log}");
}

#[test]
fn a_kernel_that_does_not_know_the_protocol_does_not_start() {
    let home = Home::new("protocol");
    home.machine(TELLS_ITS_MODULE);
    home.vm_ok(&["set", "pc", "--protocol", "pvh"]);
    let said = home.run(&["vm", "start", "pc"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("pvh"), "{said}");
}

#[test]
fn com_1_is_a_socket_while_the_machine_runs() {
    let home = Home::new("com1");
    home.machine(ANSWERS);
    let socket = home.0.join("com1");
    home.vm_ok(&["com-set", "pc", "--number", "1", "--path", socket.to_str().unwrap()]);
    home.vm_ok(&["start", "pc"]);
    let mut wire = UnixStream::connect(&socket).unwrap();
    wire.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = [0; 3];
    // One by one: nobody said that the port has a queue.
    for (byte, place) in b"HAL".iter().zip(&mut answer) {
        wire.write_all(&[*byte]).unwrap();
        wire.read_exact(std::slice::from_mut(place)).unwrap();
    }
    assert_eq!(&answer, b"IBM");
}

#[test]
fn who_follows_a_log_reads_what_is_printed_meanwhile() {
    let home = Home::new("follow");
    home.machine(ANSWERS);
    let socket = home.0.join("com1");
    home.vm_ok(&["com-set", "pc", "--number", "1", "--path", socket.to_str().unwrap()]);
    home.vm_ok(&["start", "pc"]);
    let mut follower = home.command(&["vm", "log", "pc", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("[ireko: started at ") {}
    // A line's end is the answer to a tab.
    UnixStream::connect(&socket).unwrap().write_all(b"HAL\t").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "IBM");
    home.vm_ok(&["stop", "pc", "--turn-off"]);
    assert!(lines.next().is_none());
    assert!(follower.wait().unwrap().success());
}

#[test]
fn a_directly_started_kernel_has_the_display_that_is_asked_for() {
    let home = Home::new("display");
    home.machine(ANSWERS);
    home.vm_ok(&["start", "pc"]);
    let refused = home.run(&["vm", "screenshot", "pc"]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("ireko vm screen-set --adapter Vga"), "{refused}");
    home.vm_ok(&["stop", "pc", "--turn-off"]);
    home.vm_ok(&["screen-set", "pc", "--adapter", "vga"]);
    home.vm_ok(&["start", "pc"]);
    home.vm_ok(&["screenshot", "pc"]);
    home.vm_ok(&["type", "pc", "a{enter}"]);
}
