//! Real mode through the whole processor: stacks and code of 64 KiB that wrap, segments with bases, what reaches beyond them,
//! and code that writes code.

mod end;

use end::End;
use ireko_cpu::{Cpu, construct::CpuSpec};
use ireko_vmcore::Stop;
use ireko_x86::Segment;
use ireko_x86::bits::rflags;
use ireko_x86::regs::{gpr, seg};

/// Where code begins, in segment 0.
const CODE: u64 = 0x1000;
/// The data segment begins here, the extra segment and the stack's behind it.
const DATA: u64 = 0x2_0000;
const EXTRA: u64 = 0x3_0000;
const STACK: u64 = 0x4_0000;
/// The handler of vector 0; the others follow every 16 bytes.
const HANDLERS: u64 = 0x4000;

fn real(base: u64, attr: u32) -> Segment {
    Segment { base, limit: 0xffff, attr: attr as _, selector: (base >> 4) as u16 }
}

fn machine(code: &[u8]) -> Cpu {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, 0x8_0000)]).unwrap()).unwrap();
    for vector in 0..32 {
        let handler = HANDLERS + 16 * vector;
        cpu.write_physical(4 * vector, &(handler as u32).to_le_bytes());
        cpu.write_physical(handler, &[0xe6, 0xf4, 0xf4]); // out 0f4h, al; hlt
    }
    cpu.write_physical(CODE, code);
    cpu.write_physical(CODE + code.len() as u64, &[0xe6, 0xf4, 0xf4]);
    cpu.processor.regs.seg[seg::CS] = real(0, 0x9b);
    for (index, base) in [(seg::DS, DATA), (seg::ES, EXTRA), (seg::SS, STACK), (seg::FS, 0), (seg::GS, 0)] {
        cpu.processor.regs.seg[index] = real(base, 0x93);
    }
    (cpu.processor.regs.rip, cpu.processor.regs.gpr[gpr::RSP]) = (CODE, 0xabcd_8000);
    cpu.flush_tlb(false);
    cpu
}

fn go(mut cpu: Cpu) -> Cpu {
    let stop = Stop::default();
    cpu.run(&End(stop.clone()), &stop);
    cpu
}

fn run(code: &[u8]) -> Cpu {
    go(machine(code))
}

/// The vector that the run ended with, and the address that its handler was given.
fn fault(cpu: &mut Cpu) -> (u64, u16) {
    let vector = cpu.processor.regs.rip.wrapping_sub(HANDLERS) / 16;
    let at = STACK + (cpu.processor.regs.gpr[gpr::RSP] & 0xffff);
    (vector, peek(cpu, at) as u16)
}

fn peek(cpu: &mut Cpu, physical: u64) -> u32 {
    let mut bytes = [0; 4];
    let in_page = (0x1000 - physical as usize % 0x1000).min(4);
    cpu.read_physical(physical, &mut bytes[..in_page]);
    u32::from_le_bytes(bytes)
}

const GP: u64 = 13;
const SS: u64 = 12;

#[test]
fn a_push_goes_below_the_stack_pointer_and_keeps_its_upper_half() {
    let mut cpu = run(&[0xb8, 0x34, 0x12, 0x50]); // mov ax,1234h; push ax
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP], 0xabcd_7ffe);
    assert_eq!(peek(&mut cpu, STACK + 0x7ffe) as u16, 0x1234);
}

#[test]
fn a_push_at_zero_wraps_to_the_end_of_the_stack() {
    let mut cpu = run(&[0xbc, 0, 0, 0x6a, 0xfe]); // mov sp,0; push -2
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP], 0xabcd_fffe);
    assert_eq!(peek(&mut cpu, STACK + 0xfffe) as u16, 0xfffe);
}

#[test]
fn a_pop_across_the_end_of_the_stack_is_a_stack_fault_and_moves_nothing() {
    let mut cpu = run(&[0xbc, 0xff, 0xff, 0x58]); // mov sp,0ffffh; pop ax
    assert_eq!(fault(&mut cpu), (SS, CODE as u16 + 3));
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP] as u16, 0xffff - 6);
}

#[test]
fn a_dword_is_pushed_and_popped_by_an_operand_prefix() {
    // push dword 12345678h; pop ebx
    let cpu = run(&[0x66, 0x68, 0x78, 0x56, 0x34, 0x12, 0x66, 0x5b]);
    assert_eq!(
        (cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.gpr[gpr::RSP]),
        (0x1234_5678, 0xabcd_8000)
    );
}

#[test]
fn a_segment_register_is_pushed_and_popped_as_its_selector() {
    let cpu = run(&[0x1e, 0x58]); // push ds; pop ax
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX] as u16, (DATA >> 4) as u16);
}

