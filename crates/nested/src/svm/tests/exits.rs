//! What #VMEXIT writes and restores.

use crate::exit::{Access, Found};
use crate::svm::testing::{Mock, NEXT};
use crate::{CrAccess, Event, EventKind, Exit, Intercept, IoExit, Stage2Fault};
use ireko_x86::Exception;
use ireko_x86::bits::{cr0, rflags};
use ireko_x86::regs::{gpr, seg};
use ireko_x86::vmcb::{control, save};

const CPUID: Exit = Exit::Plain(Intercept::Cpuid);

fn stage2(access: Access) -> Exit {
    Exit::Stage2(Stage2Fault { address: 0x1000, access, found: Found::Nothing, table: false, linear: None })
}

#[test]
fn the_host_comes_back_as_it_was() {
    let mut mock = Mock::new();
    let before = mock.regs;
    mock.through(CPUID);
    let mut expected = before;
    expected.rip = NEXT;
    // DR7 is cleared, and CR2 and DR6 stay the guest's.
    expected.dr7 = 0x400;
    expected.cr2 = 0x1234;
    assert_eq!(mock.regs, expected);
}

#[test]
fn an_exit_clears_gif_and_the_shadow() {
    let mut mock = Mock::new();
    mock.put(control::INTERRUPT_SHADOW, 1);
    mock.through(CPUID);
    assert_eq!((mock.gif, mock.shadow.is_on()), (false, false));
    assert_eq!(mock.get(control::INTERRUPT_SHADOW), 1);
}

#[test]
fn a_guest_that_did_nothing_leaves_its_saved_state_alone() {
    let mut mock = Mock::new();
    mock.put(save::RFLAGS, rflags::IF | 2);
    let before = mock.memory.clone();
    mock.through(CPUID);
    assert_eq!(mock.memory[0x3400..0x4000], before[0x3400..0x4000]);
}

#[test]
fn what_the_guest_changed_is_saved() {
    let mut mock = Mock::new();
    let made = mock.vmrun().unwrap();
    mock.regs.rip = 0x1111;
    mock.regs.gpr[gpr::RAX] = 0x2222;
    mock.regs.gpr[gpr::RSP] = 0x3333;
    mock.regs.rflags = 0x46;
    mock.regs.cr2 = 0x4444;
    mock.regs.cr0 |= cr0::WP;
    mock.regs.pat = 6;
    mock.regs.cpl = 0;
    mock.regs.seg[seg::DS].base = 0x5555;
    mock.regs.idtr.limit = 0x66;
    mock.exit(&made, CPUID, None);
    let fields = [save::RIP, save::RAX, save::RSP, save::RFLAGS, save::CR2, save::G_PAT, save::DS + 8];
    assert_eq!(fields.map(|f| mock.get(f)), [0x1111, 0x2222, 0x3333, 0x46, 0x4444, 6, 0x5555]);
    assert_eq!(mock.get(save::CR0), cr0::PE | cr0::PG | cr0::ET | cr0::WP);
    assert_eq!((mock.get8(save::CPL), mock.get(save::IDTR) >> 32), (0, 0x66));
}

#[test]
fn the_pat_is_not_saved_without_nested_paging() {
    let mut mock = Mock::new();
    mock.put(control::NESTED, 0);
    mock.put(save::G_PAT, 0);
    mock.through(CPUID);
    assert_eq!(mock.get(save::G_PAT), 0);
}

#[test]
fn a_second_vmrun_of_what_an_exit_saved_is_the_same_guest() {
    let mut mock = Mock::new();
    let made = mock.vmrun().unwrap();
    let guest = mock.regs;
    mock.exit(&made, CPUID, None);
    assert_eq!(mock.vmrun(), Ok(made));
    assert_eq!(mock.regs, guest);
}

