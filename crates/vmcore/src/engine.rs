//! The engine interface: the push model. A vCPU gives accesses to the bus and returns only for reasons to stop.

use crate::{Bus, Clock, ExtInt, Line, Memory, Msi, Record, RestoreError, Timers};
use ireko_x86::Registers;
use ireko_x86::cpuid::Feature;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Who hears of an EOI: the vector, and whether it was level-triggered.
pub type EoiSink = Arc<dyn Fn(u8, bool) + Send + Sync>;

/// Makes partitions; one per engine.
pub trait Hypervisor: Send + Sync {
    fn caps(&self) -> Caps;
    /// Whether guest memory has to be in a file, for the engine with these options to show it to processes of its own.
    fn wants_file(&self, options: &[String]) -> bool {
        let _ = options;
        false
    }
    fn create(&self, spec: &PartitionSpec) -> Result<Arc<dyn Partition>, HvError>;
}

/// What an engine can do on this host.
#[derive(Clone, Debug)]
pub struct Caps {
    /// `soft` or `kvm`.
    pub engine: &'static str,
    /// The engine can give its guests virtualization extensions.
    pub nested: bool,
    /// The engine brings PIC, IOAPIC and PIT itself.
    pub irqchip: bool,
    pub max_vcpus: u32,
    /// System-management mode, and heed of what a chipset keeps for it.
    pub management: bool,
}

/// Which processor the guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuModel {
    /// AMD personality with everything that the engine and the host can do.
    Amd,
    /// What the host's vendor is (the KVM backend's default); of the software engine the same as [`CpuModel::Amd`].
    Host,
    /// One that is known by a name, or a baseline.
    Named(&'static ireko_x86::models::Named),
    /// One of those (`None`: all that can be had) with some features more and some less.
    Changed(Option<&'static ireko_x86::models::Named>, Changes),
}

/// What a processor is to have besides what its model has, and what it is not to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub more: Vec<Feature>,
    pub less: Vec<Feature>,
}

/// What a partition is made from.
#[derive(Clone)]
pub struct PartitionSpec {
    pub memory: Arc<Memory>,
    pub vcpus: u32,
    pub cpu: CpuModel,
    /// Expose virtualization extensions (AMD-V or VT-x) to the guest.
    pub nested: bool,
    pub clock: Clock,
    pub timers: Timers,
    /// Engine debugging and bisection options, `name=value`, unknown names are an error of [`Hypervisor::create`].
    pub options: Vec<String>,
}

/// The processors and interrupt fabric of one VM. Guest memory is mapped from the spec's [`Memory`] at creation.
pub trait Partition: Send + Sync {
    /// Takes vCPU `id`; each can be taken once.
    fn vcpu(&self, id: u32) -> Result<Box<dyn Vcpu>, HvError>;
    /// The pin `gsi` of the engine's own interrupt controllers; `None` where the machine brings them.
    fn line(&self, gsi: u32) -> Option<Line>;
    /// Sends a message-signalled interrupt to the local APICs.
    fn msi(&self, msi: Msi);
    /// Connects the machine's own interrupt controllers: the PIC pair at LINT0, and who hears of each EOI, on the
    /// processor's thread, before it takes another interrupt. Not called where `Caps::irqchip`.
    fn connect(&self, pic: Arc<dyn ExtInt>, eoi: EoiSink);
    /// The PIC's INTR output changed: vCPU 0 looks at it again.
    fn extint_changed(&self);
    /// No vCPU runs, and the machine's clock stands: clocks that are the engine's own do, too.
    fn rest(&self) {}
    /// They go on from there, before anything else of the machine does.
    fn go_on(&self) {}
    /// What is to be saved of what its vCPUs share, while none runs.
    fn save(&self) -> Result<Record, HvError>;
    fn restore(&self, record: &Record) -> Result<(), HvError>;
}

