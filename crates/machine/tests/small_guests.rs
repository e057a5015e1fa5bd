//! Tiny multiboot kernels on the software engine: what the machine gives them, and how they end.

mod kernel;

use ireko_machine::{Endpoints, EngineChoice, MachineError, Outcome, Spec, Vm};
use kernel::{kernel, kernel_at};
use std::io::Write;
use std::sync::{Arc, Mutex};

fn spec(code: &[u8]) -> Spec {
    Spec { memory: 16 << 20, engine: EngineChoice::Soft, test_devices: true, ..Spec::new(kernel(code)) }
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn run(spec: Spec) -> (Outcome, String) {
    let output = Output::default();
    let outcome = Vm::new(spec, Endpoints::serial(output.clone())).unwrap().run();
    let text = String::from_utf8_lossy(&output.0.lock().unwrap()).into_owned();
    (outcome, text)
}

/// `mov al, value; out 0xf4, al; jmp self`.
fn exit_with(value: u8) -> [u8; 6] {
    [0xb0, value, 0xe6, 0xf4, 0xeb, 0xfe]
}

#[test]
fn the_debug_exit_port_ends_the_vm_with_the_value() {
    let (outcome, _) = run(spec(&exit_with(21)));
    assert_eq!((outcome.clone(), outcome.exit_code()), (Outcome::DebugExit(21), 43));
}

#[test]
fn the_kernel_starts_with_the_multiboot_magic_in_eax() {
    // cmp eax,0x2badb002; sete al; out 0xf4,al; jmp self
    let code = [0x3d, 0x02, 0xb0, 0xad, 0x2b, 0x0f, 0x94, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe];
    assert_eq!(run(spec(&code)).0, Outcome::DebugExit(1));
}

#[test]
fn the_command_line_can_be_printed_on_the_serial_port() {
    // mov dx,0x3f8; mov esi,[ebx+16]; again: lodsb; test al,al; jz done; out dx,al; jmp again; done:
    let mut code =
        vec![0x66, 0xba, 0xf8, 0x03, 0x8b, 0x73, 0x10, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8];
    code.extend(exit_with(0));
    let spec = Spec { command_line: "one two".into(), ..spec(&code) };
    assert_eq!(run(spec).1, "test one two");
}

#[test]
fn a_triple_fault_is_a_shutdown_with_registers() {
    // mov eax,0x1234567; ud2, without an IDT.
    let (outcome, _) = run(spec(&[0xb8, 0x67, 0x45, 0x23, 0x01, 0x0f, 0x0b]));
    assert!(matches!(&outcome, Outcome::Shutdown(text) if text.contains("01234567")), "{outcome}");
    assert_ne!(outcome.exit_code(), 0);
}

#[test]
fn a_jump_to_where_no_memory_is_fails_and_says_where() {
    // mov eax,0x70000000; jmp eax
    let (outcome, _) = run(spec(&[0xb8, 0, 0, 0, 0x70, 0xff, 0xe0]));
    assert!(matches!(&outcome, Outcome::Unsupported(text) if text.contains("70000000")), "{outcome}");
}

#[test]
fn the_reset_register_resets() {
    // mov dx,0xcf9; mov al,6; out dx,al; jmp self
    let (outcome, _) = run(spec(&[0x66, 0xba, 0xf9, 0x0c, 0xb0, 6, 0xee, 0xeb, 0xfe]));
    assert_eq!(outcome, Outcome::Reset);
}

#[test]
fn acpi_s5_turns_the_machine_off() {
    // mov dx,0x604; mov ax,SLP_EN | 5<<10; out dx,ax; jmp self
    let (outcome, _) = run(spec(&[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xeb, 0xfe]));
    assert_eq!(outcome, Outcome::PowerOff);
}

#[test]
fn a_loop_without_end_can_be_stopped() {
    let mut vm = Vm::new(spec(&[0xeb, 0xfe]), Endpoints::serial(std::io::sink())).unwrap();
    let handle = vm.handle();
    let running = std::thread::spawn(move || vm.run());
    handle.stop();
    assert_eq!(running.join().unwrap(), Outcome::Stopped);
}

#[test]
fn what_is_not_there_reads_as_ones() {
    // mov eax,[0xfed40000]; inc eax; out 0xf4,al; jmp self
    let (outcome, _) = run(spec(&[0xa1, 0, 0, 0xd4, 0xfe, 0x40, 0xe6, 0xf4, 0xeb, 0xfe]));
    assert_eq!(outcome, Outcome::DebugExit(0));
}

fn refused(spec: Spec) -> MachineError {
    Vm::new(spec, Endpoints::serial(std::io::sink())).err().unwrap()
}

#[test]
fn an_unknown_engine_option_is_refused() {
    let spec = Spec { options: vec!["no-such=1".into()], ..spec(&[0xf4]) };
    assert!(refused(spec).to_string().contains("no-such"));
}

#[test]
fn no_processors_are_refused() {
    assert!(matches!(refused(Spec { vcpus: 0, ..spec(&[0xf4]) }), MachineError::Processors { asked: 0, .. }));
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    let disk = ireko_machine::DiskSpec::new("/no/such/disk", true);
    assert!(refused(Spec { disks: vec![disk], ..spec(&[0xf4]) }).to_string().contains("/no/such/disk"));
}

#[test]
fn a_paused_vm_goes_on_when_resumed() {
    // mov edx,0x3fd; wait: in al,dx; test al,1; jz wait; mov al,7; out 0xf4,al; jmp self: ends when a byte comes.
    let mut code = vec![0xba, 0xfd, 0x03, 0, 0, 0xec, 0xa8, 1, 0x74, 0xfb];
    code.extend(exit_with(7));
    let mut vm = Vm::new(spec(&code), Endpoints::serial(std::io::sink())).unwrap();
    let handle = vm.handle();
    let running = std::thread::spawn(move || vm.run());
    handle.pause();
    handle.serial_input(b"x");
    assert!(handle.paused() && !running.is_finished());
    handle.resume();
    assert_eq!(running.join().unwrap(), Outcome::DebugExit(7));
}

#[test]
fn a_paused_vm_can_be_stopped() {
    let mut vm = Vm::new(spec(&[0xeb, 0xfe]), Endpoints::serial(std::io::sink())).unwrap();
    let handle = vm.handle();
    let running = std::thread::spawn(move || vm.run());
    handle.pause();
    handle.stop();
    assert_eq!(running.join().unwrap(), Outcome::Stopped);
}

/// A bit for each answer: 639 KiB of conventional memory, no disk, 15 MiB behind the first, and a map of five entries whose last is where
/// PCI's configuration space is.
#[test]
fn a_kernel_that_goes_back_to_real_mode_is_told_what_memory_there_is() {
    #[rustfmt::skip]
    let code = [
        // lgdt [80ach]; lidt [80b2h]; jmp 8:8015h
        0x0f, 0x01, 0x15, 0xac, 0x80, 0x00, 0x00, 0x0f, 0x01, 0x1d, 0xb2, 0x80, 0x00, 0x00, 0xea, 0x15, 0x80, 0x00, 0x00, 0x08, 0x00,
        // mov eax,cr0; and al,0feh; mov cr0,eax; jmp 0:8022h
        0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xea, 0x22, 0x80, 0x00, 0x00,
        // xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,7c00h; xor bp,bp
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0x31, 0xed,
        // int 12h; cmp ax,639; jne; or bp,1
        0xcd, 0x12, 0x3d, 0x7f, 0x02, 0x75, 0x03, 0x83, 0xcd, 0x01,
        // clc; mov ah,2; int 13h; jnc; or bp,2
        0xf8, 0xb4, 0x02, 0xcd, 0x13, 0x73, 0x03, 0x83, 0xcd, 0x02,
        // stc; mov ah,88h; int 15h; jc; cmp ax,15 * 1024; jne; or bp,4
        0xf9, 0xb4, 0x88, 0xcd, 0x15, 0x72, 0x08, 0x3d, 0x00, 0x3c, 0x75, 0x03, 0x83, 0xcd, 0x04,
        // xor ebx,ebx; xor si,si
        0x66, 0x31, 0xdb, 0x31, 0xf6,
        // next: mov eax,0e820h; mov edx,'SMAP'; mov ecx,20; mov di,7000h; stc; int 15h
        0x66, 0xb8, 0x20, 0xe8, 0x00, 0x00, 0x66, 0xba, 0x50, 0x41, 0x4d, 0x53, 0x66, 0xb9, 0x14, 0x00, 0x00, 0x00, 0xbf, 0x00, 0x70, 0xf9, 0xcd, 0x15,
        // jc end; cmp eax,'SMAP'; jne end; inc si; test ebx,ebx; jnz next
        0x72, 0x21, 0x66, 0x3d, 0x50, 0x41, 0x4d, 0x53, 0x75, 0x19, 0x46, 0x66, 0x85, 0xdb, 0x75, 0xd8,
        // cmp dword [7000h],0e0000000h; jne end; cmp si,5; jne end; or bp,8
        0x66, 0x81, 0x3e, 0x00, 0x70, 0x00, 0x00, 0x00, 0xe0, 0x75, 0x08, 0x83, 0xfe, 0x05, 0x75, 0x03, 0x83, 0xcd, 0x08,
        // end: mov ax,bp; out 0f4h,al; hlt; jmp
        0x89, 0xe8, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd,
        // the GDT with 16-bit code, its place and the IDT's
        0x8d, 0x74, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0x00, 0x00, 0x0f, 0x00, 0x9c, 0x80, 0x00, 0x00, 0xff, 0x03, 0x00, 0x00, 0x00, 0x00,
    ];
    let spec = Spec { kernel: Some(kernel_at(0x8000 - 32, &code)), ..spec(&[]) };
    assert_eq!(run(spec).0, Outcome::DebugExit(0b1111));
}
