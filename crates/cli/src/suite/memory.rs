//! Kernels that go through memory: pointer chases and copies.

use super::compute::Numbers;
use super::kernels::{Ran, Timer};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// 8-byte words in a cache line.
const LINE: usize = 8;

/// One cycle through all cache lines of `bytes` in a random order: each line's first word is the next one's index.
fn cycle(bytes: usize) -> Vec<usize> {
    let lines = bytes / 64;
    let mut numbers = Numbers::new();
    let mut words = vec![0usize; lines * LINE];
    (0..lines).for_each(|line| words[line * LINE] = line * LINE);
    // Sattolo's shuffle makes one cycle.
    for line in (1..lines).rev() {
        words.swap(line * LINE, numbers.below(line) * LINE);
    }
    words
}

fn chase(timer: &mut Timer, steps: u64, bytes: usize) -> Ran {
    let words = cycle(bytes);
    let words = black_box(&words[..]);
    let mut at = 0;
    timer.run(|| (0..steps).for_each(|_| at = words[at]));
    Ok(at as u64)
}

pub fn chase_near(timer: &mut Timer, steps: u64) -> Ran {
    chase(timer, steps, 16 << 10)
}

pub fn chase_far(timer: &mut Timer, steps: u64) -> Ran {
    chase(timer, steps, 64 << 20)
}

const COPIED: usize = 64 << 20;

/// Relaxed atomic words are plain loads and stores that the compiler makes neither vectors nor memcpy of.
pub fn copy_words(timer: &mut Timer, passes: u64) -> Ran {
    let from: Vec<AtomicU64> = (0..COPIED / 8).map(|i| AtomicU64::new(i as u64)).collect();
    let to: Vec<AtomicU64> = (0..COPIED / 8).map(|_| AtomicU64::new(1)).collect();
    for _ in 0..passes {
        timer.run(|| from.iter().zip(&to).for_each(|(from, to)| to.store(from.load(Relaxed), Relaxed)));
    }
    Ok(to.iter().step_by(509).fold(0, |sum, word| sum ^ word.load(Relaxed)))
}

pub fn copy_bytes(timer: &mut Timer, passes: u64) -> Ran {
    let from: Vec<u8> = (0..COPIED).map(|i| (i >> 3) as u8).collect();
    let mut to = vec![1u8; COPIED];
    for _ in 0..passes {
        timer.run(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    }
    Ok(to.iter().step_by(509).fold(0, |sum, &byte| sum * 3 % 1_000_003 + u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chase_comes_back_only_after_all_lines() {
        let words = cycle(1 << 12);
        let (mut at, mut steps) = (words[0], 1);
        while at != 0 {
            (at, steps) = (words[at], steps + 1);
        }
        assert_eq!(steps, 64);
    }
}
