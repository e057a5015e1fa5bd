//! Tiny firmware of our own on the software engine: where it starts, and what it finds.

use ireko_machine::{Endpoints, EngineChoice, Firmware, Outcome, Source, Spec, Vm};
use std::sync::Arc;

const SIZE: usize = 128 << 10;
const RESET_VECTOR: usize = SIZE - 16;
/// From here on there is room for code, at F000:E000.
const ROOM: usize = SIZE - 0x2000;

/// A BIOS whose reset vector jumps to `code`, which runs in real mode.
fn bios(code: &[u8]) -> Firmware {
    let mut image = vec![0xff; SIZE];
    image[ROOM..ROOM + code.len()].copy_from_slice(code);
    // jmp far 0xf000:0xe000
    image[RESET_VECTOR..RESET_VECTOR + 5].copy_from_slice(&[0xea, 0x00, 0xe0, 0x00, 0xf0]);
    Firmware::Bios {
        image: Source::Bytes { name: "bios".into(), data: Arc::new(image) },
        video: None,
        network: None,
    }
}

fn run(code: &[u8]) -> Outcome {
    run_firmware(bios(code))
}

fn run_firmware(firmware: Firmware) -> Outcome {
    let (memory, engine) = (64 << 20, EngineChoice::Soft);
    let spec = Spec { memory, engine, test_devices: true, ..Spec::with_firmware(firmware) };
    Vm::new(spec, Endpoints::serial(std::io::sink())).unwrap().run()
}

/// `out 0xf4, al; jmp self`.
const EXIT: [u8; 4] = [0xe6, 0xf4, 0xeb, 0xfe];

fn ends_with(code: &[u8]) -> Outcome {
    run(&[code, &EXIT].concat())
}

#[test]
fn a_bios_starts_at_the_reset_vector() {
    // mov al,21
    assert_eq!(ends_with(&[0xb0, 21]), Outcome::DebugExit(21));
}

#[test]
fn the_image_is_below_1_mib_as_well() {
    // mov ax,0xf000; mov ds,ax; mov al,[0xfff0]; shr al,1
    assert_eq!(
        ends_with(&[0xb8, 0, 0xf0, 0x8e, 0xd8, 0xa0, 0xf0, 0xff, 0xd0, 0xe8]),
        Outcome::DebugExit(0x75)
    );
}

/// `mov eax,address; mov dx,0xcf8; out dx,eax; mov dx,0xcfc; in eax,dx`.
fn read_config(address: u32) -> Vec<u8> {
    let [a, b, c, d] = address.to_le_bytes();
    vec![0x66, 0xb8, a, b, c, d, 0xba, 0xf8, 0x0c, 0x66, 0xef, 0xba, 0xfc, 0x0c, 0x66, 0xed]
}

#[test]
fn the_host_bridge_is_an_i440fx() {
    // cmp eax,0x12378086; sete al
    let code =
        [read_config(0x8000_0000), vec![0x66, 0x3d, 0x86, 0x80, 0x37, 0x12, 0x0f, 0x94, 0xc0]].concat();
    assert_eq!(ends_with(&code), Outcome::DebugExit(1));
}

#[test]
fn power_management_is_function_3_of_slot_1() {
    // cmp eax,0x71138086; sete al
    let code =
        [read_config(0x8000_0b00), vec![0x66, 0x3d, 0x86, 0x80, 0x13, 0x71, 0x0f, 0x94, 0xc0]].concat();
    assert_eq!(ends_with(&code), Outcome::DebugExit(1));
}

#[test]
fn no_bar_is_placed_before_firmware_does() {
    // The random source, slot 2, BAR 0: test eax,eax; sete al
    let code = [read_config(0x8000_1010), vec![0x66, 0x85, 0xc0, 0x0f, 0x94, 0xc0]].concat();
    assert_eq!(ends_with(&code), Outcome::DebugExit(1));
}

#[test]
fn port_92_resets() {
    // in al,0x92; or al,1; out 0x92,al; jmp self
    assert_eq!(run(&[0xe4, 0x92, 0x0c, 1, 0xe6, 0x92, 0xeb, 0xfe]), Outcome::Reset);
}

#[test]
fn a20_is_on() {
    // in al,0x92
    assert_eq!(ends_with(&[0xe4, 0x92]), Outcome::DebugExit(2));
}

#[test]
fn fw_cfg_is_there_with_dma() {
    // mov dx,0x510; mov ax,1; out dx,ax; inc dx; in al,dx
    assert_eq!(ends_with(&[0xba, 0x10, 0x05, 0xb8, 1, 0, 0xef, 0x42, 0xec]), Outcome::DebugExit(3));
}

