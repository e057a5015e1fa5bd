//! What kernels do most, through the whole processor in 64-bit mode: calls between pages, other address spaces, system
//! calls, string instructions, saved state.

mod end;

use end::End;
use ireko_cpu::{Cpu, construct::CpuSpec};
use ireko_vmcore::Stop;
use ireko_x86::Segment;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::descriptor::{ATTR_FLAT_CODE64, ATTR_FLAT_DATA};
use ireko_x86::regs::seg;

const CODE: u64 = 0x1000;
/// A function that gives 1; what lies a page further gives 2.
const FUNCTION: u64 = 0x2000;
const DATA: u64 = 0x5000;
const USER: u64 = 0x6000;
const GATE: u64 = 0x7000;
const STACK: u64 = 0x9000;
const TABLES: u64 = 0x10000;
const OTHER_TABLES: u64 = 0x14000;

/// Present, writable, accessed, dirty; global; a program's.
const PAGE: u64 = 0x63;
const GLOBAL: u64 = 0x100;
const PROGRAM: u64 = 4;

/// Maps the first 64 pages to themselves.
fn tables(cpu: &mut Cpu, at: u64, flags: u64) {
    for level in 0..3 {
        let entry = (at + 0x1000 * (level + 1)) | PAGE | PROGRAM;
        cpu.write_physical(at + 0x1000 * level, &entry.to_le_bytes());
    }
    for page in 0..64 {
        let program = if page << 12 == USER { PROGRAM } else { 0 };
        let entry = (page << 12) | PAGE | program | flags;
        cpu.write_physical(at + 0x3000 + 8 * page, &entry.to_le_bytes());
    }
}

fn kernel(flags: u64) -> Cpu {
    let mut cpu = Cpu::new(&CpuSpec::uniprocessor(&[(0, 0x40000)]).unwrap()).unwrap();
    tables(&mut cpu, TABLES, flags);
    tables(&mut cpu, OTHER_TABLES, flags);
    cpu.write_physical(OTHER_TABLES + 0x3010, &(0x3000 | PAGE | flags).to_le_bytes());
    cpu.write_physical(FUNCTION, &[0xb8, 1, 0, 0, 0, 0xc3]); // mov eax, 1; ret
    cpu.write_physical(FUNCTION + 0x1000, &[0xb8, 2, 0, 0, 0, 0xc3]);
    cpu.write_physical(GATE, &[0xe6, 0xf4, 0xf4]); // out 0f4h, al; hlt
    let regs = &mut cpu.processor.regs;
    regs.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET | cr0::MP;
    regs.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXSAVE | cr4::FSGSBASE;
    (regs.cr3, regs.xcr0) = (TABLES, 7);
    regs.efer = efer::LME | efer::LMA | efer::SCE;
    regs.seg[seg::CS] = Segment { base: 0, limit: u32::MAX, attr: ATTR_FLAT_CODE64, selector: 8 };
    regs.seg[seg::SS] = Segment { base: 0, limit: u32::MAX, attr: ATTR_FLAT_DATA, selector: 16 };
    (regs.star, regs.lstar, regs.sfmask) = ((0x10 << 48) | (8 << 32), GATE, 0x700);
    (regs.rip, regs.gpr[4]) = (CODE, STACK);
    cpu.flush_tlb(false);
    cpu
}

/// Runs `code` in the kernel until a port is written.
fn run(mut cpu: Cpu, code: &[u8]) -> Cpu {
    cpu.write_physical(CODE, code);
    cpu.write_physical(CODE + code.len() as u64, &[0xe6, 0xf4, 0xf4]);
    let stop = Stop::default();
    cpu.run(&End(stop.clone()), &stop);
    cpu
}

/// mov ecx, 3; again: call FUNCTION; loop again
const CALLS: [u8; 12] = [0xb9, 3, 0, 0, 0, 0xe8, 0xf6, 0x0f, 0, 0, 0xe2, 0xf9];

/// `CALLS`, then `between`, and one more call.
fn calls(between: &[u8]) -> Vec<u8> {
    let mut code = [&CALLS, between].concat();
    let next = CODE + code.len() as u64 + 5;
    code.push(0xe8);
    code.extend(((FUNCTION - next) as u32).to_le_bytes());
    code
}

