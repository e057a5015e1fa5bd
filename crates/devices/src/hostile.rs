//! What a guest must not be able to do: bring the process down by any sequence of accesses.

use crate::probe::{Output, Probe, messages};
use crate::*;
use ireko_vmcore::{Bus, Clock, Disk, ExtInt, Memory, Space, Timers};
use std::io;
use vm_memory::{Bytes, GuestAddress};

/// xorshift64*: the same accesses every time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    /// Often a small number or one with few bits, as registers like them.
    pub fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(16),
            1 => 1 << self.below(64),
            2 => u64::MAX,
            _ => self.next(),
        }
    }
}

struct Zeros;

impl Disk for Zeros {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&mut self, _: u64, data: &mut [u8]) -> io::Result<()> {
        data.fill(0);
        Ok(())
    }
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder that says too much, or that nobody has.
#[derive(Debug)]
struct Liar;

impl ireko_vmcore::folder::Folder for Liar {
    fn ask(&self, request: &[u8], most: usize) -> io::Result<Vec<u8>> {
        match request.len() % 3 {
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            more => Ok(vec![7; most + more - 1]),
        }
    }
}

/// A network that loses everything.
#[derive(Debug)]
struct Nowhere;

impl ireko_vmcore::Port for Nowhere {
    fn send(&self, _: &[u8]) {}
    fn receive(&self, _: &mut [u8], _: std::time::Duration) -> Option<usize> {
        None
    }
    fn connected(&self) -> bool {
        true
    }
}

pub struct Machine {
    pub bus: SystemBus,
    pub memory: Arc<Memory>,
    pub pci: Arc<PciBus>,
    pub pic: Pic,
    pub ioapic: IoApic,
    pub services: Vec<Arc<dyn Service>>,
    pub screen: Screen,
    pub tablet: TabletInput,
    pub sockets: VsockHost,
    pub channel: ChannelHost,
    pub trays: Vec<storage::Tray>,
    pub hot: pci::HotPlug,
    pub disks: Box<dyn Fn() -> Arc<Mutex<VirtioPci>>>,
    pub clock: Clock,
    pub irqs: Arc<Irqs>,
}

impl Machine {
    /// What the devices' threads would do.
    pub fn work(&self) {
        self.services.iter().for_each(|service| service.turn());
    }

    /// What the host does meanwhile: other discs, and a disk in the slot that was emptied.
    pub fn change(&self) {
        self.trays.iter().for_each(|tray| tray.put(Box::new(Zeros)));
        if self.pci.is_free(HOT_SLOT) {
            self.pci.add(HOT_SLOT, (self.disks)()).unwrap();
            self.hot.allow(HOT_SLOT);
            self.hot.plugged(HOT_SLOT);
        }
    }

    /// What somebody at the screen sees: whole pictures, none larger than there can be.
    pub fn look(&self) {
        let picture = self.screen.picture();
        assert_eq!(picture.pixels.len(), picture.width * picture.height * 3);
        assert!(picture.pixels.len() <= 16 << 20);
        self.screen.text();
        self.tablet.moved(virtio::Position { x: 1, y: 2, wheel: 3, buttons: 4 });
        drop(self.sockets.offer(std::time::Duration::ZERO));
        self.channel.send(b"asked");
        self.channel.receive(std::time::Instant::now());
    }
}

pub const WINDOWS: Windows =
    Windows { ports: 0xc000..0xd000, mmio32: 0xe000_0000..0xe300_0000, mmio64: 0..0 };
pub const HOT: std::ops::Range<u64> = 0x1000_0000..0x1100_0000;
const ECAM: u64 = 0xf000_0000;
const FLASH: u64 = 0xffc0_0000;
const FLASH_SIZE: usize = 0x2800;
pub const HOT_SLOT: u8 = 12;

/// A disk and a CD.
fn media() -> [storage::Media; 2] {
    let drive = || storage::Drive::new(Box::new(Zeros), "x");
    [storage::Media::Disk(drive()), storage::Media::cd(drive())]
}

/// Where the display's registers are: behind its framebuffer.
const DISPLAY: u64 = 0xe200_0000;
/// Where the virtio devices' structures are from the window's start on.
pub const VIRTIO: [u64; 10] =
    [0, 0x8000, 0x1_0000, 0x1_8000, 0x2_0000, 0x2_8000, 0x200_8000, 0x201_0000, 0x201_8000, 0x202_0000];
