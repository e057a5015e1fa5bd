//! Disks and CDs behind their controllers: which slots these have, how firmware names what is at them.

use crate::device_threads::DeviceThreads;
use crate::drives::{self, At, Drives};
use crate::layout::Board;
use crate::network;
use crate::spec::{BootDevice, DiskBus};
use crate::{DiskSpec, MachineError, Spec};
use ireko_devices::storage::{Ahci, Drive, Ide, Kind, Media, Nvme, Tray, Unit, ide};
use ireko_devices::{MsiSink, PciBus, Service, SystemBus, VirtioPci, shared, virtio};
use ireko_vmcore::{Disk, Line, Memory, Work};
use std::sync::Arc;

/// Where a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    Virtio { slot: u8 },
    Sata { slot: u8, function: u8, port: usize },
    Ide { slot: u8, function: u8, drive: usize },
    Nvme { slot: u8 },
    Scsi { slot: u8, target: usize },
}

/// The first slot of disks that have one each, and the last.
const FIRST: u8 = 3;
const LAST: u8 = 18;

/// The SATA controller's: the ICH9's place where there is one.
fn sata_slot(board: Board) -> (u8, u8) {
    match board {
        Board::Q35 => (31, 2),
        Board::Direct | Board::I440fx => (21, 0),
    }
}

/// The IDE controller's: the PIIX3's place where there is one.
fn ide_slot(board: Board) -> (u8, u8) {
    match board {
        Board::I440fx => (1, 1),
        Board::Direct | Board::Q35 => (20, 0),
    }
}

/// The place of each disk.
fn places(disks: &[DiskSpec], board: Board) -> Vec<Attachment> {
    let (mut slots, mut ports) = (FIRST.., 0..);
    let (mut scsi, mut targets) = (None, 0..);
    let taken = |drive: &usize| disks.iter().any(|disk| disk.drive == Some(*drive));
    let mut drives = (0..).filter(|drive| !taken(drive));
    let place = |disk: &DiskSpec| match disk.bus {
        DiskBus::Virtio => Attachment::Virtio { slot: slots.next().unwrap_or(u8::MAX) },
        DiskBus::Nvme => Attachment::Nvme { slot: slots.next().unwrap_or(u8::MAX) },
        DiskBus::Scsi => {
            let slot = *scsi.get_or_insert_with(|| slots.next().unwrap_or(u8::MAX));
            Attachment::Scsi { slot, target: targets.next().unwrap_or(usize::MAX) }
        }
        DiskBus::Sata => {
            let (slot, function) = sata_slot(board);
            Attachment::Sata { slot, function, port: ports.next().unwrap_or(usize::MAX) }
        }
        DiskBus::Ide => {
            let (slot, function) = ide_slot(board);
            Attachment::Ide {
                slot,
                function,
                drive: disk.drive.or_else(|| drives.next()).unwrap_or(usize::MAX),
            }
        }
    };
    disks.iter().map(place).collect()
}

/// How firmware names each disk (Open Firmware's paths as SeaBIOS and OVMF compare them), in the order of booting.
pub fn boot_paths(spec: &Spec, board: Board) -> Vec<String> {
    let name = |place| match place {
        Attachment::Virtio { slot } => format!("/pci@i0cf8/scsi@{slot:x}/disk@0,0"),
        Attachment::Nvme { slot } => format!("/pci@i0cf8/pci1b36,10@{slot:x}/namespace@1,0"),
        Attachment::Scsi { slot, target } => format!("/pci@i0cf8/scsi@{slot:x}/channel@0/disk@{target:x},0"),
        Attachment::Sata { slot, function, port } => {
            format!("/pci@i0cf8/pci8086,2922@{}/drive@{port:x}/disk@0", unit(slot, function))
        }
        Attachment::Ide { slot, function, drive } => {
            format!("/pci@i0cf8/ide@{}/drive@{:x}/disk@{:x}", unit(slot, function), drive / 2, drive % 2)
        }
    };
    let disks: Vec<String> = places(&spec.disks, board).into_iter().map(name).collect();
    let named = |device: &BootDevice| match *device {
        BootDevice::Disk(number) => disks.get(number).cloned(),
        BootDevice::Nic(number) => network::boot_path(number),
    };
    match spec.boot_order.is_empty() {
        true => disks,
        false => spec.boot_order.iter().filter_map(named).collect(),
    }
}