#[test]
fn a_linked_call_goes_elsewhere_once_its_page_is_flushed() {
    // mov qword [TABLES + 3010h], 3163h; invlpg [FUNCTION]
    let code =
        calls(&[0x48, 0xc7, 4, 0x25, 0x10, 0x30, 1, 0, 0x63, 0x31, 0, 0, 0x0f, 1, 0x3c, 0x25, 0, 0x20, 0, 0]);
    assert_eq!(run(kernel(GLOBAL), &code).processor.regs.gpr[0], 2);
}

#[test]
fn a_call_to_a_page_that_is_not_global_follows_the_address_space() {
    // mov eax, OTHER_TABLES; mov cr3, rax
    let code = calls(&[0xb8, 0, 0x40, 1, 0, 0x0f, 0x22, 0xd8]);
    assert_eq!(run(kernel(0), &code).processor.regs.gpr[0], 2);
}

#[test]
fn a_call_to_code_that_was_rewritten_finds_the_new_code() {
    // mov byte [FUNCTION + 1], 7
    let code = calls(&[0xc6, 4, 0x25, 1, 0x20, 0, 0, 7]);
    assert_eq!(run(kernel(GLOBAL), &code).processor.regs.gpr[0], 7);
}

/// A system call from a program that was entered by SYSRET with these flags.
fn system_call(flags: u64) -> Cpu {
    let mut cpu = kernel(GLOBAL);
    cpu.write_physical(USER, &[0x0f, 0x05]); // syscall
    (cpu.processor.regs.gpr[1], cpu.processor.regs.gpr[11]) = (USER, flags);
    run(cpu, &[0x48, 0x0f, 0x07]) // sysretq
}

#[test]
fn a_system_call_tells_where_it_came_from_and_with_which_flags() {
    let cpu = system_call(0x246);
    assert_eq!((cpu.processor.regs.gpr[1], cpu.processor.regs.gpr[11]), (USER + 2, 0x246));
}

#[test]
fn a_system_call_masks_flags() {
    assert_eq!(system_call(0x246).processor.regs.rflags, 0x46);
}

#[test]
fn a_system_call_loads_the_kernels_segments() {
    let regs = system_call(0x202).processor.regs;
    let flat = |index: usize| (regs.seg[index].selector, regs.seg[index].attr, regs.seg[index].limit);
    assert_eq!(
        (regs.cpl, flat(seg::CS), flat(seg::SS)),
        (0, (8, ATTR_FLAT_CODE64, u32::MAX), (16, ATTR_FLAT_DATA, u32::MAX))
    );
}

/// mov byte [DATA], 0AAh: the page's translation is known afterwards.
const TOUCH: [u8; 8] = [0xc6, 4, 0x25, 0, 0x50, 0, 0, 0xaa];

/// RDI and RSI point into the data, then REP and `opcode` with this count.
fn repeated(opcode: &[u8], rdi: u64, rsi: u64, count: u64) -> (Cpu, [u8; 32]) {
    let mut cpu = kernel(GLOBAL);
    (cpu.processor.regs.gpr[0], cpu.processor.regs.gpr[1]) = (0x1122_3344_5566_7788, count);
    (cpu.processor.regs.gpr[7], cpu.processor.regs.gpr[6]) = (DATA + rdi, DATA + rsi);
    let mut cpu = run(cpu, &[&TOUCH, &[0xf3][..], opcode].concat());
    let mut bytes = [0; 32];
    cpu.read_physical(DATA, &mut bytes);
    (cpu, bytes)
}

#[test]
fn a_fill_of_quadwords_is_whole() {
    let (_, bytes) = repeated(&[0x48, 0xab], 8, 0, 2);
    assert_eq!(
        bytes[7..25],
        [
            0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22,
            0x11, 0
        ]
    );
}

#[test]
fn a_fill_moves_its_pointer_and_uses_up_the_count() {
    let (cpu, _) = repeated(&[0x48, 0xab], 8, 0, 2);
    assert_eq!((cpu.processor.regs.gpr[7], cpu.processor.regs.gpr[1]), (DATA + 24, 0));
}