/// Where the SATA controller's registers are from the window's start on.
const AHCI: u64 = 0x34000;

fn machine() -> Machine {
    machine_on(Clock::new())
}

pub fn machine_on(clock: Clock) -> Machine {
    let ((sink, _), power) = (messages(), Arc::new(|_| {}) as Power);
    let timers = Timers::new(clock.clone());
    let memory = Memory::with_aperture(
        &[(0, 0x10_0000)],
        Some((HOT.start, HOT.end - HOT.start)),
        display::regs::MEMORY,
    );
    let memory = Arc::new(memory.unwrap());
    let (pic, ioapic) = (Pic::new(Arc::new(|| {})), IoApic::new(0, sink.clone()));
    let irqs = Irqs::new(pic.clone(), ioapic.clone());
    let router = chipset::PirqRouter::new((0..16).map(|irq| irqs.line(irq)).collect());
    let wires = (0..8).map(|slot| both(irqs.line(16 + slot), router.intx(slot))).collect();
    let pci = PciBus::behind(shared(chipset::HostBridge::q35(ECAM)), wires);
    pci.add_function(7, 0, shared(chipset::IsaBridge::ich9(router))).unwrap();
    pci.add_function(7, 3, shared(chipset::PmBridge::new())).unwrap();
    let mut services: Vec<Arc<dyn Service>> = Vec::new();
    let mut add = |slot, function: Arc<Mutex<VirtioPci>>| {
        services.push(lock(&function).service());
        pci.add(slot, function).unwrap();
    };
    let new = |device, slot| VirtioPci::new(device, memory.clone(), sink.clone(), pci.intx(slot));
    add(1, new(Box::new(virtio::Blk::new(Box::new(Zeros), "x")), 1));
    add(2, new(Box::new(virtio::Rng::new(Box::new(io::repeat(7)))), 2));
    let (console, input) =
        virtio::console(memory.clone(), sink.clone(), pci.intx(3), Box::new(Output::default()));
    input.send(b"typed");
    add(3, console);
    let (balloon, control) = virtio::balloon(memory.clone(), sink.clone(), pci.intx(4));
    control.want(1 << 20);
    control.poll();
    add(4, balloon);
    let (mem, control) = virtio::mem(memory.clone(), sink.clone(), pci.intx(5)).unwrap();
    control.request(HOT.end - HOT.start);
    add(5, mem);
    let (net, input) = virtio::net(memory.clone(), sink.clone(), pci.intx(6), [2; 6], Arc::new(Nowhere));
    (0..8).for_each(|byte| input.deliver(&[byte; 60]));
    add(6, net);
    let drive = storage::Drive::new(Box::new(Zeros), "x");
    let nvme = storage::Nvme::new(drive, memory.clone(), sink.clone(), pci.intx(8));
    services.push(storage::Nvme::service(&nvme));
    pci.add(8, nvme).unwrap();
    let (sata, cds) = (media(), media());
    let trays = sata.iter().chain(&cds).filter_map(storage::Media::tray).collect();
    let ahci = storage::Ahci::new(sata.into(), memory.clone(), pci.intx(9));
    lock(&ahci).engines().into_iter().for_each(|engine| services.push(engine));
    pci.add(9, ahci).unwrap();
    let [disk, cd] = cds.map(Some);
    let ide_lines = storage::ide::IRQS.map(|irq| irqs.line(irq));
    let ide = storage::Ide::new([disk, None, cd, None], memory.clone(), ide_lines);
    ide.channels().iter().for_each(|channel| services.push(channel.clone()));
    let ide_ports = ide.ports();
    pci.add_function(7, 1, shared(ide)).unwrap();
    let router = chipset::PirqRouter::new((0..16).map(|irq| irqs.line(irq)).collect());
    pci.add_function(10, 0, shared(chipset::IsaBridge::piix3(router))).unwrap();
    pci.add_function(10, 1, shared(chipset::HostBridge::i440fx())).unwrap();
    let display::Parts { function, legacy, screen } =
        virtio::gpu(memory.clone(), sink.clone(), pci.intx(11)).unwrap();
    services.push(lock(&function).service());
    pci.add(11, function).unwrap();
    let (tablet, input) = virtio::tablet(memory.clone(), sink.clone(), pci.intx(11));
    services.push(lock(&tablet).service());
    pci.add_function(11, 1, tablet).unwrap();
    let (vsock, sockets) = virtio::vsock(memory.clone(), sink.clone(), pci.intx(13));
    services.push(lock(&vsock).service());
    pci.add(13, vsock).unwrap();
    let (serial, channel) = virtio::channel(memory.clone(), sink.clone(), pci.intx(14), "org.example.0");
    services.push(lock(&serial).service());
    pci.add(14, serial).unwrap();
    let fs = new(Box::new(virtio::Fs::new("folder", Arc::new(Liar))), 16);
    services.push(lock(&fs).service());
    pci.add(16, fs).unwrap();
    pci.add(15, Watchdog::new(clock.clone(), &timers, pci.intx(15), Arc::new(|| {}))).unwrap();
    let (for_disks, messages, wire) = (memory.clone(), sink.clone(), pci.intx(HOT_SLOT));
    let disks = Box::new(move || {
        let disk = Box::new(virtio::Blk::new(Box::new(Zeros), "x"));
        VirtioPci::new(disk, for_disks.clone(), messages.clone(), wire.clone())
    });
    let slots = pci.clone();
    let hot = pci::HotPlug::new(Arc::new(move |slot| {
        slots.remove(slot);
    }));
    pci.assign(&WINDOWS).unwrap();
    let mut bus = SystemBus::new();
    let lines = (0..24).map(|pin| Probe::new().line(pin)).collect();
    let add = |bus: &mut SystemBus| {
        bus.add(shared(pic.clone()), &pic::PLACES)?;
        bus.add(shared(ioapic.clone()), &ioapic::PLACES)?;
        bus.add(shared(Pit::new(clock.clone(), &timers, irqs.line(0))), &pit::PLACES)?;
        bus.add(shared(Rtc::new(clock.clone(), &timers, irqs.line(8), 1 << 30)), &rtc::PLACES)?;
        bus.add(shared(Serial::new(Box::new(Output::default()), irqs.line(4))), &serial::PLACES)?;
        bus.add(shared(AcpiPm::new(clock.clone(), &timers, irqs.line(9), power.clone())), &acpi::PLACES)?;
        let wires = i8042::IRQS.map(|irq| irqs.line(irq));
        let keyboard = I8042::new(clock.clone(), &timers, wires, power.clone());
        let key = i8042::Key { code: 0x1e, extended: true };
        let _ = keyboard.key_events(&[i8042::KeyEvent { key, down: true }; 100]);
        keyboard.pointer(i8042::Motion { x: 1000, y: -1000, wheel: 100, buttons: 7 });
        bus.add(shared(keyboard), &i8042::PLACES)?;
        bus.add(legacy.clone(), &display::PLACES)?;
        let legacy_wires = [0, 8].map(|irq| hpet::Legacy::new(irqs.line(irq)));
        let routes = [4, 5, 6, 7].map(|slot| pci.intx(slot));
        let wires = hpet::Wires { legacy: legacy_wires, routes, msi: sink.clone() };
        bus.add(shared(Hpet::new(clock.clone(), &timers, wires)), &hpet::PLACES)?;
        bus.add(shared(TestDevice::new(lines)), &testdev::TEST_PLACES)?;
        let mut fw_cfg = FwCfg::new(1, 1 << 20, memory.clone());
        fw_cfg.add_file("etc/file", vec![7; 100]);
        bus.add(shared(fw_cfg), &fw_cfg::PLACES)?;
        bus.add(shared(DebugPort::new(Box::new(io::sink()))), &debug_port::PLACES)?;
        let flash =
            Flash::new(vec![0xff; FLASH_SIZE], Box::new(|_, _| Err(io::ErrorKind::StorageFull.into())));
        bus.add(shared(flash), &[FLASH])?;
        bus.add(shared(Port92::new(power.clone())), &acpi::PORT92_PLACES)?;
        bus.add(shared(hot.clone()), &pci::HOT_PLUG_PLACES)?;
        bus.add(shared(ConfigPorts::new(pci.clone(), power.clone())), &pci::CONFIG_PLACES)?;
        bus.add(shared(Ecam::new(pci.clone())), &[ECAM])
    };
    add(&mut bus).unwrap();
    bus.add(shared(ide_ports), &storage::ide::PLACES).unwrap();
    bus.set_rest(pci.clone());
    Machine {
        bus,
        memory,
        pci,
        pic,
        ioapic,
        services,
        screen,
        tablet: input,
        sockets,
        channel,
        trays,
        hot,
        disks,
        clock,
        irqs,
    }
}

