//! Where each world's kernel is, and names of addresses in it.

use crate::Cpu;
use crate::cpu::Privilege;
use crate::inspect::symbols::Symbols;
use ireko_x86::exception::vector;

impl Cpu {
    /// The current world, as symbols and worlds are told apart.
    pub(crate) fn world_id(&self) -> Option<u64> {
        self.control().and_then(|_| self.processor.vendor().current())
    }

    /// Learns where the current world's kernel is, if that is not known yet.
    pub(crate) fn find_kernel(&mut self) {
        let world = self.world_id();
        let unknown = |symbols: &&Symbols| symbols.slide(world).is_none();
        if self.instruments.inspect.as_deref().and_then(|i| i.symbols.as_ref()).filter(unknown).is_none() {
            return;
        }
        let Some(handler) = self.idt_handler(vector::PF) else { return };
        if let Some(symbols) = self.instruments.inspect.as_deref_mut().and_then(|i| i.symbols.as_mut()) {
            symbols.learn(world, handler);
        }
    }

    /// Handler address of a 64-bit interrupt gate (APM vol. 2, 4.8.4).
    fn idt_handler(&mut self, vector: u8) -> Option<u64> {
        if !self.processor.regs.long_mode()
            || u64::from(self.processor.regs.idtr.limit) < u64::from(vector) * 16 + 15
        {
            return None;
        }
        let mut gate = [0; 16];
        let at = self.processor.regs.idtr.base.wrapping_add(u64::from(vector) * 16);
        self.read_linear(at, &mut gate, Privilege::System).ok()?;
        let gate = u128::from_le_bytes(gate);
        Some((gate & 0xffff | gate >> 32 & 0xffff_ffff_ffff_0000) as u64)
    }

    /// ` <name+0x12>`, or nothing.
    pub(crate) fn symbol(&self, world: Option<u64>, address: u64) -> String {
        let symbols = self.instruments.inspect.as_deref().and_then(|i| i.symbols.as_ref());
        symbols.and_then(|s| s.name(world, address)).map_or(String::new(), |name| format!(" <{name}>"))
    }
}
