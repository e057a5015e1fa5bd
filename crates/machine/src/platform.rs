//! The devices of a VM, and how they are wired.

use crate::acpi::{PCI_GSI, PCI_GSIS, SCI};
use crate::device_threads::DeviceThreads;
use crate::drives::Drives;
use crate::files::Files;
use crate::layout::{self, Board, Layout};
use crate::memory::MemoryControl;
use crate::pause::Parts;
use crate::run_state::RunState;
use crate::{Display, Endpoints, MachineError, Outcome, Spec, firmware, pirq, storage};
use ireko_devices::{
    AcpiPm, ChannelHost, ConfigPorts, ConsoleInput, DebugExit, DebugPort, Ecam, Hpet, I8042, IoApic, Irqs,
    MsiSink, PciBus, Pic, Pit, Port92, Power, ResetPulse, Rtc, Screen, Serial, SharedLine, SystemBus,
    TabletInput, TestDevice, VirtioPci, VsockHost, Watchdog, Windows, acpi, both, chipset, debug_port,
    display, fw_cfg, hpet, i8042, ioapic, pci, pic, pit, rtc, serial, shared, testdev, virtio,
};
use ireko_vmcore::thread;
use ireko_vmcore::{Bus, Clock, Line, Memory, Msi, Partition, Space, Timers, Work};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the platform is built on and told about.
pub struct BuildContext<'a> {
    pub spec: &'a Spec,
    pub layout: &'a Layout,
    pub memory: Arc<Memory>,
    pub partition: Arc<dyn Partition>,
    /// The engine brings PIC, IOAPIC and PIT.
    pub irqchip: bool,
    pub clock: Clock,
    pub timers: Timers,
    pub power: Power,
    pub debug_exit: Arc<dyn Fn(u8) + Send + Sync>,
    pub run_state: RunState,
}

/// A built machine, as far as it is not the engine's.
pub struct Platform {
    pub bus: Arc<SystemBus>,
    pub parts: Arc<Parts>,
    pub serial: Arc<Mutex<Serial>>,
    pub second: Option<Arc<Mutex<Serial>>>,
    pub acpi: AcpiPm,
    pub rtc: Rtc,
    pub console: Option<ConsoleInput>,
    pub screen: Option<Screen>,
    pub keyboard: Option<I8042>,
    pub tablet: Option<TabletInput>,
    pub vsock: Option<VsockHost>,
    pub agent: Option<ChannelHost>,
    pub memory: Option<MemoryControl>,
    pub threads: DeviceThreads,
    pub drives: Drives,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.threads.end();
        self.threads.clear();
        self.drives.clear();
    }
}

impl From<ireko_devices::BusError> for MachineError {
    fn from(error: ireko_devices::BusError) -> Self {
        Self::Platform(error.to_string())
    }
}

impl From<ireko_devices::PciError> for MachineError {
    fn from(error: ireko_devices::PciError) -> Self {
        Self::Platform(error.to_string())
    }
}

/// Gives the wire to a GSI.
type Wires = Box<dyn Fn(u32) -> Line>;