/// A space and an address where something is, or nearly.
pub fn place(random: &mut Random) -> (Space, u64) {
    const PORTS: [u64; 28] = [
        0x1f, 0x40, 0x5e, 0x70, 0x8e, 0x9f, 0xb1, 0xe0, 0x3f6, 0x400, 0x4d0, 0x510, 0x514, 0x600, 0x620,
        0xcf6, 0x2000, 0x1f0, 0x170, 0x376, 0xc000, 0x60, 0x64, 0x3c0, 0x3ce, 0x3d4, 0x1ce, 0xae04,
    ];
    match random.below(8) {
        7 => (
            Space::Mmio,
            [0xa_0000, 0xb_0000, 0xb_8000, 0xb_fff8][random.below(4) as usize] + random.below(8),
        ),
        6 => (
            Space::Mmio,
            DISPLAY + [0x3f8, 0x400, 0x500, 0x600, 0xff8][random.below(5) as usize] + random.below(32),
        ),
        5 => {
            let part = [0, 0x100, 0x180, 0x200][random.below(4) as usize];
            (Space::Mmio, WINDOWS.mmio32.start + AHCI + part + random.below(0x40))
        }
        0 => (Space::Port, PORTS[random.below(28) as usize] + random.below(8)),
        4 => (Space::Mmio, FLASH + [0, 0xff8, 0x1000, 0x27f8][random.below(4) as usize] + random.below(8)),
        1 => {
            let places = [0xfec0_0000, 0xfec0_0010, 0xfec0_0040, 0xfed0_0000, 0xfed0_00f0, 0xfed0_0100];
            let place = places[random.below(6) as usize];
            (Space::Mmio, if place >= 0xfed0_0000 { place + random.below(0x60) } else { place })
        }
        2 => (Space::Mmio, ECAM + (random.below(12) << 15) + (random.below(4) << 12) + random.below(0x100)),
        _ => {
            let structures = [0, 0, 0, 0x1000, 0x2000, 0x3000, 0x6000, 0x7000];
            let structure = structures[random.below(8) as usize];
            let bar = VIRTIO.get(random.below(9) as usize).copied().unwrap_or(0x3_0000);
            (Space::Mmio, WINDOWS.mmio32.start + bar + structure + random.below(0x40))
        }
    }
}