/// As [`bios`], on the board of generation 2: `code` runs at FFFF_E000h.
fn uefi(code: &[u8]) -> Firmware {
    with_variables(code, false)
}

/// Its variables, zeros, are at FFE0_0000h.
fn with_variables(code: &[u8], secure_boot: bool) -> Firmware {
    const VARIABLES: usize = 128 << 10;
    let mut image = vec![0xff; (2 << 20) - VARIABLES];
    let end = image.len();
    image[end - 0x2000..][..code.len()].copy_from_slice(code);
    // jmp 0xe000
    image[end - 16..end - 13].copy_from_slice(&[0xe9, 0x0d, 0xe0]);
    let file = rustix::fs::memfd_create("variables", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, VARIABLES as u64).unwrap();
    Firmware::Uefi {
        code: Source::Bytes { name: "code".into(), data: Arc::new(image) },
        variables: ireko_machine::Variables { name: "variables".into(), file: Arc::new(file.into()) },
        secure_boot,
    }
}

/// Puts a handler of SMIs where it is after a reset, which writes 7 to 30100h; writes `enable` to SMI_EN, 5 to 30100h, and to the APM
/// port; and ends with what is at 30100h then.
fn what_an_smi_leaves(enable: u8) -> Outcome {
    #[rustfmt::skip]
    let code = [
        // mov ax,0x3800; mov ds,ax; mov [0..8], "mov byte cs:[0x100],7; rsm"
        0xb8, 0x00, 0x38, 0x8e, 0xd8,
        0xc7, 0x06, 0x00, 0x00, 0x2e, 0xc6, 0xc7, 0x06, 0x02, 0x00, 0x06, 0x00,
        0xc7, 0x06, 0x04, 0x00, 0x01, 0x07, 0xc7, 0x06, 0x06, 0x00, 0x0f, 0xaa,
        // mov dx,0x630; mov ax,enable; out dx,ax
        0xba, 0x30, 0x06, 0xb8, enable, 0x00, 0xef,
        // mov ax,0x3000; mov ds,ax; mov byte [0x100],5; mov al,1; out 0xb2,al; mov al,[0x100]
        0xb8, 0x00, 0x30, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x01, 0x05, 0xb0, 0x01, 0xe6, 0xb2, 0xa0, 0x00, 0x01,
    ];
    let firmware = uefi(&[&code[..], &EXIT].concat());
    let (memory, engine) = (64 << 20, EngineChoice::Soft);
    let spec = Spec { memory, engine, test_devices: true, ..Spec::with_firmware(firmware) };
    Vm::new(spec, Endpoints::serial(std::io::sink())).unwrap().run()
}

#[test]
fn an_smi_of_the_apm_port_is_over_before_the_next_instruction() {
    assert_eq!(what_an_smi_leaves(0x21), Outcome::DebugExit(7));
}

#[test]
fn the_apm_port_raises_no_smi_unless_it_is_asked_to() {
    assert_eq!(what_an_smi_leaves(0x20), Outcome::DebugExit(5));
}

/// As firmware's handlers begin: code segments of 16 bits have 4 GiB in the mode, and the first jump goes to where the code is.
#[test]
fn a_handler_of_smis_goes_on_beyond_64_kib() {
    #[rustfmt::skip]
    let code = [
        // e000: jmp e00a
        0xeb, 0x08,
        // e002: "mov byte cs:[0x100],7; rsm"
        0x2e, 0xc6, 0x06, 0x00, 0x01, 0x07, 0x0f, 0xaa,
        // mov ax,0x3800; mov ds,ax; mov [0..10], "mov ebp,0xfffce002; jmp ebp"
        0xb8, 0x00, 0x38, 0x8e, 0xd8,
        0xc7, 0x06, 0x00, 0x00, 0x66, 0xbd, 0xc7, 0x06, 0x02, 0x00, 0x02, 0xe0,
        0xc7, 0x06, 0x04, 0x00, 0xfc, 0xff, 0xc7, 0x06, 0x06, 0x00, 0x66, 0xff, 0xc7, 0x06, 0x08, 0x00, 0xe5, 0x90,
        // mov dx,0x630; mov ax,0x21; out dx,ax
        0xba, 0x30, 0x06, 0xb8, 0x21, 0x00, 0xef,
        // mov ax,0x3000; mov ds,ax; mov byte [0x100],5; mov al,1; out 0xb2,al; mov al,[0x100]
        0xb8, 0x00, 0x30, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x01, 0x05, 0xb0, 0x01, 0xe6, 0xb2, 0xa0, 0x00, 0x01,
    ];
    let firmware = uefi(&[&code[..], &EXIT].concat());
    let (memory, engine) = (64 << 20, EngineChoice::Soft);
    let spec = Spec { memory, engine, test_devices: true, ..Spec::with_firmware(firmware) };
    assert_eq!(Vm::new(spec, Endpoints::serial(std::io::sink())).unwrap().run(), Outcome::DebugExit(7));
}

