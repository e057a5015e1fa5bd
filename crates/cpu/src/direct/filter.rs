//! What a stub may ask the host's kernel for: a filter of system calls (seccomp(2), linux/filter.h). It sees numbers, arguments
//! and where the call was, no memory; and a program may jump to any of the stub's calls with any registers, so each argument is
//! looked at. Two calls need nothing more: they are about eight bytes of the stub's own at one place. The others want a secret,
//! which lies where a program could read it only while none runs.

use super::layout::{
    BASE, COPIES, END, MAP_FLAGS, MEMORY, NONCE, REPORTS, REQUESTS, SLOT_END, SLOT_START, USER_END,
};
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Offsets in the kernel's `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const PLACE: u32 = 8;
const X86_64: u32 = 0xc000_003e;

/// Bytes of a report, and of a request.
pub const MESSAGE: u32 = 8;

/// Where the calls are, as the kernel says it: behind them.
pub struct Places {
    pub write: u64,
    pub read: u64,
    pub command: u64,
    pub sigreturn: u64,
}

const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn skip_if_equal(value: u32, equal: usize, other: usize) -> sock_filter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, equal as u8, other as u8, value)
}

fn allow() -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)
}

fn trap() -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_TRAP)
}

/// Goes on if a word is that, else traps.
fn must_be(offset: u32, value: u32) -> [sock_filter; 3] {
    [load(offset), skip_if_equal(value, 1, 0), trap()]
}

/// The same of a whole argument.
fn argument_must_be(number: u32, value: u64) -> Vec<sock_filter> {
    [must_be(low(number), value as u32), must_be(high(number), (value >> 32) as u32)].concat()
}

/// Goes on if none of the bits is set, else traps.
fn must_not_have(offset: u32, bits: u32) -> [sock_filter; 3] {
    [load(offset), instruction(BPF_JMP | BPF_JSET | BPF_K, 0, 1, bits), trap()]
}

/// What follows a comparison: done if a word is that, else passed over. It ends by an answer.
fn if_equal(offset: u32, value: u32, then: Vec<sock_filter>) -> Vec<sock_filter> {
    [vec![load(offset), skip_if_equal(value, 0, then.len())], then].concat()
}

/// A call of eight bytes at the stub's own place for them.
fn message(number: i64, file: i32) -> Vec<sock_filter> {
    let mut program = must_be(NUMBER, number as u32).to_vec();
    program.extend(must_be(low(0), file as u32));
    program.extend(argument_must_be(1, NONCE));
    program.extend(argument_must_be(2, MESSAGE.into()));
    program.push(allow());
    program
}

/// An address and a length below 4 GiB, so far from the stub that what begins outside of its 512 GiB never reaches it.
fn elsewhere() -> Vec<sock_filter> {
    const OF_SLOT: u32 = !((1 << ((SLOT_END - SLOT_START).trailing_zeros() - 32)) - 1);
    let mut program = must_be(high(1), 0).to_vec();
    program.push(load(high(0)));
    program.push(instruction(libc::BPF_ALU | libc::BPF_AND | BPF_K, 0, 0, OF_SLOT));
    program.extend([skip_if_equal((SLOT_START >> 32) as u32, 0, 1), trap()]);
    program
}

/// Guest memory or copies, as the engine maps them: never to be written and run, and copies never to be written.
fn map() -> Vec<sock_filter> {
    let (write, execute) = (libc::PROT_WRITE as u32, libc::PROT_EXEC as u32);
    let mut program = elsewhere();
    program.extend(must_be(high(2), 0));
    program.extend(must_not_have(low(2), !(libc::PROT_READ as u32 | write | execute)));
    program.extend(must_be(low(3), MAP_FLAGS));
    let no_code = [must_not_have(low(2), execute).as_slice(), &[allow()]].concat();
    let no_write = [must_not_have(low(2), write).as_slice(), &[allow()]].concat();
    program.extend(if_equal(low(4), COPIES as u32, no_write.clone()));
    program.extend(must_be(low(4), MEMORY as u32));
    program.push(load(low(2)));
    program.push(instruction(BPF_JMP | BPF_JSET | BPF_K, 0, no_write.len() as u8, execute));
    program.extend(no_write);
    program.extend(no_code);
    program
}

