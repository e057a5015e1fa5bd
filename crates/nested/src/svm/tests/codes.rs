//! EXITCODE, EXITINFO1 and EXITINFO2 of every neutral exit.

use crate::exit::{Access, Found};
use crate::svm::Vmcb;
use crate::svm::encode::{PLAIN, encode};
use crate::vendor::ExitRecord;
use crate::{Control, CrAccess, Exit, Intercept, InterceptSet, IoExit, Stage2, Stage2Fault, Stage2Tables};
use ireko_x86::vmcb::exitcode;
use ireko_x86::{Exception, Registers};

fn code(exit: Exit) -> (u64, u64, u64) {
    let ExitRecord { code, information: [info1, info2] } =
        encode(&exit, &Control::default(), &Registers::reset());
    (code, info1, info2)
}

#[test]
fn the_table_is_in_the_order_of_the_intercepts() {
    for (n, row) in PLAIN.iter().enumerate() {
        assert_eq!(row.what as usize, n);
    }
}

#[test]
fn each_bit_of_the_vmcb_is_its_intercept() {
    for row in &PLAIN {
        let mut vmcb = Vmcb::blank();
        let (offset, bit) = row.field;
        vmcb.put(offset, &(1u32 << bit).to_le_bytes());
        assert_eq!(vmcb.intercepts(), InterceptSet::default().with(row.what), "{:?}", row.what);
    }
}

#[test]
fn bits_that_are_no_intercept_make_none() {
    let mut vmcb = Vmcb::blank();
    vmcb.put(0x10, &0xffff_0000u32.to_le_bytes());
    vmcb.put(0x14, &0xffff_ffe0u32.to_le_bytes());
    assert_eq!(vmcb.intercepts(), InterceptSet::default());
}

#[test]
fn plain_exits_have_their_codes() {
    for row in &PLAIN {
        assert_eq!(code(Exit::Plain(row.what)), (row.code, 0, 0));
    }
    assert_eq!(code(Exit::Plain(Intercept::Cpuid)).0, 0x72);
    assert_eq!(code(Exit::Plain(Intercept::Hlt)).0, 0x78);
    assert_eq!(code(Exit::Plain(Intercept::Vmrun)).0, 0x80);
    assert_eq!(code(Exit::Plain(Intercept::Xsetbv)).0, 0x8d);
    assert_eq!(code(Exit::Plain(Intercept::Invpcid)).0, 0xa2);
}

#[test]
fn control_registers_tell_the_general_register_of_a_mov() {
    assert_eq!(code(Exit::Cr { number: 3, access: CrAccess::From(9) }), (0x03, 1 << 63 | 9, 0));
    assert_eq!(code(Exit::Cr { number: 8, access: CrAccess::To(0) }), (0x18, 1 << 63, 0));
    assert_eq!(code(Exit::Cr { number: 0, access: CrAccess::Clts }), (0x10, 0, 0));
}

#[test]
fn a_selective_write_of_cr0_has_its_own_code() {
    let intercepts = InterceptSet::default().with(Intercept::Cr0SelWrite);
    let mut control = Control { intercepts, ..Control::default() };
    let exit = Exit::Cr { number: 0, access: CrAccess::To(2) };
    assert_eq!(encode(&exit, &control, &Registers::reset()).code, exitcode::CR0_SEL_WRITE);
    control.cr_write = 1;
    assert_eq!(encode(&exit, &control, &Registers::reset()).code, exitcode::CR_WRITE);
}

#[test]
fn traps_tell_the_new_value() {
    assert_eq!(code(Exit::CrWriteTrap { number: 4, value: 0x20 }), (0x94, 0x20, 0));
    assert_eq!(code(Exit::EferWriteTrap { value: 0x501 }), (0x8f, 0x501, 0));
}

#[test]
fn debug_registers_tell_the_general_register() {
    assert_eq!(code(Exit::Dr { number: 7, write: true, gpr: 12 }), (0x37, 12, 0));
    assert_eq!(code(Exit::Dr { number: 6, write: false, gpr: 0 }), (0x26, 0, 0));
}

#[test]
fn exceptions_tell_error_code_and_address() {
    assert_eq!(code(Exit::exception(Exception::ud())), (0x46, 0, 0));
    assert_eq!(code(Exit::exception(Exception::gp(0x18))), (0x4d, 0x18, 0));
    assert_eq!(code(Exit::exception(Exception::page_fault(0xabc, 7))), (0x4e, 7, 0xabc));
    assert_eq!(code(Exit::exception(Exception::debug(0x4000))), (0x41, 0, 0));
}

#[test]
fn software_interrupts_and_invlpg_tell_their_operand() {
    assert_eq!(code(Exit::SoftwareInterrupt { vector: 0x80 }), (0x75, 0x80, 0));
    assert_eq!(code(Exit::Invlpg { address: 0x7000 }), (0x79, 0x7000, 0));
    let mut regs = Registers::reset();
    regs.gpr[0] = 0x9000;
    let invlpga = encode(&Exit::Plain(Intercept::Invlpga), &Control::default(), &regs);
    assert_eq!((invlpga.code, invlpga.information[0]), (0x7a, 0x9000));
}

