//! Standard output and error that are full, closed, or a pipe that nobody reads.

mod home;
mod kernel;

use home::Home;
use kernel::multiboot;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

/// mov dx,0x3f8; mov al,'x'; again: out dx,al; jmp again
const WRITES: &[u8] = &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd];
/// mov dx,0x3f8; mov al,'x'; out dx,al; mov dx,0x604; mov ax,0x3400; out dx,ax; jmp self
const WRITES_AND_ENDS: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef,
    0xeb, 0xfe,
];

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// The writing end of a pipe whose reader went away.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

fn vm_of(home: &Home, code: &[u8]) -> Command {
    fs::create_dir_all(&home.0).unwrap();
    let kernel = home.0.join("kernel");
    fs::write(&kernel, multiboot(code)).unwrap();
    let mut command = home.command(&["run", "--engine", "soft", "--memory", "64M", "--kernel"]);
    command.arg(kernel);
    command
}

fn end(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_machine_does_not_care_for_a_standard_error_that_fails() {
    let home = Home::new("error");
    for error in [Stdio::from(full()), Stdio::from(unread())] {
        let output = vm_of(&home, WRITES_AND_ENDS).stderr(error).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"x"[..]));
    }
}

#[test]
fn a_machine_whose_screen_is_full_ends_with_a_sentence() {
    let home = Home::new("full");
    let (code, said) = end(vm_of(&home, WRITES).stdout(full()).stderr(Stdio::piped()));
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("standard output cannot be written: No space left on device"), "{said}");
}

#[test]
fn a_machine_whose_reader_goes_away_ends_as_by_sigpipe() {
    let home = Home::new("reader");
    let mut vm: Child = vm_of(&home, WRITES).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    vm.stdout.take().unwrap().read_exact(&mut [0; 1]).unwrap();
    let mut said = String::new();
    vm.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(vm.wait().unwrap().code(), Some(141), "{said}");
    assert!(said.contains("the VM was stopped"), "{said}");
}

#[test]
fn what_is_not_written_is_an_error_with_a_sentence_and_what_is_not_read_one_without() {
    let home = Home::new("list");
    assert!(home.run(&["vm", "create", "vm"]).status.success());
    for arguments in PRINT {
        let (code, said) = end(home.command(arguments).stdout(full()));
        assert_eq!(code, Some(74), "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written: No space left on device"), "{said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        let quiet = end(home.command(arguments).stdout(unread()));
        assert_eq!(quiet, (Some(141), String::new()), "{arguments:?}");
    }
}

/// Whatever prints.
const PRINT: &[&[&str]] = &[
    &["--help"],
    &["--version"],
    &["vm", "--help"],
    &["help", "run"],
    &["vm", "list"],
    &["vm", "list", "--json"],
    &["vm", "show", "vm"],
    &["tree"],
    &["serve", "--openapi"],
    &["man"],
    &["completions", "bash"],
    &["shell", "-c", "Get-VM"],
    &["shell", "-c", "Write-Host x"],
    &["shell", "-c", "Remove-VM vm -WhatIf"],
];

#[test]
fn a_standard_output_that_is_closed_is_one_that_cannot_be_written() {
    let home = Home::new("shut");
    assert!(home.run(&["vm", "create", "vm"]).status.success());
    for arguments in PRINT {
        let (code, said) = end(&mut without_output(home.command(arguments)));
        assert_eq!(code, Some(74), "{arguments:?}: {said}");
        assert!(said.contains("standard output cannot be written: Bad file descriptor"), "{said}");
    }
}

#[test]
fn a_machine_without_a_screen_ends_with_a_sentence() {
    let home = Home::new("screenless");
    let (code, said) = end(&mut without_output(vm_of(&home, WRITES)));
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("standard output cannot be written: Bad file descriptor"), "{said}");
}

#[test]
fn who_has_nothing_to_print_needs_no_standard_output() {
    let home = Home::new("silent");
    let (code, said) = end(&mut without_output(home.command(&["shell", "-c", "$x = 1"])));
    assert_eq!(code, Some(0), "{said}");
}

/// The same, with standard output closed.
fn without_output(command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    shell
}

#[test]
fn an_error_that_nobody_hears_is_still_an_exit_code() {
    let home = Home::new("deaf");
    for error in [Stdio::from(full()), Stdio::from(unread())] {
        let status = home.command(&["vm", "start", "none"]).stderr(error).status().unwrap();
        assert_eq!(status.code(), Some(1));
    }
}

#[test]
fn closed_descriptors_are_not_used_for_anything_else() {
    let home = Home::new("closed");
    let mut server = Command::new("sh")
        .args(["-c", "exec \"$0\" serve <&- >&- 2>&-", env!("CARGO_BIN_EXE_ireko")])
        .env("IREKO_HOME", &home.0)
        .spawn()
        .unwrap();
    let answers = |_| std::os::unix::net::UnixStream::connect(home.0.join("server/api.sock")).is_ok();
    let up = (0..3000).any(|round| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        answers(round)
    });
    let targets =
        [0, 1, 2].map(|fd| fs::read_link(format!("/proc/{}/fd/{fd}", server.id())).unwrap_or_default());
    let _ = server.kill();
    let _ = server.wait();
    assert!(up && targets.iter().all(|target| target.as_os_str() == "/dev/null"), "{targets:?}");
}

#[test]
fn a_server_goes_on_without_its_standard_error() {
    let home = Home::new("server");
    let mut server = home.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(home.0.join("server/api.sock")).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /vms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let _ = server.kill();
    let _ = server.wait();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
