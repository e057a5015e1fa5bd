//! What is saved of a whole machine. Memory's contents are a stream of their own.
//!
//! Parts are saved by name, and restored in the order in which one drives another: memory, PCI's functions, devices, interrupt controllers (which
//! so forget what devices sent them meanwhile), processors.

use crate::MachineError;
use crate::pause::Parts;
use ireko_devices::irq::saved::OwedTicks;
use ireko_vmcore::Memory;
use ireko_vmcore::memory::{PAGE, Refusal};
use ireko_vmcore::saved::{Record, RestoreError, Saved, SavedState, decode, ensure};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// A machine that rests, without what its memory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMachine {
    /// The engine that ran it.
    pub engine: String,
    /// The machine's clock, in nanoseconds.
    pub clock: u64,
    /// The host's, when that one was stopped: nanoseconds since 1970.
    pub stopped_at: u64,
    /// The guest sleeps (S3); it has slept, and was not woken.
    pub asleep: bool,
    pub slept: bool,
    /// Memory that was plugged: address and size.
    pub plugged: Vec<(u64, u64)>,
    /// PCI's functions by place and name, and devices by name.
    pub functions: Vec<(String, Record)>,
    pub devices: Vec<(String, Record)>,
    /// What the interval timer is owed.
    pub ticks: Option<Record>,
    /// What processors share.
    pub partition: Record,
    pub vcpus: Vec<Record>,
}

impl Saved for SavedMachine {
    const NAME: &'static str = "machine";
    const VERSION: u32 = 2;

    fn earlier(_: u32, body: &[u8]) -> Result<Self, RestoreError> {
        Ok(decode::<SavedMachine1>(Self::NAME, body)?.into())
    }
}

/// Version 1, which only the software engine saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedMachine1 {
    clock: u64,
    stopped_at: u64,
    asleep: bool,
    slept: bool,
    plugged: Vec<(u64, u64)>,
    functions: Vec<(String, Record)>,
    devices: Vec<(String, Record)>,
    ticks: Option<Record>,
    partition: Record,
    vcpus: Vec<Record>,
}

impl From<SavedMachine1> for SavedMachine {
    fn from(saved: SavedMachine1) -> Self {
        Self {
            engine: "soft".into(),
            clock: saved.clock,
            stopped_at: saved.stopped_at,
            asleep: saved.asleep,
            slept: saved.slept,
            plugged: saved.plugged,
            functions: saved.functions,
            devices: saved.devices,
            ticks: saved.ticks,
            partition: saved.partition,
            vcpus: saved.vcpus,
        }
    }
}

/// Later than any clock there is: times are added to it.
const END: u64 = 1 << 60;

/// What a machine of one saves the other cannot go on with: it has another processor, other interrupt controllers and other clocks.
const ENGINES: [&str; 2] = ["soft", "kvm"];

/// Devices that others drive.
fn is_controller(name: &str) -> bool {
    matches!(name, "pic" | "ioapic")
}

impl SavedMachine {
    /// Of a machine that rests, without its processors.
    pub(crate) fn of(engine: &str, parts: &Parts, clock: u64, stopped_at: u64) -> Result<Self, MachineError> {
        Ok(Self {
            engine: engine.into(),
            clock,
            stopped_at,
            asleep: false,
            slept: false,
            plugged: parts.memory.blocks().map_or(Vec::new(), |blocks| blocks.runs()),
            functions: parts.pci.records(),
            devices: parts.bus.records(),
            ticks: parts.irqs.clone().map(|irqs| OwedTicks(irqs).record()),
            partition: parts.partition.save()?,
            vcpus: Vec::new(),
        })
    }

    /// Puts devices into this state; memory is what it was.
    pub(crate) fn restore_devices(&self, parts: &Parts) -> Result<(), RestoreError> {
        same_names(&self.functions, &parts.pci.records())?;
        same_names(&self.devices, &parts.bus.records())?;
        self.functions.iter().try_for_each(|(name, record)| parts.pci.restore(name, record).map(drop))?;
        parts.pci.restored();
        let restore = |(name, record): &(String, Record)| parts.bus.restore(name, record).map(drop);
        self.devices.iter().filter(|(name, _)| !is_controller(name)).try_for_each(restore)?;
        match (&self.ticks, parts.irqs.clone()) {
            (Some(ticks), Some(irqs)) => OwedTicks(irqs).restore_record(ticks)?,
            (None, None) => {}
            _ => return Err(RestoreError::invalid::<Self>("it is another engine's")),
        }
        self.devices.iter().filter(|(name, _)| is_controller(name)).try_for_each(restore)
    }

