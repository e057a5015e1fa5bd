//! Whole machines, saved and gone on with in fresh ones.

mod kernel;

use ireko_machine::{DiskSpec, NicSpec};
use ireko_machine::{
    Display, Endpoints, EngineChoice, Firmware, Handle, MachineError, Outcome, SavedMachine, Source, Spec, Vm,
};
use ireko_vmcore::{Port, Record};
use kernel::kernel;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Counts at 500h, until a byte comes at COM1; ends with 7. In 32-bit code and in 16-bit code.
const COUNT_32: &[u8] = &[
    0xff, 0x05, 0, 5, 0, 0, 0x66, 0xba, 0xfd, 3, 0xec, 0xa8, 1, 0x74, 0xf1, 0xb0, 7, 0xe6, 0xf4, 0xeb, 0xfe,
];
const COUNT_16: &[u8] =
    &[0x66, 0xff, 0x06, 0, 5, 0xba, 0xfd, 3, 0xec, 0xa8, 1, 0x74, 0xf3, 0xb0, 7, 0xe6, 0xf4, 0xeb, 0xfe];

/// A network that nobody else is on.
#[derive(Debug)]
struct Alone;

impl Port for Alone {
    fn send(&self, _: &[u8]) {}
    fn receive(&self, _: &mut [u8], patience: Duration) -> Option<usize> {
        std::thread::sleep(patience.min(Duration::from_millis(20)));
        None
    }
    fn connected(&self) -> bool {
        true
    }
}

fn image(code: &[u8], jump: &[u8], size: usize) -> Source {
    let mut image = vec![0xff; size];
    let room = size - 0x2000;
    image[room..room + code.len()].copy_from_slice(code);
    image[size - 16..size - 16 + jump.len()].copy_from_slice(jump);
    Source::Bytes { name: "firmware".into(), data: Arc::new(image) }
}

fn bios() -> Firmware {
    // jmp far 0xf000:0xe000
    let image = image(COUNT_16, &[0xea, 0x00, 0xe0, 0x00, 0xf0], 128 << 10);
    Firmware::Bios { image, video: None, network: None }
}

/// With a disk behind each controller, and whatever else there is.
fn everything(spec: Spec, buses: &[&str]) -> Spec {
    let file = |number: usize| {
        let name = format!("ireko-saved-{}-{}-{number}", std::process::id(), buses.len());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        path
    };
    let files: Vec<_> = (0..=buses.len()).map(file).collect();
    let disk = |(bus, file): (&&str, &std::path::PathBuf)| {
        DiskSpec::parse(&format!("{},bus={bus}", file.display())).unwrap()
    };
    let mut disks: Vec<_> = buses.iter().zip(&files).map(disk).collect();
    disks.push(DiskSpec::cd(&files[buses.len()]));
    let spec = Spec {
        memory: 64 << 20,
        engine: EngineChoice::Soft,
        test_devices: true,
        second_serial: true,
        hot_plug: true,
        disks,
        nics: vec![NicSpec { mac: [2, 0, 0, 0, 0, 1], port: Arc::new(Alone) }],
        ..spec
    };
    let spec = spec.resolved().unwrap();
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    spec
}

fn made(spec: &Spec) -> Vm {
    Vm::new(spec.clone(), Endpoints::serial(std::io::sink())).unwrap()
}

fn begin(mut vm: Vm) -> (Handle, JoinHandle<Outcome>) {
    (vm.handle(), std::thread::spawn(move || vm.run()))
}

