//! A VM from its [`Spec`] to its end.

use crate::drives::Drives;
use crate::engine::{self, Chosen};
use crate::files::Files;
use crate::layout::{self, Layout};
use crate::memory::MemoryControl;
use crate::nesting::Windows;
use crate::pause::Pause;
use crate::platform::{self, BuildContext, Platform};
use crate::quota::{Quota, Turn};
use crate::run_state::{Next, RunState};
use crate::sleep::Waker;
use crate::{DiskSpec, MachineError, Outcome, SavedMachine, Spec};
use ireko_devices::i8042::{Full, KeyEvent, Motion};
use ireko_devices::virtio::Position;
use ireko_devices::{
    AcpiPm, ChannelHost, ConsoleInput, I8042, PowerEvent, Screen, Serial, TabletInput, VsockHost, display,
};
use ireko_vmcore::{
    Bus, Clock, CpuModel, Halt, HvError, Memory, Nesting, OnThread, Partition, PartitionSpec, Rates, Stop,
    Timers, Vcpu, Work,
};
use std::any::Any;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Where the guest's output goes.
pub struct Endpoints {
    /// COM1.
    pub serial: Box<dyn Write + Send>,
    /// COM2, if the spec asks for it.
    pub second: Option<Box<dyn Write + Send>>,
    /// The virtio console, if the spec asks for one.
    pub console: Option<Box<dyn Write + Send>>,
    /// What firmware writes to its debug port; without it there is no such port.
    pub firmware_debug: Option<Box<dyn Write + Send>>,
}