#[test]
fn msr_exits_tell_the_direction() {
    assert_eq!(code(Exit::Msr { write: false }), (0x7c, 0, 0));
    assert_eq!(code(Exit::Msr { write: true }), (0x7c, 1, 0));
}

fn fault(access: Access, found: Found, table: bool) -> Exit {
    Exit::Stage2(Stage2Fault { address: 0xfee0_0030, access, found, table, linear: None })
}

/// 15.25.6: they see user accesses, and tell where in the walk it was.
#[test]
fn nested_page_faults_tell_address_and_error() {
    let read_only = Found::Less { read: true, write: false, execute: true };
    let cases = [
        (fault(Access::Write, Found::Nothing, false), 1 << 32 | 6),
        (fault(Access::Read, Found::Nothing, true), 1 << 33 | 4),
        (fault(Access::Write, read_only, true), 1 << 33 | 7),
        (fault(Access::Read, Found::Malformed, false), 1 << 32 | 0xd),
    ];
    for (exit, error) in cases {
        assert_eq!(code(exit), (0x400, error, 0xfee0_0030), "{exit:?}");
    }
}

#[test]
fn a_fetch_is_told_where_the_hypervisors_own_faults_tell_it() {
    use ireko_x86::bits::{cr4, efer};
    let told = |cr4, efer| {
        let stage2 = Some(Stage2 { root: 0, tables: Stage2Tables::Own { cr4, efer } });
        let control = Control { stage2, ..Control::default() };
        encode(&fault(Access::Fetch, Found::Nothing, false), &control, &Registers::reset()).information[0]
    };
    assert_eq!(told(cr4::PAE, efer::LMA | efer::NXE), 1 << 32 | 0x14);
    assert_eq!(told(cr4::PAE, efer::LMA), 1 << 32 | 4);
    assert_eq!(told(cr4::SMEP, 0), 1 << 32 | 0x14);
    assert_eq!(told(0, efer::NXE), 1 << 32 | 4);
}

#[test]
fn task_switches_tell_how_they_came() {
    let by_iret = Exit::TaskSwitch { selector: 0x28, error: None, iret: true, jump: false };
    assert_eq!(code(by_iret), (0x7d, 0x28, 1 << 36));
    let by_jump = Exit::TaskSwitch { selector: 0x30, error: None, iret: false, jump: true };
    assert_eq!(code(by_jump), (0x7d, 0x30, 1 << 38));
    let by_gate = Exit::TaskSwitch { selector: 0x38, error: Some(5), iret: false, jump: false };
    assert_eq!(code(by_gate), (0x7d, 0x38, 1 << 44 | 5));
}

#[test]
fn a_refused_entry_is_minus_one() {
    assert_eq!(code(Exit::Invalid), (u64::MAX, 0, 0));
}

fn io(port: u16, size: u8, input: bool) -> IoExit {
    IoExit { port, size, input, string: false, rep: false, address_size: 8, segment: 0, next_rip: 0x55 }
}

#[test]
fn io_exits_tell_the_access() {
    let rep_outsb = IoExit { string: true, rep: true, segment: 4, address_size: 4, ..io(0x3f8, 1, false) };
    assert_eq!(code(Exit::Io(io(0x60, 1, true))), (0x7b, 0x60 << 16 | 1 << 9 | 1 << 4 | 1, 0x55));
    assert_eq!(code(Exit::Io(io(0xcf8, 4, false))), (0x7b, 0xcf8 << 16 | 1 << 9 | 1 << 6, 0x55));
    assert_eq!(code(Exit::Io(io(0x1f0, 2, true))), (0x7b, 0x1f0 << 16 | 1 << 9 | 1 << 5 | 1, 0x55));
    let info = 0x3f8 << 16 | 4 << 10 | 1 << 8 | 1 << 4 | 1 << 3 | 1 << 2;
    assert_eq!(code(Exit::Io(rep_outsb)), (0x7b, info, 0x55));
    assert_eq!(code(Exit::Io(IoExit { address_size: 2, ..io(0x60, 1, true) })).1 >> 7 & 7, 1);
}

#[test]
fn segments_and_tables_round_trip() {
    let mut image = Vmcb::blank();
    let segment = ireko_x86::Segment { base: 0xffff_9000_0000_0000, limit: 0x1234, attr: 0xc9b, selector: 8 };
    image.set_segment(0x410, &segment);
    assert_eq!(image.segment(0x410), segment);
    let table = ireko_x86::Table { base: 0x7777_0000, limit: 0xfff };
    image.set_table(0x460, &table);
    assert_eq!(image.table(0x460), table);
    assert_eq!(ireko_x86::paging::canonicalize(0x8000_0000_0000, 48), 0xffff_8000_0000_0000);
}