#[test]
fn a_call_pushes_a_word_and_a_return_goes_back() {
    // call +3; mov bl,7; jmp over; mov cl,5; ret; over:
    let cpu = run(&[0xe8, 4, 0, 0xb3, 7, 0xeb, 3, 0xb1, 5, 0xc3]);
    let (rbx, rcx) = (cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.gpr[gpr::RCX]);
    assert_eq!((rbx, rcx, cpu.processor.regs.gpr[gpr::RSP]), (7, 5, 0xabcd_8000));
}

#[test]
fn a_return_to_beyond_64_kib_faults_where_it_is() {
    // push dword 11000h; ret (32-bit operand)
    let mut cpu = run(&[0x66, 0x68, 0, 0x10, 1, 0, 0x66, 0xc3]);
    assert_eq!(fault(&mut cpu), (GP, CODE as u16 + 6));
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP] as u16, 0x8000 - 4 - 6);
}

#[test]
fn a_call_to_beyond_64_kib_pushes_nothing() {
    // mov ebx,12345678h; call ebx
    let mut cpu = run(&[0x66, 0xbb, 0x78, 0x56, 0x34, 0x12, 0x66, 0xff, 0xd3]);
    assert_eq!(fault(&mut cpu), (GP, CODE as u16 + 6));
    assert_eq!(cpu.processor.regs.gpr[gpr::RSP] as u16, 0x8000 - 6);
}

#[test]
fn a_jump_beyond_a_smaller_limit_faults_where_it_is() {
    let mut cpu = machine(&[0xe9, 0xfd, 0x6f]); // jmp 8000h
    cpu.processor.regs.seg[seg::CS].limit = 0x7fff;
    let mut cpu = go(cpu);
    assert_eq!(fault(&mut cpu), (GP, CODE as u16));
}

#[test]
fn an_indirect_jump_reads_a_word() {
    let mut cpu = machine(&[0xbb, 0x10, 0, 0xff, 0x27]); // mov bx,10h; jmp [bx]
    cpu.write_physical(DATA + 0x10, &[0, 0x50, 0xff, 0xff]);
    cpu.write_physical(0x5000, &[0xb0, 9, 0xe6, 0xf4, 0xf4]); // mov al,9; out 0f4h,al; hlt
    assert_eq!(go(cpu).processor.regs.gpr[gpr::RAX] as u8, 9);
}

#[test]
fn the_same_offset_in_another_code_segment_is_other_code() {
    let mut cpu = machine(&[0xea, 0, 0x50, 0, 1]); // jmp far 100h:5000h
    // inc bx; cmp bx,3; je over; jmp far 200h:5000h; over: out 0f4h,al; hlt
    cpu.write_physical(0x6000, &[0x43, 0x83, 0xfb, 3, 0x74, 5, 0xea, 0, 0x50, 0, 2, 0xe6, 0xf4, 0xf4]);
    cpu.write_physical(0x7000, &[0x83, 0xc3, 0x10, 0xe6, 0xf4, 0xf4]); // add bx,10h; out 0f4h,al; hlt
    assert_eq!(go(cpu).processor.regs.gpr[gpr::RBX], 0x11);
}

#[test]
fn an_operand_across_64_kib_faults() {
    let mut cpu = run(&[0xa3, 0xff, 0xff]); // mov [0ffffh],ax
    assert_eq!(fault(&mut cpu), (GP, CODE as u16));
}

#[test]
fn a_wide_address_does_not_reach_beyond_64_kib() {
    // mov ebx,10000h; mov al,[ebx]
    let mut cpu = run(&[0x66, 0xbb, 0, 0, 1, 0, 0x67, 0x8a, 0x03]);
    assert_eq!(fault(&mut cpu), (GP, CODE as u16 + 6));
}

#[test]
fn an_address_of_16_bits_wraps() {
    let mut cpu = machine(&[0xbb, 0xff, 0xff, 0x8a, 0x47, 2]); // mov bx,0ffffh; mov al,[bx+2]
    cpu.write_physical(DATA + 1, &[0x5a]);
    assert_eq!(go(cpu).processor.regs.gpr[gpr::RAX] as u8, 0x5a);
}

/// With rSI and rDI at 10h and 20h, their upper halves set.
fn string(code: &[u8]) -> Cpu {
    let mut cpu = machine(code);
    (cpu.processor.regs.gpr[gpr::RSI], cpu.processor.regs.gpr[gpr::RDI]) = (0x7_0010, 0x9_0020);
    cpu.write_physical(DATA + 0x10, &[0x11, 0x22, 0x33, 0x44]);
    cpu.write_physical(EXTRA + 0x20, &[0x11, 0x55, 0x66, 0x77]);
    go(cpu)
}

fn pointers(cpu: &Cpu) -> (u64, u64) {
    (cpu.processor.regs.gpr[gpr::RSI], cpu.processor.regs.gpr[gpr::RDI])
}

#[test]
fn a_string_move_is_from_the_data_to_the_extra_segment() {
    let mut cpu = string(&[0xa5]); // movsw
    assert_eq!(pointers(&cpu), (0x7_0012, 0x9_0022));
    assert_eq!(peek(&mut cpu, EXTRA + 0x20), 0x7766_2211);
}

