//! A guest that takes all that it can get: memory that is not its own, its own to the last page, and code without end. One
//! test alone, since it looks at the memory of the whole process.

mod kernel;

use ireko_machine::{Endpoints, EngineChoice, Outcome, Spec, Vm};
use kernel::kernel;
use std::fs;

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 32 * MIB;
/// There is room for so much more, of which nothing is plugged.
const ROOM: u64 = 480 * MIB;

/// Ends with 0, or with 1 if something was there that should not be.
const ATTACK: &[&[u8]] = &[
    // PAE tables at 2 MiB: the first GiB is itself, the second is 4 GiB and what follows.
    &[0xbf, 0, 0, 0x20, 0, 0x31, 0xc0, 0xb9, 0, 0x14, 0, 0, 0xfc, 0xf3, 0xab], // zeros
    &[0xbf, 0, 0, 0x20, 0, 0xb8, 0x01, 0x10, 0x20, 0], // mov edi, 200000h; mov eax, 201001h
    &[0x89, 0x07, 0x83, 0xc7, 0x08, 0x05, 0, 0x10, 0, 0, 0x3d, 0x01, 0x50, 0x20, 0, 0x75, 0xef],
    &[0xbf, 0, 0x10, 0x20, 0, 0xb8, 0x83, 0, 0, 0, 0x31, 0xd2], // mov edi, 201000h; mov eax, 83h; xor edx, edx
    &[0x89, 0x07, 0x89, 0x57, 0x04, 0x83, 0xc7, 0x08, 0x05, 0, 0, 0x20, 0], // an entry of 2 MiB
    &[0x3d, 0x83, 0, 0, 0x40, 0x75, 0x0a, 0xb8, 0x83, 0, 0, 0, 0xba, 1, 0, 0, 0], // after 1 GiB: 4 GiB
    &[0x81, 0xff, 0, 0x30, 0x20, 0, 0x75, 0xda],
    &[0xb8, 0, 0, 0x20, 0, 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0], // CR3, CR4.PAE
    &[0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0],                                     // CR0.PG
    // A word into each page of the room, at 1 GiB.
    &[0xbf, 0, 0, 0, 0x40],
    &[0xc7, 0x07, 1, 0, 0, 0, 0x81, 0xc7, 0, 0x10, 0, 0, 0x81, 0xff, 0, 0, 0, 0x60, 0x75, 0xec],
    // And a part of it by REP STOSD.
    &[0xbf, 0, 0, 0, 0x40, 0xb9, 0, 0, 1, 0, 0xb8, 7, 0, 0, 0, 0xf3, 0xab],
    // What was written there reads as ones: else the end is 1.
    &[0xa1, 0, 0, 0, 0x40, 0x40, 0xb0, 1, 0x75, 0x3b],
    // A word into each page that is its own, from 3 MiB on.
    &[0xbf, 0, 0, 0x30, 0],
    &[0xc7, 0x07, 1, 0, 0, 0, 0x81, 0xc7, 0, 0x10, 0, 0, 0x81, 0xff, 0, 0, 0, 2, 0x75, 0xec],
    // Half a million jumps from one to the next, each a block of its own, and a RET.
    &[0xbf, 0, 0, 0x40, 0, 0xb8, 0xeb, 0, 0xeb, 0, 0xb9, 0, 0, 4, 0, 0xf3, 0xab, 0xc6, 0x07, 0xc3],
    &[0xbc, 0, 0, 0x3f, 0, 0xb8, 0, 0, 0x40, 0, 0xff, 0xd0, 0xb0, 0],
    &[0xe6, 0xf4, 0xeb, 0xfe],
];

/// `mov dx,0xcf9; mov al,6; out dx,al; jmp self`, after a word into each page.
const RESET: &[&[u8]] = &[
    &[0xbf, 0, 0, 0x30, 0],
    &[0xc7, 0x07, 1, 0, 0, 0, 0x81, 0xc7, 0, 0x10, 0, 0, 0x81, 0xff, 0, 0, 0, 2, 0x75, 0xec],
    &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 6, 0xee, 0xeb, 0xfe],
];

fn run(code: &[&[u8]]) -> Outcome {
    let spec = Spec {
        memory: MEMORY,
        most_memory: Some(MEMORY + ROOM),
        engine: EngineChoice::Soft,
        test_devices: true,
        ..Spec::new(kernel(&code.concat()))
    };
    Vm::new(spec, Endpoints::serial(std::io::sink())).unwrap().run()
}

/// A line of /proc/self/status in KiB, as bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_guest_that_takes_all_it_can_get_gets_what_it_was_assigned() {
    let before = status("VmRSS:");
    assert_eq!(run(ATTACK), Outcome::DebugExit(0));
    let grown = status("VmHWM:") - before;
    let most = MEMORY + ireko_machine::overhead(MEMORY);
    assert!(grown <= most, "{} MiB of {}", grown / MIB, most / MIB);

    // One that resets again and again leaves nothing behind.
    assert_eq!(run(RESET), Outcome::Reset);
    let (files, memory) = (entries("/proc/self/fd"), status("VmRSS:"));
    for _ in 0..20 {
        assert_eq!(run(RESET), Outcome::Reset);
    }
    assert!(entries("/proc/self/fd") <= files + 2);
    // The last one's memory goes with the last of its threads.
    let gone = || status("VmRSS:") <= memory + MEMORY;
    for _ in 0..200 {
        if gone() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(gone());
    assert!(status("VmHWM:") - before <= most);
}
