//! Breakpoints and single step through the whole processor, in real mode.

mod end;

use end::End;
use ireko_cpu::{Cpu, construct::CpuSpec};
use ireko_vmcore::Stop;
use ireko_x86::regs::seg;

const CODE: u64 = 0x1000;
const HANDLER: u64 = 0x2000;
const STACK: u64 = 0x8000;

/// Runs `code` until #DB, whose handler ends the run, or until the code writes to a port itself. Gives the processor
/// and the IP that #DB pushed (0: there was none).
fn run(code: &[u8], prepare: impl FnOnce(&mut Cpu)) -> (Cpu, u16) {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, 0x10000)]).unwrap()).unwrap();
    cpu.processor.regs.seg[seg::CS].base = 0;
    cpu.processor.regs.seg[seg::CS].selector = 0;
    cpu.processor.regs.rip = CODE;
    cpu.processor.regs.gpr[4] = STACK;
    cpu.write_physical(4, &(HANDLER as u32).to_le_bytes());
    cpu.write_physical(HANDLER, &[0xe6, 0xf4, 0xf4]); // out 0f4h, al; hlt
    cpu.write_physical(CODE, code);
    cpu.write_physical(CODE + code.len() as u64, &[0xe6, 0xf4, 0xf4]);
    prepare(&mut cpu);
    let stop = Stop::default();
    cpu.run(&End(stop.clone()), &stop);
    let mut pushed = [0; 2];
    if cpu.processor.regs.gpr[4] & 0xffff != STACK {
        cpu.read_physical(cpu.processor.regs.gpr[4] & 0xffff, &mut pushed);
    }
    (cpu, u16::from_le_bytes(pushed))
}

/// mov byte [0x500], 1; nop
const STORE: [u8; 6] = [0xc6, 0x06, 0x00, 0x05, 0x01, 0x90];
/// mov al, [0x500]; nop
const LOAD: [u8; 4] = [0xa0, 0x00, 0x05, 0x90];

/// Breakpoint 0 at 0x500, one byte long, on what R/W says.
fn watch(kind: u64) -> impl FnOnce(&mut Cpu) {
    move |cpu| {
        cpu.processor.regs.dr[0] = 0x500;
        cpu.processor.regs.dr7 = 0x401 | kind << 16;
    }
}

#[test]
fn a_write_meets_its_breakpoint_after_it_is_done() {
    let (mut cpu, pushed) = run(&STORE, watch(1));
    let mut byte = [0];
    cpu.read_physical(0x500, &mut byte);
    assert_eq!((pushed, cpu.processor.regs.dr6 & 0xf, byte[0]), (0x1005, 1, 1));
}

#[test]
fn a_read_meets_a_breakpoint_on_reads_and_writes() {
    let (cpu, pushed) = run(&LOAD, watch(3));
    assert_eq!((pushed, cpu.processor.regs.dr6 & 0xf), (0x1003, 1));
}

#[test]
fn a_read_does_not_meet_a_breakpoint_on_writes() {
    let (_, pushed) = run(&LOAD, watch(1));
    assert_eq!(pushed, 0);
}

#[test]
fn a_neighbour_byte_does_not_meet_it() {
    let (_, pushed) = run(&[0xc6, 0x06, 0x01, 0x05, 0x01], watch(1));
    assert_eq!(pushed, 0);
}

#[test]
fn a_string_store_meets_a_breakpoint() {
    // mov di, 0x500; stosb; nop
    let (cpu, pushed) = run(&[0xbf, 0x00, 0x05, 0xaa, 0x90], watch(1));
    assert_eq!((pushed, cpu.processor.regs.dr6 & 0xf), (0x1004, 1));
}

#[test]
fn an_instruction_breakpoint_comes_before_the_instruction() {
    let (cpu, pushed) = run(&[0x90, 0x40, 0x90], |cpu| {
        cpu.processor.regs.dr[0] = CODE + 1;
        cpu.processor.regs.dr7 = 0x401;
    });
    assert_eq!((pushed, cpu.processor.regs.dr6 & 0xf, cpu.processor.regs.gpr[0] & 0xffff), (0x1001, 1, 0));
}

#[test]
fn a_single_step_traps_after_a_register_instruction() {
    let (cpu, pushed) = run(&[0x40, 0x40, 0x40], |cpu| cpu.processor.regs.rflags |= 1 << 8);
    assert_eq!(
        (pushed, cpu.processor.regs.dr6 & 0x4000, cpu.processor.regs.gpr[0] & 0xffff),
        (0x1001, 0x4000, 1)
    );
}