impl Endpoints {
    pub fn serial(output: impl Write + Send + 'static) -> Self {
        Self { serial: Box::new(output), second: None, console: None, firmware_debug: None }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// One VM, loaded and ready to run.
pub struct Vm {
    chosen: Chosen,
    vcpus: Vec<Box<dyn Vcpu>>,
    platform: Platform,
    run_state: RunState,
    waker: Waker,
    dump: Arc<Mutex<String>>,
    counters: Arc<Mutex<Vec<ireko_vmcore::WorldCounters>>>,
    windows: Windows,
    pause: Pause,
    quota: Quota,
    on_thread: OnThread,
    // Held for as long as vCPUs and devices use them.
    _partition: Arc<dyn Partition>,
    _memory: Arc<Memory>,
}

impl Vm {
    /// Checks everything, loads everything, runs nothing.
    pub fn new(spec: Spec, endpoints: Endpoints) -> Result<Self, MachineError> {
        layout::check_host_memory(spec.memory)?;
        let files = Files::read(&spec)?;
        let layout = memory_layout(&spec, &files)?;
        let chosen = engine::choose_for(&spec)?;
        Self::assemble(spec, layout, files, chosen, endpoints)
    }

    /// As [`Vm::new`], on a given engine.
    pub fn on(chosen: Chosen, spec: Spec, endpoints: Endpoints) -> Result<Self, MachineError> {
        let files = Files::read(&spec)?;
        let layout = memory_layout(&spec, &files)?;
        Self::assemble(spec, layout, files, chosen, endpoints)
    }

    fn assemble(
        spec: Spec,
        layout: Layout,
        files: Files,
        chosen: Chosen,
        endpoints: Endpoints,
    ) -> Result<Self, MachineError> {
        let caps = chosen.hypervisor.caps();
        engine::check_for(&spec, &caps)?;
        let irqchip = caps.irqchip;
        let layout = layout.with_timers_of(irqchip).with_management(caps.management);
        let memory = Memory::made(
            &layout.ranges(),
            layout.room(),
            video_memory(&layout),
            chosen.hypervisor.wants_file(&spec.options),
        );
        let memory = Arc::new(memory.map_err(MachineError::Memory)?);
        let (clock, timers) = timekeeping(&spec.on_thread);
        let partition = create_partition(&chosen, &spec, &memory, &clock, &timers)?;
        let run_state = RunState::default();
        let context = BuildContext {
            spec: &spec,
            layout: &layout,
            memory: memory.clone(),
            partition: partition.clone(),
            irqchip,
            clock: clock.clone(),
            timers,
            power: power(&run_state),
            debug_exit: debug_exit(&run_state),
            run_state: run_state.clone(),
        };
        let platform = platform::build(&context, endpoints, &files)?;
        let state = files.load(&memory, &layout, &spec)?;
        layout.protect(&memory);
        // Interrupt controllers of an engine's own are not on the bus.
        if !context.irqchip {
            files.program(&*platform.bus);
        }
        let mut vcpus: Vec<_> =
            (0..spec.vcpus).map(|id| partition.vcpu(id)).collect::<Result<_, HvError>>()?;
        vcpus[0].set_state(&state)?;
        let windows = Windows::of(&vcpus);
        let facs = crate::acpi::facs(&layout, spec.vcpus);
        let pause = Pause::new(chosen.name, clock, &platform);
        let waker = Waker::new(&layout, &memory, facs, platform.rtc.clone());
        let quota = Quota::new(spec.processor_maximum, run_state.clone());
        Ok(Self {
            chosen,
            vcpus,
            platform,
            run_state,
            waker,
            dump: Arc::default(),
            counters: Arc::default(),
            windows,
            pause,
            quota,
            on_thread: spec.on_thread,
            _partition: partition,
            _memory: memory,
        })
    }

    pub fn engine(&self) -> &Chosen {
        &self.chosen
    }

    /// What other threads may do with the VM.
    pub fn handle(&self) -> Handle {
        Handle {
            run_state: self.run_state.clone(),
            serial: self.platform.serial.clone(),
            second: self.platform.second.clone(),
            console: self.platform.console.clone(),
            screen: self.platform.screen.clone(),
            keyboard: self.platform.keyboard.clone(),
            tablet: self.platform.tablet.clone(),
            vsock: self.platform.vsock.clone(),
            agent: self.platform.agent.clone(),
            acpi: self.platform.acpi.clone(),
            memory: self.platform.memory.clone().map(|memory| memory.of(self.pause.clone())),
            dump: self.dump.clone(),
            counters: self.counters.clone(),
            windows: self.windows.clone(),
            pause: self.pause.clone(),
            quota: self.quota.clone(),
            drives: self.platform.drives.clone(),
        }
    }

    /// Runs until the VM ends. Each virtual processor has a thread of its own.
    pub fn run(&mut self) -> Outcome {
        self.pause.leave_unless_wanted(&self.run_state);
        let (run_state, dump, first) = (&self.run_state, &self.dump, &self.on_thread);
        let (waker, quota) = (&self.waker, &self.quota);
        run_state.expect_vcpus(self.vcpus.len());
        let bus: &dyn Bus = &*self.platform.bus;
        let stops: Vec<Stop> = self.vcpus.iter().map(|_| run_state.stop().of_one()).collect();
        let stops = stops.as_slice();
        let name = |name: String| std::thread::Builder::new().name(name);
        std::thread::scope(|scope| {
            for (id, (vcpu, stop)) in self.vcpus.iter_mut().zip(stops).enumerate() {
                let spawned = name(format!("vcpu{id}")).spawn_scoped(scope, move || {
                    first.begin(Work::Vcpu);
                    run_vcpu(id, vcpu.as_mut(), bus, Turn::new(quota, stop), run_state, waker, dump);
                });
                if let Err(error) = spawned {
                    run_state.end(Outcome::Failed(format!("no thread for vCPU {id}: {error}")));
                }
            }
            let slices = name("slices".into()).spawn_scoped(scope, move || {
                first.begin(Work::Timers);
                quota.run(stops);
            });
            if let Err(error) = slices {
                run_state.end(Outcome::Failed(format!("no thread for slices of time: {error}")));
            }
        });
        self.end_devices();
        lock(&self.dump).push_str(&self.device_counters());
        let counters = self.vcpus.iter_mut().filter_map(|vcpu| vcpu.counters()).flatten();
        *lock(&self.counters) = counters.collect();
        self.run_state.outcome().unwrap_or(Outcome::Stopped)
    }

    /// A machine that does not run, as it is; what memory holds is [`crate::saved::write_memory`]'s.
    pub fn save(&mut self) -> Result<SavedMachine, MachineError> {
        self.pause.enter();
        let (vcpus, run_state) = (&mut self.vcpus, &self.run_state);
        self.pause.save(|saved| {
            (saved.asleep, saved.slept) = run_state.sleeps();
            saved.vcpus = vcpus.iter_mut().map(|vcpu| vcpu.save()).collect::<Result<_, _>>()?;
            Ok(())
        })
    }

    /// Before it first runs: makes it what was saved of a machine with the same specification. It goes on from there when it is run. An error leaves
    /// a machine that is good for nothing.
    pub fn restore(&mut self, saved: &SavedMachine, memory: &mut impl Read) -> Result<(), MachineError> {
        saved.check(self.chosen.name, self.vcpus.len())?;
        self.pause.enter();
        self.pause.restore(saved, memory)?;
        for (vcpu, record) in self.vcpus.iter_mut().zip(&saved.vcpus) {
            vcpu.restore(record)?;
        }
        self.run_state.restore_sleep((saved.asleep, saved.slept));
        Ok(())
    }

    /// What memory holds, of a machine that was saved.
    pub fn save_memory(&self, to: &mut impl Write) -> Result<(), MachineError> {
        self.pause.write_memory(to)
    }

    /// What comes after a reset opens the same disks: a write that is still under way must not come after its own.
    fn end_devices(&self) {
        let threads = &self.platform.threads;
        threads.end();
        while !threads.rests() && self.run_state.outcome() == Some(Outcome::Reset) {}
    }

    /// A line for every device that was used.
    fn device_counters(&self) -> String {
        let used = self.platform.bus.counters().into_iter().filter(|c| c.reads + c.writes > 0);
        used.map(|c| format!("{:>16}: {} reads, {} writes\n", c.name, c.reads, c.writes)).collect()
    }
}

fn run_vcpu(
    id: usize,
    vcpu: &mut dyn Vcpu,
    bus: &dyn Bus,
    mut turn: Turn<'_>,
    run_state: &RunState,
    waker: &Waker,
    dump: &Mutex<String>,
) {
    ireko_vmcore::thread::runs_vcpu(id as u32);
    let stop = turn.stop();
    let _alive = Alive(run_state);
    // A panic or a host fault is our mistake, but the guest's end and not this process's.
    let run = |vcpu: &mut dyn Vcpu| {
        catch_unwind(AssertUnwindSafe(|| ireko_cpu::guard(|| vcpu.run(bus, stop))))
            .map(|ran| ran.unwrap_or_else(|fault| Halt::Failed(fault.to_string())))
            .unwrap_or_else(|panic| Halt::Failed(format!("a panic in vCPU {id}: {}", panic_text(&*panic))))
    };
    // What was restored of a guest that sleeps is woken, and not run.
    let mut halt = if run_state.sleeps() == (false, false) { run(vcpu) } else { Halt::Stopped };
    while halt == Halt::Stopped {
        halt = match run_state.wait_while_held(id) {
            Next::End => break,
            Next::GoOn if turn.comes() => run(vcpu),
            Next::GoOn => Halt::Stopped,
            Next::Save => {
                run_state.is_saved(id, vcpu.save());
                Halt::Stopped
            }
            Next::WakeUp => match vcpu.set_state(&waker.state()) {
                Ok(()) => run(vcpu),
                Err(error) => Halt::Failed(format!("vCPU {id} cannot be woken: {error}")),
            },
        };
    }
    let text = vcpu.dump();
    if !text.is_empty() {
        lock(dump).push_str(&format!("vCPU {id}: {text}\n"));
    }
    if halt != Halt::Stopped {
        run_state.end(Outcome::from_halt(halt, || text));
    }
}

/// A vCPU whose thread runs: however that ends, nobody waits for it.
struct Alive<'a>(&'a RunState);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Outcome::Failed("a vCPU's thread has ended by a panic".into()));
        }
        self.0.vcpu_is_gone();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

