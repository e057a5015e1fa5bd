//! Images made here are read by qemu-img, and the other way round. Without qemu-img (package qemu-utils) nothing is compared.

use super::Random;
use super::memory::MemoryStore;
use crate::{Format, Image, Store, qcow2};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ireko-storage-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether the peer is there; if not, says so.
pub fn there() -> bool {
    let there = Command::new("qemu-img").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: qemu-img is not installed (package qemu-utils)");
    }
    there
}

pub fn qemu_img(words: &[&str]) -> String {
    let out = Command::new("qemu-img").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "qemu-img {words:?}: {said}");
    said
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn open_file(path: &Path) -> Arc<dyn Store> {
    Arc::new(File::options().read(true).write(true).open(path).unwrap())
}

pub fn new_file(path: &Path) -> Arc<dyn Store> {
    Arc::new(File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap())
}

/// Random stretches of bytes, with holes between them.
pub fn content(size: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = vec![0; size as usize];
    for _ in 0..40 {
        let (at, len) = (random.below(size), 1 + random.below(200_000));
        let end = (at + len).min(size);
        // Half of it can be compressed.
        let value = random.next() as u8;
        for byte in &mut bytes[at as usize..end as usize] {
            *byte = if value & 1 == 0 { value } else { random.next() as u8 };
        }
    }
    bytes
}

pub fn write_all(image: &dyn Image, bytes: &[u8]) {
    for (number, part) in bytes.chunks(96 << 10).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            image.write_at(number as u64 * (96 << 10), part).unwrap();
        }
    }
    image.rest().unwrap();
}

pub fn read_all(image: &dyn Image) -> Vec<u8> {
    let mut bytes = vec![0; image.size() as usize];
    bytes.chunks_mut(96 << 10).enumerate().for_each(|(number, part)| {
        image.read_at(number as u64 * (96 << 10), part).unwrap();
    });
    bytes
}

/// Changes an image at random places, up to so many sectors at a time; `bytes` is what it holds.
pub fn change(image: &dyn Image, bytes: &mut [u8], random: &mut Random, most: u64) {
    for _ in 0..60 {
        let (at, len) = (random.below(image.size() / 512 - most - 20) * 512, (1 + random.below(most)) * 512);
        let range = at as usize..(at + len) as usize;
        match random.below(4) {
            0 => {
                image.write_zeroes(at, len).unwrap();
                bytes[range].fill(0);
            }
            1 => {
                image.discard(at, len).unwrap();
                image.read_at(at, &mut bytes[range]).unwrap();
            }
            _ => {
                bytes[range.clone()].fill(random.next() as u8);
                image.write_at(at, &bytes[range]).unwrap();
            }
        }
    }
}

const SIZE: u64 = 40 << 20;

#[test]
fn qemu_reads_qcow2_images_that_were_written_here() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("to-qemu");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    let bytes = content(SIZE, 11);
    fs::write(&raw, &bytes).unwrap();
    for (cluster_bits, extended) in [(16, false), (12, false), (21, false), (16, true), (14, true)] {
        let store = new_file(&image);
        let options = qcow2::create::Options { cluster_bits, extended, ..qcow2::create::Options::new(SIZE) };
        qcow2::create::create(store.as_ref(), &options).unwrap();
        let opened = qcow2::Qcow2::open(store, true, None).unwrap();
        write_all(&opened, &bytes);
        opened.discard(3 << 20, 2 << 20).unwrap();
        opened.write_at(3 << 20, &bytes[3 << 20..5 << 20]).unwrap();
        drop(opened);
        qemu_img(&["check", "-f", "qcow2", text(&image)]);
        qemu_img(&["compare", "-f", "raw", "-F", "qcow2", text(&raw), text(&image)]);
    }
}

