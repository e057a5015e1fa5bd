use super::*;
use crate::lock;
use crate::probe::{Probe, read16, read32, write8, write32};
use std::sync::Mutex;

#[test]
fn a_write_to_debug_exit_gives_the_code() {
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let log = seen.clone();
    let mut exit = DebugExit::new(Arc::new(move |code| lock(&log).push(code)));
    write32(&mut exit, 0, 0, 0x10);
    assert_eq!(*lock(&seen), [0x21]);
}

#[test]
fn the_echo_ports_keep_what_was_written() {
    let mut device = TestDevice::new(vec![]);
    write32(&mut device, ECHO_REGION, 0, 0x1234_5678);
    write8(&mut device, ECHO_REGION, 8, 0xff);
    assert_eq!(read32(&mut device, ECHO_REGION, 0), 0x1234_56ff);
    assert_eq!(read16(&mut device, ECHO_REGION, 2), 0x1234);
}

#[test]
fn a_line_port_sets_and_clears_its_line() {
    let probe = Probe::new();
    let mut device = TestDevice::new((0..24).map(|pin| probe.line(pin)).collect());
    write8(&mut device, LINE_REGION, 14, 1);
    assert!(probe.level(14));
    write8(&mut device, LINE_REGION, 14, 0);
    assert!(!probe.level(14));
}

#[test]
fn the_echo_memory_keeps_what_was_written() {
    let mut device = TestDevice::new(vec![]);
    write32(&mut device, 2, 0xfffc, 0xdead_beef);
    assert_eq!(read32(&mut device, 2, 0xfffc), 0xdead_beef);
}
