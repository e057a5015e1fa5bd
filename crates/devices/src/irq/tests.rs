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
