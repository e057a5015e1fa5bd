//! Short benchmarks: the same code on the host and at each level, so that their ratio means something.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Nanoseconds for one operation, by benchmark name.
pub type Times = BTreeMap<String, f64>;

/// A measured time, and how it compares to the host's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub ns_per_op: f64,
    pub ratio_to_host: Option<f64>,
}

/// One benchmark: its name, what one operation is, how many operations a step has, and the step.
pub struct Kernel {
    pub name: &'static str,
    pub operation: &'static str,
    pub operations: u64,
    step: fn(&mut Arena),
}

/// Memory that the kernels work on, made once.
pub struct Arena {
    seed: u64,
    bytes: Vec<u8>,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

const SIEVE: usize = 4 << 20;
const SIDE: usize = 64;
const MIXES: u64 = 4096;
const CALLS: u64 = 64;

/// All kernels, in the order that tables show them.
pub const KERNELS: &[Kernel] = &[
    Kernel { name: "integer", operation: "64-bit hash mix", operations: MIXES, step: integer },
    Kernel { name: "memory", operation: "byte of a 4 MiB sieve", operations: SIEVE as u64, step: memory },
    Kernel {
        name: "float",
        operation: "multiply-add of a double matrix product",
        operations: (SIDE * SIDE * SIDE) as u64,
        step: float,
    },
    Kernel { name: "syscall", operation: "getppid", operations: CALLS, step: syscall },
    Kernel { name: "fork", operation: "fork, exit and wait", operations: 1, step: fork },
    Kernel {
        name: "exit",
        operation: "CPUID leaf 0, which the hypervisor answers",
        operations: 1,
        step: exit,
    },
];

impl Arena {
    fn new() -> Self {
        let cells = SIDE * SIDE;
        Self {
            seed: 1,
            bytes: vec![0; SIEVE],
            a: (0..cells).map(|i| i as f64 * 0.5).collect(),
            b: (0..cells).map(|i| 1.0 / (i + 1) as f64).collect(),
            c: vec![0.0; cells],
        }
    }
}

/// Runs every kernel, each for about `each`. Calls `started` with the name before each.
pub fn run(each: Duration, mut started: impl FnMut(&str)) -> Times {
    let mut arena = Arena::new();
    KERNELS
        .iter()
        .map(|kernel| {
            started(kernel.name);
            (kernel.name.to_owned(), measure(kernel, &mut arena, each))
        })
        .collect()
}

/// The median of five batches, whose length trial batches find; of one where a step takes longer than all should.
fn measure(kernel: &Kernel, arena: &mut Arena, each: Duration) -> f64 {
    (kernel.step)(arena);
    let batch = each / 7;
    let mut steps = 1;
    let mut taken = time(kernel, arena, steps);
    while taken < batch && steps < 1 << 40 {
        let wanted = batch.as_secs_f64() / taken.as_secs_f64().max(1e-9) * 1.1;
        steps = (steps as f64 * wanted.clamp(1.5, 16.0)).ceil() as u64;
        taken = time(kernel, arena, steps);
    }
    let more = if taken < each { 4 } else { 0 };
    let mut batches: Vec<Duration> = (0..more).map(|_| time(kernel, arena, steps)).collect();
    batches.push(taken);
    batches.sort();
    batches[batches.len() / 2].as_secs_f64() * 1e9 / (steps * kernel.operations) as f64
}

fn time(kernel: &Kernel, arena: &mut Arena, steps: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..steps {
        (kernel.step)(arena);
    }
    start.elapsed()
}

/// Joins a level's times with the host's.
pub fn compare(times: &Times, host: &Times) -> BTreeMap<String, Compared> {
    times
        .iter()
        .map(|(name, &ns_per_op)| {
            let ratio_to_host = host.get(name).filter(|&&h| h > 0.0).map(|h| ns_per_op / h);
            (name.clone(), Compared { ns_per_op, ratio_to_host })
        })
        .collect()
}

fn integer(arena: &mut Arena) {
    let mut hash = arena.seed;
    for i in 0..MIXES {
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(black_box(i));
    }
    arena.seed = hash;
}

/// The sieve of Eratosthenes, then a sum over all its bytes.
fn memory(arena: &mut Arena) {
    let sieve = &mut arena.bytes;
    sieve.fill(1);
    let mut prime = 2;
    while prime * prime < sieve.len() {
        if sieve[prime] == 1 {
            sieve[prime * prime..].iter_mut().step_by(prime).for_each(|byte| *byte = 0);
        }
        prime += 1;
    }
    arena.seed ^= black_box(sieve.iter().map(|&byte| u64::from(byte)).sum::<u64>());
}

fn float(arena: &mut Arena) {
    arena.c.fill(0.0);
    for (row, line) in arena.c.chunks_exact_mut(SIDE).enumerate() {
        for k in 0..SIDE {
            let factor = arena.a[row * SIDE + k];
            let other = &arena.b[k * SIDE..(k + 1) * SIDE];
            line.iter_mut().zip(other).for_each(|(sum, b)| *sum += factor * b);
        }
    }
    black_box(&arena.c);
}

fn syscall(_: &mut Arena) {
    for _ in 0..CALLS {
        black_box(crate::sys::trivial_call());
    }
}

fn fork(_: &mut Arena) {
    black_box(crate::sys::fork_and_wait().is_ok());
}

fn exit(_: &mut Arena) {
    black_box(crate::facts::cpuid(black_box(0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_gives_a_positive_time() {
        let times = run(Duration::from_millis(1), |_| ());
        assert_eq!(times.len(), KERNELS.len());
        assert!(times.values().all(|&ns| ns > 0.0 && ns.is_finite()), "{times:?}");
    }

    #[test]
    fn the_sieve_finds_the_primes() {
        let mut arena = Arena::new();
        memory(&mut arena);
        let primes: Vec<usize> = (2..30).filter(|&n| arena.bytes[n] == 1).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    }

    #[test]
    fn ratios_are_level_over_host() {
        let (level, host) = (Times::from([("fork".into(), 30.0)]), Times::from([("fork".into(), 10.0)]));
        assert_eq!(compare(&level, &host)["fork"].ratio_to_host, Some(3.0));
        assert_eq!(compare(&level, &Times::new())["fork"].ratio_to_host, None);
    }
}