/// A function's address; of function 0 only the slot's.
fn unit(slot: u8, function: u8) -> String {
    if function == 0 { format!("{slot:x}") } else { format!("{slot:x},{function:x}") }
}

/// The slots whose disks may come and go: those of disks that have one each.
pub const HOT_SLOTS: std::ops::RangeInclusive<u8> = FIRST..=LAST;

/// What functions with disks are put into.
pub struct Sockets<'a> {
    pub pci: &'a Arc<PciBus>,
    pub memory: &'a Arc<Memory>,
    pub msi: &'a MsiSink,
    pub threads: &'a DeviceThreads,
    /// Processors, each of which gets a queue where a disk can have several.
    pub vcpus: u32,
}

/// What the controllers are added to.
pub struct Room<'a> {
    pub sockets: Sockets<'a>,
    pub board: Board,
    pub drives: &'a Drives,
    pub bus: &'a mut SystemBus,
    pub wire: &'a dyn Fn(u32) -> Line,
}

/// Drives that share a controller, each with what it is known by.
type Shared<T> = Vec<(DiskSpec, T)>;

pub fn add(spec: &Spec, mut room: Room<'_>) -> Result<(), MachineError> {
    let (mut sata, mut ide, mut scsi) = (Vec::new(), Vec::new(), (0, Vec::new()));
    for ((number, disk), place) in spec.disks.iter().enumerate().zip(places(&spec.disks, room.board)) {
        let disk = ready(disk, number)?;
        let (content, serial) = (|| crate::disk::content(&disk), disk.serial.clone());
        match place {
            Attachment::Virtio { slot } => {
                let services = room.sockets.add_blk(slot, &format!("blk{number}"), &disk)?;
                room.note(&disk, At::Slot { slot, services });
            }
            Attachment::Nvme { slot } => {
                let services = room.sockets.add_nvme(slot, &format!("nvme{number}"), content()?, &serial)?;
                room.note(&disk, At::Slot { slot, services });
            }
            Attachment::Sata { .. } => {
                sata.push((disk.clone(), media(&disk, Drive::new(content()?, &serial))))
            }
            Attachment::Scsi { slot, .. } => {
                scsi.0 = slot;
                let kind = if disk.cd { Kind::Cd } else { Kind::Disk };
                scsi.1.push((disk.clone(), Unit::new(kind, Drive::new(content()?, &serial))));
            }
            Attachment::Ide { drive, .. } => {
                ide.push((drive, disk.clone(), media(&disk, Drive::new(content()?, &serial))));
            }
        }
    }
    if !sata.is_empty() {
        room.add_sata(sata)?;
    }
    if !scsi.1.is_empty() {
        room.add_scsi(scsi.0, scsi.1)?;
    }
    if ide.is_empty() { Ok(()) } else { room.add_ide(ide) }
}

/// With the serial number of its number, if it has none of its own, and with files that all its queues have together.
fn ready(disk: &DiskSpec, number: usize) -> Result<DiskSpec, MachineError> {
    let serial = match disk.serial.as_str() {
        "" => format!("ireko{number}"),
        own => own.to_owned(),
    };
    let files = if disk.empty { None } else { Some(crate::disk::open(disk)?) };
    Ok(DiskSpec { serial, files, ..disk.clone() })
}

fn media(disk: &DiskSpec, drive: Drive) -> Media {
    if disk.cd { Media::cd(drive) } else { Media::Disk(drive) }
}