fn assail(seed: u64, accesses: u32) {
    let (machine, mut random) = (machine(), Random(seed));
    for turn in 0..accesses {
        let (space, address) = place(&mut random);
        let mut data = random.value().to_le_bytes();
        let len = 1 << random.below(if space == Space::Port { 3 } else { 4 });
        match random.below(3) {
            0 => machine.bus.read(space, address, &mut data[..len]),
            _ => machine.bus.write(space, address, &data[..len]),
        }
        if turn % 16 == 0 {
            machine.work();
        }
        match turn % 1024 {
            0 => machine.pci.assign(&WINDOWS).unwrap(),
            1 => drop(machine.pic.acknowledge()),
            2 => machine.ioapic.eoi(random.next() as u8),
            3 => machine.look(),
            4 => machine.change(),
            _ => {}
        }
    }
    assert_eq!(machine.memory.size(), 0x10_0000);
}

#[test]
fn random_accesses_harm_nobody() {
    (1..=4).for_each(|seed| assail(seed, 100_000));
}

/// Memory that holds noise, from 1000h on.
fn fill_with_noise(machine: &Machine, random: &mut Random) {
    let noise: Vec<u8> =
        (0..0x3000).map(|_| [0, 1, 2, random.next() as u8][random.below(4) as usize]).collect();
    machine.memory.ram().write_slice(&noise, GuestAddress(0x1000)).unwrap();
}

