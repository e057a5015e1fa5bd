use super::*;
use crate::probe::{read8, write8};
use std::sync::atomic::{AtomicUsize, Ordering};

const MASTER: usize = 0;
const SLAVE: usize = 1;

/// A pair initialized as PCs do: vectors 0x20 and 0x28, all pins enabled.
fn pic() -> Pic {
    pic_with(0x01)
}

fn pic_with(icw4: u8) -> Pic {
    let mut pic = Pic::new(Arc::new(|| {}));
    for (chip, base, icw3) in [(MASTER, 0x20, 4), (SLAVE, 0x28, 2)] {
        write8(&mut pic, chip, 0, 0x11);
        for word in [base, icw3, icw4] {
            write8(&mut pic, chip, 1, word);
        }
        write8(&mut pic, chip, 1, 0);
    }
    pic
}

#[test]
fn an_edge_gives_the_pins_vector() {
    let pic = pic();
    pic.set(4, true);
    assert!(pic.pending());
    assert_eq!(pic.acknowledge(), 0x24);
}

#[test]
fn a_slave_pin_gives_the_slaves_vector() {
    let pic = pic();
    pic.set(12, true);
    assert_eq!(pic.acknowledge(), 0x2c);
}

#[test]
fn a_masked_pin_does_not_interrupt() {
    let mut pic = pic();
    write8(&mut pic, MASTER, 1, 1 << 4);
    pic.set(4, true);
    assert!(!pic.pending());
}

#[test]
fn a_pulse_is_latched() {
    let pic = pic();
    pic.set(1, true);
    pic.set(1, false);
    assert_eq!(pic.acknowledge(), 0x21);
}

#[test]
fn the_lower_pin_goes_first() {
    let pic = pic();
    pic.set(6, true);
    pic.set(3, true);
    assert_eq!(pic.acknowledge(), 0x23);
}

#[test]
fn a_lower_priority_waits_for_eoi() {
    let mut pic = pic();
    pic.set(3, true);
    pic.acknowledge();
    pic.set(6, true);
    assert!(!pic.pending());
    write8(&mut pic, MASTER, 0, 0x20);
    assert!(pic.pending());
}

#[test]
fn a_higher_priority_interrupts_service() {
    let pic = pic();
    pic.set(6, true);
    pic.acknowledge();
    pic.set(3, true);
    assert!(pic.pending());
}

#[test]
fn an_edge_pin_interrupts_once_a_rise() {
    let mut pic = pic();
    pic.set(4, true);
    pic.acknowledge();
    write8(&mut pic, MASTER, 0, 0x20);
    assert!(!pic.pending());
}

#[test]
fn a_level_pin_interrupts_while_it_is_high() {
    let mut pic = pic();
    write8(&mut pic, 2, 0, 1 << 5);
    pic.set(5, true);
    pic.acknowledge();
    write8(&mut pic, MASTER, 0, 0x20);
    assert!(pic.pending());
    pic.set(5, false);
    assert!(!pic.pending());
}

#[test]
fn elcr_keeps_the_timer_edge_triggered() {
    let mut pic = pic();
    write8(&mut pic, 2, 0, 0xff);
    write8(&mut pic, 2, 1, 0xff);
    assert_eq!((read8(&mut pic, 2, 0), read8(&mut pic, 2, 1)), (ELCR_MASTER, ELCR_SLAVE));
}

#[test]
fn an_acknowledge_without_request_is_spurious_7() {
    let mut pic = pic();
    assert_eq!(pic.acknowledge(), 0x27);
    write8(&mut pic, MASTER, 0, 0x0b);
    assert_eq!(read8(&mut pic, MASTER, 0), 0);
}

#[test]
fn automatic_eoi_leaves_nothing_in_service() {
    let mut pic = pic_with(0x03);
    pic.set(4, true);
    pic.acknowledge();
    write8(&mut pic, MASTER, 0, 0x0b);
    assert_eq!(read8(&mut pic, MASTER, 0), 0);
}

#[test]
fn rotation_on_eoi_makes_the_pin_lowest() {
    let mut pic = pic();
    pic.set(3, true);
    pic.acknowledge();
    write8(&mut pic, MASTER, 0, 0xa0);
    pic.set(3, false);
    pic.set(3, true);
    pic.set(4, true);
    assert_eq!(pic.acknowledge(), 0x24);
}

#[test]
fn special_mask_mode_lets_lower_priorities_through() {
    let mut pic = pic();
    pic.set(3, true);
    pic.acknowledge();
    pic.set(6, true);
    write8(&mut pic, MASTER, 1, 1 << 3);
    assert!(!pic.pending());
    write8(&mut pic, MASTER, 0, 0x68);
    assert!(pic.pending());
}

#[test]
fn a_poll_acknowledges() {
    let mut pic = pic();
    pic.set(4, true);
    write8(&mut pic, MASTER, 0, 0x0c);
    assert_eq!(read8(&mut pic, MASTER, 0), 0x84);
    assert!(!pic.pending());
}

#[test]
fn a_specific_eoi_ends_its_level_only() {
    let mut pic = pic();
    pic.set(6, true);
    pic.acknowledge();
    pic.set(3, true);
    pic.acknowledge();
    write8(&mut pic, MASTER, 0, 0x66);
    write8(&mut pic, MASTER, 0, 0x0b);
    assert_eq!(read8(&mut pic, MASTER, 0), 1 << 3);
}

#[test]
fn special_fully_nested_mode_takes_a_better_slave_pin() {
    let pic = pic_with(0x11);
    pic.set(12, true);
    assert_eq!(pic.acknowledge(), 0x2c);
    pic.set(9, true);
    assert_eq!(pic.acknowledge(), 0x29);
}

#[test]
fn intr_changes_are_told() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let pic = Pic::new(Arc::new(move || {
        seen.fetch_add(1, Ordering::Relaxed);
    }));
    pic.set(1, true);
    pic.set(1, true);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn reads_of_the_mask_give_what_was_written() {
    let mut pic = pic();
    write8(&mut pic, SLAVE, 1, 0x5a);
    assert_eq!(read8(&mut pic, SLAVE, 1), 0x5a);
}

#[test]
fn who_hears_of_intr_may_look_at_it() {
    let handle: Arc<Mutex<Option<Pic>>> = Arc::default();
    let (inner, seen) = (handle.clone(), Arc::new(AtomicUsize::new(0)));
    let log = seen.clone();
    let pic = Pic::new(Arc::new(move || {
        let pending = lock(&inner).as_ref().is_some_and(|pic: &Pic| pic.pending());
        log.store(pending as usize, Ordering::Relaxed);
    }));
    *lock(&handle) = Some(pic.clone());
    pic.set(1, true);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}
