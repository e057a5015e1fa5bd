//! The APIC's registers as software reaches them: the xAPIC page, x2APIC MSRs and IA32_APIC_BASE.

use super::{Apic, Message};
use crate::processor::apic::entry;
use ireko_x86::apic::{SVR_ENABLE, VERSION, base, esr, lvt, offset};
use ireko_x86::msr;

/// Which bits of each entry of the local vector table can be written: timer, thermal, performance, LINT0, LINT1,
/// error.
const LVT_BITS: [u32; entry::COUNT] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
/// ICR: delivery status and reserved bits are not written.
const ICR_BITS: u32 = 0x000c_cfff;

impl Apic<'_> {
    // ---- the xAPIC page ----

    /// A load of any size from the page; bytes beyond a register's four read as zero.
    pub fn read_mmio(&mut self, offset: u32, data: &mut [u8]) {
        let value = u128::from(self.read(offset & !0xf)).to_le_bytes();
        let skip = (offset & 0xf) as usize;
        data.fill(0);
        data.iter_mut().zip(&value[skip..]).for_each(|(to, from)| *to = *from);
    }

    /// A store to the page. Only an aligned store of at least 32 bits is defined; others do nothing.
    pub fn write_mmio(&mut self, offset: u32, data: &[u8]) {
        if let (0, Some(bytes)) = (offset & 0xf, data.first_chunk()) {
            self.write(offset, u32::from_le_bytes(*bytes));
        }
    }

    /// Reads the register at a 16-byte boundary of the page.
    pub fn read(&mut self, offset: u32) -> u32 {
        self.sync();
        match offset {
            offset::ID => self.regs.id << 24,
            offset::LDR => self.regs.ldr,
            offset::DFR => self.regs.dfr,
            offset::ICR_HIGH => (self.regs.icr >> 32) as u32,
            offset::APR | offset::RRD | offset::EOI => 0,
            _ => self.read_shared(offset).unwrap_or_else(|| {
                self.error(esr::ILLEGAL_REGISTER);
                0
            }),
        }
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        self.sync();
        match offset {
            offset::ID | offset::RRD | offset::APR => {}
            offset::LDR => {
                self.regs.ldr = value & 0xff00_0000;
                self.publish();
            }
            offset::DFR => {
                self.regs.dfr = value | 0x0fff_ffff;
                self.publish();
            }
            offset::ICR_HIGH => {
                self.regs.icr = self.regs.icr & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32
            }
            offset::ICR => self.command(u64::from(value) | self.regs.icr & 0xff00_0000_0000_0000),
            _ => {
                if self.write_shared(offset, value).is_none() {
                    self.error(esr::ILLEGAL_REGISTER);
                }
            }
        }
    }

    // ---- registers that both modes have ----

    fn read_shared(&mut self, offset: u32) -> Option<u32> {
        let word = |first: u32| (offset - first) / 16;
        Some(match offset {
            offset::VERSION => VERSION,
            offset::TPR => self.regs.tpr.into(),
            offset::PPR => self.regs.ppr().into(),
            offset::SVR => self.regs.svr,
            offset::ISR..offset::TMR => self.regs.isr.word(word(offset::ISR)),
            offset::TMR..offset::IRR => self.regs.tmr.word(word(offset::TMR)),
            offset::IRR..offset::ESR => self.regs.irr.word(word(offset::IRR)),
            offset::ESR => self.regs.esr,
            offset::ICR => self.regs.icr as u32,
            offset::LVT_TIMER..=offset::LVT_ERROR => self.regs.lvt[word(offset::LVT_TIMER) as usize],
            offset::INITIAL_COUNT => self.regs.timer.initial,
            offset::CURRENT_COUNT => self.timer_count(),
            offset::DIVIDE => self.regs.timer.divide,
            _ => return None,
        })
    }

    fn write_shared(&mut self, offset: u32, value: u32) -> Option<()> {
        match offset {
            offset::TPR => self.regs.set_tpr(value as u8),
            offset::EOI => self.end_of_interrupt(),
            offset::SVR => self.set_svr(value),
            offset::ESR => self.regs.esr = std::mem::take(&mut self.regs.errors),
            offset::LVT_TIMER..=offset::LVT_ERROR => {
                self.set_lvt(((offset - offset::LVT_TIMER) / 16) as usize, value);
            }
            offset::INITIAL_COUNT if !self.regs.deadline_mode() => self.start_timer(value),
            offset::INITIAL_COUNT | offset::CURRENT_COUNT => {}
            offset::DIVIDE => self.set_divide(value),
            _ => return None,
        }
        Some(())
    }

    /// Software disable masks every local entry (APM vol. 2, 16.4.7).
    fn set_svr(&mut self, value: u32) {
        self.regs.svr = value & 0x3ff;
        if self.regs.svr & SVR_ENABLE == 0 {
            self.regs.lvt.iter_mut().for_each(|local| *local |= lvt::MASKED);
        }
    }

    fn set_lvt(&mut self, n: usize, value: u32) {
        let old = self.regs.lvt[n];
        self.regs.lvt[n] = value & LVT_BITS[n];
        if self.regs.svr & SVR_ENABLE == 0 {
            self.regs.lvt[n] |= lvt::MASKED;
        }
        let deadline = |local| local & lvt::TIMER_MODE == lvt::TSC_DEADLINE;
        if n == entry::TIMER && deadline(old) != deadline(value) {
            self.stop_timer();
        }
    }

    /// A write of the ICR's low half sends.
    fn command(&mut self, value: u64) {
        self.regs.icr = value & (u64::from(ICR_BITS) | 0xffff_ffff_0000_0000);
        let x2apic = self.regs.x2apic();
        let target = (self.regs.icr >> 32) as u32;
        let target = if x2apic { target } else { target >> 24 };
        self.send(&Message::from_icr(value as u32, target, x2apic, self.regs.id));
    }

    // ---- x2APIC (APM vol. 2, 16.9 to 16.13) ----

    /// RDMSR of 800h–8FFh; `None` is #GP.
    pub fn read_msr(&mut self, number: u32) -> Option<u64> {
        if !self.regs.x2apic() {
            return None;
        }
        self.sync();
        let offset = number.checked_sub(msr::X2APIC_FIRST)? << 4;
        match offset {
            offset::ID => Some(self.regs.id.into()),
            offset::LDR => Some(self.regs.x2apic_ldr().into()),
            offset::ICR => Some(self.regs.icr),
            _ => self.read_shared(offset).map(u64::from),
        }
    }

    /// WRMSR of 800h–8FFh; `None` is #GP: no such register, read-only, or reserved bits set.
    pub fn write_msr(&mut self, number: u32, value: u64) -> Option<()> {
        if !self.regs.x2apic() {
            return None;
        }
        self.sync();
        let offset = number.checked_sub(msr::X2APIC_FIRST)? << 4;
        if value & !x2apic_bits(offset)? != 0 {
            return None;
        }
        match offset {
            offset::ICR => self.command(value),
            offset::SELF_IPI => self.send(&Message::from_icr(1 << 18 | value as u32, 0, true, self.regs.id)),
            _ => self.write_shared(offset, value as u32)?,
        }
        Some(())
    }

    // ---- IA32_APIC_BASE ----

    /// Moves, turns on or off, or changes mode; `None` is #GP. From x2APIC mode the only way is off, and off cannot
    /// become x2APIC mode at once (APM vol. 2, 16.9).
    pub fn set_base(&mut self, value: u64) -> Option<()> {
        let known = base::ADDRESS | base::EN | base::EXTD | base::BSP;
        let (old, new) = (self.regs.base & (base::EN | base::EXTD), value & (base::EN | base::EXTD));
        let forbidden = match (old, new) {
            (_, base::EXTD) => true,
            (0, new) => new == base::EN | base::EXTD,
            (old, base::EN) => old == base::EN | base::EXTD,
            _ => false,
        };
        if value & !known != 0 || forbidden {
            return None;
        }
        self.sync();
        self.regs.base = value & !base::BSP | self.regs.base & base::BSP;
        if new == 0 && old != 0 {
            self.init();
        }
        self.publish();
        Some(())
    }
}

/// Bits that may be written to an x2APIC register; `None` for those that cannot be written.
fn x2apic_bits(offset: u32) -> Option<u64> {
    Some(match offset {
        offset::TPR | offset::SELF_IPI => 0xff,
        offset::EOI | offset::ESR => 0,
        offset::SVR => 0x3ff,
        offset::ICR => u64::from(ICR_BITS) | 0xffff_ffff_0000_0000,
        offset::LVT_TIMER..=offset::LVT_ERROR => {
            let n = ((offset - offset::LVT_TIMER) / 16) as usize;
            // Delivery status (and for LINT remote IRR) are read-only, not reserved.
            u64::from(LVT_BITS[n] | 1 << 12 | 1 << 14)
        }
        offset::INITIAL_COUNT => 0xffff_ffff,
        offset::DIVIDE => 0xb,
        _ => return None,
    })
}
