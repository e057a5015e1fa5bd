use super::*;

const DESCRIPTOR: u64 = 0x100;
const TARGET: u64 = 0x1000;

fn fw_cfg() -> FwCfg {
    let memory = Arc::new(Memory::new(&[(0, 0x1_0000)]).unwrap());
    let mut fw_cfg = FwCfg::new(3, 0x1234, memory);
    fw_cfg.add_file("etc/first", b"one".to_vec());
    fw_cfg.add_file("etc/second", b"second".to_vec());
    fw_cfg
}

fn read(fw_cfg: &mut FwCfg, key: u16, count: usize) -> Vec<u8> {
    fw_cfg.write(0, 0, &key.to_le_bytes());
    let mut byte = [0];
    (0..count)
        .map(|_| {
            fw_cfg.read(0, 1, &mut byte);
            byte[0]
        })
        .collect()
}

/// Starts a DMA as drivers do, and gives the control word afterwards.
fn dma(fw_cfg: &mut FwCfg, control: u32, length: u32, address: u64) -> u32 {
    let descriptor = [&control.to_be_bytes()[..], &length.to_be_bytes(), &address.to_be_bytes()].concat();
    fw_cfg.memory.ram().write_slice(&descriptor, GuestAddress(DESCRIPTOR)).unwrap();
    fw_cfg.write(DMA_REGION, 0, &[0; 4]);
    fw_cfg.write(DMA_REGION, 4, &(DESCRIPTOR as u32).to_be_bytes());
    let mut answer = [0; 4];
    fw_cfg.memory.ram().read_slice(&mut answer, GuestAddress(DESCRIPTOR)).unwrap();
    u32::from_be_bytes(answer)
}

fn at_target(fw_cfg: &FwCfg, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fw_cfg.memory.ram().read_slice(&mut bytes, GuestAddress(TARGET)).unwrap();
    bytes
}

#[test]
fn the_signature_is_read_byte_by_byte_and_then_zeros() {
    assert_eq!(read(&mut fw_cfg(), KEY_SIGNATURE, 6), b"QEMU\0\0");
}

#[test]
fn the_directory_names_every_file_with_size_and_key() {
    let directory = read(&mut fw_cfg(), KEY_DIRECTORY, 4 + 64 * 2);
    assert_eq!(directory[..4], [0, 0, 0, 2]);
    assert_eq!(directory[4 + 64..][..8], [0, 0, 0, 6, 0, 0x21, 0, 0]);
    assert!(directory[4 + 64 + 8..].starts_with(b"etc/second\0"));
}

#[test]
fn dma_selects_skips_and_reads() {
    let mut fw_cfg = fw_cfg();
    assert_eq!(dma(&mut fw_cfg, 0x21 << 16 | CONTROL_SELECT | CONTROL_SKIP, 3, 0), 0);
    assert_eq!(dma(&mut fw_cfg, CONTROL_READ, 5, TARGET), 0);
    assert_eq!(at_target(&fw_cfg, 5), b"ond\0\0");
}

#[test]
fn the_dma_register_shows_its_signature() {
    let mut data = [0; 4];
    fw_cfg().read(DMA_REGION, 4, &mut data);
    assert_eq!(&data, b" CFG");
}

#[test]
fn dma_to_where_no_memory_is_fails() {
    let control = 0x20 << 16 | CONTROL_SELECT | CONTROL_READ;
    for (length, address) in [(16, 0xfff8), (16, u64::MAX - 7), (u32::MAX, 0x8000), (1, 1 << 40)] {
        assert_eq!(dma(&mut fw_cfg(), control, length, address), CONTROL_ERROR, "{length:#x} {address:#x}");
    }
}

#[test]
fn dma_of_zeros_without_end_fails_before_it_begins() {
    let mut fw_cfg = fw_cfg();
    let control = 0x20 << 16 | CONTROL_SELECT | CONTROL_READ;
    assert_eq!(dma(&mut fw_cfg, control, 17 << 20, TARGET), CONTROL_ERROR);
    assert_eq!(at_target(&fw_cfg, 3), [0; 3]);
}

#[test]
fn nothing_can_be_written() {
    let mut fw_cfg = fw_cfg();
    assert_eq!(dma(&mut fw_cfg, 0x20 << 16 | CONTROL_SELECT | CONTROL_WRITE, 1, TARGET), CONTROL_ERROR);
    assert_eq!(read(&mut fw_cfg, 0x20, 3), b"one");
}

#[test]
fn a_descriptor_where_no_memory_is_does_nothing() {
    let mut fw_cfg = fw_cfg();
    fw_cfg.write(DMA_REGION, 0, &[0xff; 4]);
    fw_cfg.write(DMA_REGION, 4, &[0xff; 4]);
    assert_eq!(read(&mut fw_cfg, 0x20, 3), b"one");
}
