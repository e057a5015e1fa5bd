//! The state of every level that the processor knows of, as text.

use super::names;
use crate::Cpu;
use crate::cpu::Privilege;
use ireko_nested::Control;
use ireko_nested::svm::{Host, encode, event};
use ireko_x86::vmcb::{control, save};
use std::fmt::Write;

/// Words of stack that are looked through for return addresses.
const STACK_WORDS: u64 = 128;

impl Cpu {
    /// The levels around the current registers: in a guest, its control and its hypervisor's saved state; every other
    /// guest that was seen as its VMCB has it.
    pub(crate) fn describe_levels(&mut self) -> String {
        let mut out = String::new();
        self.find_kernel();
        let world = self.world_id();
        let _ = writeln!(out, "rip{}", or_unknown(&self.symbol(world, self.processor.regs.rip)));
        self.describe_stack(&mut out, world);
        let flags = [
            ("interrupt shadow", self.processor.shadow),
            ("NMIs blocked", self.processor.nmi_blocked),
            ("GIF clear", !self.processor.gif),
            ("halted", self.processor.halted),
        ];
        let set: Vec<_> = flags.iter().filter(|flag| flag.1).map(|flag| flag.0).collect();
        let _ = writeln!(out, "processor: {}", if set.is_empty() { "-".to_owned() } else { set.join(", ") });
        if let Some(control) = self.control() {
            describe_control(&mut out, control);
            describe_host(
                &mut out,
                &self.processor.svm.host,
                &self.symbol(None, self.processor.svm.host.rip),
            );
        }
        if let Some(check) = self.processor.svm.refused {
            let _ = writeln!(out, "the last VMRUN was refused: {check}");
        }
        for vmcb in self.known_vmcbs() {
            self.describe_vmcb(&mut out, vmcb, world == Some(vmcb));
        }
        out
    }

    fn known_vmcbs(&self) -> Vec<u64> {
        let worlds = self.inspect.as_deref().and_then(|i| i.worlds.as_ref());
        let mut all: Vec<u64> =
            worlds.into_iter().flat_map(|w| w.list.iter().filter_map(|w| w.vmcb)).collect();
        if self.processor.svm.vmcb != 0 && !all.contains(&self.processor.svm.vmcb) {
            all.push(self.processor.svm.vmcb);
        }
        all
    }

    /// Text addresses on the stack, as far as symbols are known.
    fn describe_stack(&mut self, out: &mut String, world: Option<u64>) {
        for word in 0..STACK_WORDS {
            let at = self.processor.regs.gpr[4].wrapping_add(word * 8);
            let mut bytes = [0; 8];
            if self.processor.regs.cpl != 0 || self.read_linear(at, &mut bytes, Privilege::System).is_err() {
                return;
            }
            let value = u64::from_le_bytes(bytes);
            let symbol = self.symbol(world, value);
            if !symbol.is_empty() {
                let _ = writeln!(out, "  rsp+{:#05x}: {value:016x}{symbol}", word * 8);
            }
        }
    }

    /// What memory has of a guest: why it exited last, and where it was.
    fn describe_vmcb(&self, out: &mut String, vmcb: u64, running: bool) {
        let field = |offset: usize| {
            let mut bytes = [0; 8];
            self.mmu
                .physical
                .read(vmcb.wrapping_add(offset as u64), &mut bytes)
                .then(|| u64::from_le_bytes(bytes))
        };
        let word = |offset| field(offset).unwrap_or(0);
        if field(0).is_none() {
            return;
        }
        let now = if running { " (running; as of its last exit)" } else { "" };
        let _ = writeln!(
            out,
            "VMCB {vmcb:#x}{now}: ASID {}, nCR3 {:#x}",
            word(control::ASID) as u32,
            word(control::N_CR3)
        );
        let _ = writeln!(
            out,
            "  last exit: {} EXITINFO1={:#x} EXITINFO2={:#x} EXITINTINFO={}",
            names::exit(word(control::EXITCODE)),
            word(control::EXITINFO1),
            word(control::EXITINFO2),
            event::decode(word(control::EXITINTINFO)).map_or("-".to_owned(), |e| names::event(&e)),
        );
        let rip = word(save::RIP);
        let _ = writeln!(
            out,
            "  rip={rip:016x}{} rsp={:016x} rax={:016x} rflags={:x} cr0={:x} cr3={:x} cr4={:x} efer={:x}",
            self.symbol(Some(vmcb), rip),
            word(save::RSP),
            word(save::RAX),
            word(save::RFLAGS),
            word(save::CR0),
            word(save::CR3),
            word(save::CR4),
            word(save::EFER),
        );
    }
}

fn or_unknown(symbol: &str) -> &str {
    if symbol.is_empty() { ": no symbol" } else { symbol }
}

fn describe_host(out: &mut String, host: &Host, symbol: &str) {
    let _ = writeln!(
        out,
        "hypervisor (saved by VMRUN): rip={:016x}{symbol} rsp={:016x} rax={:016x} rflags={:x} cr0={:x} cr3={:x} cr4={:x} efer={:x}",
        host.rip, host.rsp, host.rax, host.rflags, host.cr0, host.cr3, host.cr4, host.efer
    );
}

/// The control in force, in words.
fn describe_control(out: &mut String, control: &Control) {
    let _ = writeln!(
        out,
        "guest under ASID {}, {}",
        control.asid,
        match control.stage2 {
            Some(stage2) => format!("nested paging from {:#x}", stage2.root),
            None => "no nested paging".to_owned(),
        }
    );
    let plain = encode::PLAIN.iter().filter(|row| control.has(row.what));
    let named: Vec<_> = plain.map(|row| format!("{:?}", row.what)).collect();
    let _ = writeln!(out, "  intercepts: {}", named.join(" "));
    let _ = writeln!(
        out,
        "  CR read {:#x} write {:#x}, DR read {:#x} write {:#x}, exceptions {:#x}, IOPM {:#x}, MSRPM {:#x}",
        control.cr_read,
        control.cr_write,
        control.dr_read,
        control.dr_write,
        control.exceptions,
        control.io_map,
        control.msr_map
    );
    let _ = writeln!(
        out,
        "  V_INTR_MASKING {}, host IF {}, V_TPR {:#x}, V_IRQ {} (vector {:#x}), vGIF {}, TSC offset {:#x} ratio {:#x}",
        control.virtual_interrupts,
        control.host_if,
        control.v_tpr,
        control.v_irq,
        control.v_intr_vector,
        if control.vgif_enabled { control.vgif.to_string() } else { "-".to_owned() },
        control.tsc_offset,
        control.tsc_ratio
    );
    if let Some(inject) = &control.inject {
        let _ = writeln!(out, "  to inject: {}", names::event(inject));
    }
}
