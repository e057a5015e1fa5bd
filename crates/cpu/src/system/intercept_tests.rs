//! What a hypervisor hears of instructions of its guest's, on the bench.

use super::bench::*;
use crate::{Fault, Next};
use ireko_nested::control::OwnedBits;
use ireko_nested::{CrAccess, Exit, Intercept};
use ireko_x86::regs::gpr;

fn gp(error: u32) -> Result<Next, Fault> {
    Err(Fault::gp(error))
}

#[test]
fn privilege_comes_before_the_hlt_intercept() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Hlt]);
    assert_eq!(run(&mut cpu, &[0xf4]), Err(Fault::Exit(Exit::Plain(Intercept::Hlt))));
    set_level(&mut cpu, 3);
    assert_eq!(run(&mut cpu, &[0xf4]), gp(0));
}

/// APM vol. 2, table 15-7: exceptions come before the intercept.
#[test]
fn faults_of_xsetbv_come_before_its_intercept() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Xsetbv]);
    let xsetbv = [0x0f, 0x01, 0xd1];
    assert_eq!(run(&mut cpu, &xsetbv), Err(Fault::ud()));
    cpu.processor.regs.cr4 |= ireko_x86::bits::cr4::OSXSAVE;
    assert_eq!(run(&mut cpu, &xsetbv), Err(Fault::Exit(Exit::Plain(Intercept::Xsetbv))));
    set_level(&mut cpu, 3);
    assert_eq!(run(&mut cpu, &xsetbv), gp(0));
}

#[test]
fn invpcid_refuses_a_reserved_type() {
    let mut cpu = long();
    let invpcid = [0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, 0, 0x60, 0, 0];
    cpu.processor.regs.gpr[gpr::RAX] = 2;
    run(&mut cpu, &invpcid).unwrap();
    cpu.processor.regs.gpr[gpr::RAX] = 4;
    assert_eq!(run(&mut cpu, &invpcid), gp(0));
}

#[test]
fn invlpg_in_a_guest_tells_its_address() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Invlpg]);
    let result = run(&mut cpu, &[0x0f, 0x01, 0x3c, 0x25, 0, 0x60, 0, 0]);
    assert_eq!(result, Err(Fault::Exit(Exit::Invlpg { address: 0x6000 })));
}

/// APM vol. 2, 15.14.4: the threshold is in cycles, of which a guest's scaled time says nothing.
#[test]
fn pauses_far_apart_are_so_in_a_guest_whose_time_stands() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Pause]);
    if let crate::cpu::World::Guest(control) = &mut cpu.processor.world {
        (control.pause_count, control.pause_threshold, control.tsc_scale.multiplier) = (1, 1, 1);
    }
    for _ in 0..4 {
        assert_eq!(run(&mut cpu, &[0xf3, 0x90]), Ok(Next::Advance));
    }
}

/// APM vol. 2, 15.12.2: INT1 has an intercept of its own.
#[test]
fn int1_is_not_subject_to_the_intercept_of_debug_exceptions() {
    let mut cpu = long();
    guest(&mut cpu, &[]);
    if let crate::cpu::World::Guest(control) = &mut cpu.processor.world {
        control.exceptions = u32::MAX;
    }
    assert_eq!(run(&mut cpu, &[0xf1]), Ok(Next::Jump));
}

/// APM vol. 2, 15.9: LMSW exits whatever it changes.
#[test]
fn lmsw_exits_under_the_selective_intercept() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Cr0SelWrite]);
    cpu.processor.regs.gpr[gpr::RAX] = cpu.processor.regs.cr0;
    let exit = Exit::Cr { number: 0, access: CrAccess::Lmsw(0) };
    assert_eq!(run(&mut cpu, &[0x0f, 0x01, 0xf0]), Err(Fault::Exit(exit)));
}

/// APM vol. 2, 15.8.5: the descriptor's linear address and the type.
#[test]
fn invpcid_tells_its_hypervisor_what_it_is_about() {
    let mut cpu = long();
    guest(&mut cpu, &[Intercept::Invpcid]);
    (cpu.processor.regs.gpr[gpr::RAX], cpu.processor.regs.gpr[gpr::RBX]) = (2, 0x6000);
    let exit = Exit::Invpcid { address: 0x6000, kind: 2 };
    assert_eq!(run(&mut cpu, &[0x66, 0x0f, 0x38, 0x82, 0x03]), Err(Fault::Exit(exit)));
}

