//! What a string instruction's routine stores, seen from another processor: between any two instructions of the host's, one
//! overwrites what was stored last. So what is stored twice, or in halves, is seen.

// UNSAFETY: steps the host's processor through a routine, and looks at guest memory by host pointer after each step.
#![allow(unsafe_code)]

use super::*;
use ireko_x86::bits::rflags::DF;
use ireko_x86::regs::gpr::{RAX, RCX, RDI, RSI};
use std::arch::asm;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// What the other processor writes; no element has such a byte.
const OTHER: u8 = 0xee;
const MOST: usize = 8192;

static WATCHED: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);
/// Stores that were seen: where the first byte is, and how many there are.
static SEEN: [[AtomicUsize; 2]; MOST] = [const { [const { AtomicUsize::new(0) }; 2] }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

extern "C" fn after_a_step(_: libc::c_int) {
    let (memory, length) = (WATCHED.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    let mut at = 0;
    while at < length {
        // SAFETY: as below, and eight bytes are left.
        let eight = || unsafe { memory.add(at).cast::<[u8; 8]>().read_volatile() };
        if at + 8 <= length && eight() == [OTHER; 8] {
            at += 8;
            continue;
        }
        let start = at;
        // SAFETY: `stores` made sure of `length` bytes; nobody else has them meanwhile.
        while at < length && unsafe { memory.add(at).read_volatile() } != OTHER {
            // SAFETY: as above.
            unsafe { memory.add(at).write_volatile(OTHER) };
            at += 1;
        }
        if at > start {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            if count < MOST {
                SEEN[count][0].store(start, Ordering::Relaxed);
                SEEN[count][1].store(at - start, Ordering::Relaxed);
            }
        }
        at += 1;
    }
}

/// What `act` stores in `length` bytes at `memory`: offset and length of each store.
///
/// # Safety
/// Nobody else uses these bytes.
unsafe fn stores(memory: *mut u8, length: usize, act: impl FnOnce()) -> Vec<(usize, usize)> {
    let _only = ONE_AT_A_TIME.lock().unwrap_or_else(|broken| broken.into_inner());
    // SAFETY: the caller's promise.
    unsafe { memory.write_bytes(OTHER, length) };
    WATCHED.store(memory, Ordering::Relaxed);
    LENGTH.store(length, Ordering::Relaxed);
    COUNT.store(0, Ordering::Relaxed);
    // SAFETY: the handler touches atomics and these bytes only; the trap flag is this thread's own, and off again behind `act`.
    unsafe {
        let old = libc::signal(libc::SIGTRAP, after_a_step as *const () as libc::sighandler_t);
        asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
        act();
        asm!("pushfq", "and qword ptr [rsp], ~0x100", "popfq");
        libc::signal(libc::SIGTRAP, old);
    }
    let count = COUNT.load(Ordering::Relaxed);
    assert!(count <= MOST, "{count} stores");
    SEEN[..count].iter().map(|s| (s[0].load(Ordering::Relaxed), s[1].load(Ordering::Relaxed))).collect()
}

/// Each element is in one of the stores, whole.
fn whole_and_once(stores: &[(usize, usize)], size: usize, elements: usize) -> bool {
    let mut times = vec![0; elements];
    let whole = stores.iter().all(|&(start, length)| start % size == 0 && length % size == 0);
    stores.iter().for_each(|&(start, length)| {
        times.iter_mut().take((start + length).div_ceil(size)).skip(start / size).for_each(|n| *n += 1)
    });
    whole && times.iter().all(|&n| n == 1)
}

const FORMS: [(usize, &[u8], &[u8]); 4] = [
    (1, &[0xf3, 0xa4], &[0xf3, 0xaa]),
    (2, &[0x66, 0xf3, 0xa5], &[0x66, 0xf3, 0xab]),
    (4, &[0xf3, 0xa5], &[0xf3, 0xab]),
    (8, &[0xf3, 0x48, 0xa5], &[0xf3, 0x48, 0xab]),
];

/// The processor with a run of elements in front of it, the instruction, and how it is called in a complaint.
fn each_run(fill: bool, check: impl Fn(Cpu, &[u8], usize, usize, &str)) {
    for (size, copying, filling) in FORMS {
        // The general way is slow to step through: few of it.
        let ways: [(u32, bool, &[usize]); 3] =
            [(64, false, &[1, 3, 7, 9, 14, 140]), (64, true, &[3]), (32, false, &[3, 14])];
        for (mode, down, counts) in ways.into_iter().filter(|way| size < 8 || way.0 == 64) {
            for &count in counts {
                let mut cpu = if mode == 64 { flat64() } else { flat32() };
                poke(&mut cpu, 0x10_0000, &(0..4096).map(|n| (n % 199) as u8).collect::<Vec<_>>());
                cpu.processor.regs.rflags = 2 | if down { DF } else { 0 };
                let first = if down { (count - 1) * size } else { 0 } as u64;
                let bytes = if fill { filling } else { copying };
                // Nobody wants to step through how the decoder makes its tables.
                cpu.processor.regs.gpr[RCX] = 0;
                finish(&mut cpu, bytes);
                let gpr = &mut cpu.processor.regs.gpr;
                (gpr[RSI], gpr[RDI], gpr[RCX]) = (0x10_0003 + first, 0x11_0005 + first, count as u64);
                check(cpu, bytes, size, count, &format!("{count} of {size} in {mode}, down {down}"));
            }
        }
    }
}

fn host(cpu: &mut Cpu) -> *mut u8 {
    cpu.host_page(0x11_0005, true, Privilege::Current).unwrap().unwrap()
}

#[test]
fn rep_movs_stores_each_element_once_and_whole() {
    each_run(false, |mut cpu, bytes, size, count, what| {
        poke(&mut cpu, 0x11_0005, &[0; 8]);
        let memory = host(&mut cpu);
        // SAFETY: the guest's memory, of which only this thread knows.
        let seen = unsafe { stores(memory, size * count, || assert_eq!(finish(&mut cpu, bytes), 1)) };
        assert!(whole_and_once(&seen, size, count), "{what}: {seen:?}");
    });
}

#[test]
fn rep_stos_stores_each_element_once_and_whole() {
    each_run(true, |mut cpu, bytes, size, count, what| {
        poke(&mut cpu, 0x11_0005, &[0; 8]);
        cpu.processor.regs.gpr[RAX] = 0;
        let memory = host(&mut cpu);
        // SAFETY: the guest's memory, of which only this thread knows.
        let seen = unsafe { stores(memory, size * count, || assert_eq!(finish(&mut cpu, bytes), 1)) };
        assert!(whole_and_once(&seen, size, count), "{what}: {seen:?}");
    });
}

#[test]
fn an_operand_of_any_size_is_stored_once() {
    for size in 1..=108 {
        let (from, mut to) = ([0x11; 108], [0; 108]);
        let memory = to.as_mut_ptr();
        // SAFETY: both are as long as that, and nobody else's.
        let seen = unsafe {
            stores(memory, size, || {
                crate::single_copy::operand(from.as_ptr(), memory, std::hint::black_box(size))
            })
        };
        assert!(whole_and_once(&seen, 1, size), "{size}: {seen:?}");
        if size <= 16 && size.is_power_of_two() {
            assert_eq!(seen, [(0, size)]);
        }
    }
}