impl Sockets<'_> {
    pub fn add_nvme(
        &self,
        slot: u8,
        name: &str,
        content: Box<dyn Disk>,
        serial: &str,
    ) -> Result<Vec<Arc<dyn Service>>, MachineError> {
        let drive = Drive::new(content, serial);
        let nvme = Nvme::new(drive, self.memory.clone(), self.msi.clone(), self.pci.intx(slot));
        let service: Arc<dyn Service> = Nvme::service(&nvme);
        self.threads.start(name.into(), Work::Disk, service.clone())?;
        self.pci.add(slot, nvme)?;
        Ok(vec![service])
    }

    /// With a queue for each processor, and a thread for each queue.
    pub fn add_blk(
        &self,
        slot: u8,
        name: &str,
        disk: &DiskSpec,
    ) -> Result<Vec<Arc<dyn Service>>, MachineError> {
        let queues = (self.vcpus as usize).clamp(1, virtio::MOST_QUEUES);
        let disks = (0..queues).map(|_| crate::disk::content(disk)).collect::<Result<_, _>>()?;
        let devices = virtio::Blk::with_queues(disks, &disk.serial);
        let (memory, msi, intx) = (self.memory.clone(), self.msi.clone(), self.pci.intx(slot));
        let Some(function) = VirtioPci::several(devices, memory, msi, intx) else { return Ok(Vec::new()) };
        let services = virtio::services(&function);
        for (number, service) in services.iter().enumerate() {
            let name = if number == 0 { name.to_owned() } else { format!("{name}q{number}") };
            self.threads.start(name, Work::Disk, service.clone())?;
        }
        self.pci.add(slot, function)?;
        Ok(services)
    }
}