#[test]
fn a_processor_does_not_write_what_pam_protects() {
    // mov ax,0xf000; mov ds,ax; mov byte [0x100],7; mov al,[0x100]; shr al,1
    let write = [0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x01, 0x07, 0xa0, 0x00, 0x01, 0xd0, 0xe8];
    assert_eq!(ends_with(&write), Outcome::DebugExit(0x7f));
    // mov eax,0x80000058; mov dx,0xcf8; out dx,eax; mov dx,0xcfd; mov al,0x30; out dx,al
    let open = [
        0x66, 0xb8, 0x58, 0x00, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef, 0xba, 0xfd, 0x0c, 0xb0, 0x30, 0xee,
    ];
    assert_eq!(ends_with(&[&open[..], &write].concat()), Outcome::DebugExit(3));
}

/// What gives DS 4 GiB, at the beginning of firmware.
#[rustfmt::skip]
const FLAT: [u8; 49] = [
    // e000: jmp e018; e002: the table's register; e008: a null descriptor, and one of all memory
    0xeb, 0x16,
    0x0f, 0x00, 0x08, 0xe0, 0xff, 0xff,
    0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0,
    // lgdt cs:[0xe002]; mov eax,cr0; or al,1; mov cr0,eax; mov bx,8; mov ds,bx; and al,0xfe; mov cr0,eax
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x02, 0xe0, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,
    0xbb, 0x08, 0x00, 0x8e, 0xdb, 0x24, 0xfe, 0x0f, 0x22, 0xc0,
];

/// Writes 5 to where TSEG begins, closes it, and ends with what `then` leaves in AL. DS has 4 GiB.
fn with_closed_tseg(then: &[u8]) -> Outcome {
    #[rustfmt::skip]
    let code = [
        // mov byte [0x3f00000],5
        0x67, 0xc6, 0x05, 0x00, 0x00, 0xf0, 0x03, 0x05,
        // mov eax,0x8000009c; mov dx,0xcf8; out dx,eax; mov dx,0xcfe; mov al,1; out dx,al; dec dx; mov al,8; out dx,al
        0x66, 0xb8, 0x9c, 0x00, 0x00, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef,
        0xba, 0xfe, 0x0c, 0xb0, 0x01, 0xee, 0x4a, 0xb0, 0x08, 0xee,
    ];
    run_firmware(uefi(&[&FLAT[..], &code, then, &EXIT].concat()))
}

#[test]
fn a_processor_does_not_reach_closed_tseg() {
    // mov byte [0x3f00000],9; mov al,[0x3f00000]; shr al,1
    let then = [0x67, 0xc6, 0x05, 0, 0, 0xf0, 3, 9, 0x67, 0xa0, 0, 0, 0xf0, 3, 0xd0, 0xe8];
    assert_eq!(with_closed_tseg(&then), Outcome::DebugExit(0x7f));
}

#[test]
fn a_handler_of_smis_reaches_closed_tseg() {
    #[rustfmt::skip]
    let then = [
        // mov ebx,0x38000; mov [ebx+n], "mov al,[0x3f00000]; mov cs:[0x100],al; rsm"
        0x66, 0xbb, 0x00, 0x80, 0x03, 0x00,
        0x67, 0xc7, 0x43, 0x00, 0x67, 0xa0, 0x67, 0xc7, 0x43, 0x02, 0x00, 0x00, 0x67, 0xc7, 0x43, 0x04, 0xf0, 0x03,
        0x67, 0xc7, 0x43, 0x06, 0x2e, 0xa2, 0x67, 0xc7, 0x43, 0x08, 0x00, 0x01, 0x67, 0xc7, 0x43, 0x0a, 0x0f, 0xaa,
        // mov dx,0x630; mov ax,0x21; out dx,ax; out 0xb2,al; mov al,[0x30100]
        0xba, 0x30, 0x06, 0xb8, 0x21, 0x00, 0xef, 0xe6, 0xb2, 0x67, 0xa0, 0x00, 0x01, 0x03, 0x00,
    ];
    assert_eq!(with_closed_tseg(&then), Outcome::DebugExit(5));
}

