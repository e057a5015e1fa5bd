//! Port instructions: what reaches the bus, and who may.

// UNSAFETY: lends a bus of the test's own to the processor, as `Cpu::run` does.

use super::*;
use crate::cpu::World;
use ireko_nested::{Control, Exit, Intercept, InterceptSet, IoExit};
use ireko_vmcore::{Bus, Space};
use ireko_x86::bits::rflags::{IOPL, VM};
use ireko_x86::regs::gpr::{RAX, RCX, RDI, RDX, RSI};
use std::sync::Mutex;

/// Remembers writes; reads count up.
#[derive(Default)]
struct Recorder(Mutex<(u8, Written)>);

/// Port and bytes of each write.
type Written = Vec<(u64, Vec<u8>)>;

impl Bus for Recorder {
    fn read(&self, _: Space, _: u64, data: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        data.fill(state.0);
    }
    fn write(&self, _: Space, address: u64, data: &[u8]) {
        self.0.lock().unwrap().1.push((address, data.to_vec()));
    }
}

/// Runs `work` with the processor connected to a recorder, and returns what was written.
fn recorded(cpu: &mut Cpu, work: impl FnOnce(&mut Cpu)) -> Written {
    let bus = Recorder::default();
    #[allow(unsafe_code)]
    // SAFETY: the bus outlives its use: it is disconnected below.
    let connected = unsafe { crate::platform::BusRef::new(&bus) };
    cpu.platform.bus = Some(connected);
    work(cpu);
    cpu.platform.bus = None;
    bus.0.into_inner().unwrap().1
}

/// CPL 3 with a TSS at 5000h whose I/O map starts at its byte 68h.
fn user(limit: u32) -> Cpu {
    let mut cpu = flat32();
    cpu.processor.regs.cpl = 3;
    cpu.processor.regs.tr = Segment { base: 0x5000, limit, attr: 0x8b, selector: 0x28 };
    poke(&mut cpu, 0x5066, &0x68u16.to_le_bytes());
    cpu
}

#[test]
fn out_writes_the_low_bytes_of_the_accumulator() {
    let mut cpu = flat32();
    (cpu.processor.regs.gpr[RAX], cpu.processor.regs.gpr[RDX]) = (0x1234_5678, 0x3f8);
    let written = recorded(&mut cpu, |cpu| {
        step(cpu, &[0xee]).unwrap();
        step(cpu, &[0x66, 0xe7, 0x80]).unwrap();
    });
    assert_eq!(written, [(0x3f8, vec![0x78]), (0x80, vec![0x78, 0x56])]);
}

#[test]
fn in_writes_the_register_by_its_width() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RAX] = u64::MAX;
    recorded(&mut cpu, |cpu| {
        step(cpu, &[0xec]).unwrap();
        assert_eq!(cpu.processor.regs.gpr[RAX], 0xffff_ffff_ffff_ff01);
        step(cpu, &[0xed]).unwrap();
        assert_eq!(cpu.processor.regs.gpr[RAX], 0x0202_0202);
    });
}

#[test]
fn rep_ins_and_outs_go_element_by_element() {
    let mut cpu = flat32();
    (cpu.processor.regs.gpr[RDX], cpu.processor.regs.gpr[RDI], cpu.processor.regs.gpr[RCX]) =
        (0x1f0, 0x3000, 3);
    let written = recorded(&mut cpu, |cpu| {
        assert_eq!(step(cpu, &[0xf3, 0x66, 0x6d]), Ok(Next::Advance));
        (cpu.processor.regs.gpr[RSI], cpu.processor.regs.gpr[RCX]) = (0x3000, 2);
        step(cpu, &[0xf3, 0x6f]).unwrap();
    });
    assert_eq!(peek(&mut cpu, 0x3000, 7), [1, 1, 2, 2, 3, 3, 0]);
    assert_eq!(written, [(0x1f0, vec![1, 1, 2, 2]), (0x1f0, vec![3, 3, 0, 0])]);
}

#[test]
fn ins_to_memory_that_faults_does_not_read_the_port() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::ES].attr = 0xc91;
    let bus = recorded(&mut cpu, |cpu| {
        assert_eq!(step(cpu, &[0x6c]), Err(Fault::gp(0)));
        assert_eq!(cpu.port_read(0, 1) & 0xff, 1, "the first read of the bus");
    });
    assert!(bus.is_empty());
}

#[test]
fn user_code_needs_every_bit_of_the_map_clear() {
    // Four ports from 3FDh are bits 5 to 8.
    for (bits, allowed) in [(0u16, true), (1 << 9 | 1 << 4, true), (1 << 5, false), (1 << 8, false)] {
        let mut cpu = user(0x1000);
        poke(&mut cpu, 0x5068 + 0x3fd / 8, &bits.to_le_bytes());
        cpu.processor.regs.gpr[RDX] = 0x3fd;
        let expected = if allowed { Ok(Next::Advance) } else { Err(Fault::gp(0)) };
        assert_eq!(step(&mut cpu, &[0xed]), expected, "{bits:#x}");
    }
}

#[test]
fn a_map_that_ends_before_the_second_byte_forbids() {
    let mut cpu = user(0x68 + 0x10);
    cpu.processor.regs.gpr[RDX] = 0x10 * 8;
    assert_eq!(step(&mut cpu, &[0xec]), Err(Fault::gp(0)));
    cpu.processor.regs.gpr[RDX] = 0x10 * 8 - 1;
    assert_eq!(step(&mut cpu, &[0xec]), Ok(Next::Advance));
}

#[test]
fn iopl_opens_all_ports_except_in_virtual_8086_mode() {
    let mut cpu = user(0x67);
    cpu.processor.regs.rflags |= IOPL;
    assert_eq!(step(&mut cpu, &[0xec]), Ok(Next::Advance));
    cpu.processor.regs.rflags |= VM;
    assert_eq!(step(&mut cpu, &[0xec]), Err(Fault::gp(0)));
}

#[test]
fn the_hypervisor_hears_of_ports_in_its_map_before_memory_faults() {
    let mut cpu = flat32();
    let intercepts = InterceptSet::default().with(Intercept::Io);
    cpu.processor.world =
        World::Guest(Control { intercepts, io_maps: [0x9000, 0xa000], ..Control::default() });
    poke(&mut cpu, 0x9000 + 0x80 / 8, &[2]);
    cpu.processor.regs.seg[seg::ES].attr = 0xc91;
    cpu.processor.regs.gpr[RDX] = 0x81;
    let exit = IoExit {
        port: 0x81,
        size: 1,
        input: true,
        string: true,
        rep: false,
        address_size: 4,
        segment: seg::ES as u8,
        next_rip: 0x1001,
    };
    assert_eq!(step(&mut cpu, &[0x6c]), Err(Fault::Exit(Exit::Io(exit))));
    cpu.processor.regs.gpr[RDX] = 0x82;
    assert_eq!(step(&mut cpu, &[0x6c]), Err(Fault::gp(0)));
}
