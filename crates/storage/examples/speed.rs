//! How fast formats are beside raw, on this host's file system and its cache: medians, and what they are of raw's.
//!
//! `cargo run --release -p ireko-storage --example speed [DIRECTORY [MIB [ROUNDS]]]`

use ireko_storage::chain::{self, Link};
use ireko_storage::create::{self, Plan};
use ireko_storage::{Format, Image, Store};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const PIECE: u64 = 128 << 10;
const SMALL: u64 = 4 << 10;
const SMALLS: u64 = 50_000;

/// A pass over an image: bytes a second.
type Pass = fn(&dyn Image, u64) -> f64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let directory = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let size = words.next().map_or(Ok(512), |text| text.parse::<u64>())? << 20;
    let rounds = words.next().map_or(Ok(5), |text| text.parse::<usize>())?;
    let passes: [(&str, Pass); 6] = [
        ("write to an empty image", write_all),
        ("write again", write_all),
        ("read", read_all),
        ("random 4 KiB writes", write_small),
        ("random 4 KiB reads", read_small),
        ("random 4 KiB writes, a flush for 32", write_and_flush),
    ];
    let formats = [Format::Raw, Format::Qcow2, Format::Vhdx, Format::Vhd];
    // Speeds of each round, and what they are of raw's in the same one.
    let mut seen = vec![vec![(Vec::new(), Vec::new()); passes.len()]; formats.len()];
    for _ in 0..rounds {
        let mut raw = vec![0.0; passes.len()];
        for (row, format) in formats.into_iter().enumerate() {
            let path = directory.join(format!("ireko-speed-{}", std::process::id()));
            let image = new_image(&path, format, size)?;
            for (column, (_, pass)) in passes.iter().enumerate() {
                let speed = pass(image.as_ref(), size);
                if format == Format::Raw {
                    raw[column] = speed;
                }
                seen[row][column].0.push(speed);
                seen[row][column].1.push(speed / raw[column]);
            }
            drop(image);
            std::fs::remove_file(&path)?;
        }
    }
    println!("| MB/s (of raw) | {} |", passes.map(|(name, _)| name).join(" | "));
    println!("|---|{}", "---|".repeat(passes.len()));
    for (format, row) in formats.into_iter().zip(&mut seen) {
        let cell = |(speeds, ratios): &mut (Vec<f64>, Vec<f64>)| {
            format!("{:.0} ({:.2})", median(speeds) / 1e6, median(ratios))
        };
        println!("| {format} | {} |", row.iter_mut().map(cell).collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn new_image(path: &Path, format: Format, size: u64) -> Result<Arc<dyn Image>, Box<dyn std::error::Error>> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let store: Arc<dyn Store> = Arc::new(file);
    create::create(store.as_ref(), &Plan::new(format, size))?;
    Ok(chain::open(&[Link { store, format }], true)?)
}

fn timed(bytes: u64, body: impl FnOnce()) -> f64 {
    let start = Instant::now();
    body();
    bytes as f64 / start.elapsed().as_secs_f64()
}

fn write_all(image: &dyn Image, size: u64) -> f64 {
    let data = vec![7; PIECE as usize];
    let speed = timed(size, || {
        (0..size / PIECE).for_each(|number| image.write_at(number * PIECE, &data).expect("a write"));
    });
    image.flush().expect("a flush");
    speed
}

fn read_all(image: &dyn Image, size: u64) -> f64 {
    let mut data = vec![0; PIECE as usize];
    timed(size, || {
        (0..size / PIECE).for_each(|number| image.read_at(number * PIECE, &mut data).expect("a read"));
    })
}

fn places(size: u64) -> impl Iterator<Item = u64> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(1u64), next).map(move |state| (state >> 20) % (size / SMALL) * SMALL)
}

fn write_small(image: &dyn Image, size: u64) -> f64 {
    let data = vec![9; SMALL as usize];
    let speed = timed(SMALLS * SMALL, || {
        places(size).take(SMALLS as usize).for_each(|at| image.write_at(at, &data).expect("a write"));
    });
    image.flush().expect("a flush");
    speed
}

fn read_small(image: &dyn Image, size: u64) -> f64 {
    let mut data = vec![0; SMALL as usize];
    timed(SMALLS * SMALL, || {
        places(size).take(SMALLS as usize).for_each(|at| image.read_at(at, &mut data).expect("a read"));
    })
}

fn write_and_flush(image: &dyn Image, size: u64) -> f64 {
    const COUNT: usize = 640;
    let data = vec![3; SMALL as usize];
    timed(COUNT as u64 * SMALL, || {
        for (number, at) in places(size).take(COUNT).enumerate() {
            image.write_at(at, &data).expect("a write");
            if number % 32 == 31 {
                image.flush().expect("a flush");
            }
        }
    })
}
