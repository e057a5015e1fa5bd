use super::regs::*;
use super::*;
use crate::probe::{Probe, messages, read16, read32, write8, write16, write32};
use crate::{MsiSink, PowerEvent, lock, shared};
use ireko_vmcore::{Bus, Msi, SavedState, Space};
use std::sync::{Arc, Mutex};

const WINDOWS: Windows = Windows { ports: 0xc000..0xd000, mmio32: 0xe000_0000..0xf000_0000, mmio64: 0..0 };

/// A function with a port BAR, a memory BAR of echoing bytes and a 64-bit BAR with an MSI-X table.
struct Part {
    config: ConfigSpace,
    bytes: [u8; 256],
    msix: Msix,
}

impl Part {
    fn new(sink: MsiSink) -> Self {
        let identity = Identity {
            vendor: 0x1234,
            device: 0x5678,
            subsystem_vendor: 0,
            subsystem: 0,
            revision: 1,
            class: 0x010203,
        };
        let mut config = ConfigSpace::new(identity);
        config.add_bar(0, Bar::Io(32));
        config.add_bar(1, Bar::Memory32(256));
        config.add_bar(2, Bar::Memory64(0x1000));
        let msix = Msix::new(&mut config, 2, 2, 0, 0x800, sink);
        Self { config, bytes: [0; 256], msix }
    }
}

impl Function for Part {
    fn name(&self) -> &'static str {
        "part"
    }
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn write_config(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.msix.config_written(&self.config);
    }
    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        match bar {
            2 if offset < 0x800 => self.msix.read_table(offset, data),
            2 => self.msix.read_pending(offset - 0x800, data),
            _ => crate::access::copy_out(&self.bytes, offset, data),
        }
    }
    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8]) {
        match bar {
            2 => self.msix.write_table(offset, data),
            _ => crate::access::copy_in(&mut self.bytes, offset, data),
        }
    }
    fn reset(&mut self) {
        self.bytes = [0; 256];
    }
    fn saved(&mut self) -> &mut dyn SavedState {
        self
    }
}

struct Rig {
    bus: Arc<PciBus>,
    part: Arc<Mutex<Part>>,
    ports: ConfigPorts,
    messages: Arc<Mutex<Vec<Msi>>>,
}

fn rig() -> Rig {
    let (sink, messages) = messages();
    let bus = PciBus::new(vec![]);
    let part = shared(Part::new(sink));
    bus.add(3, part.clone()).unwrap();
    bus.assign(&WINDOWS).unwrap();
    let ports = ConfigPorts::new(bus.clone(), Arc::new(|_| {}));
    Rig { bus, part, ports, messages }
}

impl Rig {
    fn select(&mut self, slot: u32, register: u32) {
        write32(&mut self.ports, 0, CONFIG_ADDRESS, CONFIG_ENABLE | slot << 11 | register);
    }
    fn config(&mut self, slot: u32, register: u32) -> u32 {
        self.select(slot, register);
        read32(&mut self.ports, 0, CONFIG_DATA)
    }
    fn set_config(&mut self, register: u32, value: u32) {
        self.select(3, register);
        write32(&mut self.ports, 0, CONFIG_DATA, value);
    }
    fn read(&self, space: Space, address: u64) -> u32 {
        let mut data = [0; 4];
        self.bus.read(space, address, &mut data);
        u32::from_le_bytes(data)
    }
    fn write(&self, address: u64, value: u32) {
        self.bus.write(Space::Mmio, address, &value.to_le_bytes());
    }
    /// Points the vector at a message and unmasks it.
    fn open_vector(&self, vector: u64) {
        let entry = self.bar2() + 16 * vector;
        for (i, value) in [0xfee0_1000, 0, 0x50 + vector as u32, 0].into_iter().enumerate() {
            self.write(entry + 4 * i as u64, value);
        }
    }
    fn bar2(&self) -> u64 {
        lock(&self.part).config.bar_address(2)
    }
    fn enable_msix(&mut self, bits: u16) {
        self.set_config(0x40, u32::from(MSIX_ENABLE | bits) << 16);
    }
}