/// One virtual processor, owned by the thread that runs it.
pub trait Vcpu: Send {
    /// Runs until there is a reason to stop. HLT waits inside.
    fn run(&mut self, bus: &dyn Bus, stop: &Stop) -> Halt;
    fn state(&mut self) -> Result<CpuState, HvError>;
    /// Otherwise the processor is as after a reset: nothing is pending.
    fn set_state(&mut self, state: &CpuState) -> Result<(), HvError>;
    /// What is to be saved of the processor, which does not run: all that it architecturally is, with its local APIC.
    fn save(&mut self) -> Result<Record, HvError>;
    /// Takes what was saved of a processor of the same model; the machine's clock and memory are as they were then.
    fn restore(&mut self, record: &Record) -> Result<(), HvError>;
    /// Counters and state of every level, as text for people.
    fn dump(&mut self) -> String {
        String::new()
    }
    /// Counters by world, if the engine counts and was asked to.
    fn counters(&mut self) -> Option<Vec<crate::WorldCounters>> {
        None
    }
    /// Where others see what runs inside, if the engine can tell.
    fn window(&self) -> Option<crate::Window> {
        None
    }
}

/// Why a vCPU came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// [`Stop`] asked for it.
    Stopped,
    /// Shutdown: triple fault. With the registers.
    Shutdown(String),
    /// HLT with interrupts off, and nothing that could wake it (only when the partition has one vCPU).
    Idle,
    /// The guest did what this engine does not do: what, where, with registers.
    Unsupported(String),
    /// The engine cannot go on, by a fault of its own or of the host: what, where, with registers.
    Failed(String),
}

/// Guest-visible processor state that can be read and set.
#[derive(Clone, Debug)]
pub struct CpuState {
    pub regs: Registers,
    /// The XSAVE area in standard (not compacted) form, 4096 bytes, components 0..=2 used.
    pub xsave: Vec<u8>,
}

impl CpuState {
    /// State after RESET, with x87 and MXCSR at their initial values.
    pub fn reset() -> Self {
        let mut xsave = vec![0; 4096];
        xsave[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        xsave[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        Self { regs: Registers::reset(), xsave }
    }
}

/// A request to stop, shared by everybody who may ask: first come, first kept.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<StopInner>,
    /// Of whom this is a part.
    all: Option<Arc<StopInner>>,
}

#[derive(Default)]
struct StopInner {
    asked: AtomicBool,
    kicks: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl StopInner {
    fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
    fn on_stop(&self, kick: Box<dyn Fn() + Send + Sync>) {
        self.kicks.lock().unwrap_or_else(|e| e.into_inner()).push(kick);
    }
}

impl Stop {
    /// For one vCPU: it stops when all are asked, and when this one is.
    pub fn of_one(&self) -> Self {
        Self { inner: Arc::default(), all: Some(self.inner.clone()) }
    }
    /// Whether it is the same, and not only alike.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
    /// Registers how to wake one vCPU out of guest code or HLT.
    pub fn on_stop(&self, kick: Box<dyn Fn() + Send + Sync>) {
        let Some(all) = &self.all else { return self.inner.on_stop(kick) };
        let kick = Arc::new(kick);
        let same = kick.clone();
        all.on_stop(Box::new(move || same()));
        self.inner.on_stop(Box::new(move || kick()));
    }
    pub fn asked(&self) -> bool {
        self.inner.asked() || self.all.as_ref().is_some_and(|all| all.asked())
    }
    pub fn ask(&self) {
        self.inner.asked.store(true, Ordering::Release);
        for kick in self.inner.kicks.lock().unwrap_or_else(|e| e.into_inner()).iter() {
            kick();
        }
    }
    /// For the next run: whoever asked all is not forgotten.
    pub fn clear(&self) {
        self.inner.asked.store(false, Ordering::Release);
    }
}

/// What an engine could not do.
#[derive(Debug, thiserror::Error)]
pub enum HvError {
    #[error("{what}: {why}")]
    System { what: String, why: std::io::Error },
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn one_vcpu_stops_by_itself_and_with_all() {
        let all = Stop::default();
        let (one, other) = (all.of_one(), all.of_one());
        let kicks = Arc::new(AtomicU32::new(0));
        let counter = kicks.clone();
        one.on_stop(Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        one.ask();
        assert_eq!((one.asked(), other.asked(), all.asked()), (true, false, false));
        one.clear();
        all.ask();
        assert_eq!((one.asked(), other.asked()), (true, true));
        one.clear();
        assert!(one.asked());
        assert_eq!(kicks.load(Ordering::Relaxed), 2);
    }
}
