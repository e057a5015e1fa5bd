//! A guest whose disk is never done: a queue full of chains of 4 GiB each, and notifications without end.

mod kernel;

use ireko_machine::{DiskSpec, Endpoints, EngineChoice, Outcome, Spec, Vm};
use kernel::kernel;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Where the kernel puts the disk's registers (virtio 1.2, 4.1.4.3), and what lies where in them.
const REGISTERS: u32 = 0xd000_0000;
const DRIVER_FEATURE_SELECT: u32 = REGISTERS + 0x08;
const DRIVER_FEATURE: u32 = REGISTERS + 0x0c;
const STATUS: u32 = REGISTERS + 0x14;
const QUEUE_SELECT: u32 = REGISTERS + 0x16;
const QUEUE_ENABLE: u32 = REGISTERS + 0x1c;
const QUEUE_ADDRESSES: u32 = REGISTERS + 0x20;
const NOTIFY: u32 = REGISTERS + 0x3000;
/// Slot of the first disk.
const SLOT: u32 = 3;

const TABLE: u32 = 0x40_0000;
const AVAILABLE: u32 = 0x50_0000;
const USED: u32 = 0x60_0000;
const HEADER: u32 = 0x80_0000;
const DATA: u32 = 0x100_0000;
const DESCRIPTORS: u32 = 256;

/// Code of stores to fixed addresses, in 32-bit protected mode.
#[derive(Default)]
struct Code(Vec<u8>);

impl Code {
    /// mov dword [address], value
    fn store(&mut self, address: u32, value: u32) {
        self.0.extend([0xc7, 0x05]);
        self.0.extend([address.to_le_bytes(), value.to_le_bytes()].concat());
    }
    /// mov word [address], value
    fn store16(&mut self, address: u32, value: u16) {
        self.0.extend([0x66, 0xc7, 0x05]);
        self.0.extend(address.to_le_bytes());
        self.0.extend(value.to_le_bytes());
    }
    /// mov byte [address], value
    fn store8(&mut self, address: u32, value: u8) {
        self.0.extend([0xc6, 0x05]);
        self.0.extend(address.to_le_bytes());
        self.0.push(value);
    }
    /// Writes a register of PCI configuration space: mov dx, port; mov eax, value; out dx, eax.
    fn configure(&mut self, register: u32, value: u32) {
        for (port, value) in [(0xcf8u16, 1 << 31 | SLOT << 11 | register), (0xcfc, value)] {
            self.0.extend([0x66, 0xba]);
            self.0.extend(port.to_le_bytes());
            self.0.push(0xb8);
            self.0.extend(value.to_le_bytes());
            self.0.push(0xef);
        }
    }
    fn descriptor(&mut self, number: u32, address: u32, size: u32, flags: u32) {
        let at = TABLE + 16 * number;
        self.store(at, address);
        self.store(at + 8, size);
        self.store(at + 12, flags | (number + 1) << 16);
    }
}

fn attack() -> Vec<u8> {
    const NEXT: u32 = 1;
    const WRITE: u32 = 2;
    let mut code = Code::default();
    code.configure(0x10, REGISTERS);
    code.configure(0x04, 6);
    for status in [0, 1, 3] {
        code.store8(STATUS, status);
    }
    // Version 1.
    code.store(DRIVER_FEATURE_SELECT, 1);
    code.store(DRIVER_FEATURE, 1);
    code.store8(STATUS, 11);
    code.store16(QUEUE_SELECT, 0);
    for (number, address) in [TABLE, AVAILABLE, USED].into_iter().enumerate() {
        code.store(QUEUE_ADDRESSES + 8 * number as u32, address);
        code.store(QUEUE_ADDRESSES + 8 * number as u32 + 4, 0);
    }
    code.store16(QUEUE_ENABLE, 1);
    code.store8(STATUS, 15);
    // A header that writes to sector 0, 254 times the same 16 MiB, a status.
    code.store(HEADER, 1);
    code.store(DATA, 0x6565_6565);
    code.descriptor(0, HEADER, 16, NEXT);
    (1..DESCRIPTORS - 1).for_each(|number| code.descriptor(number, DATA, 16 << 20, NEXT));
    code.descriptor(DESCRIPTORS - 1, HEADER + 16, 1, WRITE);
    // All 256 entries of the ring, which are zeros, are this chain. Again: mov word [NOTIFY], 0; jmp again
    code.store16(AVAILABLE + 2, DESCRIPTORS as u16);
    let again = code.0.len();
    code.store16(NOTIFY, 0);
    let back = again as i32 - (code.0.len() as i32 + 2);
    code.0.extend([0xeb, back as u8]);
    code.0
}

/// A sparse file that goes with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_vm_whose_disk_is_never_done_is_paused_goes_on_and_is_stopped() {
    let path = std::env::temp_dir().join(format!("ireko-endless-{}", std::process::id()));
    let disk = Scratch(path);
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&disk.0).unwrap();
    file.set_len(5 << 30).unwrap();
    let spec = Spec {
        memory: 64 << 20,
        engine: EngineChoice::Soft,
        disks: vec![DiskSpec::new(&disk.0, false)],
        ..Spec::new(kernel(&attack()))
    };
    let mut vm = Vm::new(spec, Endpoints::serial(std::io::sink())).unwrap();
    let handle = vm.handle();
    let (tell, hear) = channel();
    std::thread::spawn(move || {
        let running = std::thread::spawn(move || vm.run());
        let at_work = || {
            let mut first = [0];
            file.read_exact_at(&mut first, 0).is_ok() && first == [0x65]
        };
        while !at_work() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let held = (0..20).all(|_| {
            let paused = handle.pause();
            handle.resume();
            paused
        });
        handle.stop();
        let _ = tell.send((held, running.join().unwrap()));
    });
    // It hangs, or it does not.
    let (held, outcome) = hear.recv_timeout(Duration::from_secs(60)).expect("an end");
    assert_eq!((held, outcome), (true, Outcome::Stopped));
}