/// `mov byte [0xffe00000],0x40; mov byte [0xffe00000],6; mov byte [0xffe00000],0xff`: programs flash memory, and reads it again.
#[rustfmt::skip]
const PROGRAM: [u8; 24] = [
    0x67, 0xc6, 0x05, 0, 0, 0xe0, 0xff, 0x40, 0x67, 0xc6, 0x05, 0, 0, 0xe0, 0xff, 6, 0x67, 0xc6, 0x05, 0, 0, 0xe0, 0xff, 0xff,
];
/// `mov al,[0xffe00000]`.
const READ_VARIABLE: [u8; 6] = [0x67, 0xa0, 0, 0, 0xe0, 0xff];

#[test]
fn with_secure_boot_variables_are_not_written_outside_of_system_management_mode() {
    for (secure_boot, left) in [(false, 6), (true, 0)] {
        let code = [&FLAT[..], &PROGRAM, &READ_VARIABLE, &EXIT].concat();
        let ended = run_firmware(with_variables(&code, secure_boot));
        assert_eq!(ended, Outcome::DebugExit(left), "{secure_boot}");
    }
}

/// `mov ebx,0x38000`, and the code there, byte by byte: `mov byte [ebx+n],x`.
fn handler(code: &[u8]) -> Vec<u8> {
    let bytes = code.iter().zip(0..).flat_map(|(byte, n)| [0x67, 0xc6, 0x43, n, *byte]);
    [0x66, 0xbb, 0x00, 0x80, 0x03, 0x00].into_iter().chain(bytes).collect()
}

/// `mov dx,0x630; mov ax,0x21; out dx,ax; out 0xb2,al`.
const RAISE_SMI: [u8; 9] = [0xba, 0x30, 0x06, 0xb8, 0x21, 0x00, 0xef, 0xe6, 0xb2];

#[test]
fn with_secure_boot_a_handler_of_smis_writes_variables() {
    let handler = handler(&[&PROGRAM[..], &[0x0f, 0xaa]].concat());
    let code = [&FLAT[..], &handler, &RAISE_SMI, &READ_VARIABLE, &EXIT].concat();
    assert_eq!(run_firmware(with_variables(&code, true)), Outcome::DebugExit(6));
}

/// `mov eax,register; mov dx,0xcf8; out dx,eax; mov dx,0xcfc + its byte; mov al,value; out dx,al`.
fn write_config(register: u32, value: u8) -> Vec<u8> {
    let [a, b, c, d] = (register & !3).to_le_bytes();
    let port = 0xfc + (register & 3) as u8;
    vec![0x66, 0xb8, a, b, c, d, 0xba, 0xf8, 0x0c, 0x66, 0xef, 0xba, port, 0x0c, 0xb0, value, 0xee]
}

/// SMRAM of the i440FX.
const SMRAM: u32 = 0x8000_0072;
/// `mov ax,0xa000; mov ds,ax`.
const WINDOW: [u8; 5] = [0xb8, 0x00, 0xa0, 0x8e, 0xd8];
/// `mov byte [0x10],3`, `mov al,[0x10]`.
const WRITE_WINDOW: [u8; 5] = [0xc6, 0x06, 0x10, 0x00, 3];
const READ_WINDOW: [u8; 3] = [0xa0, 0x10, 0x00];
/// `shr al,1`.
const HALVE: [u8; 2] = [0xd0, 0xe8];

#[test]
fn memory_behind_the_display_is_there_while_it_is_open_and_not_afterwards() {
    let (open, close) = (write_config(SMRAM, 0x4a), write_config(SMRAM, 0x0a));
    let code = [&open[..], &WINDOW, &WRITE_WINDOW, &READ_WINDOW].concat();
    assert_eq!(ends_with(&code), Outcome::DebugExit(3));
    let code = [&code[..], &close, &READ_WINDOW, &HALVE].concat();
    assert_eq!(ends_with(&code), Outcome::DebugExit(0x7f));
}