pub fn build(context: &BuildContext, endpoints: Endpoints, files: &Files) -> Result<Platform, MachineError> {
    let mut bus = SystemBus::new();
    let (wire, irqs) = interrupt_controllers(context, &mut bus)?;
    let ticks = context.layout.hpet.then(|| hpet::IRQS.map(|irq| hpet::Legacy::new(wire(irq))));
    if !context.irqchip {
        let line = ticks.as_ref().map_or_else(|| wire(0), |[timer, _]| timer.own());
        bus.add(shared(Pit::new(context.clock.clone(), &context.timers, line)), &pit::PLACES)?;
    }
    bus.connect_x87_error(wire(13));
    let serial = shared(Serial::new(endpoints.serial, wire(4)));
    bus.add(serial.clone(), &serial::PLACES)?;
    let second = context.spec.second_serial.then(|| {
        let output = endpoints.second.unwrap_or_else(|| Box::new(std::io::sink()));
        shared(Serial::new(output, wire(3)))
    });
    if let Some(second) = &second {
        bus.add(second.clone(), &[serial::COM2])?;
    }
    let acpi = AcpiPm::new(context.clock.clone(), &context.timers, wire(SCI), context.power.clone());
    let line = ticks.as_ref().map_or_else(|| wire(8), |[_, clock]| clock.own());
    let rtc = add_clock(context, &mut bus, line, &acpi)?;
    bus.add(shared(acpi.clone()), &acpi::PLACES)?;
    let keyboard = add_keyboard(context, &mut bus, &wire)?;
    bus.add(shared(Port92::new(context.power.clone())), &acpi::PORT92_PLACES)?;
    let mut threads = DeviceThreads::new(context.run_state.clone(), context.spec.on_thread.clone());
    let OnPci { pci, console, memory, screen, tablet, vsock, agent, drives } =
        add_pci(context, &mut bus, &wire, endpoints.console, &acpi, &mut threads)?;
    if let Some(legacy) = ticks {
        // Of the interrupts that it can be routed to, each is a slot's too.
        let routes = std::array::from_fn(|n| pci.intx((hpet::regs::ROUTES.start - PCI_GSI) as u8 + n as u8));
        let wires = hpet::Wires { legacy, routes, msi: msi_sink(&context.partition) };
        bus.add(shared(Hpet::new(context.clock.clone(), &context.timers, wires)), &hpet::PLACES)?;
    }
    if context.spec.test_devices {
        add_test_devices(context, &mut bus, &wire)?;
    }
    if context.spec.test_devices || context.spec.firmware.is_some() {
        let disks = storage::boot_paths(context.spec, context.layout.board);
        let kernel = files.for_firmware(context.layout)?;
        let fw_cfg = firmware::fw_cfg(
            context.spec,
            context.layout,
            &context.memory,
            &disks,
            files.option_roms(),
            kernel,
        );
        bus.add(shared(fw_cfg), &fw_cfg::PLACES)?;
    }
    if let Some((flash, place)) = files.flash(&context.spec.on_thread)? {
        bus.add(shared(flash), &[place])?;
    }
    if let Some(output) = endpoints.firmware_debug {
        bus.add(shared(DebugPort::new(output)), &debug_port::PLACES)?;
    }
    let bus = Arc::new(bus);
    let parts = Arc::new(Parts {
        bus: bus.clone(),
        pci,
        irqs,
        memory: context.memory.clone(),
        partition: context.partition.clone(),
    });
    Ok(Platform {
        bus,
        parts,
        serial,
        second,
        acpi,
        rtc,
        console,
        screen,
        keyboard,
        tablet,
        vsock,
        agent,
        memory,
        threads,
        drives,
    })
}

/// PIC and IOAPIC, unless the engine has them; and the wires to them.
fn interrupt_controllers(
    context: &BuildContext,
    bus: &mut SystemBus,
) -> Result<(Wires, Option<Arc<Irqs>>), MachineError> {
    let partition = context.partition.clone();
    if context.irqchip {
        return Ok((Box::new(move |gsi| partition.line(gsi).unwrap_or_else(Line::unconnected)), None));
    }
    // The partition holds the PIC, so the PIC must not hold the partition.
    let told = Arc::downgrade(&partition);
    let pic = Pic::new(Arc::new(move || {
        if let Some(partition) = told.upgrade() {
            partition.extint_changed();
        }
    }));
    let ioapic = IoApic::new(0, msi_sink(&partition));
    let irqs = Irqs::new(pic.clone(), ioapic.clone());
    let eoi = irqs.clone();
    partition.connect(irqs.clone(), Arc::new(move |vector, level| eoi.eoi(vector, level)));
    bus.add(shared(pic), &pic::PLACES)?;
    bus.add(shared(ioapic), &ioapic::PLACES)?;
    let own = irqs.clone();
    Ok((Box::new(move |gsi| irqs.line(gsi)), Some(own)))
}

/// The engine's end for message-signalled interrupts. Held by what the engine holds, so weakly.
fn msi_sink(partition: &Arc<dyn Partition>) -> MsiSink {
    let partition = Arc::downgrade(partition);
    Arc::new(move |msi| {
        if let Some(partition) = partition.upgrade() {
            partition.msi(msi);
        }
    })
}

/// SMI#: a message with that delivery mode, to the processor that wrote the port. (A chipset's leads to all; firmware for virtual machines takes it for
/// this one's alone until it has asked for more, and all begin at one address before they are moved apart.)
fn smi(partition: &Arc<dyn Partition>) -> acpi::Smi {
    const TO: u64 = 0xfee0_0000;
    const SMI: u32 = 2 << 8;
    let send = msi_sink(partition);
    Box::new(move || send(Msi { address: TO | u64::from(thread::vcpu()) << 12, data: SMI }))
}

fn add_clock(
    context: &BuildContext,
    bus: &mut SystemBus,
    line: Line,
    acpi: &AcpiPm,
) -> Result<Rtc, MachineError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let rtc = Rtc::new(context.clock.clone(), &context.timers, line, now);
    rtc.connect_alarm(acpi.alarm());
    rtc.set_memory_size(context.layout.low_end, context.layout.high_size);
    bus.add(shared(rtc.clone()), &rtc::PLACES)?;
    Ok(rtc)
}

