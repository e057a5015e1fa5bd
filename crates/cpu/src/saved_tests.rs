//! A vCPU that was saved, in another.

use crate::Cpu;
use crate::construct::CpuSpec;
use crate::processor::saved::SavedProcessor;
use crate::processor::{MonitoredLine, MwaitWait, OutsideSmm, World};
use ireko_nested::control::Pause;
use ireko_nested::{Control, Event, EventKind, Intercept, InterceptSet, Shadow, Stage2, Stage2Tables};
use ireko_vmcore::saved::{Record, mutated};

fn fresh(like: &Cpu) -> Cpu {
    let spec =
        CpuSpec { model: like.processor.model.clone(), ..CpuSpec::uniprocessor(&[(0, 0x1_0000)]).unwrap() };
    Cpu::new(&spec).unwrap()
}

/// Real-mode code that counts, stores and computes with x87 and SSE; runs so many instructions.
fn run(cpu: &mut Cpu, instructions: usize) {
    // inc ax; push ax; fld1; movaps xmm1, xmm2; add bx, ax; nop
    cpu.write_physical(0x1000, &[0x40, 0x50, 0xd9, 0xe8, 0x0f, 0x28, 0xca, 0x01, 0xc3, 0x90]);
    for _ in 0..instructions {
        cpu.run_alone(0).unwrap();
    }
    cpu.fpu_normalise();
}

fn begun(instructions: usize) -> Cpu {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, 0x1_0000)]).unwrap()).unwrap();
    cpu.processor.regs.seg[ireko_x86::regs::seg::CS].base = 0;
    (cpu.processor.regs.rip, cpu.processor.regs.gpr[4]) = (0x1000, 0x8000);
    cpu.processor.regs.cr4 = ireko_x86::bits::cr4::OSFXSR;
    cpu.processor.fpu.0[160 + 32..][..16].fill(0x5a);
    run(&mut cpu, instructions);
    cpu
}

/// Through bytes, with the clock standing.
fn carry(cpu: &mut Cpu, to: &mut Cpu) -> Vec<u8> {
    [&*cpu, &*to].iter().for_each(|cpu| cpu.platform.clock.stop());
    let bytes = Record::of(&cpu.save(0)).to_bytes();
    let saved: SavedProcessor = Record::from_bytes(&bytes).unwrap().get().unwrap();
    to.restore(saved).unwrap();
    assert!(Record::of(&to.save(0)).to_bytes() == bytes);
    bytes
}

/// But for the instruction that a routine did last.
fn same(one: &Cpu, other: &Cpu) -> bool {
    let mut plain = one.processor.clone();
    plain.next_rip = other.processor.next_rip;
    // MXCSR_MASK is the host's, and not there before it has run.
    plain.fpu.0[28..32].copy_from_slice(&other.processor.fpu.0[28..32]);
    plain == other.processor
}

#[test]
fn a_saved_processor_goes_on_in_another() {
    let (mut whole, mut half) = (begun(5), begun(3));
    let mut other = fresh(&half);
    carry(&mut half, &mut other);
    run(&mut other, 2);
    whole.processor.model = other.processor.model.clone();
    assert!(same(&other, &whole));
}

/// One that is in the middle of everything.
fn busy() -> Cpu {
    let mut cpu = begun(3);
    let line = |physical| MonitoredLine { physical, bytes: [7; 64] };
    let event = Event { kind: EventKind::SoftwareInterrupt, vector: 0x80, error: None };
    let control = Control {
        intercepts: InterceptSet::default().with(Intercept::Hlt),
        exceptions: 5,
        asid: 3,
        stage2: Some(Stage2 { root: 0x3000, tables: Stage2Tables::Own { cr4: 0x20, efer: 0x500 } }),
        tsc_offset: 99,
        inject: Some(event),
        entry_shadow: Shadow::Sti,
        pause: Pause { left: 2, last: 9 },
        preempt_at: Some(u64::MAX),
        ..Control::default()
    };
    let processor = &mut cpu.processor;
    processor.world = World::Guest(control.clone());
    processor.smm = Some(Box::new(OutsideSmm {
        world: World::Guest(Control { asid: 4, ..control }),
        gif: false,
        nmi_blocked: true,
        shadow: Shadow::MovSs,
    }));
    (processor.shadow, processor.nmi_blocked, processor.gif) = (Shadow::Sti, true, false);
    processor.halted = true;
    processor.wait = Some(MwaitWait { line: line(0x1240), masked: true });
    processor.monitored = Some(line(0x4c0));
    processor.in_flight = Some(event);
    processor.msrs.tsc_adjust = 12345;
    processor.msrs.counters.set_control(2, 0x43_0076, 0).unwrap();
    processor.msrs.counters.set(2, 777, 0).unwrap();
    processor.virtualization.vmcb = 0x9000;
    (processor.virtualization.host.rip, processor.virtualization.host.rflags) = (0x1234, 2);
    processor.apic.svr = 0x1ff;
    processor.apic.irr.insert(0x31);
    processor.apic.timer.initial = 1000;
    processor.apic.timer.zero_at = Some(1 << 50);
    (processor.touched, processor.held_traps) = (1, 2);
    cpu
}

#[test]
fn all_that_a_processor_is_is_saved() {
    let mut cpu = busy();
    let mut other = fresh(&cpu);
    carry(&mut cpu, &mut other);
    assert!(same(&other, &cpu));
}

/// The counter of the machine stands with its clock, and goes on in the other from there.
#[test]
fn the_counter_goes_on_from_where_it_stood() {
    let mut cpu = begun(1);
    let mut other = fresh(&cpu);
    [&cpu, &other].iter().for_each(|cpu| cpu.platform.clock.follow(crate::host::rdtsc));
    carry(&mut cpu, &mut other);
    let stood = other.save(0).counter;
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(other.save(0).counter, stood);
    let before = crate::host::rdtsc();
    other.platform.clock.go();
    other.follow_clock();
    let passed = other.platform.counter.read().wrapping_sub(stood);
    assert!(passed <= crate::host::rdtsc() - before);
}

#[test]
fn no_saved_processor_harms_anybody() {
    let mut seed = 1u64;
    let mut below = move |limit: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 11) % limit.max(1)
    };
    let mut cpu = begun(3);
    cpu.platform.clock.stop();
    let plain = Record::of(&cpu.save(0));
    let mut cpu = busy();
    cpu.platform.clock.stop();
    let busy = Record::of(&cpu.save(0));
    let mut taken = 0;
    for round in 0..1500 {
        let mut record = if round % 2 == 0 { plain.clone() } else { busy.clone() };
        for _ in 0..=below(3) {
            record = mutated(&record, &mut below).unwrap_or(record);
        }
        let Ok(saved) = record.get::<SavedProcessor>() else { continue };
        if cpu.restore(saved).is_ok() {
            taken += 1;
            for _ in 0..4 {
                if crate::guard(|| cpu.run_alone(0)).is_err() {
                    break;
                }
            }
        }
    }
    assert!(taken > 300, "{taken} were taken");
}
