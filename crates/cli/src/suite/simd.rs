//! Kernels of vector instructions.

// UNSAFETY: a function that uses AVX2 may be called only where the processor has it.
#![allow(unsafe_code)]

use super::kernels::{Ran, Timer};
use std::arch::x86_64::*;

const BYTES: usize = 64 << 10;

pub fn sse2(timer: &mut Timer, passes: u64) -> Ran {
    let mut integers = [0; 4];
    let mut doubles = [0.0; 2];
    // SAFETY: every x86-64 processor has SSE2.
    timer.run(|| unsafe { with_sse2(passes, &mut integers, &mut doubles) });
    Ok(mix(&integers, &doubles))
}

pub fn avx2(timer: &mut Timer, passes: u64) -> Ran {
    if !std::arch::is_x86_feature_detected!("avx2") {
        return Err(std::io::Error::other("this processor has no AVX2"));
    }
    let mut integers = [0; 8];
    let mut doubles = [0.0; 4];
    // SAFETY: AVX2 is there, as was just checked.
    timer.run(|| unsafe { with_avx2(passes, &mut integers, &mut doubles) });
    Ok(mix(&integers, &doubles))
}

fn mix(integers: &[u32], doubles: &[f64]) -> u64 {
    let bits = doubles.iter().map(|value| value.to_bits());
    bits.chain(integers.iter().map(|&word| u64::from(word))).fold(0, |sum, word| sum.rotate_left(9) ^ word)
}

#[target_feature(enable = "sse2")]
fn with_sse2(passes: u64, integers: &mut [u32; 4], doubles: &mut [f64; 2]) {
    let mut words: Vec<__m128i> = (0..BYTES / 32).map(|i| _mm_set1_epi32(i as i32)).collect();
    let numbers: Vec<__m128d> = (0..BYTES / 32).map(|i| _mm_set1_pd(i as f64 * 0.5)).collect();
    let (step, factor) = (_mm_set_epi32(1, 3, 5, 7), _mm_set_pd(0.75, 0.5));
    let (mut sum, mut total) = (_mm_setzero_si128(), _mm_setzero_pd());
    for _ in 0..passes {
        for (word, &number) in words.iter_mut().zip(&numbers) {
            let shuffled = _mm_shuffle_epi32(_mm_add_epi32(*word, step), 0b01_00_11_10);
            *word = _mm_xor_si128(shuffled, _mm_srli_epi32(*word, 3));
            sum = _mm_add_epi32(sum, *word);
            total = _mm_add_pd(_mm_mul_pd(total, factor), number);
        }
    }
    for (i, lane) in lanes_128(sum).into_iter().enumerate() {
        integers[i] = lane;
    }
    *doubles = [_mm_cvtsd_f64(total), _mm_cvtsd_f64(_mm_unpackhi_pd(total, total))];
}

#[target_feature(enable = "sse2")]
fn lanes_128(vector: __m128i) -> [u32; 4] {
    let lane = |v| _mm_cvtsi128_si32(v) as u32;
    [
        lane(vector),
        lane(_mm_srli_si128(vector, 4)),
        lane(_mm_srli_si128(vector, 8)),
        lane(_mm_srli_si128(vector, 12)),
    ]
}

#[target_feature(enable = "avx2")]
fn with_avx2(passes: u64, integers: &mut [u32; 8], doubles: &mut [f64; 4]) {
    let mut words: Vec<__m256i> = (0..BYTES / 64).map(|i| _mm256_set1_epi32(i as i32)).collect();
    let numbers: Vec<__m256d> = (0..BYTES / 64).map(|i| _mm256_set1_pd(i as f64 * 0.5)).collect();
    let (step, factor) = (_mm256_set_epi32(1, 3, 5, 7, 9, 11, 13, 15), _mm256_set_pd(0.75, 0.5, 0.25, 0.125));
    let (mut sum, mut total) = (_mm256_setzero_si256(), _mm256_setzero_pd());
    for _ in 0..passes {
        for (word, &number) in words.iter_mut().zip(&numbers) {
            let moved = _mm256_permute4x64_epi64(_mm256_mullo_epi32(*word, step), 0b00_11_10_01);
            *word = _mm256_xor_si256(_mm256_add_epi32(moved, step), _mm256_srli_epi32(*word, 3));
            sum = _mm256_add_epi32(sum, *word);
            total = _mm256_add_pd(_mm256_mul_pd(total, factor), number);
        }
    }
    let halves = [_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1)];
    for (i, lane) in halves.into_iter().flat_map(|half| lanes_128(half)).enumerate() {
        integers[i] = lane;
    }
    for (pair, half) in
        [_mm256_castpd256_pd128(total), _mm256_extractf128_pd(total, 1)].into_iter().enumerate()
    {
        doubles[2 * pair] = _mm_cvtsd_f64(half);
        doubles[2 * pair + 1] = _mm_cvtsd_f64(_mm_unpackhi_pd(half, half));
    }
}
