//! AMD-V from end to end: a few instructions of a hypervisor and a few of its guest, run by the whole processor.

use ireko_cpu::Cpu;
use ireko_cpu::construct::CpuSpec;
use ireko_cpu::cpuid::{Model, ModelSpec};
use ireko_vmcore::{Bus, Changes, Halt, Space, Stop};
use ireko_x86::bits::{cr0, cr4, efer, rflags};
use ireko_x86::cpuid::{Feature, PKU};
use ireko_x86::regs::{gpr, seg};
use ireko_x86::vmcb::{control, exitcode, save};
use ireko_x86::{Segment, Table};
use std::sync::Arc;

const MEMORY: u64 = 16 << 20;
/// Linear to physical, 1 GiB; and the nested tables, which map memory only.
const TABLES: u64 = 0x1000;
const NESTED: u64 = 0x4000;
const HOST: u64 = 0x1_0000;
const VMCB: u64 = 0x2_0000;
const GUEST: u64 = 0x3_0000;
const STACK: u64 = 0x4_8000;
const GDT: u64 = 0x5_0000;
const IDT: u64 = 0x6_0000;
const HANDLER: u64 = 0x7_0000;
const IOPM: u64 = 0x8_0000;
const MSRPM: u64 = 0x8_4000;

/// mov eax, VMCB; vmrun; out 0f4h, al; hlt; jmp -3
const HOST_CODE: [u8; 13] = [0xb8, 0, 0, 2, 0, 0x0f, 0x01, 0xd8, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
const HOST_NEXT: u64 = HOST + 8;

const CPUID: [u8; 2] = [0x0f, 0xa2];
const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
const HLT: u8 = 0xf4;
const STI: u8 = 0xfb;
const NOP: u8 = 0x90;

/// Intercepts of vector 3.
const INTR: u32 = 1;
const VINTR: u32 = 1 << 4;
const CPUID_INTERCEPT: u32 = 1 << 18;
const HLT_INTERCEPT: u32 = 1 << 24;
const IO: u32 = 1 << 27;
const MSR: u32 = 1 << 28;
const SHUTDOWN: u32 = 1 << 31;
const V_IRQ: u64 = 1 << 8;
const VGIF: u64 = 1 << 9;
const V_INTR_MASKING: u64 = 1 << 24;
const VGIF_ENABLE: u64 = 1 << 25;

/// Ends the run at a write to port 0f4h.
struct End(Stop);

impl Bus for End {
    fn read(&self, _: Space, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn write(&self, space: Space, address: u64, _: &[u8]) {
        if (space, address) == (Space::Port, 0xf4) {
            self.0.ask();
        }
    }
}

struct Lab(Cpu);

impl Lab {
    /// A 64-bit hypervisor before VMRUN of a 64-bit guest with `code`, both at CPL 0, with nested paging; VMRUN,
    /// VMMCALL and shutdown exit.
    fn new(code: &[u8]) -> Self {
        Self::of(&CpuSpec::uniprocessor(&[(0, MEMORY)]).unwrap(), code)
    }

    /// The same of a processor that has more features than hosts have.
    fn having(features: &[Feature], code: &[u8]) -> Self {
        let mut spec = CpuSpec::uniprocessor(&[(0, MEMORY)]).unwrap();
        let changes = Changes { more: features.to_vec(), less: Vec::new() };
        let tsc_khz = spec.counter.khz();
        spec.model =
            Arc::new(Model::amd(&ModelSpec { named: None, nested: true, vcpus: 1, tsc_khz, changes }));
        Self::of(&spec, code)
    }

    fn of(spec: &CpuSpec, code: &[u8]) -> Self {
        let mut lab = Self(Cpu::new(spec).unwrap());
        lab.tables(TABLES, 512);
        lab.tables(NESTED, MEMORY >> 21);
        lab.0.write_physical(HOST, &HOST_CODE);
        lab.0.write_physical(GUEST, code);
        lab.0.write_physical(GDT + 0x10, &0x00af_9b00_0000_ffffu64.to_le_bytes());
        lab.gates();
        lab.host_state();
        lab.guest_state();
        lab
    }

    /// 4 levels with `pages` pages of 2 MiB.
    fn tables(&mut self, at: u64, pages: u64) {
        self.0.write_physical(at, &(at + 0x1007).to_le_bytes());
        self.0.write_physical(at + 0x1000, &(at + 0x2007).to_le_bytes());
        for n in 0..pages {
            self.0.write_physical(at + 0x2000 + n * 8, &(n << 21 | 0xe7).to_le_bytes());
        }
    }

    /// Interrupt gates of the guest: vector n to HANDLER + 16 n, where there is `vmmcall`.
    fn gates(&mut self) {
        for n in 0..256 {
            let handler = HANDLER + 16 * n;
            let low = handler & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
            self.0.write_physical(IDT + 16 * n, &low.to_le_bytes());
            self.0.write_physical(handler, &VMMCALL);
        }
    }

    fn host_state(&mut self) {
        let regs = &mut self.0.processor.regs;
        regs.seg = [Segment { selector: 0x18, attr: 0xc93, limit: u32::MAX, base: 0 }; 6];
        regs.seg[seg::CS] = Segment { selector: 0x10, attr: 0xa9b, limit: u32::MAX, base: 0 };
        regs.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP;
        regs.cr3 = TABLES;
        regs.cr4 = cr4::PAE;
        regs.efer = efer::SVME | efer::LME | efer::LMA;
        regs.rflags = 2;
        regs.rip = HOST;
        regs.gpr[gpr::RSP] = 0x9_0000;
        self.0.flush_tlb(false);
    }

    fn guest_state(&mut self) {
        self.intercept(SHUTDOWN);
        self.put32(control::INTERCEPTS_4, 3);
        self.put32(control::ASID, 1);
        self.put(control::NESTED, 1);
        self.put(control::N_CR3, NESTED);
        self.put(control::IOPM_BASE, IOPM);
        self.put(control::MSRPM_BASE, MSRPM);
        self.put(save::G_PAT, 0x0007_0406_0007_0406);
        self.put(save::EFER, efer::SVME | efer::LME | efer::LMA);
        self.put(save::CR0, cr0::PE | cr0::PG | cr0::ET | cr0::NE);
        self.put(save::CR3, TABLES);
        self.put(save::CR4, cr4::PAE);
        self.put(save::DR6, 0xffff_0ff0);
        self.put(save::DR7, 0x400);
        self.put(save::RFLAGS, 2);
        self.put(save::RIP, GUEST);
        self.put(save::RSP, STACK);
        self.segment(save::CS, 0x10, 0xa9b);
        for field in [save::ES, save::SS, save::DS] {
            self.segment(field, 0x18, 0xc93);
        }
        self.table(save::GDTR, Table { base: GDT, limit: 0x1f });
        self.table(save::IDTR, Table { base: IDT, limit: 0xfff });
    }

    fn put(&mut self, offset: usize, value: u64) {
        self.0.write_physical(VMCB + offset as u64, &value.to_le_bytes());
    }
    fn put32(&mut self, offset: usize, value: u32) {
        self.0.write_physical(VMCB + offset as u64, &value.to_le_bytes());
    }
    fn segment(&mut self, offset: usize, selector: u64, attr: u64) {
        self.put(offset, selector | attr << 16 | u64::from(u32::MAX) << 32);
    }
    fn table(&mut self, offset: usize, table: Table) {
        self.put(offset, u64::from(table.limit) << 32);
        self.put(offset + 8, table.base);
    }
    fn intercept(&mut self, bits: u32) {
        let before = self.get(control::INTERCEPTS_3) as u32;
        self.put32(control::INTERCEPTS_3, before | bits);
    }
    fn exceptions(&mut self, bits: u32) {
        self.put32(control::EXCEPTION_INTERCEPTS, bits);
    }
    fn get(&mut self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_physical(VMCB + offset as u64, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Runs until the hypervisor has seen an exit; its code and information.
    fn run(&mut self) -> (u64, u64, u64) {
        let stop = Stop::default();
        let halt = self.0.run(&End(stop.clone()), &stop);
        assert_eq!(halt, Halt::Stopped);
        assert!(!self.0.processor.gif);
        (self.get(control::EXITCODE), self.get(control::EXITINFO1), self.get(control::EXITINFO2))
    }
    /// What lies on top of the guest's stack.
    fn pushed<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let stack = self.get(save::RSP);
        self.0.read_physical(stack, &mut bytes);
        bytes
    }
    /// The return address on top of the hypervisor's stack.
    fn pushed_by_host(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let stack = self.0.processor.regs.gpr[gpr::RSP];
        self.0.read_physical(stack, &mut bytes);
        u64::from_le_bytes(bytes)
    }
    fn rip(&mut self) -> u64 {
        self.get(save::RIP)
    }
}

#[test]
fn a_cpuid_exit_comes_before_the_instruction_and_tells_the_next() {
    let mut lab = Lab::new(&CPUID);
    lab.intercept(CPUID_INTERCEPT);
    assert_eq!(lab.run().0, exitcode::CPUID);
    assert_eq!((lab.rip(), lab.get(control::NRIP)), (GUEST, GUEST + 2));
}

#[test]
fn the_hypervisor_goes_on_after_vmrun() {
    let mut lab = Lab::new(&VMMCALL);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert!((HOST_NEXT..HOST + 13).contains(&lab.0.processor.regs.rip));
    assert_eq!(lab.0.processor.regs.gpr[gpr::RAX], VMCB);
}

#[test]
fn a_guest_runs_on_past_what_is_not_intercepted() {
    let mut code = CPUID.to_vec();
    code.extend(VMMCALL);
    let mut lab = Lab::new(&code);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(lab.rip(), GUEST + 2);
}

#[test]
fn vmmcall_without_its_intercept_is_undefined() {
    let mut lab = Lab::new(&VMMCALL);
    lab.put32(control::INTERCEPTS_4, 1);
    lab.exceptions(1 << 6);
    assert_eq!(lab.run(), (exitcode::EXCEPTION + 6, 0, 0));
    assert_eq!((lab.rip(), lab.get(control::NRIP)), (GUEST, 0));
}

#[test]
fn a_read_beyond_the_nested_tables_tells_address_error_and_bytes() {
    // mov eax, [abs 1000008h]
    let mut lab = Lab::new(&[0x8b, 0x04, 0x25, 0x08, 0, 0, 0x01]);
    let (code, error, address) = lab.run();
    assert_eq!((code, error, address), (exitcode::NPF, 1 << 32 | 4, 0x100_0008));
    assert_eq!(lab.get(control::BYTES_FETCHED) & 0xffff_ff0f, 0x2504_8b0f);
    assert_eq!(lab.rip(), GUEST);
}

/// APM vol. 2, 5.6.7: PKRU is the processor's, CR4.PKE and the keys are the guest's; the nested tables have none.
#[test]
fn a_guests_protection_keys_are_its_own() {
    const KEYED: u64 = 8 << 20;
    let ends = |pke| {
        // mov eax, [abs KEYED]; vmmcall
        let mut lab = Lab::having(&[PKU], &[0x8b, 0x04, 0x25, 0, 0, 0x80, 0, 0x0f, 0x01, 0xd9]);
        lab.0.write_physical(TABLES + 0x2000 + 4 * 8, &(KEYED | 0xe7 | 3 << 59).to_le_bytes());
        lab.0.write_physical(NESTED + 0x2000 + 4 * 8, &(KEYED | 0xe7 | 3 << 59).to_le_bytes());
        lab.0.processor.regs.pkru = 1 << 6;
        lab.exceptions(1 << 14);
        let own = lab.get(save::CR4);
        lab.put(save::CR4, own | if pke { cr4::PKE } else { 0 });
        lab.run()
    };
    assert_eq!((ends(true), ends(false).0), ((exitcode::EXCEPTION + 14, 0x21, KEYED), exitcode::VMMCALL));
}

#[test]
fn port_accesses_go_by_the_map() {
    // out 81h, al; in al, 80h
    let mut lab = Lab::new(&[0xe6, 0x81, 0xe4, 0x80]);
    lab.intercept(IO);
    lab.0.write_physical(IOPM + 0x10, &[1]);
    let (code, info1, info2) = lab.run();
    assert_eq!((code, info1 >> 16, info1 & 1, info2), (exitcode::IOIO, 0x80, 1, GUEST + 4));
}

#[test]
fn msr_accesses_go_by_the_map() {
    // mov ecx, 0c0000082h; rdmsr; wrmsr
    let mut lab = Lab::new(&[0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x32, 0x0f, 0x30]);
    lab.intercept(MSR);
    lab.0.write_physical(MSRPM + 0x820, &[0x20]);
    assert_eq!(lab.run(), (exitcode::MSR, 1, 0));
    assert_eq!(lab.rip(), GUEST + 7);
}

#[test]
fn a_move_to_cr8_sets_v_tpr_and_not_the_hosts_priority() {
    // mov eax, 9; mov cr8, rax; vmmcall
    let mut lab = Lab::new(&[0xb8, 9, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0x0f, 0x01, 0xd9]);
    lab.put(control::VIRTUAL_INTERRUPT, V_INTR_MASKING);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(lab.get(control::VIRTUAL_INTERRUPT), V_INTR_MASKING | 9);
    assert_eq!(lab.0.processor.apic.cr8(), 0);
}

#[test]
fn an_injected_interrupt_is_delivered_with_interrupts_off() {
    let mut lab = Lab::new(&[NOP]);
    lab.put(control::EVENTINJ, 1 << 31 | 0x41);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(lab.rip(), HANDLER + 0x410);
    assert_eq!(lab.get(control::EVENTINJ) >> 31 & 1, 0);
}

#[test]
fn an_injected_exception_is_not_intercepted_and_brings_its_error_code() {
    let mut lab = Lab::new(&[NOP]);
    lab.exceptions(u32::MAX);
    lab.put(control::EVENTINJ, 0x77 << 32 | 1 << 31 | 1 << 11 | 3 << 8 | 13);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(lab.rip(), HANDLER + 0xd0);
    let pushed = lab.pushed::<16>();
    assert_eq!(pushed[..8], 0x77u64.to_le_bytes());
    assert_eq!(pushed[8..], GUEST.to_le_bytes());
}

#[test]
fn an_injected_software_interrupt_returns_to_nrip() {
    let mut lab = Lab::new(&[0xcd, 0x80, NOP]);
    lab.put(control::EVENTINJ, 1 << 31 | 4 << 8 | 0x80);
    lab.put(control::NRIP, GUEST + 2);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    let pushed = lab.pushed::<8>();
    assert_eq!(u64::from_le_bytes(pushed), GUEST + 2);
}

#[test]
fn a_nested_page_fault_in_delivery_is_in_exitintinfo() {
    let mut lab = Lab::new(&[NOP]);
    lab.put(control::EVENTINJ, 1 << 31 | 0x41);
    // The push meets a stack that the nested tables do not map.
    lab.put(save::RSP, 0x200_0000);
    let (code, error, address) = lab.run();
    assert_eq!((code, error & 2, address & !0xfff), (exitcode::NPF, 2, 0x1ff_f000));
    assert_eq!(lab.get(control::EXITINTINFO), 1 << 31 | 0x41);
    assert_eq!((lab.rip(), lab.get(save::RSP)), (GUEST, 0x200_0000));
}

#[test]
fn a_virtual_interrupt_waits_for_sti_and_its_shadow() {
    let mut lab = Lab::new(&[NOP, STI, NOP, NOP, HLT]);
    lab.put(control::VIRTUAL_INTERRUPT, V_IRQ | V_INTR_MASKING | 0xf << 16 | 0x52 << 32);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(lab.rip(), HANDLER + 0x520);
    assert_eq!(lab.get(control::VIRTUAL_INTERRUPT) & V_IRQ, 0);
    let pushed = lab.pushed::<8>();
    assert_eq!(u64::from_le_bytes(pushed), GUEST + 3);
}

#[test]
fn a_vintr_exit_comes_when_the_guest_would_take_the_interrupt() {
    let mut lab = Lab::new(&[NOP, STI, NOP, NOP, HLT]);
    lab.intercept(VINTR);
    lab.put(control::VIRTUAL_INTERRUPT, V_IRQ | V_INTR_MASKING | 0xf << 16);
    assert_eq!(lab.run().0, exitcode::VINTR);
    assert_eq!(lab.rip(), GUEST + 3);
    assert_eq!(lab.get(control::VIRTUAL_INTERRUPT) & V_IRQ, V_IRQ);
}

#[test]
fn v_tpr_holds_off_a_virtual_interrupt() {
    let mut lab = Lab::new(&[STI, NOP, NOP, HLT]);
    lab.intercept(VINTR | HLT_INTERCEPT);
    lab.put(control::VIRTUAL_INTERRUPT, V_IRQ | V_INTR_MASKING | 3 << 16 | 3);
    assert_eq!(lab.run().0, exitcode::HLT);
}

#[test]
fn the_guests_shadow_survives_vmrun_in_the_hosts_shadow() {
    let mut lab = Lab::new(&[NOP, HLT]);
    lab.intercept(VINTR | HLT_INTERCEPT);
    lab.put(save::RFLAGS, rflags::IF | 2);
    lab.put(control::VIRTUAL_INTERRUPT, V_IRQ | V_INTR_MASKING | 0xf << 16);
    lab.put(control::INTERRUPT_SHADOW, 1);
    // sti; vmrun; cli
    lab.0.write_physical(HOST, &[0xb8, 0, 0, 2, 0, STI, 0x0f, 0x01, 0xd8, 0xfa, 0xe6, 0xf4, HLT, 0xeb, 0xfd]);
    assert_eq!(lab.run().0, exitcode::VINTR);
    assert_eq!(lab.rip(), GUEST + 1);
}

#[test]
fn a_triple_fault_is_a_shutdown_exit() {
    let mut lab = Lab::new(&[0x0f, 0x0b]);
    lab.table(save::IDTR, Table::default());
    assert_eq!(lab.run().0, exitcode::SHUTDOWN);
}

#[test]
fn the_next_vmrun_goes_on_where_the_exit_was() {
    // mov ecx, 3; cpuid is skipped by moving RIP to nRIP; dec and loop; vmmcall
    let mut lab = Lab::new(&[0x0f, 0xa2, 0x0f, 0xa2, 0x0f, 0x01, 0xd9]);
    lab.intercept(CPUID_INTERCEPT);
    for step in 0..2 {
        assert_eq!(lab.run().0, exitcode::CPUID);
        assert_eq!(lab.rip(), GUEST + 2 * step);
        let next = lab.get(control::NRIP);
        lab.put(save::RIP, next);
        lab.0.processor.regs.rip = HOST;
        lab.0.processor.halted = false;
    }
    assert_eq!(lab.run().0, exitcode::VMMCALL);
}

#[test]
fn a_refused_vmcb_is_an_invalid_exit() {
    let mut lab = Lab::new(&[NOP]);
    lab.put32(control::ASID, 0);
    assert_eq!(lab.run().0, exitcode::INVALID);
    assert_eq!(lab.0.processor.vendor().refused(), Some("ASID is zero"));
}

#[test]
fn a_vmcb_address_beyond_physical_memory_is_a_general_protection_fault() {
    let mut lab = Lab::new(&[NOP]);
    // mov eax, VMCB + 8; vmrun: #GP, for which there is no handler here.
    lab.0.write_physical(HOST + 1, &[8]);
    let stop = Stop::default();
    assert!(matches!(lab.0.run(&End(stop.clone()), &stop), Halt::Shutdown(_)));
}

/// Sends vector `vector` to the processor's APIC, which is made ready for it.
fn interrupt(lab: &mut Lab, vector: u8) {
    const SPURIOUS: u32 = 0xf0;
    const ICR: u32 = 0x300;
    const SELF: u32 = 1 << 18;
    const ASSERT: u32 = 1 << 14;
    lab.0.apic().write(SPURIOUS, 0x1ff);
    lab.0.apic().write(ICR, SELF | ASSERT | u32::from(vector));
}

#[test]
fn a_physical_interrupt_exits_by_the_hosts_flag_and_stays_pending() {
    // jmp self, with IF clear.
    let mut lab = Lab::new(&[0xeb, 0xfe]);
    lab.intercept(INTR);
    lab.put(control::VIRTUAL_INTERRUPT, V_INTR_MASKING);
    // Not before VMRUN: GIF is clear.
    lab.0.processor.gif = false;
    lab.0.processor.regs.rflags |= rflags::IF;
    interrupt(&mut lab, 0x61);
    assert_eq!(lab.run(), (exitcode::INTR, 0, 0));
    assert_eq!((lab.rip(), lab.get(control::EXITINTINFO)), (GUEST, 0));
    assert_eq!(lab.0.apic().pending(), Some(0x61));
}

#[test]
fn stgi_lets_the_pending_interrupt_in() {
    let mut lab = Lab::new(&[0xeb, 0xfe]);
    lab.intercept(INTR);
    lab.put(control::VIRTUAL_INTERRUPT, V_INTR_MASKING);
    // clgi; sti; mov eax, VMCB; vmrun; stgi; nop: the handler does `out 0f4h, al` and `hlt`.
    let code = [0x0f, 0x01, 0xdd, STI, 0xb8, 0, 0, 2, 0, 0x0f, 0x01, 0xd8, 0x0f, 0x01, 0xdc, NOP, HLT];
    lab.0.write_physical(HOST, &code);
    lab.0.processor.regs.idtr = Table { base: IDT, limit: 0xfff };
    lab.0.processor.regs.gdtr = Table { base: GDT, limit: 0x1f };
    lab.0.write_physical(HANDLER + 0x610, &[0xe6, 0xf4, HLT, 0xeb, 0xfd]);
    interrupt(&mut lab, 0x61);
    let stop = Stop::default();
    assert_eq!(lab.0.run(&End(stop.clone()), &stop), Halt::Stopped);
    assert_eq!(lab.pushed_by_host(), HOST + 15);
}

#[test]
fn without_masking_the_guest_takes_the_interrupt_itself() {
    let mut lab = Lab::new(&[STI, NOP, 0xeb, 0xfe]);
    lab.0.processor.gif = false;
    interrupt(&mut lab, 0x61);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(lab.rip(), HANDLER + 0x610);
}

#[test]
fn a_virtual_vmsave_goes_through_the_nested_tables() {
    // mov eax, 5000000h; vmsave; vmmcall
    let mut lab = Lab::new(&[0xb8, 0, 0, 0, 5, 0x0f, 0x01, 0xdb, 0x0f, 0x01, 0xd9]);
    lab.put(control::LBR, 2);
    // Guest-physical 5000000h is system-physical 200000h.
    lab.0.write_physical(NESTED + 0x2000 + 40 * 8, &0x20_00e7u64.to_le_bytes());
    lab.0.processor.regs.lstar = 0x1234;
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    let mut lstar = [0; 8];
    lab.0.read_physical(0x20_0000 + save::LSTAR as u64, &mut lstar);
    assert_eq!(u64::from_le_bytes(lstar), 0x1234);
}

#[test]
fn a_virtual_vmload_from_an_unmapped_page_is_a_nested_page_fault() {
    // mov eax, 5000000h; vmload
    let mut lab = Lab::new(&[0xb8, 0, 0, 0, 5, 0x0f, 0x01, 0xda]);
    lab.put(control::LBR, 2);
    let (code, _, address) = lab.run();
    assert_eq!((code, address), (exitcode::NPF, 0x500_0000));
}

#[test]
fn a_virtual_gif_is_the_guests_own() {
    // clgi; sti; nop; nop; stgi; nop: the virtual interrupt comes after STGI.
    let mut lab = Lab::new(&[0x0f, 0x01, 0xdd, STI, NOP, NOP, 0x0f, 0x01, 0xdc, NOP, HLT]);
    lab.put(control::VIRTUAL_INTERRUPT, VGIF | VGIF_ENABLE | V_IRQ | V_INTR_MASKING | 0xf << 16 | 0x52 << 32);
    assert_eq!(lab.run().0, exitcode::VMMCALL);
    assert_eq!(u64::from_le_bytes(lab.pushed()), GUEST + 9);
    assert_eq!(lab.get(control::VIRTUAL_INTERRUPT) & VGIF, VGIF);
}

#[test]
fn pages_of_one_asid_are_not_those_of_another() {
    // mov eax, [400000h]; vmmcall
    let code = [0x8b, 0x04, 0x25, 0, 0, 0x40, 0, 0x0f, 0x01, 0xd9];
    let mut lab = Lab::new(&code);
    lab.0.write_physical(0x40_0000, &[1]);
    lab.0.write_physical(0x60_0000, &[2]);
    lab.run();
    assert_eq!(lab.get(save::RAX), 1);
    // Guest-physical 400000h is now system-physical 600000h: another ASID sees it at once.
    lab.0.write_physical(NESTED + 0x2000 + 2 * 8, &0x60_00e7u64.to_le_bytes());
    for (asid, value) in [(2, 2), (1, 1)] {
        lab.put32(control::ASID, asid);
        lab.put(save::RIP, GUEST);
        lab.0.processor.regs.rip = HOST;
        lab.0.processor.halted = false;
        lab.run();
        assert_eq!(lab.get(save::RAX), value);
    }
}

#[test]
fn flush_by_asid_forgets_that_asid() {
    let code = [0x8b, 0x04, 0x25, 0, 0, 0x40, 0, 0x0f, 0x01, 0xd9];
    let mut lab = Lab::new(&code);
    lab.0.write_physical(0x60_0000, &[2]);
    lab.run();
    lab.0.write_physical(NESTED + 0x2000 + 2 * 8, &0x60_00e7u64.to_le_bytes());
    lab.put32(control::TLB_CONTROL, 3);
    lab.put(save::RIP, GUEST);
    lab.0.processor.regs.rip = HOST;
    lab.0.processor.halted = false;
    lab.run();
    assert_eq!(lab.get(save::RAX), 2);
}

#[test]
fn without_svme_the_instructions_are_undefined() {
    let mut lab = Lab::new(&[NOP]);
    lab.0.processor.regs.efer &= !efer::SVME;
    let stop = Stop::default();
    assert!(matches!(lab.0.run(&End(stop.clone()), &stop), Halt::Shutdown(_)));
}
