//! The software engine behind vmcore's traits.

use crate::apic::Apics;
use crate::construct::CpuSpec;
use crate::cpu::Cpu;
use crate::cpuid::{Model, ModelSpec};
use crate::data::xsave_area;
use crate::direct::{self, Direct};
use crate::inspect;
use crate::siblings::{self, Siblings};
use crate::tsc::Counter;
use crate::tuning::{Tuning, Unroll};
use crate::wake::Wake;
use crate::xstate::MXCSR;
use ireko_translate::Key;
use ireko_vmcore::{
    Bus, Caps, Changes, CpuModel, CpuState, EoiSink, ExtInt, Halt, HvError, Hypervisor, Line, Msi, Partition,
};
use ireko_vmcore::{PartitionSpec, Record, Stop, Vcpu};
use std::sync::{Arc, Mutex};

/// Makes partitions of software CPUs. Works on every x86-64-v3 Linux host, without privileges.
#[derive(Default)]
pub struct SoftHypervisor;

impl SoftHypervisor {
    pub fn new() -> Self {
        Self
    }
}

/// Debugging and bisection options of the engine, by name.
#[derive(Clone, Debug, Default)]
struct Options {
    plain: bool,
    /// Optimizations that are switched off, to bisect a failure.
    ungrouped: bool,
    routines: bool,
    tuning: Tuning,
    keep_mm: bool,
    direct: bool,
    inspect: inspect::Options,
}

impl Options {
    fn parse(texts: &[String]) -> Result<Self, HvError> {
        let mut options = Self::default();
        for text in texts {
            let (name, value) = text.split_once('=').unwrap_or((text, "on"));
            options.take(name, value).map_err(HvError::Unsupported)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let on = || inspect::options::switch(name, value);
        match name {
            "plain" => self.plain = on()?,
            "groups" => self.ungrouped = !on()?,
            "in-place" => self.routines = !on()?,
            "mm" => self.keep_mm = !on()?,
            "spare-flushes" => self.tuning.spare_flushes = on()?,
            "second-level" => self.tuning.second_level = on()?,
            "jump-cache" => self.tuning.jump_cache = on()?,
            "far-links" => self.tuning.far_links = on()?,
            "syscalls" => self.tuning.syscalls = on()?,
            "xsave" => self.tuning.xsavec &= on()?,
            "strings" => self.tuning.strings = on()?,
            "direct-exceptions" => self.tuning.direct_exceptions = on()?,
            "direct" => self.direct = on()?,
            "unroll" => self.tuning.unroll = Unroll::parse(value)?,
            _ if self.inspect.take(name, value)? => {}
            _ => {
                let known = inspect::Options::NAMES;
                return Err(format!(
                    "the software engine has no option {name:?}; it has plain, groups, in-place, spare-flushes, second-level, jump-cache, far-links, syscalls, xsave, strings, direct-exceptions, unroll, direct, mm, {known}"
                ));
            }
        }
        Ok(())
    }
}

impl Hypervisor for SoftHypervisor {
    fn caps(&self) -> Caps {
        Caps { engine: "soft", nested: true, irqchip: false, max_vcpus: siblings::MOST, management: true }
    }

    fn wants_file(&self, options: &[String]) -> bool {
        Options::parse(options).is_ok_and(|options| options.direct)
    }

