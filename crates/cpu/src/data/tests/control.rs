//! Branches and the stack.

use super::*;
use ireko_x86::bits::rflags::{CF, OF, PF, SF, ZF};
use ireko_x86::exception::{Exception, vector};
use ireko_x86::regs::gpr::{RAX, RBP, RBX, RCX, RSP};

fn stack_fault() -> Fault {
    Exception::with_error(vector::SS, 0).into()
}

#[test]
fn a_call_pushes_the_next_address_and_ret_goes_back() {
    let mut cpu = flat64();
    assert_eq!(step(&mut cpu, &[0xe8, 0, 1, 0, 0]), Ok(Next::Jump));
    assert_eq!(
        (cpu.processor.regs.rip, cpu.processor.regs.gpr[RSP], quad(&mut cpu, 0x7ff8)),
        (0x1105, 0x7ff8, 0x1005)
    );
    assert_eq!(step(&mut cpu, &[0xc2, 0x10, 0]), Ok(Next::Jump));
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[RSP]), (0x1005, 0x8010));
}

#[test]
fn a_call_beyond_the_limit_pushes_nothing() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::CS].limit = 0x10ff;
    assert_eq!(step(&mut cpu, &[0xe8, 0, 1, 0, 0]), Err(Fault::gp(0)));
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[RSP]), (0x1000, 0x8000));
}

#[test]
fn a_jump_to_a_non_canonical_address_faults_at_the_jump() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RAX] = 0x8000_0000_0000;
    assert_eq!(step(&mut cpu, &[0xff, 0xe0]), Err(Fault::gp(0)));
    assert_eq!(cpu.processor.regs.rip, 0x1000);
}

#[test]
fn sixteen_bit_operand_size_cuts_the_target() {
    let mut cpu = flat32();
    cpu.processor.regs.rip = 0x1_2340;
    step(&mut cpu, &[0x66, 0xeb, 0x10]).unwrap();
    assert_eq!(cpu.processor.regs.rip, 0x2353);
}

#[test]
fn an_indirect_call_through_the_stack_pointer_reads_before_it_pushes() {
    let mut cpu = flat64();
    poke(&mut cpu, 0x8000, &0x4444u64.to_le_bytes());
    step(&mut cpu, &[0xff, 0x14, 0x24]).unwrap();
    assert_eq!((cpu.processor.regs.rip, cpu.processor.regs.gpr[RSP]), (0x4444, 0x7ff8));
}

/// The flags that make each even condition (O B E BE S P L LE) hold, as a predicate on (CF, PF, ZF, SF, OF).
type Predicate = fn([bool; 5]) -> bool;
const CONDITIONS: [Predicate; 8] = [
    |[_, _, _, _, o]| o,
    |[c, ..]| c,
    |[_, _, z, ..]| z,
    |[c, _, z, ..]| c || z,
    |[_, _, _, s, _]| s,
    |[_, p, ..]| p,
    |[_, _, _, s, o]| s != o,
    |[_, _, z, s, o]| z || s != o,
];

#[test]
fn every_condition_looks_at_its_flags_and_odd_ones_deny() {
    let mut cpu = flat32();
    for combination in 0..32u64 {
        let set = [0, 1, 2, 3, 4].map(|bit| combination >> bit & 1 != 0);
        let bits = [CF, PF, ZF, SF, OF].iter().zip(set).filter(|(_, on)| *on).map(|(bit, _)| bit);
        cpu.processor.regs.rflags = 2 | bits.sum::<u64>();
        for (n, predicate) in CONDITIONS.iter().enumerate() {
            let taken = [0, 1].map(|deny| step(&mut cpu, &[0x70 + 2 * n as u8 + deny, 0]) == Ok(Next::Jump));
            assert_eq!(
                taken,
                [predicate(set), !predicate(set)],
                "condition {n} with {:#x}",
                cpu.processor.regs.rflags
            );
        }
    }
}

#[test]
fn loop_counts_in_the_register_of_the_address_size() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RCX] = 0xffff_ffff_0000_0001;
    assert_eq!(step(&mut cpu, &[0x67, 0xe2, 0x10]), Ok(Next::Advance));
    assert_eq!(cpu.processor.regs.gpr[RCX], 0);
}