/// The bus with its bridges. INTA# of a slot goes to a GSI of its own, with a chipset also where that routes it.
fn pci_bus(context: &BuildContext, wire: &Wires, acpi: &AcpiPm) -> Result<Arc<PciBus>, MachineError> {
    const PIIX: u8 = 1;
    const PIIX_POWER_MANAGEMENT: u8 = 3;
    const ICH9: u8 = 31;
    const ECAM_ON: u64 = 1;
    let router = chipset::PirqRouter::new((0..16).map(wire).collect());
    let wires = || (0..PCI_GSIS).map(|n| both(wire(PCI_GSI + n), router.intx(n))).collect();
    let memory = || context.memory.clone();
    match context.layout.board {
        Board::Direct => {
            let isa = pirq::IRQS.map(|irq| SharedLine::new(wire(irq)));
            let wires = (0..PCI_GSIS).map(|n| both(wire(PCI_GSI + n), isa[n as usize % isa.len()].input()));
            Ok(PciBus::new(wires.collect()))
        }
        Board::I440fx => {
            let bridge = chipset::HostBridge::i440fx();
            let pci = PciBus::behind(shared(bridge.with_memory(memory(), context.layout.low_end)), wires());
            pci.add_function(PIIX, 0, shared(chipset::IsaBridge::piix3(router)))?;
            let mut power_management = chipset::PmBridge::new();
            if context.layout.smram {
                acpi.connect_smi(acpi::SmiChipset::Piix4, smi(&context.partition));
                power_management = power_management.with_smi(acpi.clone());
            }
            pci.add_function(PIIX, PIIX_POWER_MANAGEMENT, shared(power_management))?;
            Ok(pci)
        }
        Board::Q35 => {
            let ecam = context.layout.pci_ecam().map_or(0, |ecam| ecam | ECAM_ON);
            let bridge = chipset::HostBridge::q35(ecam);
            let pci = PciBus::behind(shared(bridge.with_memory(memory(), context.layout.low_end)), wires());
            acpi.connect_smi(acpi::SmiChipset::Ich9, smi(&context.partition));
            pci.add(ICH9, shared(chipset::IsaBridge::ich9(router).with_smi(acpi.clone())))?;
            Ok(pci)
        }
    }
}

/// The random source's slot: the first that no bridge has.
fn rng_slot(board: Board) -> u8 {
    if board == Board::I440fx { 2 } else { 1 }
}

/// Where the console is, if asked for; only kernels that are started directly are asked about it.
const CONSOLE: u8 = 2;

/// What others reach of PCI's functions.
struct OnPci {
    pci: Arc<PciBus>,
    console: Option<ConsoleInput>,
    memory: Option<MemoryControl>,
    screen: Option<Screen>,
    tablet: Option<TabletInput>,
    vsock: Option<VsockHost>,
    agent: Option<ChannelHost>,
    drives: Drives,
}

/// PCI with its functions: the random source in the first slot, the console in the next if asked for, then the disks.
fn add_pci(
    context: &BuildContext,
    bus: &mut SystemBus,
    wire: &Wires,
    console_output: Option<Box<dyn Write + Send>>,
    acpi: &AcpiPm,
    threads: &mut DeviceThreads,
) -> Result<OnPci, MachineError> {
    let rng_slot = rng_slot(context.layout.board);
    let pci = pci_bus(context, wire, acpi)?;
    let (memory, msi) = (context.memory.clone(), msi_sink(&context.partition));
    let add = |slot, name: String, kind, function: Arc<Mutex<VirtioPci>>| {
        threads.start(name, kind, virtio::service(&function))?;
        Ok::<_, MachineError>(pci.add(slot, function)?)
    };
    let rng = VirtioPci::new(Box::new(virtio::Rng::host()), memory.clone(), msi.clone(), pci.intx(rng_slot));
    add(rng_slot, "rng0".into(), Work::Device, rng)?;
    let mut input = None;
    if context.spec.virtio_console {
        let output = console_output.unwrap_or_else(|| Box::new(std::io::sink()));
        let (console, to) = virtio::console(memory.clone(), msi.clone(), pci.intx(CONSOLE), output);
        add(CONSOLE, "console0".into(), Work::Device, console)?;
        input = Some(to);
    }
    let board = context.layout.board;
    let drives = Drives::default();
    let vcpus = context.spec.vcpus;
    let sockets = || storage::Sockets { pci: &pci, memory: &memory, msi: &msi, threads, vcpus };
    let room = storage::Room { sockets: sockets(), board, drives: &drives, bus, wire };
    storage::add(context.spec, room)?;
    if context.spec.hot_plug {
        let slots = drives.make_hot(&sockets(), acpi.clone(), context.run_state.clone());
        bus.add(slots, &pci::HOT_PLUG_PLACES)?;
    }
    crate::network::add(context.spec, &pci, &memory, &msi, threads)?;
    let control = context.spec.most_memory.map(|_| add_memory(context, &pci, threads)).transpose()?;
    let (screen, tablet) = add_display(context, bus, &pci, threads)?.unzip();
    let vsock = context.spec.vsock.then(|| add_vsock(context, &pci, threads)).transpose()?;
    if context.spec.watchdog {
        add_watchdog(context, &pci)?;
    }
    let agent = context.spec.guest_agent.then(|| add_agent(context, &pci, threads)).transpose()?;
    add_folders(context, &pci, threads)?;
    place_pci(context, bus, &pci)?;
    Ok(OnPci { pci, console: input, memory: control, screen, tablet, vsock, agent, drives })
}