#[test]
fn an_intercept_of_dr4_is_told_of_dr4() {
    let mut cpu = long();
    guest(&mut cpu, &[]);
    if let crate::cpu::World::Guest(control) = &mut cpu.processor.world {
        control.dr_read = 1 << 4;
    }
    let exit = Exit::Dr { number: 4, write: false, gpr: 0 };
    assert_eq!(run(&mut cpu, &[0x0f, 0x21, 0xe0]), Err(Fault::Exit(exit)));
}

#[test]
fn rsm_outside_of_management_mode_asks_the_hypervisor_first() {
    let mut cpu = long();
    assert_eq!(run(&mut cpu, &[0x0f, 0xaa]), Err(Fault::ud()));
    guest(&mut cpu, &[Intercept::Rsm]);
    assert_eq!(run(&mut cpu, &[0x0f, 0xaa]), Err(Fault::Exit(Exit::Plain(Intercept::Rsm))));
}

// ---- controls that only one vendor has ----

fn controls(cpu: &mut crate::Cpu, change: impl FnOnce(&mut ireko_nested::Control)) {
    guest(cpu, &[]);
    change(cpu.processor.control_mut().expect("a guest"));
}

const READ_CR0: [u8; 3] = [0x0f, 0x20, 0xc0];
const WRITE_CR0: [u8; 3] = [0x0f, 0x22, 0xc0];
const WRITE_CR3: [u8; 3] = [0x0f, 0x22, 0xd8];

/// SDM vol. 3, 26.3: TS is the hypervisor's; the guest sees it set, and may not clear it, by no instruction.
#[test]
fn bits_of_cr0_that_are_the_hypervisors_are_shown_and_kept() {
    use ireko_x86::bits::cr0;
    let mut cpu = long();
    controls(&mut cpu, |control| control.cr0 = OwnedBits { mask: cr0::TS, shadow: cr0::TS });
    let own = cpu.processor.regs.cr0;
    run(&mut cpu, &READ_CR0).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], own | cr0::TS);
    run(&mut cpu, &WRITE_CR0).unwrap();
    assert_eq!(cpu.processor.regs.cr0, own);
    cpu.processor.regs.gpr[gpr::RAX] = own;
    let exit = |access| Err(Fault::Exit(Exit::Cr { number: 0, access }));
    assert_eq!(run(&mut cpu, &WRITE_CR0), exit(CrAccess::To(0)));
    assert_eq!(run(&mut cpu, &[0x0f, 0x06]), exit(CrAccess::Clts));
    assert_eq!(run(&mut cpu, &[0x0f, 0x01, 0xf0]), exit(CrAccess::Lmsw(own as u16)));
    run(&mut cpu, &[0x0f, 0x01, 0xe0]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], own | cr0::TS);
}

#[test]
fn bits_of_cr4_that_are_the_hypervisors_are_shown_and_kept() {
    use ireko_x86::bits::cr4;
    let mut cpu = long();
    controls(&mut cpu, |control| control.cr4 = OwnedBits { mask: cr4::PSE, shadow: cr4::PSE });
    let own = cpu.processor.regs.cr4;
    run(&mut cpu, &[0x0f, 0x20, 0xe0]).unwrap();
    assert_eq!(cpu.processor.regs.gpr[gpr::RAX], own | cr4::PSE);
    cpu.processor.regs.gpr[gpr::RAX] = own | cr4::PSE | cr4::DE;
    run(&mut cpu, &[0x0f, 0x22, 0xe0]).unwrap();
    assert_eq!(cpu.processor.regs.cr4, own | cr4::DE);
}

#[test]
fn a_value_that_is_a_cr3_target_does_not_exit() {
    let mut cpu = long();
    controls(&mut cpu, |control| (control.cr_write, control.cr3_targets[2]) = (1 << 3, Some(0x1000)));
    cpu.processor.regs.gpr[gpr::RAX] = 0x1000;
    assert_eq!(run(&mut cpu, &WRITE_CR3), Ok(Next::Resync));
    cpu.processor.regs.gpr[gpr::RAX] = 0x2000;
    let exit = Exit::Cr { number: 3, access: CrAccess::To(0) };
    assert_eq!(run(&mut cpu, &WRITE_CR3), Err(Fault::Exit(exit)));
}