#[test]
fn loopne_ends_with_zf() {
    let mut cpu = flat32();
    (cpu.processor.regs.gpr[RCX], cpu.processor.regs.rflags) = (5, 2 | ZF);
    assert_eq!(step(&mut cpu, &[0xe0, 0x10]), Ok(Next::Advance));
    assert_eq!(cpu.processor.regs.gpr[RCX], 4);
}

#[test]
fn jcxz_looks_at_sixteen_bits_with_that_address_size() {
    let mut cpu = flat32();
    cpu.processor.regs.gpr[RCX] = 0x1_0000;
    assert_eq!(step(&mut cpu, &[0x67, 0xe3, 0x10]), Ok(Next::Jump));
    cpu.processor.regs.rip = 0x1000;
    assert_eq!(step(&mut cpu, &[0xe3, 0x10]), Ok(Next::Advance));
}

#[test]
fn push_of_the_stack_pointer_stores_its_old_value() {
    let mut cpu = flat64();
    step(&mut cpu, &[0x54]).unwrap();
    assert_eq!((quad(&mut cpu, 0x7ff8), cpu.processor.regs.gpr[RSP]), (0x8000, 0x7ff8));
}

#[test]
fn immediates_are_sign_extended_to_the_operand_size() {
    let mut cpu = flat64();
    step(&mut cpu, &[0x6a, 0xfe]).unwrap();
    assert_eq!(quad(&mut cpu, 0x7ff8), u64::MAX - 1);
    step(&mut cpu, &[0x66, 0x68, 0x34, 0x12]).unwrap();
    assert_eq!((peek(&mut cpu, 0x7ff6, 2), cpu.processor.regs.gpr[RSP]), (vec![0x34, 0x12], 0x7ff6));
}

#[test]
fn a_selector_is_pushed_with_zeros_above() {
    let mut cpu = flat32();
    poke(&mut cpu, 0x7ffc, &[0xff; 4]);
    step(&mut cpu, &[0x1e]).unwrap();
    assert_eq!(peek(&mut cpu, 0x7ffc, 4), [0x10, 0, 0, 0]);
}

#[test]
fn pop_into_stack_relative_memory_uses_the_new_stack_pointer() {
    let mut cpu = flat64();
    poke(&mut cpu, 0x8000, &7u64.to_le_bytes());
    step(&mut cpu, &[0x8f, 0x04, 0x24]).unwrap();
    assert_eq!((quad(&mut cpu, 0x8008), cpu.processor.regs.gpr[RSP]), (7, 0x8008));
}

#[test]
fn pop_into_memory_that_faults_leaves_the_stack_pointer() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::DS].attr = 0xc91;
    assert_eq!(step(&mut cpu, &[0x8f, 0x05, 0, 0x30, 0, 0]), Err(Fault::gp(0)));
    assert_eq!(cpu.processor.regs.gpr[RSP], 0x8000);
}

#[test]
fn pop_of_the_stack_pointer_ends_with_the_popped_value() {
    let mut cpu = flat64();
    poke(&mut cpu, 0x8000, &0x1234_5678u64.to_le_bytes());
    step(&mut cpu, &[0x5c]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[RSP], 0x1234_5678);
}

#[test]
fn a_sixteen_bit_stack_wraps_and_keeps_the_upper_half() {
    let mut cpu = real();
    cpu.processor.regs.gpr[RSP] = 0x5555_0000;
    cpu.processor.regs.gpr[RAX] = 0xbeef;
    step(&mut cpu, &[0x50]).unwrap();
    assert_eq!((cpu.processor.regs.gpr[RSP], peek(&mut cpu, 0xfffe, 2)), (0x5555_fffe, vec![0xef, 0xbe]));
}

