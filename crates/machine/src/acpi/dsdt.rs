//! The devices that cannot be found otherwise (ACPI 6.5, chapters 6 and 19).

use super::{OEM, OEM_REVISION, OEM_TABLE, PCI_GSI, PCI_GSIS, hot_plug};
use crate::layout::{Board, Layout};
use crate::pirq;
use crate::spec::MIB;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Arg, Device, EISAName, Equal, IO, If, Interrupt, Memory32Fixed,
    Method, Name, Package, Path, ResourceTemplate, Return, Scope, Store, ZERO,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};
use ireko_devices::{acpi as pm, hpet, i8042};

const HEADER: u32 = 36;
/// The revision from which integers have 64 bits.
const REVISION: u8 = 2;
const PCI_SLOTS: u32 = 32;

pub fn table(layout: &Layout) -> Vec<u8> {
    let mut dsdt = Sdt::new(*b"DSDT", HEADER, REVISION, OEM, OEM_TABLE, OEM_REVISION);
    if crate::sleep::offered(layout.board) {
        sleep(&mut dsdt, "_S3_", pm::SLP_TYP_S3);
    }
    sleep(&mut dsdt, "_S5_", pm::SLP_TYP_S5);
    let name = |hid: &'static str| Name::new("_HID".into(), &EISAName::new(hid));
    add_mode(&mut dsdt);
    add_pci(&mut dsdt, layout);
    if layout.hot_plug {
        hot_plug::add(&mut dsdt);
    }
    add_device(&mut dsdt, "COM1", vec![&name("PNP0501"), &ports_and_interrupt(0x3f8, 8, 4), &uid(1)]);
    if layout.second_serial {
        add_device(&mut dsdt, "COM2", vec![&name("PNP0501"), &ports_and_interrupt(0x2f8, 8, 3), &uid(2)]);
    }
    add_device(&mut dsdt, "RTC_", vec![&name("PNP0B00"), &ports_and_interrupt(0x70, 2, 8)]);
    if layout.hpet {
        let memory = Memory32Fixed::new(false, hpet::PLACES[0] as u32, hpet::regs::SIZE as u32);
        let resources = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory]));
        add_device(&mut dsdt, "HPET", vec![&name("PNP0103"), &resources]);
    }
    if layout.keyboard() {
        add_keyboard_and_mouse(&mut dsdt);
    }
    // What a memory-mapped configuration space needs to be believed: somebody who claims it (PCI Firmware 3.3, 4.1.2).
    if let Some(ecam) = layout.pci_ecam() {
        let ecam = Memory32Fixed::new(true, ecam as u32, MIB as u32);
        let claimed = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ecam]));
        add_device(&mut dsdt, "MRES", vec![&name("PNP0C02"), &claimed]);
    }
    dsdt.as_slice().to_vec()
}

/// A sleeping state: what is written to PM1a's SLP_TYP, and to PM1b's, which is not there (ACPI 6.5, 7.4.2).
fn sleep(dsdt: &mut Sdt, name: &str, kind: u16) {
    Name::new(name.into(), &Package::new(vec![&kind, &kind, &ZERO, &ZERO])).to_aml_bytes(dsdt);
}

/// Behind one controller, whose ports are the keyboard's.
fn add_keyboard_and_mouse(dsdt: &mut Sdt) {
    let name = |hid: &'static str| Name::new("_HID".into(), &EISAName::new(hid));
    let (data, command) = (IO::new(0x60, 0x60, 1, 1), IO::new(0x64, 0x64, 1, 1));
    let [keyboard, mouse] = i8042::IRQS.map(|irq| Interrupt::new(true, true, false, false, irq));
    let ports = ResourceTemplate::new(vec![&data, &command, &keyboard]);
    add_device(dsdt, "KBD_", vec![&name("PNP0303"), &Name::new("_CRS".into(), &ports)]);
    let mouse = ResourceTemplate::new(vec![&mouse]);
    add_device(dsdt, "MOU_", vec![&name("PNP0F13"), &Name::new("_CRS".into(), &mouse)]);
}

