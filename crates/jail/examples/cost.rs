//! What a filter adds to a system call: `cargo run --release -p ireko-jail --example cost`.

use ireko_jail::{Kind, thread};
use std::time::Instant;

const CALLS: u32 = 1_000_000;
const ROUNDS: usize = 9;

/// Nanoseconds of a call that does nothing, the best of a few rounds.
fn nanoseconds() -> f64 {
    let round = || {
        let start = Instant::now();
        (0..CALLS).for_each(|_| std::thread::yield_now());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::MAX, f64::min)
}

fn main() {
    println!("{:>8}  {:.0} ns", "none", nanoseconds());
    for kind in [Kind::Vcpu, Kind::Disk, Kind::Control] {
        let confined = std::thread::spawn(move || thread::confine(kind).map(|()| nanoseconds()));
        match confined.join() {
            Ok(Ok(time)) => println!("{:>8}  {time:.0} ns", format!("{kind:?}")),
            other => println!("{kind:?}: {other:?}"),
        }
    }
}
