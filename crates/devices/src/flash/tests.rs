use super::*;
use crate::lock;
use crate::probe::{read8, write8};
use std::sync::{Arc, Mutex};

type Kept = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

fn flash() -> (Flash, Kept) {
    let kept = Kept::default();
    let log = kept.clone();
    let keep: Keep = Box::new(move |at, data| {
        lock(&log).push((at, data.to_vec()));
        Ok(())
    });
    (Flash::new(vec![0; 3 * BLOCK as usize], keep), kept)
}

fn program(flash: &mut Flash, at: u64, byte: u8) {
    write8(flash, 0, at, PROGRAM);
    write8(flash, 0, at, byte);
}

#[test]
fn it_reads_as_memory_at_first() {
    let mut flash = Flash::new(vec![1, 2, 3], Box::new(|_, _| Ok(())));
    assert_eq!([0, 1, 2, 3].map(|at| read8(&mut flash, 0, at)), [1, 2, 3, 0xff]);
}

#[test]
fn what_is_programmed_is_read_and_kept_in_one_piece() {
    let (mut flash, kept) = flash();
    b"var".iter().enumerate().for_each(|(n, byte)| program(&mut flash, 5 + n as u64, *byte));
    assert_eq!(read8(&mut flash, 0, 0), STATUS_READY);
    write8(&mut flash, 0, 0, READ_ARRAY);
    assert_eq!(read8(&mut flash, 0, 6), b'a');
    assert_eq!(*lock(&kept), [(5, b"var".to_vec())]);
}

#[test]
fn bytes_apart_are_kept_in_their_order() {
    let (mut flash, kept) = flash();
    [9, 2].into_iter().for_each(|at| program(&mut flash, at, 7));
    drop(flash);
    assert_eq!(*lock(&kept), [(9, vec![7]), (2, vec![7])]);
}

#[test]
fn erasing_fills_the_block_with_ones() {
    let (mut flash, kept) = flash();
    write8(&mut flash, 0, BLOCK + 5, ERASE);
    write8(&mut flash, 0, BLOCK + 5, ERASE_CONFIRM);
    write8(&mut flash, 0, 0, READ_ARRAY);
    let at = [BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK].map(|at| read8(&mut flash, 0, at));
    assert_eq!(at, [0, 0xff, 0xff, 0]);
    assert_eq!(*lock(&kept), [(BLOCK, vec![0xff; BLOCK as usize])]);
}

#[test]
fn an_erase_that_is_not_confirmed_erases_nothing() {
    let (mut flash, kept) = flash();
    write8(&mut flash, 0, 0, ERASE);
    write8(&mut flash, 0, 0, 0);
    assert_eq!(read8(&mut flash, 0, 0), STATUS_READY | STATUS_SEQUENCE);
    assert!(lock(&kept).is_empty());
}

#[test]
fn firmware_can_tell_it_from_memory() {
    let (mut flash, _) = flash();
    write8(&mut flash, 0, 0, CLEAR_STATUS);
    assert_ne!(read8(&mut flash, 0, 0), CLEAR_STATUS);
    write8(&mut flash, 0, 0, READ_STATUS);
    assert_eq!(read8(&mut flash, 0, 0), 0);
}

#[test]
fn what_cannot_be_kept_is_an_error_for_the_guest() {
    let mut flash =
        Flash::new(vec![0; BLOCK as usize], Box::new(|_, _| Err(io::ErrorKind::StorageFull.into())));
    program(&mut flash, 0, 1);
    write8(&mut flash, 0, 0, READ_ARRAY);
    write8(&mut flash, 0, 0, READ_STATUS);
    assert_eq!(read8(&mut flash, 0, 0), STATUS_READY | STATUS_PROGRAM_FAILED);
}