#[test]
fn slot_0_is_a_host_bridge() {
    let mut rig = rig();
    assert_eq!(rig.config(0, 0x08) >> 16, 0x0600);
}

#[test]
fn an_empty_slot_reads_all_ones() {
    assert_eq!(rig().config(7, 0), u32::MAX);
}

#[test]
fn only_a_dword_write_sets_the_address_register() {
    let mut rig = rig();
    rig.select(3, 0);
    write8(&mut rig.ports, 0, 3, 1);
    assert_eq!(read32(&mut rig.ports, 0, CONFIG_ADDRESS), CONFIG_ENABLE | 3 << 11);
}

#[test]
fn parts_of_a_register_can_be_read() {
    let mut rig = rig();
    rig.select(3, 0);
    assert_eq!(read16(&mut rig.ports, 0, CONFIG_DATA + 2), 0x5678);
}

#[test]
fn the_reset_register_is_among_the_config_ports() {
    let seen: Arc<Mutex<Vec<PowerEvent>>> = Arc::default();
    let log = seen.clone();
    let mut ports = ConfigPorts::new(rig().bus, Arc::new(move |event| lock(&log).push(event)));
    write8(&mut ports, 0, CONFIG_RESET, 6);
    assert_eq!(*lock(&seen), [PowerEvent::Reset]);
}

#[test]
fn ecam_shows_the_same_space() {
    let mut ecam = Ecam::new(rig().bus);
    assert_eq!(read32(&mut ecam, 0, 3 << 15), 0x5678_1234);
}

#[test]
fn ecam_has_nothing_past_the_first_256_bytes() {
    let mut ecam = Ecam::new(rig().bus);
    assert_eq!(read32(&mut ecam, 0, 3 << 15 | 0x100), u32::MAX);
}

#[test]
fn sizing_a_bar_gives_its_size_mask_and_kind() {
    let mut rig = rig();
    let sizes = [(0x10, 0xffff_ffe1), (0x14, 0xffff_ff00), (0x18, 0xffff_f00c), (0x1c, 0xffff_ffff)];
    for (register, mask) in sizes {
        rig.set_config(register, u32::MAX);
        assert_eq!(rig.config(3, register), mask, "register {register:#x}");
    }
}

#[test]
fn read_only_registers_keep_their_values() {
    let mut rig = rig();
    rig.set_config(0, 0);
    assert_eq!(rig.config(3, 0), 0x5678_1234);
}

#[test]
fn assigned_bars_are_reached_in_both_spaces() {
    let rig = rig();
    rig.write(0xe000_0010, 0xabcd);
    assert_eq!(rig.read(Space::Mmio, 0xe000_0010), 0xabcd);
    assert_eq!(rig.read(Space::Port, 0xc010), 0xabcd);
}

#[test]
fn a_moved_bar_is_found_at_its_new_place_only() {
    let mut rig = rig();
    rig.write(0xe000_0010, 0xabcd);
    rig.set_config(0x14, 0xe800_0000);
    assert_eq!(rig.read(Space::Mmio, 0xe800_0010), 0xabcd);
    assert_eq!(rig.read(Space::Mmio, 0xe000_0010), u32::MAX);
}

#[test]
fn the_command_register_turns_decoding_off() {
    let mut rig = rig();
    rig.select(3, 4);
    write16(&mut rig.ports, 0, CONFIG_DATA, COMMAND_IO);
    assert_eq!(rig.read(Space::Mmio, 0xe000_0010), u32::MAX);
    assert_eq!(rig.read(Space::Port, 0xc010), 0);
}

#[test]
fn a_bar_that_does_not_fit_is_an_error() {
    let windows = Windows { mmio32: 0xe000_0000..0xe000_0080, ..WINDOWS };
    let error = rig().bus.assign(&windows).unwrap_err();
    assert_eq!(error, PciError::Room { name: "part", bar: 1, size: 256 });
}

#[test]
fn a_taken_slot_is_refused() {
    let rig = rig();
    assert_eq!(rig.bus.add(3, rig.part.clone()), Err(PciError::Slot(3)));
}