/// How a machine ended. One that does not end is a failure, and hangs nothing.
fn outcome(ended: JoinHandle<Outcome>) -> Outcome {
    for _ in 0..6000 {
        if ended.is_finished() {
            return ended.join().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the machine goes on");
}

fn bytes(saved: &SavedMachine) -> Vec<u8> {
    Record::of(saved).to_bytes()
}

/// What the guest has counted; 0 also where its first page holds nothing yet.
fn counted(memory: &[u8]) -> u32 {
    let first = memory.get(8..8 + 4096).filter(|_| memory[..8] == [0; 8]);
    first.map_or(0, |page| u32::from_le_bytes(page[0x500..][..4].try_into().unwrap()))
}

/// Pauses the machine once it has counted beyond `before` and its devices have finished: what it is then, and what its memory holds.
fn paused_beyond(before: u32, handle: &Handle) -> (SavedMachine, Vec<u8>) {
    for _ in 0..3000 {
        std::thread::sleep(Duration::from_millis(20));
        let mut memory = Vec::new();
        assert!(handle.pause());
        handle.save_memory(&mut memory).unwrap();
        match handle.save() {
            Ok(saved) if counted(&memory) > before => return (saved, memory),
            Ok(_) | Err(MachineError::Save(_)) => handle.resume(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it has counted no further than {before}");
}

fn goes_on(spec: &Spec) {
    let (handle, ended) = begin(made(spec));
    let mut before = 0;
    let (mut handle, mut ended) = (handle, ended);
    for _ in 0..3 {
        let (saved, memory) = paused_beyond(before, &handle);
        before = counted(&memory);
        let mut vm = made(spec);
        let loaded: SavedMachine = Record::from_bytes(&bytes(&saved)).unwrap().get().unwrap();
        vm.restore(&loaded, &mut &memory[..]).unwrap();
        let (again, mut memory_again) = (vm.save().unwrap(), Vec::new());
        vm.save_memory(&mut memory_again).unwrap();
        assert!(bytes(&saved) == bytes(&again) && memory == memory_again);
        handle.stop();
        assert_eq!(outcome(ended), Outcome::Stopped);
        (handle, ended) = begin(vm);
    }
    handle.serial_input(b"x");
    assert_eq!(outcome(ended), Outcome::DebugExit(7));
}

#[test]
fn a_kernel_of_the_direct_board_goes_on() {
    let spec = Spec {
        virtio_console: true,
        most_memory: Some(128 << 20),
        display: Some(Display::Virtio),
        ..Spec::new(kernel(COUNT_32))
    };
    goes_on(&everything(spec, &["virtio", "sata", "nvme", "scsi", "scsi"]));
}

#[test]
fn firmware_of_generation_1_goes_on() {
    let spec = Spec { display: Some(Display::Vga), ..Spec::with_firmware(bios()) };
    goes_on(&everything(spec, &["virtio", "ide", "sata", "nvme"]));
}

/// With its variables in flash memory.
#[test]
fn firmware_of_generation_2_goes_on() {
    const VARIABLES: u64 = 128 << 10;
    // jmp 0xe000
    let code = image(COUNT_16, &[0xe9, 0x0d, 0xe0], (2 << 20) - VARIABLES as usize);
    let file = rustix::fs::memfd_create("variables", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, VARIABLES).unwrap();
    let variables = ireko_machine::Variables { name: "variables".into(), file: Arc::new(file.into()) };
    let firmware = Firmware::Uefi { code, variables, secure_boot: false };
    let spec = Spec { display: Some(Display::Vga), ..Spec::with_firmware(firmware) };
    goes_on(&everything(spec, &["virtio", "sata", "nvme"]));
}

fn refused(spec: &Spec, saved: &SavedMachine, memory: &[u8]) -> String {
    made(spec).restore(saved, &mut &memory[..]).unwrap_err().to_string()
}

#[test]
fn another_machine_is_told_what_it_lacks_or_has_too_much() {
    let plain = Spec { engine: EngineChoice::Soft, memory: 16 << 20, ..Spec::new(kernel(COUNT_32)) };
    let more = Spec { virtio_console: true, ..plain.clone() };
    let mut memory = Vec::new();
    let mut vm = made(&more);
    let saved = vm.save().unwrap();
    vm.save_memory(&mut memory).unwrap();
    assert!(refused(&plain, &saved, &memory).contains("virtio-console"));
    let lacks = made(&plain).save().unwrap();
    assert!(refused(&more, &lacks, &memory).contains("lacks the machine's"));
    let smaller = Spec { memory: 8 << 20, ..more.clone() };
    memory.truncate(memory.len() - 8);
    memory.extend((12u64 << 20).to_le_bytes());
    memory.extend([1; 4096]);
    assert!(refused(&smaller, &saved, &memory).contains("0xc00000"));
    assert!(refused(&more, &saved, &memory[..100]).contains("cannot be read"));
}

#[test]
fn a_machine_of_another_engine_is_refused_with_both_names() {
    let spec = Spec { engine: EngineChoice::Soft, memory: 16 << 20, ..Spec::new(kernel(COUNT_32)) };
    let (saved, memory) = (made(&spec).save().unwrap(), Vec::new());
    let other = |engine: &str| SavedMachine { engine: engine.into(), ..saved.clone() };
    let said = refused(&spec, &other("kvm"), &memory);
    assert!(said.contains("the engine kvm") && said.contains("the engine soft"), "{said}");
    assert!(refused(&spec, &other("none"), &memory).contains("no engine"));
}

#[test]
fn a_machine_that_runs_is_not_saved() {
    let spec = Spec { engine: EngineChoice::Soft, memory: 16 << 20, ..Spec::new(kernel(&[0xeb, 0xfe])) };
    let (handle, ended) = begin(made(&spec));
    assert!(matches!(handle.save(), Err(MachineError::Save(_))));
    handle.stop();
    outcome(ended);
}

/// A network that always has something to say.
#[derive(Debug)]
struct Talking;

impl Port for Talking {
    fn send(&self, _: &[u8]) {}
    fn receive(&self, room: &mut [u8], _: Duration) -> Option<usize> {
        std::thread::sleep(Duration::from_millis(1));
        room[..60].fill(7);
        Some(60)
    }
    fn connected(&self) -> bool {
        true
    }
}

/// Timers run, frames come, and so does input: a machine that is paused is the same all the time, and finds what came afterwards.
#[test]
fn nothing_happens_to_a_machine_that_is_paused() {
    // mov al,34h; out 43h,al; mov al,0; out 40h,al; out 40h,al: the interval timer ticks.
    let timer = [0xb0, 0x34, 0xe6, 0x43, 0xb0, 0, 0xe6, 0x40, 0xe6, 0x40];
    let spec = Spec {
        virtio_console: true,
        most_memory: Some(128 << 20),
        display: Some(Display::Vga),
        ..Spec::new(kernel(&[&timer[..], COUNT_32].concat()))
    };
    let nics = vec![NicSpec { mac: [2, 0, 0, 0, 0, 1], port: Arc::new(Talking) }];
    let (handle, ended) = begin(made(&Spec { nics, ..everything(spec, &["virtio", "sata"]) }));
    let mut counts = 0;
    for _ in 0..4 {
        counts = counted(&paused_beyond(counts, &handle).1);
        let state = || {
            let mut memory = Vec::new();
            handle.save_memory(&mut memory).unwrap();
            (bytes(&handle.save().unwrap()), memory)
        };
        let before = state();
        handle.console_input(b"typed");
        handle.second_serial_input(b"typed");
        handle.memory().unwrap().aim(96 << 20, false);
        std::thread::sleep(Duration::from_millis(20));
        assert!(before == state());
        handle.resume();
    }
    handle.pause();
    handle.serial_input(b"x");
    handle.resume();
    assert_eq!(outcome(ended), Outcome::DebugExit(7));
}