    fn create(&self, spec: &PartitionSpec) -> Result<Arc<dyn Partition>, HvError> {
        let options = Options::parse(&spec.options)?;
        crate::cpuid::host::supported().map_err(HvError::Unsupported)?;
        let most = siblings::MOST;
        if !(1..=most).contains(&spec.vcpus) {
            return Err(HvError::Unsupported(format!(
                "the software engine runs 1 to {most} vCPUs a VM, not {}; ask for as many",
                spec.vcpus
            )));
        }
        if spec.vcpus > 1 && options.inspect.lockstep.is_some() {
            return Err(HvError::Unsupported(
                "option lockstep is for machines with 1 vCPU, since others write what it compares; leave it out, or ask for one".into(),
            ));
        }
        if spec.vcpus > 1 && options.direct {
            return Err(HvError::Unsupported(
                "option direct=on is for machines with 1 vCPU; leave it out, or ask for one".into(),
            ));
        }
        spec.clock.follow(crate::host::rdtsc);
        let counter = Counter::measure();
        let apics = Apics::new(spec.vcpus);
        let (named, changes) = match &spec.cpu {
            CpuModel::Named(named) => (Some(*named), Changes::default()),
            CpuModel::Changed(named, changes) => (*named, changes.clone()),
            CpuModel::Amd | CpuModel::Host => (None, Changes::default()),
        };
        let model =
            ModelSpec { named, nested: spec.nested, vcpus: spec.vcpus, tsc_khz: counter.khz(), changes };
        let model = Model::here(&model).map_err(HvError::Unsupported)?;
        let wakes: Vec<Arc<Wake>> = (0..spec.vcpus).map(|_| Arc::default()).collect();
        let siblings = Siblings::new(wakes.iter().cloned());
        let model = Arc::new(model);
        let vcpus = (0..).zip(wakes).map(|(id, wake)| {
            let cpu = CpuSpec {
                id,
                memory: spec.memory.clone(),
                clock: spec.clock.clone(),
                timers: spec.timers.clone(),
                apics: apics.clone(),
                model: model.clone(),
                counter,
                wake,
                siblings: siblings.clone(),
            };
            let cpu = Box::new(Self::processor(&cpu, &options, spec)?);
            Ok(Mutex::new(Some(Box::new(SoftVcpu { cpu, runs: false, registered: None }))))
        });
        Ok(Arc::new(SoftPartition { vcpus: vcpus.collect::<Result<_, HvError>>()?, apics }))
    }
}

impl SoftHypervisor {
    fn processor(cpu: &CpuSpec, options: &Options, spec: &PartitionSpec) -> Result<Cpu, HvError> {
        let id = cpu.id;
        let mut cpu = Cpu::new(cpu)
            .map_err(|why| HvError::System { what: "memory for the software CPU".into(), why })?;
        cpu.code.always = Key::of(&[
            (options.plain, Key::PLAIN),
            (options.ungrouped, Key::UNGROUPED),
            (options.routines, Key::ROUTINES | Key::RDTSC_ROUTINE | Key::PUSHF_ROUTINE),
        ]);
        cpu.platform.tuning = options.tuning;
        cpu.mmu.one_of_many = spec.vcpus > 1;
        if options.keep_mm {
            cpu.keep_mm();
        }
        cpu.instruments.inspect =
            inspect::Inspect::new(&options.inspect.of_processor(id)).map_err(HvError::Unsupported)?;
        // In lockstep a block is what the plain path does of it: one turn of a loop.
        let lockstep = cpu.instruments.inspect.as_ref().is_some_and(|inspect| inspect.lockstep.is_some());
        if options.direct {
            cpu.direct = Some(direct_execution(options, spec)?);
        }
        cpu.code.unrolls = if lockstep { Unroll::None } else { options.tuning.unroll };
        Ok(cpu)
    }
}

/// The processes of direct execution.
fn direct_execution(options: &Options, spec: &PartitionSpec) -> Result<Direct, HvError> {
    if options.plain || options.routines || options.inspect.follows() {
        return Err(HvError::Unsupported(
            "option direct=on cannot be together with plain, in-place=off, trace or lockstep, which see each instruction; leave one of them out".into(),
        ));
    }
    let file = spec.memory.file().ok_or_else(|| {
        HvError::Unsupported(
            "option direct=on wants guest memory in a file, and this machine has none".into(),
        )
    })?;
    Direct::new(file, direct::PROCESSES)
        .map_err(|why| HvError::System { what: "processes for programs (option direct=on)".into(), why })
}

struct SoftPartition {
    apics: Arc<Apics>,
    /// Each until it is taken.
    vcpus: Vec<Mutex<Option<Box<SoftVcpu>>>>,
}

impl Partition for SoftPartition {
    fn vcpu(&self, id: u32) -> Result<Box<dyn Vcpu>, HvError> {
        self.vcpus
            .get(id as usize)
            .and_then(|vcpu| vcpu.lock().unwrap_or_else(|e| e.into_inner()).take())
            .map(|vcpu| vcpu as Box<dyn Vcpu>)
            .ok_or_else(|| HvError::Unsupported(format!("vCPU {id} is not there")))
    }
    fn line(&self, _: u32) -> Option<Line> {
        None
    }
    fn msi(&self, msi: Msi) {
        self.apics.msi(msi);
    }
    fn connect(&self, pic: Arc<dyn ExtInt>, eoi: EoiSink) {
        self.apics.connect(pic, eoi);
    }
    fn extint_changed(&self) {
        self.apics.extint_changed();
    }
    fn save(&self) -> Result<Record, HvError> {
        Ok(Record::of(&self.apics.save()))
    }
    fn restore(&self, record: &Record) -> Result<(), HvError> {
        Ok(self.apics.restore(record.get()?)?)
    }
}

struct SoftVcpu {
    cpu: Box<Cpu>,
    /// On the thread that it runs on.
    runs: bool,
    /// Who wakes it when it is asked.
    registered: Option<Stop>,
}

impl Vcpu for SoftVcpu {
    fn run(&mut self, bus: &dyn Bus, stop: &Stop) -> Halt {
        self.runs = true;
        self.cpu.follow_clock();
        if !self.registered.as_ref().is_some_and(|own| own.is(stop)) {
            let wake = self.cpu.platform.wake.clone();
            stop.on_stop(Box::new(move || wake.wake()));
            self.registered = Some(stop.clone());
        }
        self.cpu.run_guarded(bus, stop)
    }
    fn state(&mut self) -> Result<CpuState, HvError> {
        self.cpu.fpu_normalise();
        let mut xsave = self.cpu.processor.fpu.0.to_vec();
        xsave[MXCSR..MXCSR + 4].copy_from_slice(&xsave_area::mxcsr_value(&self.cpu).to_le_bytes());
        Ok(CpuState { regs: self.cpu.processor.regs, xsave })
    }
    fn set_state(&mut self, state: &CpuState) -> Result<(), HvError> {
        self.cpu.processor.regs = state.regs;
        // An interrupt from before a sleep would otherwise come to firmware, which ends none: its class is blocked for good then.
        self.cpu.apic().init();
        let size = state.xsave.len().min(self.cpu.processor.fpu.0.len());
        self.cpu.processor.fpu.0[..size].copy_from_slice(&state.xsave[..size]);
        self.cpu.processor.fpu.0[512] |= 3;
        let mxcsr = xsave_area::word(&self.cpu.processor.fpu.0, MXCSR);
        xsave_area::set_mxcsr(&mut self.cpu, mxcsr);
        self.cpu.processor.fpu.0[ireko_translate::thunk::IN_MEMORY] = 1;
        self.cpu.take_x87_pointers();
        self.cpu.forget_run();
        self.cpu.processor.parked = self.cpu.processor.apic.id() != 0;
        self.cpu.see_smram();
        self.cpu.flush_asid(ireko_nested::Flush::All);
        self.cpu.flush_tlb(false);
        Ok(())
    }
    fn save(&mut self) -> Result<Record, HvError> {
        // Before its first run the thread's time is another's.
        let running = if self.runs { self.cpu.platform.counter.running() } else { 0 };
        Ok(Record::of(&self.cpu.save(running)))
    }
    fn restore(&mut self, record: &Record) -> Result<(), HvError> {
        self.runs = false;
        Ok(self.cpu.restore(record.get()?)?)
    }
    fn dump(&mut self) -> String {
        crate::signal::guard(|| self.cpu.describe()).unwrap_or_else(|fault| fault.to_string())
    }
    fn counters(&mut self) -> Option<Vec<ireko_vmcore::WorldCounters>> {
        self.cpu.inspected_counters()
    }
    fn window(&self) -> Option<ireko_vmcore::Window> {
        Some(self.cpu.instruments.ledger.window.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn each_option_that_is_named_to_who_gives_a_wrong_one_is_there() {
        let told = Options::default().take("none", "on").unwrap_err();
        let known = told.split("it has ").nth(1).expect("a list").replace(" and ", ", ");
        for name in known.split(", ").map(|name| name.split('=').next().unwrap_or_default()) {
            let taken = Options::default().take(name, "on");
            assert!(taken.is_ok() || !taken.unwrap_err().contains("has no option"), "{name}");
        }
    }
}