fn memory_layout(spec: &Spec, files: &Files) -> Result<Layout, MachineError> {
    let layout = files
        .layout(Layout::new(spec.memory)?)
        .with_display(spec.display.is_some())
        .with_hot_plug(spec.hot_plug);
    let layout = layout.with_second_serial(spec.second_serial);
    Ok(layout.with_hot(spec.most_memory.map_or(0, |most| most.saturating_sub(spec.memory))))
}

fn video_memory(layout: &Layout) -> u64 {
    if layout.display { display::regs::MEMORY } else { 0 }
}

fn timekeeping(first: &OnThread) -> (Clock, Timers) {
    let clock = Clock::new();
    (clock.clone(), Timers::on(clock, first))
}

fn create_partition(
    chosen: &Chosen,
    spec: &Spec,
    memory: &Arc<Memory>,
    clock: &Clock,
    timers: &Timers,
) -> Result<Arc<dyn Partition>, MachineError> {
    let caps = chosen.hypervisor.caps();
    if spec.vcpus == 0 || spec.vcpus > caps.max_vcpus {
        return Err(MachineError::Processors {
            asked: spec.vcpus,
            most: caps.max_vcpus,
            engine: caps.engine,
        });
    }
    let default_cpu = if caps.engine == "kvm" { CpuModel::Host } else { CpuModel::Amd };
    let partition = PartitionSpec {
        memory: memory.clone(),
        vcpus: spec.vcpus,
        cpu: spec.cpu.clone().unwrap_or(default_cpu),
        nested: spec.nested,
        clock: clock.clone(),
        timers: timers.clone(),
        options: spec.options.clone(),
    };
    Ok(chosen.hypervisor.create(&partition)?)
}