/// Opens SMRAM and writes 3 to it, sets it to `control`, and raises an SMI whose handler has the byte there in AL when it is over.
fn what_a_handler_reads_there(control: u8) -> Outcome {
    #[rustfmt::skip]
    let handler = [
        // mov ax,0x3800; mov ds,ax; mov [0..12], "mov al,[0xa0010]; mov cs:[0x100],al; rsm"
        0xb8, 0x00, 0x38, 0x8e, 0xd8,
        0xc7, 0x06, 0x00, 0x00, 0x67, 0xa0, 0xc7, 0x06, 0x02, 0x00, 0x10, 0x00, 0xc7, 0x06, 0x04, 0x00, 0x0a, 0x00,
        0xc7, 0x06, 0x06, 0x00, 0x2e, 0xa2, 0xc7, 0x06, 0x08, 0x00, 0x00, 0x01, 0xc7, 0x06, 0x0a, 0x00, 0x0f, 0xaa,
    ];
    #[rustfmt::skip]
    let raise = [
        // mov dx,0x628; mov al,1; out dx,al; out 0xb2,al; mov ax,0x3000; mov ds,ax; mov al,[0x100]; shr al,1
        0xba, 0x28, 0x06, 0xb0, 0x01, 0xee, 0xe6, 0xb2, 0xb8, 0x00, 0x30, 0x8e, 0xd8, 0xa0, 0x00, 0x01, 0xd0, 0xe8,
    ];
    let open = [&write_config(SMRAM, 0x4a)[..], &WINDOW, &WRITE_WINDOW].concat();
    // DEVACTB's APMC_EN.
    let enable = [write_config(SMRAM, control), write_config(0x8000_0b5b, 2)].concat();
    ends_with(&[&open[..], &enable, &handler, &raise].concat())
}

#[test]
fn a_handler_of_smis_of_generation_1_has_memory_behind_the_display() {
    assert_eq!(what_a_handler_reads_there(0x0a), Outcome::DebugExit(1));
}

#[test]
fn a_handler_has_no_memory_there_where_smram_is_off_or_closed_to_data() {
    for control in [0x02, 0x2a] {
        assert_eq!(what_a_handler_reads_there(control), Outcome::DebugExit(0x7f), "{control:#x}");
    }
}

#[test]
fn with_smram_closed_to_data_its_code_runs_in_the_mode() {
    #[rustfmt::skip]
    let code = [
        // mov word [0x10],"mov al,5"; mov byte [0x12],"retf"
        0xc7, 0x06, 0x10, 0x00, 0xb0, 0x05, 0xc6, 0x06, 0x12, 0x00, 0xcb,
        // mov ax,0x3800; mov ds,ax; mov [0..13], "call 0xa000:0x10; mov [0x30100],al; rsm"
        0xb8, 0x00, 0x38, 0x8e, 0xd8,
        0xc7, 0x06, 0x00, 0x00, 0x9a, 0x10, 0xc7, 0x06, 0x02, 0x00, 0x00, 0x00, 0xc7, 0x06, 0x04, 0x00, 0xa0, 0x67,
        0xc7, 0x06, 0x06, 0x00, 0xa2, 0x00, 0xc7, 0x06, 0x08, 0x00, 0x01, 0x03, 0xc7, 0x06, 0x0a, 0x00, 0x00, 0x0f,
        0xc6, 0x06, 0x0c, 0x00, 0xaa,
        // mov sp,0x7000; mov dx,0x628; mov al,1; out dx,al; out 0xb2,al; mov ax,0x3000; mov ds,ax; mov al,[0x100]
        0xbc, 0x00, 0x70, 0xba, 0x28, 0x06, 0xb0, 0x01, 0xee, 0xe6, 0xb2, 0xb8, 0x00, 0x30, 0x8e, 0xd8, 0xa0, 0x00, 0x01,
    ];
    let before = [write_config(SMRAM, 0x4a), WINDOW.to_vec()].concat();
    let (fill, rest) = code.split_at(11);
    let close = [write_config(SMRAM, 0x2a), write_config(0x8000_0b5b, 2)].concat();
    assert_eq!(ends_with(&[&before[..], fill, &close, rest].concat()), Outcome::DebugExit(5));
}

/// `mov ax,0xf000; mov ds,ax; mov byte [0x100],7`.
const WRITE_SHADOW: [u8; 10] = [0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x01, 0x07];
/// `mov al,[0x100]`.
const READ_SHADOW: [u8; 3] = [0xa0, 0x00, 0x01];
const PAM0: u32 = 0x8000_0059;

#[test]
fn shadow_ram_that_is_written_and_not_read_has_the_rom_in_front() {
    let write = [&write_config(PAM0, 0x20)[..], &WRITE_SHADOW, &READ_SHADOW, &HALVE].concat();
    assert_eq!(ends_with(&write), Outcome::DebugExit(0x7f));
}