#[test]
fn a_slot_with_several_functions_says_so_in_the_first() {
    let pci = PciBus::new(Vec::new());
    let part = || shared(Part::new(messages().0));
    let header = |pci: &PciBus| {
        let mut byte = [0];
        pci.read_config(3 << 3, HEADER_TYPE as u16, &mut byte);
        byte[0]
    };
    pci.add(3, part()).unwrap();
    assert_eq!(header(&pci), 0);
    pci.add_function(3, 1, part()).unwrap();
    assert_eq!(header(&pci), MULTIPLE_FUNCTIONS);
}

#[test]
fn reset_takes_bars_and_state_away() {
    let mut rig = rig();
    rig.write(0xe000_0010, 0xabcd);
    rig.bus.reset();
    assert_eq!(rig.config(3, 0x14), 0);
    rig.bus.assign(&WINDOWS).unwrap();
    assert_eq!(rig.read(Space::Mmio, 0xe000_0010), 0);
}

#[test]
fn the_capability_list_leads_to_msix() {
    let mut rig = rig();
    assert_eq!(rig.config(3, 4) >> 16 & u32::from(STATUS_CAPABILITIES), u32::from(STATUS_CAPABILITIES));
    let at = rig.config(3, 0x34) & 0xff;
    assert_eq!(rig.config(3, at) & 0x7ff_00ff, 0x001_0011);
}

#[test]
fn an_open_vector_sends_its_message() {
    let mut rig = rig();
    rig.enable_msix(0);
    rig.open_vector(1);
    lock(&rig.part).msix.notify(1);
    assert_eq!(*lock(&rig.messages), [Msi { address: 0xfee0_1000, data: 0x51 }]);
}

#[test]
fn a_masked_vector_pends_and_is_sent_when_unmasked() {
    let mut rig = rig();
    rig.enable_msix(0);
    lock(&rig.part).msix.notify(1);
    assert_eq!(rig.read(Space::Mmio, rig.bar2() + 0x800), 1 << 1);
    rig.open_vector(1);
    assert_eq!(lock(&rig.messages).len(), 1);
    assert_eq!(rig.read(Space::Mmio, rig.bar2() + 0x800), 0);
}

#[test]
fn the_function_mask_holds_all_vectors() {
    let mut rig = rig();
    rig.enable_msix(MSIX_FUNCTION_MASK);
    rig.open_vector(0);
    lock(&rig.part).msix.notify(0);
    assert!(lock(&rig.messages).is_empty());
    rig.enable_msix(0);
    assert_eq!(lock(&rig.messages).len(), 1);
}

#[test]
fn a_vector_that_is_not_there_is_ignored() {
    let mut rig = rig();
    rig.enable_msix(0);
    lock(&rig.part).msix.notify(2);
    assert!(lock(&rig.messages).is_empty());
}

#[test]
fn slots_share_wires() {
    let probe = Probe::new();
    let bus = PciBus::new((0..4).map(|pin| probe.line(pin)).collect());
    bus.intx(6).set(true);
    assert!(probe.level(2));
}

#[test]
fn an_access_past_a_bars_end_reads_all_ones() {
    assert_eq!(rig().read(Space::Mmio, 0xe000_00fe), u32::MAX);
}

#[test]
fn counters_tell_how_often_a_function_was_accessed() {
    let rig = rig();
    rig.write(0xe000_0010, 1);
    rig.read(Space::Mmio, 0xe000_0010);
    let counts: Vec<_> = rig.bus.counters().iter().map(|c| (c.name, c.reads, c.writes)).collect();
    assert_eq!(counts, [("host-bridge", 0, 0), ("part", 1, 1)]);
}

impl ireko_vmcore::SaveRestore for Part {
    type Saved = super::saved::SavedConfig;
    fn save(&self) -> Self::Saved {
        self.config.save()
    }
    fn restore(&mut self, saved: Self::Saved) -> Result<(), ireko_vmcore::RestoreError> {
        self.config.restore(&saved);
        Ok(())
    }
}
