//! VHD and VHDX images made here are read by qemu-img, and the other way round.

use super::Random;
use super::peers::{
    Scratch, change, content, new_file, open_file, qemu_img, read_all, text, there, write_all,
};
use crate::chain::{self, Link};
use crate::create::{Plan, create};
use crate::{Format, Image};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SIZE: u64 = 40 << 20;

fn link(path: &Path, format: Format) -> Link {
    Link { store: open_file(path), format }
}

fn open(path: &Path, format: Format) -> Arc<dyn Image> {
    chain::open(&[link(path, format)], true).unwrap()
}

/// As qemu-img calls it.
fn name(format: Format) -> &'static str {
    if format == Format::Vhd { "vpc" } else { format.name() }
}

fn compare(raw: &Path, image: &Path, format: Format) {
    if format == Format::Vhdx {
        qemu_img(&["check", "-f", "vhdx", text(image)]);
    }
    assert!(chain::check(&link(image, format), false).unwrap().clean());
    qemu_img(&["compare", "-f", "raw", "-F", name(format), text(raw), text(image)]);
}

#[test]
fn qemu_reads_images_that_were_written_here() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("vhd-to-qemu");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    let bytes = content(SIZE, 21);
    fs::write(&raw, &bytes).unwrap();
    for format in [Format::Vhd, Format::Vhdx] {
        for (fixed, block) in [(false, None), (true, None), (false, Some(1 << 20)), (false, Some(16 << 20))] {
            let plan = Plan { fixed, block, ..Plan::new(format, SIZE) };
            create(new_file(&image).as_ref(), &plan).unwrap();
            let opened = open(&image, format);
            write_all(opened.as_ref(), &bytes);
            opened.discard(3 << 20, 20 << 20).unwrap();
            opened.write_at(3 << 20, &bytes[3 << 20..23 << 20]).unwrap();
            drop(opened);
            compare(&raw, &image, format);
        }
    }
}

#[test]
fn images_of_qemu_are_read_and_written_here() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("vhd-from-qemu");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    let mut bytes = content(SIZE, 22);
    for (format, options) in [
        (Format::Vhd, "subformat=dynamic,force_size=on"),
        (Format::Vhd, "subformat=fixed,force_size=on"),
        (Format::Vhdx, "subformat=dynamic"),
        (Format::Vhdx, "subformat=fixed"),
        (Format::Vhdx, "subformat=dynamic,block_size=1M,log_size=2M"),
    ] {
        fs::write(&raw, &bytes).unwrap();
        qemu_img(&["convert", "-f", "raw", "-O", name(format), "-o", options, text(&raw), text(&image)]);
        assert_eq!(Format::of(open_file(&image).as_ref()).unwrap(), format);
        let opened = open(&image, format);
        assert!(read_all(opened.as_ref()) == bytes, "{format} {options}");
        change(opened.as_ref(), &mut bytes, &mut Random(23), 4280);
        drop(opened);
        fs::write(&raw, &bytes).unwrap();
        compare(&raw, &image, format);
        fs::remove_file(&image).unwrap();
    }
}

/// Tables are in the log and not in their places: as a crash leaves them.
#[test]
fn qemu_replays_a_log_of_ours() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("our-log");
    let (raw, image, copy) = (scratch.path("raw"), scratch.path("image"), scratch.path("copy"));
    let bytes = content(SIZE, 24);
    fs::write(&raw, &bytes).unwrap();
    create(new_file(&image).as_ref(), &Plan { block: Some(1 << 20), ..Plan::new(Format::Vhdx, SIZE) })
        .unwrap();
    let opened = open(&image, Format::Vhdx);
    for (number, part) in bytes.chunks(1 << 20).enumerate() {
        opened.write_at(number as u64 * (1 << 20), part).unwrap();
    }
    opened.flush().unwrap();
    fs::copy(&image, &copy).unwrap();
    drop(opened);
    // The block allocation table as it was before.
    open_file(&copy).write_at(3 << 20, &[0; 4096]).unwrap();
    assert!(chain::open(&[link(&copy, Format::Vhdx)], false).is_err());
    assert!(!chain::check(&link(&copy, Format::Vhdx), false).unwrap().clean());
    let ours = scratch.path("ours");
    fs::copy(&copy, &ours).unwrap();
    qemu_img(&["check", "-r", "all", "-f", "vhdx", text(&copy)]);
    compare(&raw, &copy, Format::Vhdx);
    assert!(read_all(open(&ours, Format::Vhdx).as_ref()) == bytes);
    compare(&raw, &ours, Format::Vhdx);
}

#[test]
fn what_qemu_wrote_before_it_was_killed_is_read_here() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("killed");
    let image = scratch.path("image");
    qemu_img(&["create", "-q", "-f", "vhdx", "-o", "block_size=1M", text(&image), "40M"]);
    let io = Command::new("qemu-io")
        .args(["-f", "vhdx", "-c", "write -P 7 1M 300k", "-c", "write -P 8 9M 2M", "-c", "abort"])
        .arg(&image)
        .output();
    let Ok(out) = io else {
        eprintln!("skipped: qemu-io is not installed (package qemu-utils)");
        return;
    };
    assert!(!out.status.success());
    let opened = open(&image, Format::Vhdx);
    let (mut first, mut second) = (vec![0; 300 << 10], vec![0; 2 << 20]);
    opened.read_at(1 << 20, &mut first).unwrap();
    opened.read_at(9 << 20, &mut second).unwrap();
    assert!(first.iter().all(|byte| *byte == 7) && second.iter().all(|byte| *byte == 8));
    drop(opened);
    assert!(chain::check(&link(&image, Format::Vhdx), false).unwrap().clean());
}

#[test]
fn images_can_get_another_size() {
    if !there() {
        return;
    }
    let scratch = Scratch::new("vhd-resize");
    let (raw, image) = (scratch.path("raw"), scratch.path("image"));
    for (format, fixed, size) in [
        (Format::Vhdx, false, 9u64 << 40),
        (Format::Vhdx, true, 80 << 20),
        (Format::Vhd, true, 80 << 20),
        (Format::Vhdx, false, 10 << 20),
    ] {
        let mut bytes = content(SIZE, 25);
        create(new_file(&image).as_ref(), &Plan { fixed, ..Plan::new(format, SIZE) }).unwrap();
        write_all(open(&image, format).as_ref(), &bytes);
        chain::resize(&link(&image, format), size, &[]).unwrap();
        let opened = open(&image, format);
        assert_eq!(opened.size(), size);
        opened.write_at(size - 4096, &[9; 4096]).unwrap();
        drop(opened);
        if size > 1 << 30 {
            qemu_img(&["check", "-f", "vhdx", text(&image)]);
            continue;
        }
        bytes.resize(size as usize, 0);
        let end = bytes.len() - 4096;
        bytes[end..].fill(9);
        fs::write(&raw, &bytes).unwrap();
        compare(&raw, &image, format);
    }
}
