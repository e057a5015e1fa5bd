//! Memory that comes and goes, as a kernel in 64-bit mode sees it: a block that is not plugged is like an address where
//! nothing is, however the processor reaches it.

use ireko_cpu::{Cpu, construct::CpuSpec};
use ireko_vmcore::memory::BLOCK;
use ireko_vmcore::{Bus, Halt, Memory, Space, Stop};
use ireko_x86::Segment;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::descriptor::{ATTR_FLAT_CODE64, ATTR_FLAT_DATA};
use ireko_x86::regs::{gpr, seg};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CODE: u64 = 0x1000;
const STACK: u64 = 0x9000;
const TABLES: u64 = 0x1_0000;
/// Four blocks that can be plugged, mapped to themselves by large pages.
const ROOM: u64 = 0x20_0000;

/// Writes to these ports end the run, plug the first block, and unplug it.
const END: u64 = 0xf4;
const PLUG: u64 = 0xf5;
const UNPLUG: u64 = 0xf6;

struct Board {
    memory: Arc<Memory>,
    stop: Stop,
}

impl Bus for Board {
    fn read(&self, _: Space, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write(&self, space: Space, port: u64, _: &[u8]) {
        match port {
            _ if space == Space::Mmio => {}
            END => self.stop.ask(),
            PLUG => self.memory.plug(ROOM, BLOCK).unwrap(),
            UNPLUG => self.memory.unplug(ROOM, BLOCK).unwrap(),
            other => panic!("port {other:#x}"),
        }
    }
}

/// Runs `code` with RDI and RSI at the room's start, until it writes port 0xf4.
fn run(code: &[u8], plugged: bool) -> (Cpu, Halt) {
    let memory = Memory::with_room(&[(0, 0x4_0000)], Some((ROOM, 4 * BLOCK))).unwrap();
    run_on(Arc::new(memory), code, plugged)
}

fn run_on(memory: Arc<Memory>, code: &[u8], plugged: bool) -> (Cpu, Halt) {
    let spec = CpuSpec { memory: memory.clone(), ..CpuSpec::uniprocessor(&[(0, 0x1000)]).unwrap() };
    let mut cpu = Cpu::new(&spec).unwrap();
    let mut put = |at: u64, value: u64| cpu.write_physical(at, &value.to_le_bytes());
    put(TABLES, (TABLES + 0x1000) | 0x63);
    put(TABLES + 0x1000, (TABLES + 0x2000) | 0x63);
    (0..5).for_each(|chunk| put(TABLES + 0x2000 + 8 * chunk, (chunk * BLOCK) | 0xe3));
    cpu.write_physical(CODE, code);
    cpu.write_physical(CODE + code.len() as u64, &[0xe6, 0xf4, 0xf4]); // out 0f4h, al; hlt
    if plugged {
        memory.plug(ROOM, BLOCK).unwrap();
    }
    let regs = &mut cpu.processor.regs;
    regs.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET | cr0::MP;
    (regs.cr3, regs.cr4) = (TABLES, cr4::PAE | cr4::OSFXSR);
    regs.efer = efer::LME | efer::LMA;
    regs.seg[seg::CS] = Segment { base: 0, limit: u32::MAX, attr: ATTR_FLAT_CODE64, selector: 8 };
    for data in [seg::SS, seg::DS, seg::ES] {
        regs.seg[data] = Segment { base: 0, limit: u32::MAX, attr: ATTR_FLAT_DATA, selector: 16 };
    }
    (regs.rip, regs.gpr[gpr::RSP]) = (CODE, STACK);
    (regs.gpr[gpr::RDI], regs.gpr[gpr::RSI]) = (ROOM, ROOM);
    cpu.flush_tlb(false);
    let stop = Stop::default();
    let halt = cpu.run_guarded(&Board { memory, stop: stop.clone() }, &stop);
    (cpu, halt)
}

const STORE: &[u8] = &[0x48, 0xc7, 0x07, 5, 0, 0, 0]; // mov qword [rdi], 5
const LOAD_RAX: &[u8] = &[0x48, 0x8b, 0x07]; // mov rax, [rdi]
const LOAD_RBX: &[u8] = &[0x48, 0x8b, 0x1f]; // mov rbx, [rdi]
const OUT_PLUG: &[u8] = &[0xe6, PLUG as u8];
const OUT_UNPLUG: &[u8] = &[0xe6, UNPLUG as u8];

#[test]
fn an_unplugged_block_reads_as_ones_and_drops_writes() {
    let (cpu, _) = run(&[STORE, LOAD_RAX].concat(), false);
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], u64::MAX);
    assert_eq!(cpu.mmu.physical.memory().blocks().unwrap().plugged(), 0);
}

#[test]
fn a_plugged_block_is_memory() {
    let (cpu, _) = run(&[STORE, LOAD_RAX].concat(), true);
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], 5);
}

