//! Memory that is written, read and compared again and again, beside whatever else a level does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Words that are looked after: 8 MiB.
const WORDS: usize = 1 << 20;
/// Between two looks, so that others have their turn.
const REST: Duration = Duration::from_millis(5);

pub struct Sums {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Sums {
    pub fn begin() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        Self { stop, thread: std::thread::spawn(move || check(&told)) }
    }

    /// How often all was right, at least once; or what was not.
    pub fn end(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err("the thread that checks sums is gone".into()))
    }
}

fn word(number: usize, round: u64) -> u64 {
    (number as u64 ^ round << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn check(stop: &AtomicBool) -> Result<u64, String> {
    let mut words: Vec<u64> = (0..WORDS).map(|number| word(number, 0)).collect();
    let mut rounds = 0;
    loop {
        let (mut sum, mut wanted) = (0u64, 0u64);
        for (number, kept) in words.iter_mut().enumerate() {
            let right = word(number, rounds);
            if *kept != right {
                return Err(format!(
                    "word {number} of {WORDS} is {kept:#x} and not {right:#x} in round {rounds}"
                ));
            }
            sum = sum.wrapping_add(*kept);
            wanted = wanted.wrapping_add(right);
            *kept = word(number, rounds + 1);
        }
        if sum != wanted {
            return Err(format!("a sum of {WORDS} words is {sum:#x} and not {wanted:#x} in round {rounds}"));
        }
        rounds += 1;
        if stop.load(Ordering::Relaxed) {
            return Ok(rounds);
        }
        std::thread::sleep(REST);
    }
}