fn uid(number: u8) -> Name {
    Name::new("_UID".into(), &number)
}

fn add_device(dsdt: &mut Sdt, name: &str, children: Vec<&dyn Aml>) {
    let device = Device::new(name.into(), children);
    Scope::new("_SB_".into(), vec![&device]).to_aml_bytes(dsdt);
}

fn ports_and_interrupt(port: u16, count: u8, irq: u32) -> Name {
    let ports = IO::new(port, port, 1, count);
    let interrupt = Interrupt::new(true, true, false, false, irq);
    Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &interrupt]))
}

/// The PCI root bridge: PCI Express where there is a memory-mapped configuration space, so that it is used.
fn add_pci(dsdt: &mut Sdt, layout: &Layout) {
    let (express, conventional) = (EISAName::new("PNP0A08"), EISAName::new("PNP0A03"));
    let hid = Name::new("_HID".into(), if layout.pci_ecam().is_some() { &express } else { &conventional });
    let cid = Name::new("_CID".into(), &conventional);
    let io_apic = Routing::new(|slot| PCI_GSI + slot % PCI_GSIS);
    let named = Name::new("_PRT".into(), &io_apic);
    if layout.board != Board::Direct {
        return add_device(dsdt, "PCI0", vec![&hid, &cid, &uid(0), &windows(layout), &named]);
    }
    let pic = Routing::new(|slot| pirq::irq(slot as u8).into());
    let mode = mode();
    let in_pic_mode = Equal::new(&mode, &ZERO);
    let (for_pic, for_io_apic) = (Return::new(&pic), Return::new(&io_apic));
    let chosen = If::new(&in_pic_mode, vec![&for_pic]);
    let method = Method::new("_PRT".into(), 0, false, vec![&chosen, &for_io_apic]);
    add_device(dsdt, "PCI0", vec![&hid, &cid, &uid(0), &windows(layout), &method]);
}

/// Where a system says which interrupt controllers it uses: 0 is the PIC (ACPI 6.5, 5.8.1).
fn mode() -> Path {
    Path::new("\\PICM")
}

fn add_mode(dsdt: &mut Sdt) {
    Name::new(mode(), &ZERO).to_aml_bytes(dsdt);
    Method::new("\\_PIC".into(), 1, false, vec![&Store::new(&mode(), &Arg(0))]).to_aml_bytes(dsdt);
}

fn windows(layout: &Layout) -> Name {
    let (mmio32, mmio64) = (layout.pci_mmio32(), layout.pci_mmio64());
    let not_cached = AddressSpaceCacheable::NotCacheable;
    let buses = AddressSpace::new_bus_number(0u16, 0);
    let configuration = IO::new(0xcf8, 0xcf8, 1, 8);
    let low_ports = AddressSpace::new_io(0u16, 0xcf7, None);
    let high_ports = AddressSpace::new_io(0xd00u16, 0xffff, None);
    let low_memory =
        AddressSpace::new_memory(not_cached, true, mmio32.start as u32, (mmio32.end - 1) as u32, None);
    let high_memory = AddressSpace::new_memory(not_cached, true, mmio64.start, mmio64.end - 1, None);
    let all: Vec<&dyn Aml> = vec![&buses, &configuration, &low_ports, &high_ports, &low_memory, &high_memory];
    Name::new("_CRS".into(), &ResourceTemplate::new(all))
}

/// INTA# of each slot to its GSI (ACPI 6.5, 6.2.13).
struct Routing(Vec<(u32, u32)>);

impl Routing {
    fn new(irq: impl Fn(u32) -> u32) -> Self {
        Self((1..PCI_SLOTS).map(|slot| (slot << 16 | 0xffff, irq(slot))).collect())
    }
}

impl Aml for Routing {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let entry = |(address, irq)| Package::new(vec![address as &dyn Aml, &ZERO, &ZERO, irq as &dyn Aml]);
        let entries: Vec<_> = self.0.iter().map(|(address, irq)| entry((address, irq))).collect();
        Package::new(entries.iter().map(|e| e as &dyn Aml).collect()).to_aml_bytes(sink);
    }
}
