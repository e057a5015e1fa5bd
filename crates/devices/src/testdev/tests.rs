use super::*;
use crate::lock;
use crate::probe::{Probe, read8, read16, read32, write8, write16, write32};
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

fn item(fw_cfg: &mut FwCfg, key: u16, len: usize) -> Vec<u8> {
    write16(fw_cfg, 0, FW_CFG_SELECTOR, key);
    (0..len).map(|_| read8(fw_cfg, 0, FW_CFG_DATA)).collect()
}

#[test]
fn fw_cfg_tells_its_signature() {
    assert_eq!(item(&mut FwCfg::new(1, 1 << 20), KEY_SIGNATURE, 4), b"QEMU");
}

#[test]
fn fw_cfg_tells_the_processor_count() {
    assert_eq!(item(&mut FwCfg::new(3, 1 << 20), KEY_CPUS, 2), [3, 0]);
}

#[test]
fn fw_cfg_gives_zeros_past_an_items_end() {
    assert_eq!(item(&mut FwCfg::new(1, 1 << 20), KEY_MAX_CPUS, 4), [1, 0, 0, 0]);
}

#[test]
fn fw_cfg_lists_its_files() {
    let mut fw_cfg = FwCfg::new(1, 1 << 20);
    fw_cfg.add_file("etc/test", vec![7; 5]);
    let directory = item(&mut fw_cfg, KEY_DIRECTORY, 20);
    assert_eq!(directory, b"\0\0\0\x01\0\0\0\x05\0\x20\0\0etc/test");
    assert_eq!(item(&mut fw_cfg, KEY_FIRST_FILE, 5), [7; 5]);
}

#[test]
fn the_size_of_memory_is_an_item() {
    assert_eq!(item(&mut FwCfg::new(1, 512 << 20), KEY_RAM_SIZE, 8), (512u64 << 20).to_le_bytes());
}
