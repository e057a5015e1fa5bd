//! A copy of the parts of a VMCB that the processor looks at, and what of it makes a [`Control`].

use super::{Caps, event};
use crate::control::Pause;
use crate::{Control, Core, InterceptSet, Shadow, Stage2, Stage2Tables, TscScale};
use ireko_x86::paging::{LINEAR_BITS, canonicalize};
use ireko_x86::vmcb::{CONTROL_SIZE, SAVE, SAVE_SIZE, control, save, virtual_interrupt as vi};
use ireko_x86::{Registers, Segment, Table};

/// Control area and state save area, copied once at VMRUN; also the image from which #VMEXIT writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmcb {
    control: [u8; CONTROL_SIZE],
    save: [u8; SAVE_SIZE],
    linear_bits: u32,
}

/// Where the hypervisor finds the next instruction's permission maps: the low 12 bits do not count (15.10.1, 15.11).
const MAP_MASK: u64 = !0xfff;

impl Vmcb {
    /// All zeroes, to be filled and stored.
    pub const fn blank() -> Self {
        Self { control: [0; CONTROL_SIZE], save: [0; SAVE_SIZE], linear_bits: LINEAR_BITS }
    }

    /// Copies the VMCB at a system-physical address. Where there is no memory, all bits read as one.
    pub fn load<C: Core>(core: &mut C, address: u64) -> Self {
        let mut vmcb = Self::load_save(core, address);
        if !core.read_physical(address, &mut vmcb.control) {
            vmcb.control.fill(0xff);
        }
        vmcb
    }

    /// The same with the state save area only.
    pub fn load_save<C: Core>(core: &mut C, address: u64) -> Self {
        let mut vmcb = Self { linear_bits: core.linear_bits(), ..Self::blank() };
        if !core.read_physical(address + SAVE as u64, &mut vmcb.save) {
            vmcb.save.fill(0xff);
        }
        vmcb
    }

    /// Writes the runs (offset, bytes) of this image to the VMCB at `address`.
    pub fn store<C: Core>(&self, core: &mut C, address: u64, runs: &[(usize, usize)]) {
        for &(offset, size) in runs {
            core.write_physical(address + offset as u64, self.bytes(offset, size));
        }
    }

