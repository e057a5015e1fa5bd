use super::*;
use crate::probe::{Probe, messages, write32};
use ireko_vmcore::{ExtInt, Msi};

/// Controllers whose I/O APIC has every pin open with vector 0x40 + pin.
fn irqs() -> (Arc<Irqs>, Pic, Arc<Mutex<Vec<Msi>>>) {
    let (sink, seen) = messages();
    let (pic, mut ioapic) = (Pic::new(Arc::new(|| {})), IoApic::new(0, sink));
    for pin in 0..24 {
        write32(&mut ioapic, 0, 0, 0x10 + 2 * pin);
        write32(&mut ioapic, 0, 0x10, 0x40 + pin);
    }
    (Irqs::new(pic.clone(), ioapic), pic, seen)
}

#[test]
fn an_isa_interrupt_reaches_both_controllers() {
    let (irqs, pic, seen) = irqs();
    irqs.line(4).set(true);
    assert_eq!(lock(&seen)[0].data, 0x44);
    assert_eq!(pic.acknowledge(), 4);
}

#[test]
fn the_timer_is_at_pin_2_of_the_ioapic() {
    let (irqs, pic, seen) = irqs();
    irqs.line(0).set(true);
    assert_eq!(lock(&seen)[0].data, 0x42);
    assert_eq!(pic.acknowledge(), 0);
}

#[test]
fn a_pci_interrupt_reaches_the_ioapic_only() {
    let (irqs, pic, seen) = irqs();
    irqs.line(17).set(true);
    assert_eq!(lock(&seen)[0].data, 0x51);
    assert!(!pic.pending());
}

#[test]
fn a_shared_line_is_asserted_while_any_input_is() {
    let probe = Probe::new();
    let line = SharedLine::new(probe.line(0));
    let (a, b) = (line.input(), line.input());
    a.set(true);
    b.set(true);
    a.set(false);
    assert!(probe.level(0));
    b.set(false);
    assert!(!probe.level(0));
}

/// So many ticks at once, and then a processor that serves what comes: how often it does, at most `most` times.
fn served(irqs: &Irqs, seen: &Mutex<Vec<Msi>>, most: usize) -> usize {
    for times in 0..most {
        if lock(seen).len() <= times {
            return times;
        }
        irqs.eoi(0x42, false);
    }
    most
}

#[test]
fn ticks_that_came_too_late_come_one_after_the_other() {
    let (irqs, _, seen) = irqs();
    irqs.line(0).ticks(5);
    assert_eq!(lock(&seen).len(), 1);
    assert_eq!(served(&irqs, &seen, 100), 5);
}

#[test]
fn ticks_that_found_the_one_before_them_waiting_are_made_up() {
    let (irqs, _, seen) = irqs();
    (0..3).for_each(|_| irqs.line(0).ticks(1));
    // A processor that has not taken the first sees these three as one.
    lock(&seen).truncate(1);
    assert_eq!(served(&irqs, &seen, 100), 3);
}

#[test]
fn ticks_that_are_kept_have_a_bound() {
    let (irqs, _, seen) = irqs();
    irqs.line(0).ticks(u64::MAX);
    assert_eq!(served(&irqs, &seen, 10_000), 1001);
}

#[test]
fn a_timer_that_is_set_anew_owes_no_ticks() {
    let (irqs, _, seen) = irqs();
    irqs.line(0).ticks(5);
    irqs.line(0).forget_ticks();
    assert_eq!(served(&irqs, &seen, 100), 1);
}

#[test]
fn ticks_at_masked_pins_are_not_kept() {
    let (sink, seen) = messages();
    let (mut pic, ioapic) = (Pic::new(Arc::new(|| {})), IoApic::new(0, sink));
    crate::probe::write8(&mut pic, 0, 1, 0xff);
    let irqs = Irqs::new(pic, ioapic.clone());
    irqs.line(0).ticks(5);
    write32(&mut ioapic.clone(), 0, 0, 0x14);
    write32(&mut ioapic.clone(), 0, 0x10, 0x42);
    irqs.line(0).ticks(1);
    assert_eq!(served(&irqs, &seen, 100), 1);
}

#[test]
fn ticks_by_the_pic_come_one_after_the_other() {
    let (sink, _) = messages();
    let mut pic = Pic::new(Arc::new(|| {}));
    let irqs = Irqs::new(pic.clone(), IoApic::new(0, sink));
    irqs.line(0).ticks(5);
    let mut times = 0;
    while irqs.pending() && times < 100 {
        irqs.acknowledge();
        // A non-specific EOI.
        crate::probe::write8(&mut pic, 0, 0, 0x20);
        times += 1;
    }
    assert_eq!(times, 5);
}

#[test]
fn a_tick_under_the_service_of_the_last_is_no_late_one() {
    let (irqs, pic, _) = irqs();
    let irqs_by_pic = {
        let (sink, _) = messages();
        Irqs::new(pic.clone(), IoApic::new(0, sink))
    };
    drop(irqs);
    irqs_by_pic.line(0).ticks(1);
    irqs_by_pic.acknowledge();
    irqs_by_pic.line(0).ticks(1);
    crate::probe::write8(&mut pic.clone(), 0, 0, 0x20);
    irqs_by_pic.acknowledge();
    crate::probe::write8(&mut pic.clone(), 0, 0, 0x20);
    assert!(!irqs_by_pic.pending());
}
