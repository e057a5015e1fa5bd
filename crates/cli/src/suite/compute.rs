//! Kernels that compute: integers, bytes, text, calls and scalar floating point.

use super::kernels::{Ran, Timer};
use std::cmp::Ordering;
use std::hint::black_box;

/// A sequence of numbers that is the same on every machine (xorshift64*).
pub struct Numbers(u64);

impl Numbers {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }
}

pub fn integer(timer: &mut Timer, operations: u64) -> Ran {
    let mut hash = black_box(1u64);
    timer.run(|| {
        for i in 0..operations {
            hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17).wrapping_add(i);
        }
    });
    Ok(hash)
}

pub fn sieve(timer: &mut Timer, passes: u64) -> Ran {
    let mut sieve = vec![1u8; 4 << 20];
    let mut primes = 0;
    for _ in 0..passes {
        primes += timer.run(|| sieve_once(&mut sieve));
    }
    Ok(primes)
}

fn sieve_once(sieve: &mut [u8]) -> u64 {
    sieve.fill(1);
    let mut prime = 2;
    while prime * prime < sieve.len() {
        if sieve[prime] == 1 {
            sieve[prime * prime..].iter_mut().step_by(prime).for_each(|byte| *byte = 0);
        }
        prime += 1;
    }
    black_box(&*sieve).iter().map(|&byte| u64::from(byte)).sum()
}

pub fn sort(timer: &mut Timer, elements: u64) -> Ran {
    let mut numbers = Numbers::new();
    let mut items: Vec<u64> = (0..elements).map(|_| numbers.next()).collect();
    let compare: fn(&u64, &u64) -> Ordering = black_box(|a, b| a.cmp(b));
    timer.run(|| quicksort(&mut items, compare));
    let sorted = items.is_sorted();
    let mixed = items.iter().fold(0u64, |sum, &item| sum.rotate_left(1) ^ item);
    Ok(if sorted { mixed } else { 0 })
}

fn quicksort(mut items: &mut [u64], compare: fn(&u64, &u64) -> Ordering) {
    while items.len() > 1 {
        let middle = partition(items, compare);
        let (low, high) = items.split_at_mut(middle);
        let high = &mut high[1..];
        // The shorter part by recursion, so that the depth is bounded.
        let (shorter, longer) = if low.len() < high.len() { (low, high) } else { (high, low) };
        quicksort(shorter, compare);
        items = longer;
    }
}

/// Puts the middle element in its place; gives the place.
fn partition(items: &mut [u64], compare: fn(&u64, &u64) -> Ordering) -> usize {
    let last = items.len() - 1;
    items.swap(items.len() / 2, last);
    let pivot = items[last];
    let mut place = 0;
    for index in 0..last {
        if compare(&items[index], &pivot) == Ordering::Less {
            items.swap(index, place);
            place += 1;
        }
    }
    items.swap(place, last);
    place
}

const HASHED: usize = 64 << 10;