#[test]
fn qcow2_images_of_qemu_are_read_and_written_here() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("from-qemu");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    let mut bytes = content(SIZE, 12);
    for options in [
        &["-o", "compat=1.1"][..],
        &["-o", "compat=0.10"],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "lazy_refcounts=on,refcount_bits=1"],
        &["-o", "cluster_size=512,refcount_bits=64"],
        &["-o", "extended_l2=on"],
        &["-o", "cluster_size=2M,refcount_bits=8"],
        &["-o", "preallocation=metadata"],
    ] {
        fs::write(&raw, &bytes).unwrap();
        let mut words = vec!["convert", "-f", "raw", "-O", "qcow2"];
        words.extend(options);
        words.extend([text(&raw), text(&image)]);
        qemu_img(&words);
        let store = open_file(&image);
        assert_eq!(Format::of(store.as_ref()).unwrap(), Format::Qcow2);
        let opened = qcow2::Qcow2::open(store, true, None).unwrap();
        assert!(read_all(&opened) == bytes, "{options:?}");
        change(&opened, &mut bytes, &mut Random(13), 280);
        drop(opened);
        fs::write(&raw, &bytes).unwrap();
        qemu_img(&["check", "-f", "qcow2", text(&image)]);
        qemu_img(&["compare", "-f", "raw", "-F", "qcow2", text(&raw), text(&image)]);
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn snapshots_inside_an_image_keep_what_they_had() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("snapshots");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    let bytes = content(SIZE, 14);
    fs::write(&raw, &bytes).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", text(&raw), text(&image)]);
    qemu_img(&["snapshot", "-c", "before", text(&image)]);
    let opened = qcow2::Qcow2::open(open_file(&image), true, None).unwrap();
    opened.write_at(5 << 20, &[7; 3 << 20]).unwrap();
    opened.discard(20 << 20, 4 << 20).unwrap();
    drop(opened);
    qemu_img(&["check", "-f", "qcow2", text(&image)]);
    assert!(qcow2::check(&open_file(&image), false).unwrap().clean());
    qemu_img(&["snapshot", "-a", "before", text(&image)]);
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2", text(&raw), text(&image)]);
}

#[test]
fn a_qcow2_image_can_get_another_size() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("resize");
    let image = scratch.path("image");
    let store = new_file(&image);
    let options = qcow2::create::Options { cluster_bits: 12, ..qcow2::create::Options::new(SIZE) };
    qcow2::create::create(store.as_ref(), &options).unwrap();
    let bytes = content(SIZE, 15);
    write_all(&qcow2::Qcow2::open(store.clone(), true, None).unwrap(), &bytes);
    qcow2::resize(&store, 20 << 30, None).unwrap();
    let opened = qcow2::Qcow2::open(store.clone(), true, None).unwrap();
    opened.write_at((20 << 30) - 4096, &[9; 4096]).unwrap();
    drop(opened);
    qemu_img(&["check", "-f", "qcow2", text(&image)]);
    qcow2::resize(&store, 10 << 20, None).unwrap();
    qemu_img(&["check", "-f", "qcow2", text(&image)]);
    let opened = qcow2::Qcow2::open(store, true, None).unwrap();
    assert!(read_all(&opened) == bytes[..10 << 20]);
}

#[test]
fn what_qemu_finds_wrong_is_found_here_and_put_right() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("repair");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    let bytes = content(SIZE, 16);
    fs::write(&raw, &bytes).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "-o", "lazy_refcounts=on", text(&raw), text(&image)]);
    let store = open_file(&image);
    // The block of refcounts is zeros from its tenth entry on, and the image says that it was not closed.
    let mut table = [0; 8];
    store.read_at(1 << 16, &mut table).unwrap();
    store.write_at(u64::from_be_bytes(table) + 20, &[0; 400]).unwrap();
    store.write_at(79, &[1]).unwrap();
    assert!(qcow2::check(&store, false).unwrap().counts > 0);
    let opened = qcow2::Qcow2::open(store.clone(), true, None).unwrap();
    opened.write_at(0, &[1; 512]).unwrap();
    drop(opened);
    assert!(qcow2::check(&store, false).unwrap().clean());
    qemu_img(&["check", "-f", "qcow2", text(&image)]);
}

/// The table of refcounts moves when it has to be larger, which a full host may stop at any write.
#[test]
fn a_table_of_refcounts_that_cannot_be_moved_stays_in_force() {
    if !there() {
        return;
    }
    const DISK: u64 = 12 << 20;
    let scratch = Scratch::new("full");
    let image = scratch.path("image");
    // As few clusters as can be are counted in a table of one cluster: those of 8 MiB.
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", text(&image), "12M"]);
    let store = Arc::new(MemoryStore::of(fs::read(&image).unwrap()));
    let opened = qcow2::Qcow2::open(store.clone(), true, None).unwrap();
    let before = opened.header().reftable_clusters;
    let piece = |at: u64| (at as u32).to_le_bytes().repeat(1024);
    let mut at = 0;
    let mut room = 7 << 20;
    while at < DISK {
        store.leave_room(Some(room));
        while at < DISK && opened.write_at(at, &piece(at)).is_ok() {
            at += 4096;
        }
        let _ = opened.flush();
        room = (room + 300) % 20_000;
    }
    store.leave_room(None);
    opened.flush().unwrap();
    drop(opened);
    let report = qcow2::check(&(store.clone() as Arc<dyn Store>), false).unwrap();
    assert!(report.sound(), "{report} {:?}", report.sentences);
    let opened = qcow2::Qcow2::open(store, true, None).unwrap();
    assert!(opened.header().reftable_clusters > before);
    let bytes = read_all(&opened);
    assert!((0..DISK).step_by(4096).all(|at| bytes[at as usize..][..4096] == piece(at)));
}
