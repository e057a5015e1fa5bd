//! Slots whose devices come and go (ACPI 6.5, 6.3): each a device that can be ejected, and the event by which the system hears of
//! them. The registers are [`ireko_devices::pci::HotPlug`]'s.

use crate::drives::EVENT;
use crate::storage::HOT_SLOTS;
use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Local, Method,
    MethodCall, Name, Notify, OpRegion, OpRegionSpace, Path, Scope, Store, ZERO,
};
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};
use ireko_devices::pci::HotPlug;

/// What a device is notified of (ACPI 6.5, table 5.197).
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;
const REGISTERS: u8 = 0x0c;

pub fn add(dsdt: &mut Sdt) {
    let base = HotPlug::BASE as u16;
    let region = OpRegion::new("HPIO".into(), OpRegionSpace::SystemIO, &base, &REGISTERS);
    let fields = [*b"HPUP", *b"HPDN", *b"HPEJ"].map(|name| FieldEntry::Named(name, 32));
    let registers = Field::new(
        "HPIO".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        fields.into(),
    );
    let slots = Each(slot);
    let looks = Each(look);
    let (up, down) = (Path::new("HPUP"), Path::new("HPDN"));
    let (filled, emptied) = (Store::new(&Local(0), &up), Store::new(&Local(1), &down));
    let changes = Method::new("HPCH".into(), 0, true, vec![&filled, &emptied, &looks]);
    Scope::new("\\_SB_.PCI0".into(), vec![&region, &registers, &slots, &changes]).to_aml_bytes(dsdt);
    let heard = MethodCall::new("\\_SB_.PCI0.HPCH".into(), vec![]);
    // An edge: the event's status is cleared before the method runs, so that what comes meanwhile is heard, too.
    let event = Method::new(format!("_E{EVENT:02X}").as_str().into(), 0, false, vec![&heard]);
    Scope::new("\\_GPE".into(), vec![&event]).to_aml_bytes(dsdt);
}

/// The same for every slot.
struct Each(fn(u8, &mut dyn AmlSink));

impl Aml for Each {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        HOT_SLOTS.for_each(|slot| self.0(slot, sink));
    }
}

fn name(slot: u8) -> Path {
    format!("HP{slot:02X}").as_str().into()
}

fn slot(slot: u8, sink: &mut dyn AmlSink) {
    let address = Name::new("_ADR".into(), &(u32::from(slot) << 16));
    let number = Name::new("_SUN".into(), &slot);
    let (register, bit) = (Path::new("HPEJ"), 1u32 << slot);
    let eject = Store::new(&register, &bit);
    let method = Method::new("_EJ0".into(), 1, true, vec![&eject]);
    Device::new(name(slot), vec![&address, &number, &method]).to_aml_bytes(sink);
}

fn look(slot: u8, sink: &mut dyn AmlSink) {
    let (device, bit) = (name(slot), 1u32 << slot);
    for (changed, what) in [(Local(0), DEVICE_CHECK), (Local(1), EJECT_REQUEST)] {
        // Without a target, the result is the value alone.
        let set = And::new(&ZERO, &changed, &bit);
        let notify = Notify::new(&device, &what);
        If::new(&set, vec![&notify]).to_aml_bytes(sink);
    }
}