/// The first queue of a virtio device, set up properly over noise, with something in it.
pub fn set_up_ring(machine: &Machine, random: &mut Random, bar: u64) {
    let write = |offset: u64, value: u64, len: usize| {
        machine.bus.write(Space::Mmio, WINDOWS.mmio32.start + offset, &value.to_le_bytes()[..len]);
    };
    fill_with_noise(machine, random);
    write(bar + 0x14, 0, 1);
    write(bar + 0x08, 1, 4);
    write(bar + 0x0c, 1, 4);
    write(bar + 0x14, 11, 1);
    for (register, value) in [(0x18, 16), (0x20, 0x1000), (0x28, 0x2000), (0x30, 0x3000)] {
        write(bar + register, value, 4);
    }
    write(bar + 0x1c, 1, 2);
    write(bar + 0x14, 15, 1);
    machine.memory.ram().write_obj(random.below(18) as u16, GuestAddress(0x2002)).unwrap();
    write(bar + 0x3000, 0, 2);
}

/// Queues that are set up properly, over memory that holds noise.
#[test]
fn random_rings_harm_nobody() {
    let (machine, mut random) = (machine(), Random(99));
    for round in 0..4000 {
        set_up_ring(&machine, &mut random, VIRTIO[round % VIRTIO.len()]);
        machine.work();
    }
    assert_eq!(machine.bus.counters().len(), 18);
}

/// ATA commands that there are, but for one.
const COMMANDS: [u8; 24] = [
    0x20, 0x24, 0xc4, 0x29, 0xc8, 0x25, 0x60, 0x30, 0x34, 0xc5, 0xca, 0x35, 0x3d, 0x61, 0x42, 0xe7, 0xec,
    0x06, 0x2f, 0xa0, 0xa1, 0xc6, 0x90, 0xff,
];

/// Commands of a proper form with noise in them for a port of the SATA controller.
pub fn give_sata_commands(machine: &Machine, random: &mut Random, port: u64) {
    let write = |register: u64, value: u64| {
        let address = WINDOWS.mmio32.start + AHCI + register;
        machine.bus.write(Space::Mmio, address, &(value as u32).to_le_bytes());
    };
    fill_with_noise(machine, random);
    write(port + 0x18, 0);
    write(port, 0x1000);
    write(port + 8, [0x2000, random.value() as u32 as u64][random.below(2) as usize]);
    write(port + 0x18, 0x11);
    for slot in 0..4 {
        let table = 0x3000 + slot * 0x100;
        let header = random.below(4) << 5 | random.below(5) << 16;
        machine.memory.ram().write_obj(header as u32, GuestAddress(0x1000 + slot * 32)).unwrap();
        machine.memory.ram().write_obj(table, GuestAddress(0x1008 + slot * 32)).unwrap();
        let command = COMMANDS[random.below(24) as usize];
        machine.memory.ram().write_slice(&[0x27, 0x80, command], GuestAddress(table)).unwrap();
        for entry in 0..random.below(5) {
            let address = random.value() >> random.below(64);
            machine.memory.ram().write_obj(address, GuestAddress(table + 0x80 + entry * 16)).unwrap();
        }
    }
    write(port + 0x34, random.next());
    write(port + 0x38, 0xf);
}

/// Commands of a proper form with noise in them, to each port of the SATA controller.
#[test]
fn random_sata_commands_harm_nobody() {
    let (machine, mut random) = (machine(), Random(7));
    for round in 0..4000u64 {
        give_sata_commands(&machine, &mut random, 0x100 + round % 2 * 0x80);
        machine.work();
    }
    assert_eq!(machine.memory.size(), 0x10_0000);
}