pub fn hash(timer: &mut Timer, bytes: u64) -> Ran {
    let mut numbers = Numbers::new();
    let buffer: Vec<u8> = (0..HASHED.min(bytes as usize)).map(|_| numbers.next() as u8).collect();
    let table = crc_table();
    let mut state = (0xcbf2_9ce4_8422_2325u64, u32::MAX, [0x6a09_e667u32; 8]);
    timer.run(|| {
        let mut left = bytes as usize;
        while left > 0 {
            let part = &buffer[..left.min(buffer.len())];
            state.0 = part.iter().fold(state.0, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
            state.1 = part.iter().fold(state.1, |c, &b| c >> 8 ^ table[usize::from(c as u8 ^ b)]);
            part.chunks_exact(64).for_each(|block| compress(&mut state.2, block));
            left -= part.len();
        }
    });
    let digest = state.2.iter().fold(0u64, |sum, &word| sum.rotate_left(7) ^ u64::from(word));
    Ok(state.0 ^ u64::from(state.1) ^ digest)
}

fn crc_table() -> Vec<u32> {
    let step = |c: u32| if c & 1 == 0 { c >> 1 } else { c >> 1 ^ 0xedb8_8320 };
    (0..256u32).map(|byte| (0..8).fold(byte, |c, _| step(c))).collect()
}

/// SHA-256's rounds (FIPS 180-4, 6.2.2) with constants that need no table.
fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut words = [0u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..64 {
        let (a, b) = (words[i - 15], words[i - 2]);
        let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
        let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
        words[i] = words[i - 16].wrapping_add(s0).wrapping_add(words[i - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (i, &word) in words.iter().enumerate() {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let constant = (i as u32 + 1).wrapping_mul(0x9e37_79b9);
        let t1 = h.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(constant).wrapping_add(word);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (old, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *old = old.wrapping_add(new);
    }
}

const TEXT: usize = 256 << 10;
const SLOTS: usize = 1 << 12;

/// Words of lower-case letters and numbers, with punctuation and line ends.
fn make_text() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let mut text = Vec::with_capacity(TEXT + 16);
    while text.len() < TEXT {
        let word = numbers.below(1500);
        let digits = word.is_multiple_of(7);
        for i in 0..2 + word % 9 {
            let letter = (word * 31 + i * 7) % if digits { 10 } else { 26 };
            text.push(letter as u8 + if digits { b'0' } else { b'a' });
        }
        text.extend_from_slice([b" ".as_slice(), b", ", b".\n", b" "][numbers.below(4)]);
    }
    text
}

pub fn text(timer: &mut Timer, bytes: u64) -> Ran {
    let text = make_text();
    let mut result = 0u64;
    timer.run(|| {
        let mut left = bytes as usize;
        while left > 0 {
            let part = &text[..left.min(text.len())];
            result = result.rotate_left(5) ^ count_words(part);
            left -= part.len();
        }
    });
    Ok(result)
}

/// Reads the text byte by byte: lines, sum of numbers, and how often each word comes.
fn count_words(text: &[u8]) -> u64 {
    let mut counts = vec![(0u32, 0u32); SLOTS];
    let (mut lines, mut sum, mut number, mut word) = (0u64, 0u64, 0u64, 0u32);
    for &byte in text {
        match byte {
            b'0'..=b'9' => number = (number * 10 + u64::from(byte - b'0')) % 1_000_003,
            b'a'..=b'z' => word = (word ^ u32::from(byte.to_ascii_uppercase())).wrapping_mul(0x0100_0193),
            _ => {
                lines += u64::from(byte == b'\n');
                sum += std::mem::take(&mut number);
                if word != 0 {
                    count(&mut counts, std::mem::take(&mut word));
                }
            }
        }
    }
    counts.iter().fold(lines ^ sum << 20, |mixed, slot| mixed.rotate_left(3) ^ u64::from(slot.1))
}

/// There are fewer words than slots, so a free one is always found.
fn count(counts: &mut [(u32, u32)], word: u32) {
    let mut slot = (word >> 8) as usize % counts.len();
    while counts[slot].0 != word && counts[slot].0 != 0 {
        slot = (slot + 1) % counts.len();
    }
    counts[slot] = (word, counts[slot].1 + 1);
}

pub fn calls(timer: &mut Timer, n: u64) -> Ran {
    Ok(timer.run(|| fibonacci(black_box(n))))
}

#[inline(never)]
fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { black_box(fibonacci)(n - 1) + black_box(fibonacci)(n - 2) }
}

const SIDE: usize = 200;

pub fn matmul(timer: &mut Timer, products: u64) -> Ran {
    let cells = SIDE * SIDE;
    let a: Vec<f64> = (0..cells).map(|i| (i % 97) as f64 * 0.25).collect();
    let b: Vec<f64> = (0..cells).map(|i| 1.0 / (i % 89 + 1) as f64).collect();
    let mut product = vec![0.0f64; cells];
    for _ in 0..products {
        timer.run(|| multiply(black_box(&a), black_box(&b), &mut product));
    }
    Ok(product.iter().fold(0u64, |sum, cell| sum.rotate_left(1) ^ cell.to_bits()))
}

/// Sums in index order, which keeps the compiler from using vectors.
fn multiply(a: &[f64], b: &[f64], product: &mut [f64]) {
    for (row, line) in a.chunks_exact(SIDE).enumerate() {
        for column in 0..SIDE {
            let terms = line.iter().enumerate().map(|(k, x)| x * b[k * SIDE + column]);
            product[row * SIDE + column] = terms.fold(0.0, |sum, term| sum + term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sieve_counts_the_primes() {
        // pi(2^22) = 295947; 0 and 1 are left in.
        assert_eq!(sieve(&mut Timer::default(), 1).unwrap(), 295_949);
    }

    #[test]
    fn quicksort_sorts() {
        let mut items = vec![3, 1, 2, 2, 9, 0];
        quicksort(&mut items, |a, b| a.cmp(b));
        assert_eq!(items, [0, 1, 2, 2, 3, 9]);
    }

    #[test]
    fn fibonacci_is_right() {
        assert_eq!(fibonacci(20), 6765);
    }

    #[test]
    fn the_crc_of_the_check_string_is_the_published_one() {
        let table = crc_table();
        let crc = b"123456789".iter().fold(u32::MAX, |c, &b| c >> 8 ^ table[usize::from(c as u8 ^ b)]);
        assert_eq!(!crc, 0xcbf4_3926);
    }
}