impl Room<'_> {
    fn note(&self, disk: &DiskSpec, at: At) {
        self.drives.add(&disk.serial, drives::Drive { throttle: disk.throttle.clone(), at });
    }

    /// Of a drive that shares a controller with others.
    fn note_medium(&self, disk: &DiskSpec, tray: Option<Tray>, service: Arc<dyn Service>) {
        self.note(disk, tray.map_or(At::Fixed, |tray| At::Tray { tray, service }));
    }

    fn add_scsi(&mut self, slot: u8, given: Shared<Unit>) -> Result<(), MachineError> {
        const MOST: usize = 64;
        if given.len() > MOST {
            let told = format!("{} SCSI disks, and {MOST} are the most; remove some", given.len());
            return Err(MachineError::Platform(told));
        }
        let (disks, units): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let trays: Vec<Tray> = units.iter().map(Unit::tray).collect();
        let host = Box::new(virtio::Scsi::new(units));
        let intx = self.sockets.pci.intx(slot);
        let function = VirtioPci::new(host, self.sockets.memory.clone(), self.sockets.msi.clone(), intx);
        let host = virtio::service(&function);
        let mut targets: Vec<Arc<dyn Service>> = vec![host.clone()];
        if !host.lanes().is_empty() {
            targets = host.lanes().iter().map(|lane| lane.clone() as Arc<dyn Service>).collect();
            self.sockets.threads.start("scsi".into(), Work::Disk, host)?;
        }
        for (number, target) in targets.iter().enumerate() {
            self.sockets.threads.start(format!("scsi{number}"), Work::Disk, target.clone())?;
        }
        for ((disk, tray), target) in disks.iter().zip(trays).zip(targets) {
            self.note_medium(disk, Some(tray).filter(|_| disk.cd), target);
        }
        Ok(self.sockets.pci.add(slot, function)?)
    }

    fn add_sata(&mut self, given: Shared<Media>) -> Result<(), MachineError> {
        if given.len() > Ahci::MOST {
            let told = format!("{} SATA disks, and {} are the most; remove some", given.len(), Ahci::MOST);
            return Err(MachineError::Platform(told));
        }
        let (slot, function) = sata_slot(self.board);
        let (disks, devices): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        let trays: Vec<Option<Tray>> = devices.iter().map(Media::tray).collect();
        let ahci = Ahci::new(devices, self.sockets.memory.clone(), self.sockets.pci.intx(slot));
        let engines = ahci.lock().map(|ahci| ahci.engines()).unwrap_or_default();
        for (port, ((engine, disk), tray)) in engines.into_iter().zip(&disks).zip(trays).enumerate() {
            self.sockets.threads.start(format!("sata{port}"), Work::Disk, engine.clone())?;
            self.note_medium(disk, tray, engine);
        }
        Ok(self.sockets.pci.add_function(slot, function, ahci)?)
    }

    /// Each with its place.
    fn add_ide(&mut self, given: Vec<(usize, DiskSpec, Media)>) -> Result<(), MachineError> {
        const MOST: usize = 4;
        if given.len() > MOST {
            let told = format!("{} IDE disks, and {MOST} are the most; use another controller", given.len());
            return Err(MachineError::Platform(told));
        }
        let mut drives: [Option<Media>; MOST] = Default::default();
        let mut noted = Vec::new();
        for (place, disk, media) in given {
            let free = drives.get_mut(place).filter(|drive| drive.is_none());
            let told =
                || MachineError::Platform(format!("IDE has no free drive {place}; use 0 to 3, each once"));
            noted.push((place, disk, media.tray()));
            *free.ok_or_else(told)? = Some(media);
        }
        let (slot, function) = ide_slot(self.board);
        let ide = Ide::new(drives, self.sockets.memory.clone(), ide::IRQS.map(self.wire));
        for (number, channel) in ide.channels().iter().enumerate() {
            self.sockets.threads.start(format!("ide{number}"), Work::Disk, channel.clone())?;
        }
        for (place, disk, tray) in noted {
            self.note_medium(&disk, tray, ide.channels()[place / 2].clone());
        }
        self.bus.add(shared(ide.ports()), &ide::PLACES)?;
        Ok(self.sockets.pci.add_function(slot, function, shared(ide))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(disks: &[(&str, DiskBus)]) -> Spec {
        let disk = |&(path, bus): &(&str, DiskBus)| DiskSpec { bus, ..DiskSpec::new(path, false) };
        Spec {
            disks: disks.iter().map(disk).collect(),
            ..Spec::with_firmware(crate::Firmware::Bios {
                image: std::path::Path::new("bios").into(),
                video: None,
                network: None,
            })
        }
    }

    #[test]
    fn disks_are_booted_in_the_order_in_which_they_are_given() {
        let spec = spec(&[("a", DiskBus::Sata), ("b", DiskBus::Virtio), ("c", DiskBus::Sata)]);
        let paths = [
            "/pci@i0cf8/pci8086,2922@1f,2/drive@0/disk@0",
            "/pci@i0cf8/scsi@3/disk@0,0",
            "/pci@i0cf8/pci8086,2922@1f,2/drive@1/disk@0",
        ];
        assert_eq!(boot_paths(&spec, Board::Q35), paths);
    }

    #[test]
    fn scsi_disks_share_a_slot_and_nvme_disks_do_not() {
        let spec =
            spec(&[("a", DiskBus::Nvme), ("b", DiskBus::Scsi), ("c", DiskBus::Nvme), ("d", DiskBus::Scsi)]);
        let paths = [
            "/pci@i0cf8/pci1b36,10@3/namespace@1,0",
            "/pci@i0cf8/scsi@4/channel@0/disk@0,0",
            "/pci@i0cf8/pci1b36,10@5/namespace@1,0",
            "/pci@i0cf8/scsi@4/channel@0/disk@1,0",
        ];
        assert_eq!(boot_paths(&spec, Board::Q35), paths);
    }

    #[test]
    fn a_boot_order_names_adapters_and_leaves_out_what_is_not_in_it() {
        let mut spec = spec(&[("a", DiskBus::Virtio), ("b", DiskBus::Sata)]);
        spec.boot_order = vec![BootDevice::Nic(1), BootDevice::Disk(1)];
        let paths = ["/pci@i0cf8/ethernet@17/ethernet-phy@0", "/pci@i0cf8/pci8086,2922@1f,2/drive@0/disk@0"];
        assert_eq!(boot_paths(&spec, Board::Q35), paths);
    }

    #[test]
    fn an_ide_drive_has_the_place_that_is_asked_for() {
        let mut spec = spec(&[("a", DiskBus::Ide), ("b", DiskBus::Ide)]);
        spec.disks[0].drive = Some(0);
        spec.disks[1].drive = Some(2);
        assert_eq!(boot_paths(&spec, Board::I440fx)[1], "/pci@i0cf8/ide@1,1/drive@1/disk@0");
        spec.disks[1].drive = None;
        assert_eq!(boot_paths(&spec, Board::I440fx)[1], "/pci@i0cf8/ide@1,1/drive@0/disk@1");
    }

    #[test]
    fn ide_has_two_drives_a_channel() {
        let spec = spec(&[("a", DiskBus::Ide), ("b", DiskBus::Ide), ("c", DiskBus::Ide)]);
        assert_eq!(
            boot_paths(&spec, Board::I440fx)[1..],
            ["/pci@i0cf8/ide@1,1/drive@0/disk@1", "/pci@i0cf8/ide@1,1/drive@1/disk@0"]
        );
    }
}