    /// What the parts of a machine do not look at themselves.
    pub(crate) fn check(&self, engine: &'static str, vcpus: usize) -> Result<(), MachineError> {
        let saved = ENGINES.into_iter().find(|name| *name == self.engine);
        let saved = saved.ok_or_else(|| RestoreError::invalid::<Self>("no engine has its engine's name"))?;
        if saved != engine {
            return Err(MachineError::OtherEngine { saved, here: engine });
        }
        ensure::<Self>(self.clock < END, format!("its clock shows {} ns", self.clock))?;
        let count = self.vcpus.len();
        Ok(ensure::<Self>(count == vcpus, format!("it has {count} processors, and this machine {vcpus}"))?)
    }

    /// Plugs and unplugs memory until the same is there; what that holds is zeros.
    pub(crate) fn restore_blocks(&self, memory: &Memory) -> Result<(), MachineError> {
        let refused = |refusal| match refusal {
            Refusal::Host(error) => MachineError::Memory(error),
            Refusal::Wrong | Refusal::Busy => {
                RestoreError::invalid::<Self>("memory is plugged where there is no room for it").into()
            }
        };
        let Some(blocks) = memory.blocks() else {
            return Ok(ensure::<Self>(
                self.plugged.is_empty(),
                "memory is plugged, and there is no room for it",
            )?);
        };
        blocks.runs().into_iter().try_for_each(|(at, size)| memory.unplug(at, size)).map_err(refused)?;
        self.plugged.iter().try_for_each(|(at, size)| memory.plug(*at, *size)).map_err(refused)
    }
}

/// The same parts, in the same order.
fn same_names(saved: &[(String, Record)], there: &[(String, Record)]) -> Result<(), RestoreError> {
    let has = |parts: &[(String, Record)], name: &str| parts.iter().any(|(other, _)| other == name);
    if let Some((name, _)) = saved.iter().find(|(name, _)| !has(there, name)) {
        return Err(RestoreError::Unknown(name.clone()));
    }
    if let Some((name, _)) = there.iter().find(|(name, _)| !has(saved, name)) {
        return Err(RestoreError::Missing(name.clone()));
    }
    ensure::<SavedMachine>(saved.len() == there.len(), "a part is there twice")
}

/// Writes what memory holds: pages that are not zeros, each behind its address, in ascending order. All ones end it.
pub fn write_memory(memory: &Memory, to: &mut impl Write) -> io::Result<()> {
    let mut page = [0; PAGE as usize];
    for address in
        memory.present().into_iter().flat_map(|(start, size)| (start..start + size).step_by(PAGE as usize))
    {
        if memory.save_page(address, &mut page) && page.iter().any(|byte| *byte != 0) {
            to.write_all(&address.to_le_bytes())?;
            to.write_all(&page)?;
        }
    }
    to.write_all(&u64::MAX.to_le_bytes())
}

/// Reads what [`write_memory`] wrote; what is not in it becomes zeros.
pub fn read_memory(memory: &Memory, from: &mut impl Read) -> Result<(), MachineError> {
    let unreadable = |why: io::Error| RestoreError::Malformed { name: "memory", why: why.to_string() };
    for (start, size) in memory.present() {
        clear(memory, start, size);
    }
    let (mut address, mut page) = ([0; 8], [0; PAGE as usize]);
    loop {
        from.read_exact(&mut address).map_err(unreadable)?;
        let at = u64::from_le_bytes(address);
        if at == u64::MAX {
            return Ok(());
        }
        from.read_exact(&mut page).map_err(unreadable)?;
        if !memory.restore_page(at, &page) {
            let what = format!("a page lies at {at:#x}, where this machine has no memory");
            return Err(RestoreError::Invalid { name: "memory", what }.into());
        }
    }
}

/// Makes zeros of a range.
fn clear(memory: &Memory, start: u64, size: u64) {
    const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
    if memory.give_back(start, size) {
        return memory.take_again(start, size);
    }
    for at in (start..start + size).step_by(PAGE as usize) {
        memory.restore_page(at, &ZEROS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_devices::irq::saved::SavedTicks;

    impl Saved for SavedMachine1 {
        const NAME: &'static str = SavedMachine::NAME;
        const VERSION: u32 = 1;
    }

    #[test]
    fn a_machine_of_version_1_is_the_software_engines() {
        let none = Record::of(&SavedMachine1::nothing());
        let saved: SavedMachine = none.get().unwrap();
        assert_eq!((saved.engine.as_str(), saved.clock), ("soft", 7));
        assert!(saved.check("soft", 0).is_ok());
    }

    impl SavedMachine1 {
        fn nothing() -> Self {
            let (plugged, functions, devices, vcpus) = Default::default();
            let partition = Record::of(&SavedTicks { owed: 0, sent: None, level: false });
            Self {
                clock: 7,
                stopped_at: 0,
                asleep: false,
                slept: false,
                plugged,
                functions,
                devices,
                ticks: None,
                partition,
                vcpus,
            }
        }
    }
}
