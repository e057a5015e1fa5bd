//! How a processor is made.

use crate::Cpu;
use crate::apic::Wires;
use crate::inspect::Counters;
use crate::inspect::Instruments;
use crate::inspect::nesting::Ledger;
use crate::mmu::Mmu;
use crate::pending::Handoff;
use crate::platform::Platform;
use crate::processor::Processor;
use crate::siblings::{Seat, Siblings};
use crate::tsc::Counter;
use crate::tuning::Tuning;
use crate::wake::Wake;
use crate::xstate::Vectors;
use ireko_translate::state;
use ireko_vmcore::{Clock, Memory, Timers};
use std::sync::Arc;

/// What a processor is made from.
pub struct CpuSpec {
    pub id: u32,
    pub memory: Arc<Memory>,
    pub clock: Clock,
    pub timers: Timers,
    pub apics: Arc<crate::apic::Apics>,
    pub model: Arc<crate::cpuid::Model>,
    pub counter: Counter,
    /// How this one is woken, and its place among the machine's processors.
    pub wake: Arc<Wake>,
    pub siblings: Arc<Siblings>,
}

impl CpuSpec {
    /// A single processor with these memory ranges, for tests.
    pub fn uniprocessor(ranges: &[(u64, u64)]) -> std::io::Result<Self> {
        let clock = Clock::new();
        let counter = Counter::measure();
        let spec = crate::cpuid::ModelSpec {
            named: None,
            nested: true,
            vcpus: 1,
            tsc_khz: counter.khz(),
            changes: ireko_vmcore::Changes::default(),
        };
        let wake: Arc<Wake> = Arc::default();
        Ok(Self {
            siblings: Siblings::new([wake.clone()]),
            wake,
            id: 0,
            memory: Arc::new(Memory::new(ranges)?),
            clock: clock.clone(),
            timers: Timers::new(clock),
            apics: crate::apic::Apics::new(1),
            model: Arc::new(crate::cpuid::Model::amd(&spec)),
            counter,
        })
    }
}

impl Cpu {
    /// A processor after RESET.
    pub fn new(spec: &CpuSpec) -> std::io::Result<Self> {
        let wake = spec.wake.clone();
        let woken = wake.clone();
        spec.apics.on_wake(spec.id, Arc::new(move || woken.wake()));
        let woken = wake.clone();
        spec.memory.watch().on_write(Box::new(move || woken.wake()));
        let woken = wake.clone();
        let window = ireko_vmcore::Window::new(move || woken.wake());
        let woken = wake.clone();
        let alarm = spec.timers.timer(move || woken.wake());
        let mut cpu = Self {
            processor: Processor::new(spec.id, spec.model.clone()),
            mmu: Mmu::new(spec.memory.clone())?,
            code: crate::code::Code::new(
                spec.memory.size(),
                spec.model.vcpus(),
                crate::isa::ENV,
                crate::isa::lacking(&spec.model),
            )?,
            platform: Platform {
                bus: None,
                clock: spec.clock.clone(),
                counter: spec.counter,
                apic: Wires::new(&spec.apics, spec.id, spec.clock.clone(), &spec.timers),
                wake,
                alarm,
                seat: Seat::new(spec.siblings.clone(), spec.id),
                pauses: 0,
                tuning: Tuning::default(),
                armed: std::ptr::null_mut(),
            },
            handoff: Handoff::default(),
            vectors: Vectors {
                host_xcr0: crate::host::xcr0(),
                held: state::BASE | crate::host::xcr0() & spec.model.xcr0() & state::AVX512,
            },
            instruments: Instruments {
                inspect: None,
                ledger: Ledger::new(window),
                counters: Counters::default(),
            },
            direct: None,
        };
        cpu.fpu_reset();
        if !crate::cpuid::host::Host::native().has(ireko_x86::cpuid::MISALIGNED_SSE) {
            cpu.keep_mm();
        }
        Ok(cpu)
    }

    /// The host has no MXCSR.MM, or it is not to be used: it is kept here. Before the first code is translated.
    pub(crate) fn keep_mm(&mut self) {
        self.processor.mm = Some(false);
        self.code.set_routines(crate::isa::has_routine_or_mxcsr);
    }
}