/// IDE commands with noise, data and a bus master that is started whenever.
#[test]
fn random_ide_commands_harm_nobody() {
    let (machine, mut random) = (machine(), Random(8));
    for round in 0..4000u64 {
        let block = [0x1f0, 0x170][(round % 2) as usize];
        let master = 0xc000 + round % 2 * 8;
        machine.memory.ram().write_obj(random.value(), GuestAddress(0x1000)).unwrap();
        machine.bus.write(Space::Port, master, &[0]);
        machine.bus.write(
            Space::Port,
            master + 4,
            &[0u32, 0x1000, random.value() as u32][random.below(3) as usize].to_le_bytes(),
        );
        machine.bus.write(Space::Port, master, &[random.below(2) as u8]);
        if random.below(16) == 0 {
            machine.bus.write(Space::Port, block + 0x206, &[4]);
            machine.bus.write(Space::Port, block + 0x206, &[0]);
        }
        for register in 1..6 {
            machine.bus.write(Space::Port, block + register, &[random.value() as u8 & 0x1f]);
        }
        machine.bus.write(Space::Port, block + 6, &[0xe0 | random.below(16).saturating_sub(14) as u8]);
        machine.bus.write(Space::Port, block + 7, &[COMMANDS[random.below(24) as usize]]);
        machine.work();
        let (writes, len) = (random.below(2), 1 << random.below(3));
        for _ in 0..random.below(700) {
            let mut data = [random.value() as u8, 0, 0, 0];
            match writes {
                0 => machine.bus.read(Space::Port, block, &mut data[..len]),
                _ => machine.bus.write(Space::Port, block, &data[..len]),
            }
        }
        machine.bus.write(Space::Port, master, &[1]);
        machine.work();
    }
    assert_eq!(machine.memory.size(), 0x10_0000);
}

/// Enables the NVMe controller with an admin queue in memory that the bytes fill, and rings.
pub fn start_nvme(write: &impl Fn(u64, u64, usize), at: &impl Fn(usize) -> u8) {
    const NVME: u64 = 6 * 0x8000;
    write(NVME + 0x14, 0, 4);
    write(NVME + 0x24, u64::from(at(8)) << 16 | 0x1f, 4);
    write(NVME + 0x28, 0x1000, 4);
    write(NVME + 0x30, 0x1000 + 0x1000 * u64::from(at(9) % 4), 4);
    write(NVME + 0x14, 1, 4);
    write(NVME + 0x1000, u64::from(at(10)), 4);
}

/// A guest's accesses by bytes: rings and configuration of each virtio device over memory that the bytes fill, and accesses
/// to whatever is there.
#[test]
fn fuzz_devices() {
    bolero::check!().with_test_time(std::time::Duration::from_secs(4)).for_each(|input: &[u8]| {
        let machine = machine();
        let write = |address: u64, value: u64, len: usize| {
            machine.bus.write(Space::Mmio, WINDOWS.mmio32.start + address, &value.to_le_bytes()[..len]);
        };
        let (head, rest) = input.split_at(input.len().min(16));
        let at = |n: usize| head.get(n).copied().unwrap_or(0);
        let memory: Vec<u8> =
            rest.iter().copied().cycle().take(if rest.is_empty() { 0 } else { 0x3000 }).collect();
        machine.memory.ram().write_slice(&memory, GuestAddress(0x1000)).unwrap();
        let bar = VIRTIO[usize::from(at(0)) % VIRTIO.len()];
        write(bar + 0x14, 0, 1);
        write(bar + 0x08, u64::from(at(1) & 1), 4);
        write(bar + 0x0c, u64::from(at(2)) << 28 | 1, 4);
        write(bar + 0x14, 11, 1);
        for queue in 0..=u64::from(at(3) % 3) {
            write(bar + 0x16, queue, 2);
            write(bar + 0x18, 1 << (at(4) % 9), 2);
            for (n, register) in [0x20, 0x28, 0x30].into_iter().enumerate() {
                write(
                    bar + register,
                    0x1000 * (1 + u64::from(at(5 + n) & 3)) + u64::from(at(5 + n) >> 2 & 0x30),
                    4,
                );
            }
            write(bar + 0x1c, 1, 2);
        }
        write(bar + 0x14, 15, 1);
        start_nvme(&write, &at);
        for queue in 0..=u64::from(at(3) % 3) {
            write(bar + 0x3000 + 4 * queue, queue, 2);
        }
        for access in rest.chunks_exact(4).take(64) {
            let mut random =
                Random(u64::from_le_bytes([access[0], access[1], access[2], access[3], 1, 0, 0, 0]));
            let (space, address) = place(&mut random);
            let len = 1 << (access[0] % 3);
            let mut data = random.value().to_le_bytes();
            match access[1] % 3 {
                0 => machine.bus.read(space, address, &mut data[..len]),
                _ => machine.bus.write(space, address, &data[..len]),
            }
        }
        machine.look();
        // Nothing was plugged that the host did not ask for.
        assert_eq!(machine.memory.size(), 0x10_0000);
    });
}
