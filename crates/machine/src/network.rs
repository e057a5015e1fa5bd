//! Network adapters, and a thread for each that carries what its port receives to it.

use crate::device_threads::DeviceThreads;
use crate::spec::NicSpec;
use crate::{MachineError, Spec};
use ireko_devices::{MsiSink, NetInput, PciBus, virtio};
use ireko_vmcore::port::LONGEST_FRAME;
use ireko_vmcore::{Memory, Port, Work};
use std::sync::Arc;
use std::time::Duration;

/// The slots behind the disks: so many adapters there can be.
const FIRST: u8 = 22;
const MOST: usize = 8;

/// How long a change of the plug, or the machine's end, may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(500);

/// How firmware names an adapter (Open Firmware's paths).
pub fn boot_path(number: usize) -> Option<String> {
    let slot = u8::try_from(number).ok().filter(|&number| usize::from(number) < MOST)? + FIRST;
    Some(format!("/pci@i0cf8/ethernet@{slot:x}/ethernet-phy@0"))
}

pub fn add(
    spec: &Spec,
    pci: &Arc<PciBus>,
    memory: &Arc<Memory>,
    msi: &MsiSink,
    threads: &mut DeviceThreads,
) -> Result<(), MachineError> {
    if spec.nics.len() > MOST {
        let told = format!("{} network adapters, and {MOST} are the most; remove some", spec.nics.len());
        return Err(MachineError::Platform(told));
    }
    for (slot, nic) in (FIRST..).zip(&spec.nics) {
        let NicSpec { mac, port } = nic.clone();
        let (function, input) = virtio::net(memory.clone(), msi.clone(), pci.intx(slot), mac, port.clone());
        let name = format!("net{}", slot - FIRST);
        threads.start(name.clone(), Work::Network, virtio::service(&function))?;
        pci.add(slot, function)?;
        let first = spec.on_thread.clone();
        std::thread::Builder::new()
            .name(format!("{name}-in"))
            .spawn(move || {
                first.begin(Work::Network);
                carry(&*port, &input);
            })
            .map_err(|error| MachineError::Platform(format!("no thread for a network adapter: {error}")))?;
    }
    Ok(())
}

/// Frames between two looks at the plug.
const LOOK: u32 = 256;

fn carry(port: &dyn Port, input: &NetInput) {
    // A byte more than the longest tells what is longer.
    let mut room = [0; LONGEST_FRAME + 1];
    let mut frames = 0;
    while input.alive() {
        match port.receive(&mut room, PATIENCE).and_then(|len| room.get(..len)) {
            Some(frame) => {
                input.deliver(frame);
                frames += 1;
            }
            None => frames = LOOK,
        }
        if frames >= LOOK {
            input.connect(port.connected());
            frames = 0;
        }
    }
}
