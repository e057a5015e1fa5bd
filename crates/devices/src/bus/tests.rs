use super::*;
use crate::shared;
use ireko_vmcore::SavedState;

/// Echoes what was written, and remembers access sizes.
struct Echo {
    bytes: [u8; 4],
    sizes: Vec<usize>,
    space: Space,
}

impl Device for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn regions(&self) -> Vec<(Space, u64)> {
        vec![(self.space, 4)]
    }
    fn read(&mut self, _: usize, offset: u64, data: &mut [u8]) {
        self.sizes.push(data.len());
        crate::access::copy_out(&self.bytes, offset, data);
    }
    fn write(&mut self, _: usize, offset: u64, data: &[u8]) {
        self.sizes.push(data.len());
        crate::access::copy_in(&mut self.bytes, offset, data);
    }
    fn reset(&mut self) {
        self.bytes = [0; 4];
    }
    /// It has no state.
    fn saved(&mut self) -> Option<&mut dyn SavedState> {
        None
    }
}

fn echo(bytes: [u8; 4], space: Space) -> Arc<Mutex<Echo>> {
    shared(Echo { bytes, sizes: vec![], space })
}

#[test]
fn an_unclaimed_read_gives_all_ones() {
    let mut data = [0; 8];
    SystemBus::new().read(Space::Mmio, u64::MAX - 2, &mut data);
    assert_eq!(data, [0xff; 8]);
}

#[test]
fn an_access_reaches_the_device_at_its_offset() {
    let mut bus = SystemBus::new();
    bus.add(echo([1, 2, 3, 4], Space::Port), &[0x100]).unwrap();
    let mut data = [0; 2];
    bus.read(Space::Port, 0x102, &mut data);
    assert_eq!(data, [3, 4]);
}

#[test]
fn a_straddling_access_is_split() {
    let mut bus = SystemBus::new();
    bus.add(echo([1, 2, 3, 4], Space::Mmio), &[0x1000]).unwrap();
    bus.add(echo([5, 6, 7, 8], Space::Mmio), &[0x1006]).unwrap();
    let mut data = [0; 8];
    bus.read(Space::Mmio, 0x1001, &mut data);
    assert_eq!(data, [2, 3, 4, 0xff, 0xff, 5, 6, 7]);
}

#[test]
fn pieces_are_of_natural_sizes() {
    let mut bus = SystemBus::new();
    let device = echo([0; 4], Space::Port);
    bus.add(device.clone(), &[0x100]).unwrap();
    bus.write(Space::Port, 0xff, &[0; 4]);
    assert_eq!(lock(&device).sizes, [2, 1]);
}

#[test]
fn overlapping_places_are_refused() {
    let mut bus = SystemBus::new();
    bus.add(echo([0; 4], Space::Port), &[0x100]).unwrap();
    let error = bus.add(echo([0; 4], Space::Port), &[0x103]).unwrap_err();
    assert_eq!(error, BusError::Overlap { device: "echo", start: 0x103, size: 4, other: 0x100 });
}

#[test]
fn a_place_past_the_last_port_is_refused() {
    let error = SystemBus::new().add(echo([0; 4], Space::Port), &[0xfffe]).unwrap_err();
    assert_eq!(error, BusError::Range { device: "echo", start: 0xfffe, size: 4 });
}

#[test]
fn counters_tell_how_often_a_device_was_accessed() {
    let mut bus = SystemBus::new();
    bus.add(echo([0; 4], Space::Port), &[0x100]).unwrap();
    bus.write(Space::Port, 0x100, &[1]);
    bus.write(Space::Port, 0x100, &[1]);
    bus.read(Space::Port, 0x100, &mut [0]);
    assert_eq!(bus.counters(), [Counter { name: "echo", reads: 1, writes: 2 }]);
}

#[test]
fn what_no_device_has_goes_to_the_other_bus() {
    struct Address;
    impl Bus for Address {
        fn read(&self, _: Space, address: u64, data: &mut [u8]) {
            crate::access::fill(data, address);
        }
        fn write(&self, _: Space, _: u64, _: &[u8]) {}
    }
    let mut bus = SystemBus::new();
    bus.set_rest(Arc::new(Address));
    let mut data = [0; 4];
    bus.read(Space::Mmio, 0xe000_0120, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0xe000_0120);
}