/// Pages elsewhere, or all on one side of the stub.
fn unmap() -> Vec<sock_filter> {
    let below = [argument_must_be(0, 0), argument_must_be(1, SLOT_START), vec![allow()]].concat();
    let above =
        [argument_must_be(0, SLOT_END), argument_must_be(1, USER_END - SLOT_END), vec![allow()]].concat();
    let mut program = if_equal(high(1), (SLOT_START >> 32) as u32, below);
    program.extend(if_equal(high(1), ((USER_END - SLOT_END) >> 32) as u32, above));
    program.extend(elsewhere());
    program.push(allow());
    program
}

fn secret_must_be(secret: u64) -> Vec<sock_filter> {
    [must_be(high(3), secret as u32), must_be(high(4), (secret >> 32) as u32)].concat()
}

pub fn program(secret: u64, places: &Places) -> Vec<sock_filter> {
    const { assert!(BASE >> 32 == END >> 32) };
    let mut program = must_be(ARCHITECTURE, X86_64).to_vec();
    program.extend(must_be(PLACE + 4, (BASE >> 32) as u32));
    program.extend(if_equal(PLACE, places.write as u32, message(libc::SYS_write, REPORTS)));
    program.extend(if_equal(PLACE, places.read as u32, message(libc::SYS_read, REQUESTS)));
    program.extend(secret_must_be(secret));
    let sigreturn = [must_be(NUMBER, libc::SYS_rt_sigreturn as u32).as_slice(), &[allow()]].concat();
    program.extend(if_equal(PLACE, places.sigreturn as u32, sigreturn));
    program.extend(must_be(PLACE, places.command as u32));
    program.extend(if_equal(NUMBER, libc::SYS_mmap as u32, map()));
    program.extend(must_be(NUMBER, libc::SYS_munmap as u32));
    program.extend(unmap());
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: u64 = 0x1234_5678_9abc_def1;
    const HIGH: [u64; 2] = [0x9abc_def1 << 32, 0x1234_5678 << 32];
    const PLACES: Places =
        Places { write: BASE + 16, read: BASE + 32, command: BASE + 48, sigreturn: BASE + 64 };

    #[derive(Clone, Copy, Debug)]
    struct Call {
        number: i64,
        place: u64,
        arguments: [u64; 6],
    }

    /// What the kernel answers: its interpreter, as far as the filter has instructions.
    fn allowed(call: &Call) -> bool {
        let mut data = vec![call.number as u32, X86_64, call.place as u32, (call.place >> 32) as u32];
        data.extend(call.arguments.iter().flat_map(|value| [*value as u32, (value >> 32) as u32]));
        let program = program(SECRET, &PLACES);
        let (mut at, mut word) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let skipped = |holds: bool| usize::from(if holds { jt } else { jf });
            match u32::from(code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => word = data[k as usize / 4],
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += skipped(word == k),
                code if code == BPF_JMP | BPF_JSET | BPF_K => at += skipped(word & k != 0),
                code if code == libc::BPF_ALU | libc::BPF_AND | BPF_K => word &= k,
                code if code == BPF_RET | BPF_K => return k == libc::SECCOMP_RET_ALLOW,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn map_call(rights: i32, file: i32) -> Call {
        let arguments =
            [0x50_0000, 4096, rights as u64, u64::from(MAP_FLAGS) | HIGH[0], file as u64 | HIGH[1], 0x3000];
        Call { number: libc::SYS_mmap, place: PLACES.command, arguments }
    }

    fn unmap_call(address: u64, bytes: u64) -> Call {
        let arguments = [address, bytes, 0, HIGH[0], HIGH[1], 0];
        Call { number: libc::SYS_munmap, place: PLACES.command, arguments }
    }

    /// All that a stub asks for, with the arguments that may be others.
    fn calls() -> Vec<(Call, &'static [usize])> {
        let message = |number, place, file: i32| Call {
            number,
            place,
            arguments: [file as u64, NONCE, u64::from(MESSAGE), 0, 0, 0],
        };
        let sigreturn = Call {
            number: libc::SYS_rt_sigreturn,
            place: PLACES.sigreturn,
            arguments: [0, 0, 0, HIGH[0], HIGH[1], 0],
        };
        vec![
            (message(libc::SYS_write, PLACES.write, REPORTS), &[3, 4, 5]),
            (message(libc::SYS_read, PLACES.read, REQUESTS), &[3, 4, 5]),
            (sigreturn, &[0, 1, 2, 5]),
            (map_call(3, MEMORY), &[5]),
            (map_call(5, MEMORY), &[5]),
            (map_call(5, COPIES), &[5]),
            (unmap_call(0x50_0000, 0x20_0000), &[2, 5]),
            (unmap_call(0, SLOT_START), &[2, 5]),
            (unmap_call(SLOT_END, USER_END - SLOT_END), &[2, 5]),
        ]
    }

    #[test]
    fn what_a_stub_asks_for_is_allowed() {
        for (call, _) in calls() {
            assert!(allowed(&call), "{call:x?}");
        }
    }

    #[test]
    fn another_number_or_place_is_not() {
        for (call, _) in calls() {
            assert!(!allowed(&Call { number: libc::SYS_getpid, ..call }), "{call:x?}");
            assert!(!allowed(&Call { number: call.number | 0x4000_0000, ..call }), "{call:x?}");
            for place in [call.place + 1, call.place + (1 << 32), 0x40_0000] {
                assert!(!allowed(&Call { place, ..call }), "{place:#x} {call:x?}");
            }
        }
    }

    /// The address and the length of pages elsewhere are any, and so are rights but for two; a descriptor is 32 bits; and the
    /// secret is the upper half of two arguments.
    fn may_differ(call: &Call, other: &Call, argument: usize, bit: u32) -> bool {
        let maps = call.number == libc::SYS_mmap;
        let pages = call.arguments[0] == 0x50_0000;
        match argument {
            0 if pages => !(SLOT_START..SLOT_END).contains(&other.arguments[0]),
            0 => bit >= 32 && matches!(call.number, libc::SYS_read | libc::SYS_write),
            1 => pages && bit < 32,
            2 if maps && bit < 3 => {
                let (rights, copy) = (other.arguments[2], call.arguments[4] as i32 == COPIES);
                rights & 6 != 6 && !(copy && rights & 2 != 0)
            }
            3 | 4 => !maps && bit < 32,
            _ => false,
        }
    }

    #[test]
    fn each_bit_of_an_argument_that_the_kernel_or_the_filter_heeds_is_looked_at() {
        for (call, free) in calls() {
            for (argument, bit) in (0..6).flat_map(|argument| (0..64).map(move |bit| (argument, bit))) {
                let mut other = call;
                other.arguments[argument] ^= 1 << bit;
                assert_eq!(
                    allowed(&other),
                    free.contains(&argument) || may_differ(&call, &other, argument, bit),
                    "{argument} {bit} {call:x?}"
                );
            }
        }
    }

    #[test]
    fn nothing_of_the_stubs_own_is_mapped_or_unmapped() {
        for address in [SLOT_START, BASE - 4096, BASE, NONCE & !0xfff, END - 4096, SLOT_END - 4096] {
            let mut call = map_call(3, MEMORY);
            call.arguments[0] = address;
            assert!(!allowed(&call) && !allowed(&unmap_call(address, 4096)), "{address:#x}");
        }
        let reach = 1 << 32;
        assert!(SLOT_START + reach <= BASE && END + reach <= SLOT_END);
    }
}