fn power(run_state: &RunState) -> ireko_devices::Power {
    let run_state = run_state.clone();
    Arc::new(move |event| match event {
        PowerEvent::PowerOff => run_state.end(Outcome::PowerOff),
        PowerEvent::Reset => run_state.end(Outcome::Reset),
        PowerEvent::Suspend => run_state.sleep(),
        PowerEvent::Wake => run_state.wake(),
    })
}

/// The device has made the exit code of the value already.
fn debug_exit(run_state: &RunState) -> Arc<dyn Fn(u8) + Send + Sync> {
    let run_state = run_state.clone();
    Arc::new(move |code| run_state.end(Outcome::DebugExit(u32::from(code >> 1))))
}

/// What other threads may do with a VM. Cheap to clone; does nothing once the VM is gone.
#[derive(Clone)]
pub struct Handle {
    run_state: RunState,
    serial: Arc<Mutex<Serial>>,
    second: Option<Arc<Mutex<Serial>>>,
    console: Option<ConsoleInput>,
    screen: Option<Screen>,
    keyboard: Option<I8042>,
    tablet: Option<TabletInput>,
    vsock: Option<VsockHost>,
    agent: Option<ChannelHost>,
    acpi: AcpiPm,
    memory: Option<MemoryControl>,
    dump: Arc<Mutex<String>>,
    counters: Arc<Mutex<Vec<ireko_vmcore::WorldCounters>>>,
    windows: Windows,
    pause: Pause,
    quota: Quota,
    drives: Drives,
}

