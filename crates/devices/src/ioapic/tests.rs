use super::*;
use crate::probe::{messages, read32, write32};

fn ioapic() -> (IoApic, Arc<Mutex<Vec<Msi>>>) {
    let (sink, seen) = messages();
    (IoApic::new(0, sink), seen)
}

fn program(ioapic: &mut IoApic, pin: u32, entry: u64) {
    for (half, value) in [(1, entry >> 32), (0, entry)] {
        write32(ioapic, 0, IOREGSEL, u32::from(REDIRECTION) + 2 * pin + half);
        write32(ioapic, 0, IOWIN, value as u32);
    }
}

fn low_half(ioapic: &mut IoApic, pin: u32) -> u64 {
    write32(ioapic, 0, IOREGSEL, u32::from(REDIRECTION) + 2 * pin);
    u64::from(read32(ioapic, 0, IOWIN))
}

#[test]
fn the_version_register_tells_24_pins_and_an_eoi_register() {
    let (mut ioapic, _) = ioapic();
    write32(&mut ioapic, 0, IOREGSEL, u32::from(VERSION));
    assert_eq!(read32(&mut ioapic, 0, IOWIN), 0x0017_0020);
}

#[test]
fn pins_are_masked_after_reset() {
    let (mut ioapic, seen) = ioapic();
    ioapic.set(5, true);
    assert_eq!(low_half(&mut ioapic, 5), MASKED);
    assert!(lock(&seen).is_empty());
}

#[test]
fn an_edge_is_sent_as_a_message() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 4, 0x31 | 3 << DESTINATION_SHIFT | LOGICAL | DELIVERY_LOWEST);
    ioapic.set(4, true);
    assert_eq!(*lock(&seen), [Msi { address: 0xfee0_3004, data: 0x131 }]);
}

#[test]
fn an_edge_at_a_masked_pin_is_lost() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 4, 0x31 | MASKED);
    ioapic.set(4, true);
    program(&mut ioapic, 4, 0x31);
    assert!(lock(&seen).is_empty());
}

#[test]
fn a_level_is_sent_once_until_eoi() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL);
    ioapic.set(9, true);
    ioapic.set(9, true);
    assert_eq!(*lock(&seen), [Msi { address: 0xfee0_0000, data: 0xc041 }]);
    assert_eq!(low_half(&mut ioapic, 9) & REMOTE_IRR, REMOTE_IRR);
}

#[test]
fn eoi_sends_a_level_that_is_still_there_again() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL);
    ioapic.set(9, true);
    ioapic.eoi(0x41);
    assert_eq!(lock(&seen).len(), 2);
}

#[test]
fn eoi_of_a_level_that_went_away_ends_it() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL);
    ioapic.set(9, true);
    ioapic.set(9, false);
    ioapic.eoi(0x41);
    assert_eq!(lock(&seen).len(), 1);
    assert_eq!(low_half(&mut ioapic, 9) & REMOTE_IRR, 0);
}

#[test]
fn the_eoi_register_does_what_a_processors_eoi_does() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL);
    ioapic.set(9, true);
    write32(&mut ioapic, 0, EOI, 0x41);
    assert_eq!(lock(&seen).len(), 2);
}

#[test]
fn unmasking_sends_a_waiting_level() {
    let (mut ioapic, seen) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL | MASKED);
    ioapic.set(9, true);
    assert!(lock(&seen).is_empty());
    program(&mut ioapic, 9, 0x41 | LEVEL);
    assert_eq!(lock(&seen).len(), 1);
}

#[test]
fn remote_irr_cannot_be_written() {
    let (mut ioapic, _) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL | REMOTE_IRR);
    assert_eq!(low_half(&mut ioapic, 9), 0x41 | LEVEL);
}

#[test]
fn making_a_pin_edge_triggered_clears_remote_irr() {
    let (mut ioapic, _) = ioapic();
    program(&mut ioapic, 9, 0x41 | LEVEL);
    ioapic.set(9, true);
    program(&mut ioapic, 9, 0x41 | MASKED);
    assert_eq!(low_half(&mut ioapic, 9), 0x41 | MASKED);
}

#[test]
fn a_register_that_is_not_there_reads_zero() {
    let (mut ioapic, _) = ioapic();
    write32(&mut ioapic, 0, IOREGSEL, 0xff);
    assert_eq!(read32(&mut ioapic, 0, IOWIN), 0);
}

#[test]
fn a_delivery_may_come_back_with_an_eoi() {
    let handle: Arc<Mutex<Option<IoApic>>> = Arc::default();
    let inner = handle.clone();
    let mut ioapic = IoApic::new(
        0,
        Arc::new(move |msi| {
            if let Some(ioapic) = lock(&inner).take() {
                ioapic.set(9, false);
                ioapic.eoi(msi.data as u8);
            }
        }),
    );
    program(&mut ioapic, 9, 0x41 | LEVEL);
    *lock(&handle) = Some(ioapic.clone());
    ioapic.set(9, true);
    assert_eq!(low_half(&mut ioapic, 9) & REMOTE_IRR, 0);
}