#[test]
fn a_block_that_goes_is_gone_at_the_next_instruction() {
    let code = [STORE, LOAD_RAX, OUT_UNPLUG, LOAD_RBX, STORE, OUT_PLUG, LOAD_RAX].concat();
    let (cpu, _) = run(&code, true);
    assert_eq!(cpu.processor.regs.gpr[gpr::RBX], u64::MAX);
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], 0);
}

#[test]
fn string_instructions_do_not_reach_an_unplugged_block() {
    // mov ecx, 2048; rep stosq; mov edi, room; mov ecx, 2048; rep movsq (onto itself); mov rax, [rsi-8]
    let fill = [0xb9, 0, 8, 0, 0, 0xf3, 0x48, 0xab];
    let copy = [0xbf, 0, 0, 0x20, 0, 0xb9, 0, 8, 0, 0, 0xf3, 0x48, 0xa5, 0x48, 0x8b, 0x46, 0xf8];
    let (cpu, _) = run(&[&fill[..], &copy].concat(), false);
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], u64::MAX);
    assert_eq!(cpu.processor.regs.gpr[gpr::RCX], 0);
    // The same with the block there, and gone after a first round.
    let (cpu, _) = run(&[&fill[..], OUT_UNPLUG, &copy].concat(), true);
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], u64::MAX);
}

#[test]
fn code_in_an_unplugged_block_is_not_executed() {
    // jmp rdi; and once more after it was there: mov byte [rdi], 0c3h; call rdi; out; jmp rdi
    let refused =
        |halt: &Halt| matches!(halt, Halt::Unsupported(why) if why.contains("where there is no memory"));
    let (_, halt) = run(&[0xff, 0xe7], false);
    assert!(refused(&halt), "{halt:?}");
    let (_, halt) = run(&[&[0xc6, 0x07, 0xc3, 0xff, 0xd7][..], OUT_UNPLUG, &[0xff, 0xe7]].concat(), true);
    assert!(refused(&halt), "{halt:?}");
}

#[test]
fn page_tables_in_an_unplugged_block_map_nothing() {
    // mov cr3, rdi; the next fetch walks there, faults, and finds no handler.
    let (_, halt) = run(&[0x0f, 0x22, 0xdf], false);
    assert!(matches!(halt, Halt::Shutdown(_)), "{halt:?}");
}

#[test]
fn a_block_that_comes_and_goes_under_a_processors_routines_ends_no_process() {
    let memory = Arc::new(Memory::with_room(&[(0, 0x4_0000)], Some((ROOM, 4 * BLOCK))).unwrap());
    let (other, over) = (memory.clone(), Arc::new(AtomicBool::new(false)));
    let ends = over.clone();
    let host = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            other.plug(ROOM, BLOCK).unwrap();
            other.unplug(ROOM, BLOCK).unwrap();
        }
    });
    // mov ecx, 5000
    // again: mov edi, room; mov esi, edi; lodsq; mov esi, edi; stosq; push rcx
    // mov ecx, 512; mov edi, room; rep stosq; pop rcx; loop again
    let code = [
        &[0xb9, 0x88, 0x13, 0, 0][..],
        &[0xbf, 0, 0, 0x20, 0, 0x89, 0xfe, 0x48, 0xad, 0x89, 0xfe, 0x48, 0xab, 0x51],
        &[0xb9, 0, 2, 0, 0, 0xbf, 0, 0, 0x20, 0, 0xf3, 0x48, 0xab, 0x59, 0xe2, 0xe2],
    ];
    let (_, halt) = run_on(memory, &code.concat(), false);
    over.store(true, Ordering::Relaxed);
    host.join().unwrap();
    let reported = |why: &str| why.contains("an engine fault");
    assert!(
        matches!(&halt, Halt::Stopped) || matches!(&halt, Halt::Failed(why) if reported(why)),
        "{halt:?}"
    );
}

#[test]
fn a_block_that_goes_under_a_running_loop_reads_as_ones() {
    let memory = Arc::new(Memory::with_room(&[(0, 0x4_0000)], Some((ROOM, 4 * BLOCK))).unwrap());
    memory.plug(ROOM, BLOCK).unwrap();
    let other = memory.clone();
    let unplug = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        other.unplug(ROOM, BLOCK).unwrap();
    });
    // again: mov rax, [rdi] eight times over; inc rax; jnz again
    let mut code = LOAD_RAX.repeat(8);
    code.extend([0x48, 0xff, 0xc0, 0x75, 0xe3]);
    let (cpu, halt) = run_on(memory, &code, false);
    unplug.join().unwrap();
    assert_eq!((halt, cpu.processor.regs.gpr[gpr::RAX]), (Halt::Stopped, 0));
}