impl Handle {
    /// Bounds what each vCPU takes of a processor of the host, in percent.
    pub fn limit_processors(&self, percent: u32) {
        self.quota.set(percent);
    }
    /// Bounds the use of the disk with this serial number from now on.
    pub fn limit_disk(&self, serial: &str, limits: Rates) {
        self.drives.limit(serial, limits);
    }
    /// Another medium in the drive with its serial number, or none; its file must be open. What the guest has locked comes
    /// out all the same.
    pub fn change_medium(&self, drive: &DiskSpec) -> Result<(), MachineError> {
        self.pause.change(|| self.drives.change_medium(drive))
    }
    /// A disk more, behind virtio or NVMe; its file must be open. The guest hears of it by ACPI.
    pub fn plug_disk(&self, disk: &DiskSpec) -> Result<(), MachineError> {
        self.pause.change(|| self.drives.plug(disk))
    }
    /// Asks the guest to let go of a disk, and waits until it has. False: it has not within the time, and the disk stays.
    pub fn unplug_disk(&self, serial: &str, patience: Duration) -> Result<bool, MachineError> {
        match self.pause.change(|| self.drives.ask_for(serial))? {
            Some(slot) => {
                let gone = self.drives.wait_for(serial, patience);
                if !gone {
                    let drives = self.drives.clone();
                    self.pause.input(1, move || drives.withdraw(slot));
                }
                Ok(gone)
            }
            None => Ok(true),
        }
    }
    /// Takes and gives memory; `None` where the spec does not ask for it.
    pub fn memory(&self) -> Option<&MemoryControl> {
        self.memory.as_ref()
    }
    /// What runs inside, as the engine sees it from outside. Asks every vCPU's thread and waits for its answer; not to be
    /// called by one of them. A paused or ended VM is seen as it was then.
    pub fn nesting(&self) -> Nesting {
        self.windows.look(self.run_state.paused() || self.run_state.ended())
    }
    /// Ends the VM from outside.
    pub fn stop(&self) {
        self.run_state.end(Outcome::Stopped);
    }
    /// Resets the VM: the run ends with the outcome Reset, as if the guest had asked for it.
    pub fn reset(&self) {
        self.run_state.end(Outcome::Reset);
    }
    /// Holds every vCPU at the next instruction boundary where it looks around, and every device: when it comes back
    /// nothing writes to guest memory, and the guest's clocks stand still until it goes on.
    /// False: a vCPU did not stop in time, and all go on.
    pub fn pause(&self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(5);
        let rests = self.run_state.pause(PATIENCE);
        if rests {
            self.pause.enter();
        }
        rests
    }
    /// Lets a paused VM go on.
    pub fn resume(&self) {
        self.pause.leave();
        self.run_state.resume();
    }
    /// A paused VM, as it is; it can go on afterwards. What memory holds is [`Handle::save_memory`]'s.
    pub fn save(&self) -> Result<SavedMachine, MachineError> {
        self.pause.save(|saved| {
            let vcpus = self.run_state.save_vcpus();
            let vcpus = vcpus.ok_or_else(|| MachineError::Save("it is not paused, or has ended".into()))?;
            saved.vcpus = vcpus.into_iter().collect::<Result<_, _>>()?;
            (saved.asleep, saved.slept) = self.run_state.sleeps();
            Ok(())
        })
    }
    /// What the memory of a paused VM holds.
    pub fn save_memory(&self, to: &mut impl Write) -> Result<(), MachineError> {
        self.pause.write_memory(to)
    }
    pub fn paused(&self) -> bool {
        self.run_state.paused()
    }
    /// Presses the ACPI power button.
    pub fn power_button(&self) {
        let acpi = self.acpi.clone();
        self.pause.input(1, move || acpi.press_power_button());
    }
    pub fn serial_input(&self, bytes: &[u8]) {
        let (port, bytes) = (self.serial.clone(), bytes.to_vec());
        self.pause.input(bytes.len(), move || lock(&port).input(&bytes));
    }
    /// To COM2, if it is there.
    pub fn second_serial_input(&self, bytes: &[u8]) {
        let (port, bytes) = (self.second.clone(), bytes.to_vec());
        self.pause.input(bytes.len(), move || port.iter().for_each(|port| lock(port).input(&bytes)));
    }
    /// What the display shows; `None` where there is none.
    pub fn screen(&self) -> Option<&Screen> {
        self.screen.as_ref()
    }
    /// Types keys; `None` where there is no keyboard. What is typed in a pause comes after it.
    pub fn key_events(&self, events: &[KeyEvent]) -> Option<Result<(), Full>> {
        let (keyboard, events) = (self.keyboard.clone()?, events.to_vec());
        Some(self.pause.input(events.len(), move || keyboard.key_events(&events)).unwrap_or(Ok(())))
    }
    /// Moves the pointer: that which says where it is, if the guest has a driver for it, else the mouse.
    pub fn pointer(&self, motion: Motion, position: Position) {
        let (tablet, keyboard) = (self.tablet.clone(), self.keyboard.clone());
        self.pause.input(1, move || {
            if !tablet.is_some_and(|tablet| tablet.moved(position)) {
                keyboard.iter().for_each(|keyboard| keyboard.pointer(motion));
            }
        });
    }
    /// The host's side of the socket device; `None` where there is none.
    pub fn vsock(&self) -> Option<&VsockHost> {
        self.vsock.as_ref()
    }
    /// The channel to QEMU's guest agent; `None` where there is none.
    pub fn guest_agent(&self) -> Option<&ChannelHost> {
        self.agent.as_ref()
    }
    /// To the virtio console, or to the serial one where there is none.
    pub fn console_input(&self, bytes: &[u8]) {
        match &self.console {
            Some(console) => {
                let (console, bytes) = (console.clone(), bytes.to_vec());
                self.pause.input(bytes.len(), move || console.send(&bytes));
            }
            None => self.serial_input(bytes),
        }
    }
    /// The state of every vCPU and the use of every device, as of the VM's end; empty while it runs.
    pub fn dump(&self) -> String {
        lock(&self.dump).clone()
    }
    /// What every vCPU's engine counted by world, as of the VM's end; empty while it runs, and if nothing was asked to
    /// be counted.
    pub fn counters(&self) -> Vec<ireko_vmcore::WorldCounters> {
        lock(&self.counters).clone()
    }
}