/// The display, where memory has room for it, and a tablet beside it.
fn add_display(
    context: &BuildContext,
    bus: &mut SystemBus,
    pci: &Arc<PciBus>,
    threads: &mut DeviceThreads,
) -> Result<Option<(Screen, TabletInput)>, MachineError> {
    const SLOT: u8 = 19;
    const TABLET: u8 = 1;
    let (memory, msi) = (&context.memory, msi_sink(&context.partition));
    let (legacy, screen) = match context.spec.display.unwrap_or_default() {
        Display::Vga => {
            let Some(display::Parts { function, legacy, screen }) = display::display(memory) else {
                return Ok(None);
            };
            pci.add(SLOT, function)?;
            (legacy, screen)
        }
        Display::Virtio => {
            let parts = virtio::gpu(memory.clone(), msi.clone(), pci.intx(SLOT));
            let Some(display::Parts { function, legacy, screen }) = parts else { return Ok(None) };
            threads.start("gpu0".into(), Work::Device, virtio::service(&function))?;
            pci.add(SLOT, function)?;
            (legacy, screen)
        }
    };
    bus.add(legacy, &display::PLACES)?;
    let (function, tablet) = virtio::tablet(memory.clone(), msi, pci.intx(SLOT));
    threads.start("tablet0".into(), Work::Device, virtio::service(&function))?;
    pci.add_function(SLOT, TABLET, function)?;
    Ok(Some((screen, tablet)))
}

/// What serves the guest's own services is beside the random source, in functions of its slot: disks, adapters and controllers take all others.
const VSOCK: u8 = 1;
const AGENT: u8 = 2;
const WATCHDOG: u8 = 3;
const FOLDERS: std::ops::Range<u8> = 4..8;
/// More folders a machine has not.
pub const MOST_FOLDERS: usize = (FOLDERS.end - FOLDERS.start) as usize;

/// The socket device.
fn add_vsock(
    context: &BuildContext,
    pci: &Arc<PciBus>,
    threads: &mut DeviceThreads,
) -> Result<VsockHost, MachineError> {
    let (memory, msi) = (context.memory.clone(), msi_sink(&context.partition));
    let slot = rng_slot(context.layout.board);
    let (function, vsock) = virtio::vsock(memory, msi, pci.intx(slot));
    threads.start("vsock0".into(), Work::Device, virtio::service(&function))?;
    pci.add_function(slot, VSOCK, function)?;
    Ok(vsock)
}

/// Folders of the host's.
fn add_folders(
    context: &BuildContext,
    pci: &Arc<PciBus>,
    threads: &mut DeviceThreads,
) -> Result<(), MachineError> {
    let folders = &context.spec.folders;
    if folders.len() > MOST_FOLDERS {
        let told = format!("{} folders, and {MOST_FOLDERS} are the most; share fewer", folders.len());
        return Err(MachineError::Platform(told));
    }
    let slot = rng_slot(context.layout.board);
    for (place, one) in FOLDERS.zip(folders) {
        let (memory, msi) = (context.memory.clone(), msi_sink(&context.partition));
        let device = Box::new(virtio::Fs::new(&one.tag, one.folder.clone()));
        let function = VirtioPci::new(device, memory, msi, pci.intx(slot));
        threads.start(format!("fs{}", place - FOLDERS.start), Work::Device, virtio::service(&function))?;
        pci.add_function(slot, place, function)?;
    }
    Ok(())
}