    fn bytes(&self, offset: usize, size: usize) -> &[u8] {
        match offset.checked_sub(SAVE) {
            Some(offset) => &self.save[offset..offset + size],
            None => &self.control[offset..offset + size],
        }
    }
    fn bytes_mut(&mut self, offset: usize, size: usize) -> &mut [u8] {
        match offset.checked_sub(SAVE) {
            Some(offset) => &mut self.save[offset..offset + size],
            None => &mut self.control[offset..offset + size],
        }
    }
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.bytes(offset, N));
        bytes
    }

    pub fn u8(&self, offset: usize) -> u8 {
        self.array::<1>(offset)[0]
    }
    pub fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }
    pub fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }
    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }
    pub fn set(&mut self, offset: usize, value: u64) {
        self.put(offset, &value.to_le_bytes());
    }
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes_mut(offset, bytes.len()).copy_from_slice(bytes);
    }

    /// An address made canonical, for the widest that the processor has (15.5.1).
    pub fn canonical(&self, offset: usize) -> u64 {
        canonicalize(self.u64(offset), self.linear_bits)
    }

    /// A segment, its base made canonical (15.5.1).
    pub fn segment(&self, offset: usize) -> Segment {
        Segment {
            selector: self.u16(offset),
            attr: self.u16(offset + 2) & 0xfff,
            limit: self.u32(offset + 4),
            base: self.canonical(offset + 8),
        }
    }
    pub fn set_segment(&mut self, offset: usize, segment: &Segment) {
        self.put(offset, &segment.selector.to_le_bytes());
        self.put(offset + 2, &segment.attr.to_le_bytes());
        self.put(offset + 4, &segment.limit.to_le_bytes());
        self.set(offset + 8, segment.base);
    }
    /// GDTR or IDTR: limit and base of a segment's slot.
    pub fn table(&self, offset: usize) -> Table {
        Table { base: self.canonical(offset + 8), limit: self.u16(offset + 4) }
    }
    pub fn set_table(&mut self, offset: usize, table: &Table) {
        self.put(offset + 4, &u32::from(table.limit).to_le_bytes());
        self.set(offset + 8, table.base);
    }

    pub fn nested_paging(&self) -> bool {
        self.u64(control::NESTED) & 1 != 0
    }
    /// The neutral intercept set: bit order and vectors 3 to 5 agree (see the test of [`super::encode`]'s table).
    pub fn intercepts(&self) -> InterceptSet {
        let traps = u64::from(self.u32(control::INTERCEPTS_4)) & 0xffff;
        let late = u64::from(self.u32(control::INTERCEPTS_5)) & 0x1f;
        InterceptSet(u64::from(self.u32(control::INTERCEPTS_3)) | traps << 32 | late << 48)
    }

    /// What the processor must heed while this guest runs. `host` are the registers at VMRUN.
    pub fn control(&self, host: &Registers, tsc_scale: TscScale) -> Control {
        let stage2 = self.nested_paging().then(|| Stage2 {
            root: self.u64(control::N_CR3),
            tables: Stage2Tables::Own { cr4: host.cr4, efer: host.efer },
        });
        let io_map = self.u64(control::IOPM_BASE) & MAP_MASK;
        let virtual_interrupt = self.u64(control::VIRTUAL_INTERRUPT);
        let has = |bit: u64| virtual_interrupt & bit != 0;
        let inject = event::decode(self.u64(control::EVENTINJ));
        let mut made = Control {
            intercepts: self.intercepts(),
            exceptions: self.u32(control::EXCEPTION_INTERCEPTS),
            cr_read: self.u16(control::CR_INTERCEPTS),
            cr_write: self.u16(control::CR_INTERCEPTS + 2),
            dr_read: self.u16(control::DR_INTERCEPTS),
            dr_write: self.u16(control::DR_INTERCEPTS + 2),
            cr_write_trap: self.u16(control::INTERCEPTS_4 + 2),
            io_maps: [io_map, io_map.wrapping_add(0x1000)],
            msr_map: self.u64(control::MSRPM_BASE) & MAP_MASK,
            stage2,
            asid: self.u32(control::ASID),
            tsc_offset: self.u64(control::TSC_OFFSET),
            tsc_scale,
            virtual_interrupts: has(vi::V_INTR_MASKING),
            host_if: host.rflags & ireko_x86::bits::rflags::IF != 0,
            v_tpr: (virtual_interrupt & vi::V_TPR) as u8 & 0xf,
            v_irq: has(vi::V_IRQ),
            v_intr_priority: (virtual_interrupt >> vi::V_INTR_PRIO_SHIFT) as u8 & 0xf,
            v_ignore_tpr: has(vi::V_IGN_TPR),
            v_intr_vector: (virtual_interrupt >> vi::V_INTR_VECTOR_SHIFT) as u8,
            vgif_enabled: has(vi::VGIF_ENABLE),
            vgif: has(vi::VGIF),
            virtual_vmload_vmsave: false,
            virtual_lbr: self.u64(control::LBR) & 1 != 0,
            inject,
            entry_shadow: if self.u64(control::INTERRUPT_SHADOW) & 1 != 0 {
                Shadow::Sti
            } else {
                Shadow::None
            },
            inject_return: None,
            pause_count: self.u16(control::PAUSE_COUNT),
            pause_threshold: self.u16(control::PAUSE_THRESHOLD),
            pause: Pause { left: self.u16(control::PAUSE_COUNT), last: 0 },
            ..Control::default()
        };
        // Virtual VMLOAD and VMSAVE want nested paging and a 64-bit guest (15.33.1).
        made.virtual_vmload_vmsave = self.u64(control::LBR) & 2 != 0 && made.stage2.is_some();
        made.inject_return = inject.filter(crate::Event::is_software).map(|_| self.u64(control::NRIP));
        made
    }

    /// Bits of the field at 060h as the guest leaves them: V_TPR, V_IRQ and VGIF are the processor's to write.
    pub fn virtual_interrupt(&self, made: &Control) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        let kept = self.u64(control::VIRTUAL_INTERRUPT) & !(vi::V_TPR | vi::V_IRQ | vi::VGIF);
        kept | u64::from(made.v_tpr) | bit(made.v_irq, vi::V_IRQ) | bit(made.vgif, vi::VGIF)
    }
}

/// EFER as a guest gets it: LMA follows from LME and CR0.PG.
pub fn guest_efer(vmcb: &Vmcb, caps: &Caps) -> u64 {
    use ireko_x86::bits::{cr0, efer};
    let value = vmcb.u64(save::EFER) & caps.efer & !efer::LMA;
    let long = value & efer::LME != 0 && vmcb.u64(save::CR0) & cr0::PG != 0;
    if long { value | efer::LMA } else { value }
}
