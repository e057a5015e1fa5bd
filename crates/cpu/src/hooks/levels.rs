//! The state of every level that the processor knows of, as text.

use crate::Cpu;
use crate::cpu::Privilege;
use ireko_nested::{Control, Vendor};
use std::fmt::Write;

/// Words of stack that are looked through for return addresses.
const STACK_WORDS: u64 = 128;

impl Cpu {
    /// The levels around the current registers: in a guest, its control and its hypervisor's saved state; every other
    /// guest that was seen as its control block has it.
    pub(crate) fn describe_levels(&mut self) -> String {
        let mut out = String::new();
        self.find_kernel();
        let world = self.world_id();
        let _ = writeln!(out, "rip{}", or_unknown(&self.symbol(world, self.processor.regs.rip)));
        self.describe_stack(&mut out, world);
        let flags = [
            ("interrupt shadow", self.processor.shadow.is_on()),
            ("NMIs blocked", self.processor.nmi_blocked),
            ("GIF clear", !self.processor.gif),
            ("halted", self.processor.halted),
        ];
        let set: Vec<_> = flags.iter().filter(|flag| flag.1).map(|flag| flag.0).collect();
        let _ = writeln!(out, "processor: {}", if set.is_empty() { "-".to_owned() } else { set.join(", ") });
        let vendor = self.processor.vendor();
        if let Some(control) = self.control() {
            describe_control(&mut out, control, vendor);
            vendor.describe_own(&mut out, &|address| self.symbol(None, address));
        }
        if let Some(check) = vendor.refused() {
            let _ = writeln!(out, "the last {} was refused: {check}", vendor.words().entry);
        }
        let read = |address, bytes: &mut [u8]| self.mmu.physical.read(address, bytes);
        for at in self.known_structures() {
            let symbol = |address| self.symbol(Some(at), address);
            vendor.describe(&mut out, at, world == Some(at), &read, &symbol);
        }
        out
    }

    /// Where control structures are that were seen.
    fn known_structures(&self) -> Vec<u64> {
        let worlds = self.instruments.inspect.as_deref().and_then(|i| i.worlds.as_ref());
        let mut all: Vec<u64> =
            worlds.into_iter().flat_map(|w| w.list.iter().filter_map(|w| w.control_block)).collect();
        all.extend(self.processor.vendor().current().filter(|at| !all.contains(at)));
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
}

fn or_unknown(symbol: &str) -> &str {
    if symbol.is_empty() { ": no symbol" } else { symbol }
}

/// The control in force, in words.
fn describe_control(out: &mut String, control: &Control, vendor: &dyn Vendor) {
    let words = vendor.words();
    let _ = writeln!(
        out,
        "guest under {} {}, {}",
        words.tag,
        control.asid,
        match control.stage2 {
            Some(stage2) => format!("{} from {:#x}", words.stage2, stage2.root),
            None => format!("no {}", words.stage2),
        }
    );
    let _ = writeln!(out, "  intercepts: {}", vendor.intercepts(control).join(" "));
    let _ = writeln!(
        out,
        "  CR read {:#x} write {:#x}, DR read {:#x} write {:#x}, exceptions {:#x}, I/O maps {:x?}, MSR map {:#x}",
        control.cr_read,
        control.cr_write,
        control.dr_read,
        control.dr_write,
        control.exceptions,
        control.io_maps,
        control.msr_map
    );
    let _ = writeln!(
        out,
        "  virtual interrupts {}, own IF {}, virtual TPR {:#x}, virtual interrupt {} (vector {:#x}), virtual GIF {}, TSC offset {:#x}, multiplier {:#x}",
        control.virtual_interrupts,
        control.host_if,
        control.v_tpr,
        control.v_irq,
        control.v_intr_vector,
        if control.vgif_enabled { control.vgif.to_string() } else { "-".to_owned() },
        control.tsc_offset,
        control.tsc_scale.multiplier
    );
    if let Some(inject) = &control.inject {
        let _ = writeln!(out, "  to inject: {}", inject);
    }
}