/// The watchdog timer: a machine whose system does not begin it anew in time ends.
fn add_watchdog(context: &BuildContext, pci: &Arc<PciBus>) -> Result<(), MachineError> {
    let slot = rng_slot(context.layout.board);
    let run_state = context.run_state.clone();
    let bite = Arc::new(move || run_state.end(Outcome::Watchdog));
    let watchdog = Watchdog::new(context.clock.clone(), &context.timers, pci.intx(slot), bite);
    Ok(pci.add_function(slot, WATCHDOG, watchdog)?)
}

/// The channel that QEMU's guest agent looks for, beside the socket device.
fn add_agent(
    context: &BuildContext,
    pci: &Arc<PciBus>,
    threads: &mut DeviceThreads,
) -> Result<ChannelHost, MachineError> {
    const NAME: &str = "org.qemu.guest_agent.0";
    let slot = rng_slot(context.layout.board);
    let (memory, msi) = (context.memory.clone(), msi_sink(&context.partition));
    let (function, agent) = virtio::channel(memory, msi, pci.intx(slot), NAME);
    threads.start("agent0".into(), Work::Device, virtio::service(&function))?;
    pci.add_function(slot, AGENT, function)?;
    Ok(agent)
}

/// Keyboard and mouse; on a machine that has none, their controller's reset.
fn add_keyboard(
    context: &BuildContext,
    bus: &mut SystemBus,
    wire: &Wires,
) -> Result<Option<I8042>, MachineError> {
    if !context.layout.keyboard() {
        bus.add(shared(ResetPulse::new(context.power.clone())), &i8042::PLACES)?;
        return Ok(None);
    }
    let lines = i8042::IRQS.map(wire);
    let keyboard = I8042::new(context.clock.clone(), &context.timers, lines, context.power.clone());
    bus.add(shared(keyboard.clone()), &i8042::PLACES)?;
    Ok(Some(keyboard))
}

/// The balloon, and the memory device where there is room to add memory, in the last slots.
fn add_memory(
    context: &BuildContext,
    pci: &Arc<PciBus>,
    threads: &mut DeviceThreads,
) -> Result<MemoryControl, MachineError> {
    // The last slot is the chipset's where there is one.
    let balloon_slot = if context.layout.board == Board::Q35 { 2 } else { 31 };
    const MEM: u8 = 30;
    let (memory, msi) = (&context.memory, msi_sink(&context.partition));
    let (function, balloon) = virtio::balloon(memory.clone(), msi.clone(), pci.intx(balloon_slot));
    threads.start("balloon0".into(), Work::Device, virtio::service(&function))?;
    pci.add(balloon_slot, function)?;
    let hot = match virtio::mem(memory.clone(), msi, pci.intx(MEM)) {
        Some((function, hot)) => {
            threads.start("mem0".into(), Work::Device, virtio::service(&function))?;
            pci.add(MEM, function)?;
            Some(hot)
        }
        None => None,
    };
    Ok(MemoryControl::new(context.layout.memory(), balloon, hot))
}

/// The ways to BARs and to configuration space. Where no firmware does it, every BAR is placed.
fn place_pci(context: &BuildContext, bus: &mut SystemBus, pci: &Arc<PciBus>) -> Result<(), MachineError> {
    let layout = context.layout;
    if layout.board == Board::Direct {
        let windows =
            Windows { ports: layout::PCI_PORTS, mmio32: layout.pci_mmio32(), mmio64: layout.pci_mmio64() };
        pci.assign(&windows)?;
        pci.set_interrupt_lines(pirq::irq);
        bus.write(Space::Port, pirq::ELCR_SLAVE, &[pirq::level_triggered()]);
    }
    bus.set_rest(pci.clone());
    bus.add(shared(ConfigPorts::new(pci.clone(), context.power.clone())), &pci::CONFIG_PLACES)?;
    match layout.pci_ecam() {
        Some(ecam) => Ok(bus.add(shared(Ecam::new(pci.clone())), &[ecam])?),
        None => Ok(()),
    }
}

fn add_test_devices(context: &BuildContext, bus: &mut SystemBus, wire: &Wires) -> Result<(), MachineError> {
    const GSIS: u32 = 24;
    bus.add(shared(DebugExit::new(context.debug_exit.clone())), &testdev::EXIT_PLACES)?;
    Ok(bus.add(shared(TestDevice::new((0..GSIS).map(wire).collect())), &testdev::TEST_PLACES)?)
}
