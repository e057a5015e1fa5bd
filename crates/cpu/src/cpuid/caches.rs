//! Caches and TLBs as leaves 8000_0005h, 8000_0006h, 8000_0019h and 8000_001Dh tell them (APM vol. 3, appendix E.4).

use ireko_x86::cpuid::{EAX, EBX, ECX, EDX};
use ireko_x86::models::{Cache, Caches};

type Leaf = ((u32, u32), [u32; 4]);

/// Bytes of a line.
const LINE: u32 = 64;

/// `last` is the number of processors that share the third level, less one.
pub fn leaves(caches: &Caches, last: u32) -> Vec<Leaf> {
    let mut first = [0xff40_ff40, 0xff40_ff40, 0, 0];
    (first[ECX], first[EDX]) = (first_level(caches.data), first_level(caches.code));
    let mut others = [0x4800_2200, 0x6800_4200, 0, 0];
    (others[ECX], others[EDX]) = (second_level(caches.second), third_level(caches.third));
    let mut all = vec![
        ((0x8000_0005, 0), first),
        ((0x8000_0006, 0), others),
        ((0x8000_0019, 0), [0xf040_f040, 0, 0, 0]),
    ];
    let kinds = [(1, 1, caches.data), (2, 1, caches.code), (3, 2, caches.second), (3, 3, caches.third)];
    let there = kinds.into_iter().filter(|(_, _, cache)| cache.size != 0);
    all.extend(
        there
            .zip(0..)
            .map(|((kind, level, cache), n)| ((0x8000_001d, n), topology(kind, level, cache, last))),
    );
    all
}

/// KiB, ways, lines a tag, bytes of a line.
fn first_level(cache: Cache) -> u32 {
    (cache.size >> 10) << 24 | cache.ways << 16 | 1 << 8 | LINE
}

/// KiB and ways, encoded.
fn second_level(cache: Cache) -> u32 {
    (cache.size >> 10) << 16 | ways(cache.ways) << 12 | 1 << 8 | LINE
}

/// In units of 512 KiB.
fn third_level(cache: Cache) -> u32 {
    match cache.size {
        0 => 0,
        size => (size >> 19) << 18 | ways(cache.ways) << 12 | 1 << 8 | LINE,
    }
}

/// Associativity (APM vol. 3, table E-4): 8 is 6, 16 is 8; otherwise "see leaf 8000_001Dh".
fn ways(count: u32) -> u32 {
    match count {
        2 | 4 => count,
        8 => 6,
        16 => 8,
        _ => 9,
    }
}

/// Kind is 1 data, 2 code, 3 both.
fn topology(kind: u32, level: u32, cache: Cache, last: u32) -> [u32; 4] {
    let sharing = if level == 3 { last.min(0xfff) } else { 0 };
    let mut registers = [0; 4];
    registers[EAX] = kind | level << 5 | 1 << 8 | sharing << 14;
    registers[EBX] = (LINE - 1) | (cache.ways - 1) << 22;
    registers[ECX] = cache.size / (LINE * cache.ways) - 1;
    registers
}
