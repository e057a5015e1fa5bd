//! Every device of the hostile machine, saved in whatever state random accesses have brought it to, goes on in a fresh machine; and
//! no saved state, whatever is in it, harms anybody.

use crate::hostile::{
    HOT, HOT_SLOT, Machine, Random, VIRTIO, WINDOWS, give_sata_commands, machine_on, place, set_up_ring,
    start_nvme,
};
use crate::irq::saved::OwedTicks;
use ireko_vmcore::memory::BLOCK;
use ireko_vmcore::saved::{Record, RestoreError, SavedState, mutated};
use ireko_vmcore::{Bus, Clock, ExtInt, Space};
use vm_memory::{Bytes, GuestAddress};

/// One access of a guest's, and what the host does meanwhile; what was read.
fn step(machine: &Machine, random: &mut Random, turn: u32) -> [u8; 8] {
    let (space, address) = place(random);
    let mut data = random.value().to_le_bytes();
    let len = 1 << random.below(if space == Space::Port { 3 } else { 4 });
    match random.below(3) {
        0 => machine.bus.read(space, address, &mut data[..len]),
        _ => machine.bus.write(space, address, &data[..len]),
    }
    if turn.is_multiple_of(200) {
        set_up(machine, random);
    }
    if turn.is_multiple_of(16) {
        machine.work();
        machine.clock.advance(1 << random.below(24));
    }
    match turn % 512 {
        0 => machine.pci.assign(&WINDOWS).unwrap(),
        1 => data[7] = machine.pic.acknowledge(),
        2 => machine.ioapic.eoi(random.next() as u8),
        3 => machine.look(),
        4 => machine.change(),
        _ => {}
    }
    data
}

/// Queues and commands of a proper form, for some of the devices; some of it is served.
fn set_up(machine: &Machine, random: &mut Random) {
    for _ in 0..random.below(4) {
        let (port, bar) =
            (0x100 + random.below(2) * 0x80, VIRTIO[random.below(VIRTIO.len() as u64) as usize]);
        match random.below(4) {
            0 => give_sata_commands(machine, random, port),
            1 => {
                let bytes: Vec<u8> = (0..16).map(|_| random.next() as u8).collect();
                let write = |address: u64, value: u64, len: usize| {
                    let address = WINDOWS.mmio32.start + address;
                    machine.bus.write(Space::Mmio, address, &value.to_le_bytes()[..len]);
                };
                start_nvme(&write, &|n| bytes[n % 16]);
            }
            _ => set_up_ring(machine, random, bar),
        }
        if random.below(2) == 0 {
            machine.work();
        }
    }
}

/// A machine after so many of them.
fn driven(random: &mut Random, accesses: u32) -> Machine {
    let machine = machine_on(Clock::by_hand());
    set_up(&machine, random);
    for turn in 0..accesses {
        step(&machine, random, turn);
    }
    machine
}

/// Everything that is saved of a machine but its memory, the interrupt controllers last.
#[derive(Clone, PartialEq)]
struct Saved {
    functions: Vec<(String, Record)>,
    devices: Vec<(String, Record)>,
    ticks: Record,
}

fn is_controller(name: &str) -> bool {
    matches!(name, "pic" | "ioapic")
}

fn save(machine: &Machine) -> Saved {
    let mut devices = machine.bus.records();
    devices.sort_by_key(|(name, _)| is_controller(name));
    let ticks = OwedTicks(machine.irqs.clone()).record();
    Saved { functions: machine.pci.records(), devices, ticks }
}

fn restore(machine: &Machine, saved: &Saved) -> Result<(), RestoreError> {
    let there = |found: bool, name: &str| found.then_some(()).ok_or(RestoreError::Unknown(name.into()));
    for (name, record) in &saved.functions {
        machine.pci.restore(name, record).and_then(|found| there(found, name))?;
    }
    machine.pci.restored();
    let (controllers, devices): (Vec<_>, Vec<_>) =
        saved.devices.iter().partition(|(name, _)| is_controller(name));
    for (name, record) in devices {
        machine.bus.restore(name, record).and_then(|found| there(found, name))?;
    }
    OwedTicks(machine.irqs.clone()).restore_record(&saved.ticks)?;
    for (name, record) in controllers {
        machine.bus.restore(name, record).and_then(|found| there(found, name))?;
    }
    Ok(())
}

/// A fresh machine with the memory and the time of another.
fn fresh_like(machine: &Machine) -> Machine {
    let other = machine_on(Clock::by_hand());
    other.clock.advance(machine.clock.now());
    if machine.pci.is_free(HOT_SLOT) {
        other.pci.remove(HOT_SLOT);
    } else {
        other.change();
    }
    let mut ranges = vec![(0, 0x10_0000)];
    for start in (HOT.start..HOT.end).step_by(BLOCK as usize).filter(|start| machine.memory.is_there(*start))
    {
        other.memory.plug(start, BLOCK).unwrap();
        ranges.push((start, BLOCK));
    }
    for (start, size) in ranges {
        let mut bytes = vec![0; size as usize];
        machine.memory.ram().read_slice(&mut bytes, GuestAddress(start)).unwrap();
        other.memory.ram().write_slice(&bytes, GuestAddress(start)).unwrap();
    }
    other
}

fn differences(one: &Saved, other: &Saved) -> Vec<String> {
    let pairs = one.functions.iter().zip(&other.functions).chain(one.devices.iter().zip(&other.devices));
    let differs =
        |(one, other): (&(String, Record), &(String, Record))| (one != other).then(|| one.0.clone());
    pairs.filter_map(differs).collect()
}

fn goes_on(seed: u64) {
    let mut random = Random(seed);
    let first = driven(&mut random, 3000);
    let saved = save(&first);
    let second = fresh_like(&first);
    restore(&second, &saved).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let again = save(&second);
    assert_eq!(differences(&saved, &again), [""; 0], "seed {seed}");
    assert!(saved == again);
    let rest = random.next();
    let (mut one, mut other) = (Random(rest), Random(rest));
    for turn in 0..2000 {
        let (a, b) = (step(&first, &mut one, turn), step(&second, &mut other, turn));
        assert_eq!(a, b, "seed {seed}, access {turn}");
    }
    first.work();
    second.work();
    assert_eq!(differences(&save(&first), &save(&second)), [""; 0], "seed {seed}, in the end");
}

#[test]
fn every_device_goes_on_in_a_fresh_machine() {
    (1..=40).for_each(goes_on);
}

fn survives(seed: u64) {
    let mut random = Random(seed);
    let first = driven(&mut random, 600);
    let saved = save(&first);
    let second = fresh_like(&first);
    for _ in 0..40 {
        let mut hostile = saved.clone();
        let records = hostile.functions.iter_mut().chain(&mut hostile.devices);
        for (_, record) in records {
            if random.below(4) == 0
                && let Some(changed) = mutated(record, &mut |limit| random.below(limit))
            {
                *record = changed;
            }
        }
        // Each by itself, as one that is refused ends the whole.
        for (name, record) in &hostile.functions {
            let _ = second.pci.restore(name, record);
        }
        second.pci.restored();
        for (name, record) in &hostile.devices {
            let _ = second.bus.restore(name, record);
        }
        second.pci.assign(&WINDOWS).unwrap();
        for turn in 1..60 {
            step(&second, &mut random, turn);
        }
        second.work();
        drop(save(&second));
    }
    assert_eq!(second.memory.size(), first.memory.size());
}

#[test]
fn no_saved_state_harms_anybody() {
    (1..=16).for_each(survives);
}