#[test]
fn strings_go_down_with_the_direction_flag() {
    let mut cpu = string(&[0xfd, 0x66, 0xa5]); // std; movsd
    assert_eq!(pointers(&cpu), (0x7_000c, 0x9_001c));
    assert_eq!(peek(&mut cpu, EXTRA + 0x20), 0x4433_2211);
}

#[test]
fn a_prefix_moves_the_source_segment_only() {
    let mut cpu = string(&[0x26, 0xa4]); // es movsb
    assert_eq!(peek(&mut cpu, EXTRA + 0x20) as u8, 0);
}

#[test]
fn a_comparison_of_equal_elements_sets_the_zero_flag() {
    let cpu = string(&[0xa6]); // cmpsb
    assert_eq!(cpu.processor.regs.rflags & rflags::ZF, rflags::ZF);
    assert_eq!(pointers(&cpu), (0x7_0011, 0x9_0021));
}

#[test]
fn a_comparison_takes_the_destination_from_the_source() {
    let cpu = string(&[0xa7]); // cmpsw: 2211h - 5511h
    assert_eq!(cpu.processor.regs.rflags & (rflags::ZF | rflags::CF), rflags::CF);
}

#[test]
fn a_scan_takes_the_element_from_the_accumulator() {
    let cpu = string(&[0xb0, 0x12, 0xae]); // mov al,12h; scasb: 12h - 11h
    assert_eq!(cpu.processor.regs.rflags & (rflags::ZF | rflags::CF), 0);
    assert_eq!(pointers(&cpu), (0x7_0010, 0x9_0021));
}

#[test]
fn a_byte_is_loaded_into_the_low_accumulator_alone() {
    let cpu = string(&[0xb8, 0xff, 0xff, 0xac]); // mov ax,-1; lodsb
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX] as u16, 0xff11);
}

#[test]
fn a_stored_element_that_faults_moves_nothing() {
    let mut cpu = run(&[0xbf, 0xff, 0xff, 0xab]); // mov di,0ffffh; stosw
    assert_eq!(fault(&mut cpu), (GP, CODE as u16 + 3));
    assert_eq!(cpu.processor.regs.gpr[gpr::RDI], 0xffff);
}

#[test]
fn a_loop_counts_cx_and_keeps_the_upper_half() {
    // mov ecx,20002h; again: inc bx; loop again
    let cpu = run(&[0x66, 0xb9, 2, 0, 2, 0, 0x43, 0xe2, 0xfd]);
    assert_eq!((cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.gpr[gpr::RCX]), (2, 0x2_0000));
}

#[test]
fn a_count_of_zero_is_looked_for_in_cx() {
    // mov ecx,10000h; jcxz +1; inc bx
    let cpu = run(&[0x66, 0xb9, 0, 0, 1, 0, 0xe3, 1, 0x43]);
    assert_eq!(cpu.processor.regs.gpr[gpr::RBX], 0);
}

#[test]
fn code_that_a_string_store_changes_runs_changed() {
    // mov di,100ah; push cs; pop es; mov al,43h (inc bx); stosb; nop; inc cx
    let cpu = run(&[0xbf, 0x0a, 0x10, 0x0e, 0x07, 0xb0, 0x43, 0xaa, 0x90, 0x90, 0x41]);
    assert_eq!((cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.gpr[gpr::RCX]), (1, 0));
}

#[test]
fn code_that_a_push_changes_runs_changed() {
    // mov ax,cs; mov ss,ax; mov sp,100ch; mov ax,4343h; push ax; inc cx; inc cx
    let cpu = run(&[0x8c, 0xc8, 0x8e, 0xd0, 0xbc, 0x0d, 0x10, 0xb8, 0x43, 0x43, 0x50, 0x41, 0x41]);
    assert_eq!((cpu.processor.regs.gpr[gpr::RBX], cpu.processor.regs.gpr[gpr::RCX]), (2, 0));
}

#[test]
fn the_trap_flag_stops_behind_a_push() {
    let mut cpu = machine(&[0x50, 0x58]); // push ax; pop ax
    cpu.processor.regs.rflags |= rflags::TF;
    let mut cpu = go(cpu);
    assert_eq!(fault(&mut cpu), (1, CODE as u16 + 1));
}

#[test]
fn leave_takes_the_frame_down() {
    let mut cpu = machine(&[0xc9]);
    cpu.processor.regs.gpr[gpr::RBP] = 0x55_7000;
    cpu.write_physical(STACK + 0x7000, &[0xbc, 0x9a]);
    let cpu = go(cpu);
    assert_eq!(
        (cpu.processor.regs.gpr[gpr::RSP], cpu.processor.regs.gpr[gpr::RBP]),
        (0xabcd_7002, 0x55_9abc)
    );
}
