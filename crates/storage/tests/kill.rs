//! A process that writes to an image is killed, again and again: the image is right, and what was flushed is there. As many rounds
//! as fit some seconds; by command as many as wanted: `IREKO_KILLS=1000 cargo test -p ireko-storage --test kill`.

use ireko_storage::chain::{self, Link};
use ireko_storage::create::{self, Plan};
use ireko_storage::{Format, Store};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: u64 = 256 << 20;
const SECTOR: u64 = 512;
/// Places that are written, far from each other.
const PLACES: u64 = 4096;
const STRIDE: u64 = SIZE / PLACES;

fn link(path: &Path, format: Format) -> Link {
    let store: Arc<dyn Store> = Arc::new(File::options().read(true).write(true).open(path).unwrap());
    Link { store, format }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

/// The process that is killed: says what it writes, and when that is flushed.
#[test]
fn writer() {
    let Ok(words) = std::env::var("IREKO_KILLED_WRITER") else { return };
    let (path, rest) = words.rsplit_once(' ').unwrap();
    let (path, format) = path.rsplit_once(' ').map(|(path, format)| (path, format.parse().unwrap())).unwrap();
    let mut seed: u64 = rest.parse().unwrap();
    let image = chain::open(&[link(Path::new(path), format)], true).unwrap();
    let mut out = std::io::stdout();
    for stamp in 1u64.. {
        let batch: Vec<(u64, u64)> = (0..8).map(|_| (random(&mut seed) % PLACES, seed ^ stamp | 1)).collect();
        let said: String = batch.iter().map(|(place, value)| format!("{place} {value};")).collect();
        writeln!(out, "writes {said}").unwrap();
        out.flush().unwrap();
        for (place, value) in batch {
            let len = SECTOR as usize * (1 + random(&mut seed) as usize % 16);
            image.write_at(place * STRIDE, &value.to_le_bytes().repeat(len / 8)).unwrap();
        }
        if random(&mut seed).is_multiple_of(4) {
            let whole = random(&mut seed) % (SIZE >> 24);
            image.discard((whole << 24) + STRIDE / 2, STRIDE / 4).unwrap();
        }
        image.flush().unwrap();
        writeln!(out, "flushed").unwrap();
        out.flush().unwrap();
    }
}

/// What a place may hold: what was flushed last, and what was written to it since.
#[derive(Default, Clone)]
struct Known {
    flushed: u64,
    since: Vec<u64>,
}

fn killed(path: &Path, format: Format, seed: u64, known: &mut [Known]) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--nocapture"])
        .env("IREKO_KILLED_WRITER", format!("{} {format} {seed}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_micros(20_000 + seed % 60_000));
        let _ = child.kill();
        let _ = child.wait();
    });
    let mut batch = Vec::new();
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        // The test's own words come in front of the first.
        if let Some((_, said)) = line.split_once("writes ") {
            batch = said.split_terminator(';').filter_map(pair).collect();
            batch.iter().for_each(|&(place, value)| known[place].since.push(value));
        } else if line.trim() == "flushed" {
            for (place, value) in batch.drain(..) {
                known[place] = Known { flushed: value, since: Vec::new() };
            }
        }
    }
    killer.join().unwrap();
    verify(path, format, known);
}

fn pair(text: &str) -> Option<(usize, u64)> {
    let (place, value) = text.split_once(' ')?;
    Some((place.parse().ok()?, value.parse().ok()?))
}

fn verify(path: &Path, format: Format, known: &mut [Known]) {
    let before = chain::check(&link(path, format), false).unwrap();
    assert_eq!(before.broken, 0, "{format}: {:?}", before.sentences);
    let image = chain::open(&[link(path, format)], true).unwrap();
    for (place, known) in known.iter_mut().enumerate() {
        let mut bytes = [0; 8];
        image.read_at(place as u64 * STRIDE, &mut bytes).unwrap();
        let value = u64::from_le_bytes(bytes);
        let fits = value == known.flushed || known.since.contains(&value);
        assert!(fits, "{format}: place {place} holds {value:#x} and not {:#x}", known.flushed);
        *known = Known { flushed: value, since: Vec::new() };
    }
    drop(image);
    let after = chain::check(&link(path, format), false).unwrap();
    assert!(after.sound(), "{format}: {:?}", after.sentences);
    let name = if format == Format::Vhd { "vpc" } else { format.name() };
    if matches!(format, Format::Qcow2 | Format::Vhdx)
        && let Ok(out) = Command::new("qemu-img").args(["check", "-f", name]).arg(path).output()
    {
        // 3: clusters that nobody uses.
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(matches!(out.status.code(), Some(0 | 3)), "{format}: {said}");
    }
}

#[test]
fn what_was_flushed_is_there_after_a_kill() {
    let wanted: Option<u64> = std::env::var("IREKO_KILLS").ok().and_then(|text| text.parse().ok());
    let path = std::env::temp_dir().join(format!("ireko-kill-{}", std::process::id()));
    for format in [Format::Raw, Format::Qcow2, Format::Vhdx, Format::Vhd] {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        create::create(&file, &Plan::new(format, SIZE)).unwrap();
        let (mut known, start) = (vec![Known::default(); PLACES as usize], Instant::now());
        let mut round = 0;
        while wanted.map_or(start.elapsed() < Duration::from_secs(3), |wanted| round < wanted) {
            round += 1;
            killed(&path, format, (round * 7919) << 16 | 1, &mut known);
        }
        assert!(known.iter().any(|known| known.flushed != 0), "nothing was written in {round} rounds");
        eprintln!("{format}: {round} kills");
    }
    std::fs::remove_file(&path).unwrap();
}