#[test]
fn a_copy_moves_both_pointers() {
    let (cpu, bytes) = repeated(&[0xa4], 16, 0, 4);
    assert_eq!(
        (cpu.processor.regs.gpr[7], cpu.processor.regs.gpr[6], bytes[16]),
        (DATA + 20, DATA + 4, 0xaa)
    );
}

#[test]
fn a_copy_over_its_own_source_repeats_it() {
    let (_, bytes) = repeated(&[0xa4], 1, 0, 5);
    assert_eq!(bytes[..7], [0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0]);
}

/// movq xmm0, rbx; mov eax, 7; xor edx, edx; xsavec64 [DATA]; pxor xmm0, xmm0
const SAVE: [u8; 25] = [
    0x66, 0x48, 0x0f, 0x6e, 0xc3, 0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xc7, 0x24, 0x25, 0, 0x50, 0, 0,
    0x66, 0x0f, 0xef, 0xc0,
];
/// xrstor64 [DATA]; movq rsi, xmm0
const RESTORE: [u8; 14] = [0x48, 0x0f, 0xae, 0x2c, 0x25, 0, 0x50, 0, 0, 0x66, 0x48, 0x0f, 0x7e, 0xc6];

#[test]
fn saved_state_comes_back() {
    let mut cpu = kernel(GLOBAL);
    cpu.processor.regs.gpr[3] = 0x0123_4567_89ab_cdef;
    let cpu = run(cpu, &[&TOUCH[..], &SAVE, &RESTORE].concat());
    assert_eq!(cpu.processor.regs.gpr[6], 0x0123_4567_89ab_cdef);
}

#[test]
fn saved_state_names_its_components() {
    let mut cpu = kernel(GLOBAL);
    cpu.processor.regs.gpr[3] = 1;
    let mut cpu = run(cpu, &[&TOUCH[..], &SAVE].concat());
    let mut header = [0; 16];
    cpu.read_physical(DATA + 512, &mut header);
    assert_eq!((header[0] & 2, header[8], header[15]), (2, 7, 0x80));
}

/// APM vol. 3, MOV CRn: a LOCK prefix names CR8 in every mode.
#[test]
fn lock_makes_cr0_the_task_priority() {
    let mut cpu = kernel(GLOBAL);
    cpu.processor.regs.gpr[3] = 5;
    let before = cpu.processor.regs.cr0;
    // lock mov cr0, rbx; mov rsi, cr8; lock mov rdi, cr0
    let cpu = run(cpu, &[0xf0, 0x0f, 0x22, 0xc3, 0x44, 0x0f, 0x20, 0xc6, 0xf0, 0x0f, 0x20, 0xc7]);
    assert_eq!(
        (cpu.processor.regs.gpr[6], cpu.processor.regs.gpr[7], cpu.processor.regs.cr0),
        (5, 5, before)
    );
}

/// The same by XSAVES64 and XRSTORS64.
#[test]
fn saved_state_comes_back_by_the_supervisors_instructions() {
    let mut cpu = kernel(GLOBAL);
    cpu.processor.regs.gpr[3] = 0x0123_4567_89ab_cdef;
    let (mut save, mut restore) = (SAVE, RESTORE);
    save[15] = 0x2c;
    restore[2..4].copy_from_slice(&[0xc7, 0x1c]);
    let mut cpu = run(cpu, &[&TOUCH[..], &save, &restore].concat());
    let mut header = [0; 16];
    cpu.read_physical(DATA + 512, &mut header);
    assert_eq!((cpu.processor.regs.gpr[6], header[8], header[15]), (0x0123_4567_89ab_cdef, 7, 0x80));
}

#[test]
fn a_base_that_is_written_is_read_back() {
    let mut cpu = kernel(GLOBAL);
    cpu.processor.regs.gpr[3] = 0xffff_8000_1234_5678;
    // wrgsbase rbx; rdgsbase rsi
    let cpu = run(cpu, &[0xf3, 0x48, 0x0f, 0xae, 0xdb, 0xf3, 0x48, 0x0f, 0xae, 0xce]);
    assert_eq!(
        (cpu.processor.regs.gpr[6], cpu.processor.regs.seg[seg::GS].base),
        (0xffff_8000_1234_5678, 0xffff_8000_1234_5678)
    );
}