#[test]
fn popa_undoes_pusha_and_skips_the_stack_pointer() {
    for bytes in [[&[0x60][..], &[0x61][..]], [&[0x66, 0x60], &[0x66, 0x61]]] {
        let mut cpu = flat32();
        (0..8).filter(|n| *n != RSP).for_each(|n| cpu.processor.regs.gpr[n] = 0x1111 * (n as u64 + 1));
        let before = cpu.processor.regs.gpr;
        step(&mut cpu, bytes[0]).unwrap();
        (0..8).filter(|n| *n != RSP).for_each(|n| cpu.processor.regs.gpr[n] = 0);
        step(&mut cpu, bytes[1]).unwrap();
        assert_eq!(cpu.processor.regs.gpr, before);
    }
}

#[test]
fn pusha_that_faults_in_the_middle_moves_nothing() {
    let mut cpu = flat32();
    cpu.processor.regs.seg[seg::SS].attr = 0xc97;
    cpu.processor.regs.seg[seg::SS].limit = 0x7fef;
    assert_eq!(step(&mut cpu, &[0x60]), Err(stack_fault()));
    assert_eq!(cpu.processor.regs.gpr[RSP], 0x8000);
}

#[test]
fn enter_builds_the_display_and_leave_takes_it_down() {
    let mut cpu = flat64();
    cpu.processor.regs.gpr[RBP] = 0x9000;
    poke(&mut cpu, 0x8ff8, &0xaaau64.to_le_bytes());
    poke(&mut cpu, 0x8ff0, &0xbbbu64.to_le_bytes());
    step(&mut cpu, &[0xc8, 0x20, 0, 3]).unwrap();
    let display = [0x7ff8, 0x7ff0, 0x7fe8, 0x7fe0].map(|address| quad(&mut cpu, address));
    assert_eq!(display, [0x9000, 0xaaa, 0xbbb, 0x7ff8]);
    assert_eq!((cpu.processor.regs.gpr[RBP], cpu.processor.regs.gpr[RSP]), (0x7ff8, 0x7fc0));
    step(&mut cpu, &[0xc9]).unwrap();
    assert_eq!((cpu.processor.regs.gpr[RBP], cpu.processor.regs.gpr[RSP]), (0x9000, 0x8000));
}

#[test]
fn leave_in_real_mode_keeps_the_upper_halves() {
    let mut cpu = real();
    (cpu.processor.regs.gpr[RBP], cpu.processor.regs.gpr[RSP], cpu.processor.regs.gpr[RBX]) =
        (0x1111_7000, 0x2222_6000, 0);
    poke(&mut cpu, 0x7000, &[0x34, 0x12]);
    step(&mut cpu, &[0xc9]).unwrap();
    assert_eq!((cpu.processor.regs.gpr[RBP], cpu.processor.regs.gpr[RSP]), (0x1111_1234, 0x2222_7002));
}

/// CLZERO (APM vol. 3): the line that rAX points into, and nothing else.
#[test]
fn clzero_clears_one_line() {
    let mut cpu = flat64();
    poke(&mut cpu, 0x2000, &[0xaa; 192]);
    cpu.processor.regs.gpr[0] = 0x2055;
    assert_eq!(step(&mut cpu, &[0x0f, 0x01, 0xfc]), Ok(Next::Advance));
    let expected = [[0xaa; 64], [0; 64], [0xaa; 64]].concat();
    assert_eq!(peek(&mut cpu, 0x2000, 192), expected);
}

/// F2 and F3 make other, undefined instructions of its opcode (seen on family 1Ah).
#[test]
fn clzero_has_no_repeat_prefix() {
    let mut cpu = flat64();
    assert_eq!(step(&mut cpu, &[0xf2, 0x0f, 0x01, 0xfc]), Err(Fault::ud()));
    assert_eq!(step(&mut cpu, &[0xf3, 0x0f, 0x01, 0xfc]), Err(Fault::ud()));
}

#[test]
fn clzero_takes_as_much_of_rax_as_the_address_size() {
    let mut cpu = flat64();
    poke(&mut cpu, 0x2000, &[0xaa; 8]);
    cpu.processor.regs.gpr[0] = 0xffff_0000_0000_2000;
    assert_eq!(step(&mut cpu, &[0x67, 0x0f, 0x01, 0xfc]), Ok(Next::Advance));
    assert_eq!(quad(&mut cpu, 0x2000), 0);
}
