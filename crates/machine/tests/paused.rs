//! What a guest can tell of a pause.

mod kernel;

use ireko_machine::{Endpoints, EngineChoice, Outcome, Spec, Vm};
use kernel::kernel;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

/// Waits for a byte at COM1, then prints four words: the TSC's rate in kHz (leaf 4000_0010h), the TSC and the PM timer.
#[rustfmt::skip]
const TIMES: &[u8] = &[
    0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 1, 0x74, 0xfb, // mov dx,3fdh; wait: in al,dx; test al,1; jz wait
    0x0f, 0x31, 0x89, 0xc6, 0x89, 0xd7,                // rdtsc; mov esi,eax; mov edi,edx
    0x66, 0xba, 0x08, 0x06, 0xed, 0x89, 0xc5,          // mov dx,608h; in eax,dx; mov ebp,eax
    0xb8, 0x10, 0, 0, 0x40, 0x0f, 0xa2,                // mov eax,40000010h; cpuid
    0x66, 0xba, 0xf8, 0x03,                            // mov dx,3f8h
    0xb9, 4, 0, 0, 0, 0xee, 0xc1, 0xe8, 8, 0xe2, 0xfa, // mov ecx,4; next: out dx,al; shr eax,8; loop next
    0x89, 0xf0, 0xb9, 4, 0, 0, 0, 0xee, 0xc1, 0xe8, 8, 0xe2, 0xfa, // mov eax,esi and so on
    0x89, 0xf8, 0xb9, 4, 0, 0, 0, 0xee, 0xc1, 0xe8, 8, 0xe2, 0xfa, // mov eax,edi
    0x89, 0xe8, 0xb9, 4, 0, 0, 0, 0xee, 0xc1, 0xe8, 8, 0xe2, 0xfa, // mov eax,ebp
    0xb0, 0, 0xe6, 0xf4, 0xeb, 0xfe,                   // mov al,0; out 0f4h,al; jmp self
];

#[test]
fn a_guests_clocks_stand_still_while_it_is_paused() {
    const PAUSE: Duration = Duration::from_millis(700);
    let (output, made) = (Output::default(), Instant::now());
    let spec =
        Spec { memory: 16 << 20, engine: EngineChoice::Soft, test_devices: true, ..Spec::new(kernel(TIMES)) };
    let mut vm = Vm::new(spec, Endpoints::serial(output.clone())).unwrap();
    let handle = vm.handle();
    let running = std::thread::spawn(move || vm.run());
    assert!(handle.pause());
    std::thread::sleep(PAUSE);
    handle.resume();
    handle.serial_input(b"x");
    assert_eq!(running.join().unwrap(), Outcome::DebugExit(0));
    let most = (made.elapsed() - PAUSE).as_nanos();
    let words: Vec<u128> = output.0.lock().unwrap()[..16]
        .chunks(4)
        .map(|word| u128::from(u32::from_le_bytes(word.try_into().unwrap())))
        .collect();
    let tsc = (words[2] << 32 | words[1]) * 1_000_000 / words[0];
    let pm_timer = words[3] * 1_000_000_000 / 3_579_545;
    // The rate of the TSC is a measurement.
    let slack = most / 100;
    assert!(tsc <= most + slack && pm_timer <= most, "TSC {tsc} ns, PM timer {pm_timer} ns, of {most} ns");
}