#[test]
fn nrip_is_told_for_instructions_only() {
    let next = 0x40_0002;
    let exception = |vector| Exit::exception(Exception::new(vector));
    let asked =
        |vector| Exit::Exception { exception: Exception::new(vector), kind: EventKind::SoftwareException };
    let cases = [
        (CPUID, next),
        (Exit::Plain(Intercept::Vmmcall), next),
        (Exit::Cr { number: 0, access: CrAccess::To(1) }, next),
        (Exit::Msr { write: true }, next),
        (Exit::SoftwareInterrupt { vector: 0x80 }, next),
        (asked(3), next),
        (asked(4), next),
        (exception(6), 0),
        (Exit::Plain(Intercept::Intr), 0),
        (Exit::Plain(Intercept::Vintr), 0),
        (stage2(Access::Read), 0),
        (Exit::Plain(Intercept::Shutdown), 0),
    ];
    for (why, nrip) in cases {
        let mut mock = Mock::new();
        mock.next_rip = next;
        mock.through(why);
        assert_eq!(mock.get(control::NRIP), nrip, "{why:?}");
    }
}

#[test]
fn io_tells_the_next_instruction_twice() {
    let mut mock = Mock::new();
    let io = IoExit {
        port: 0x80,
        size: 1,
        input: false,
        string: false,
        rep: false,
        address_size: 8,
        segment: 3,
        next_rip: 0x77,
    };
    mock.through(Exit::Io(io));
    assert_eq!((mock.get(control::NRIP), mock.get(control::EXITINFO2)), (0x77, 0x77));
}

#[test]
fn data_faults_give_the_instructions_bytes() {
    let cases = [
        (stage2(Access::Write), 3),
        (Exit::exception(Exception::page_fault(0, 2)), 3),
        (stage2(Access::Fetch), 0),
        (Exit::exception(Exception::page_fault(0, 0x10)), 0),
        (CPUID, 0),
    ];
    for (why, count) in cases {
        let mut mock = Mock::new();
        mock.code = vec![0x48, 0x89, 0x07];
        mock.through(why);
        assert_eq!(mock.get8(control::BYTES_FETCHED), count, "{why:?}");
        if count != 0 {
            assert_eq!(mock.memory[0x30d1..0x30d4], [0x48, 0x89, 0x07]);
        }
    }
}

#[test]
fn an_intercepted_debug_exception_is_in_dr6() {
    let mut mock = Mock::new();
    mock.put(save::DR6, 0xffff_0ff1);
    mock.through(Exit::exception(Exception::debug(0x4002)));
    assert_eq!(mock.get(save::DR6), 0xffff_4ff2);
}

#[test]
fn an_intercepted_page_fault_leaves_cr2() {
    let mut mock = Mock::new();
    mock.through(Exit::exception(Exception::page_fault(0xdead, 2)));
    assert_eq!((mock.get(save::CR2), mock.get(control::EXITINFO2)), (0x1234, 0xdead));
}

#[test]
fn virtual_interrupt_state_is_written_back_and_the_rest_kept() {
    let mut mock = Mock::new();
    let field = 0x99_0311_0304u64 | 1 << 40;
    mock.put(control::VIRTUAL_INTERRUPT, field);
    let mut made = mock.vmrun().unwrap();
    made.v_tpr = 9;
    made.v_irq = false;
    made.vgif = false;
    mock.exit(&made, CPUID, None);
    assert_eq!(mock.get(control::VIRTUAL_INTERRUPT), field & !0x3ff | 9);
}

#[test]
fn eventinj_is_no_longer_valid_after_an_exit() {
    let mut mock = Mock::new();
    mock.put(control::EVENTINJ, 1 << 31 | 0x20);
    let mut made = mock.vmrun().unwrap();
    assert!(made.inject.take().is_some());
    mock.exit(&made, CPUID, None);
    assert_eq!((mock.get(control::EVENTINJ), mock.get(control::EXITINTINFO)), (0, 0));
}

#[test]
fn an_event_that_was_not_delivered_is_in_exitintinfo() {
    let mut mock = Mock::new();
    let made = mock.vmrun().unwrap();
    let event = Event { kind: EventKind::Exception, vector: 14, error: Some(2) };
    mock.exit(&made, stage2(Access::Read), Some(event));
    assert_eq!(mock.get(control::EXITINTINFO), 2 << 32 | 1 << 31 | 1 << 11 | 3 << 8 | 14);
}

#[test]
fn an_injection_that_was_never_begun_is_in_exitintinfo() {
    let mut mock = Mock::new();
    mock.put(control::EVENTINJ, 1 << 31 | 0x20);
    let made = mock.vmrun().unwrap();
    mock.exit(&made, Exit::Plain(Intercept::Intr), None);
    assert_eq!(mock.get(control::EXITINTINFO), 1 << 31 | 0x20);
}
