//! The controls of the guest that runs.

use super::{SavedProcessor, number, shadow};
use ireko_nested::control::{MsrLayout, OwnedBits, PageFaultFilter, Pause};
use ireko_nested::msr_list::{MsrList, MsrLists};
use ireko_nested::{Control, Event, EventKind, InterceptSet, Stage2, Stage2Tables, TscScale};
use ireko_vmcore::saved::{RestoreError, ensure};
use serde::{Deserialize, Serialize};

/// An event to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedEvent {
    /// 0: external, 2: NMI, 3: exception, 4: software interrupt, 5: INT1, 6: INT3 and INTO (as VT-x counts them).
    pub kind: u8,
    pub vector: u8,
    pub error: Option<u32>,
}

const KINDS: [(EventKind, u8); 6] = [
    (EventKind::External, 0),
    (EventKind::Nmi, 2),
    (EventKind::Exception, 3),
    (EventKind::SoftwareInterrupt, 4),
    (EventKind::PrivilegedSoftwareException, 5),
    (EventKind::SoftwareException, 6),
];

impl SavedEvent {
    pub(super) fn of(event: Event) -> Self {
        let kind = KINDS.iter().find(|(kind, _)| *kind == event.kind).map_or(0, |(_, number)| *number);
        Self { kind, vector: event.vector, error: event.error }
    }

    pub(super) fn event(self) -> Result<Event, RestoreError> {
        let kind = KINDS.iter().find(|(_, number)| *number == self.kind).map(|(kind, _)| *kind);
        let wrong = || RestoreError::invalid::<SavedProcessor>(format!("an event of kind {}", self.kind));
        let kind = kind.ok_or_else(wrong)?;
        let exception = !matches!(kind, EventKind::External | EventKind::SoftwareInterrupt);
        ensure::<SavedProcessor>(!exception || self.vector < 32, format!("exception {}", self.vector))?;
        Ok(Event { kind, vector: self.vector, error: self.error })
    }
}

/// How a guest's physical addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedTables {
    /// By the processor's own tables, under these control registers.
    Own {
        cr4: u64,
        efer: u64,
    },
    Extended {
        five_levels: bool,
        dirty: bool,
    },
}

/// What the processor heeds while a guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedControl {
    /// A bit for each `Intercept`, in their order, which only grows at its end.
    pub intercepts: u64,
    pub exceptions: u32,
    /// Mask and wanted value of page faults' error codes.
    pub page_faults: (u32, u32),
    pub cr_read: u16,
    pub cr_write: u16,
    pub dr_read: u16,
    pub dr_write: u16,
    pub cr_write_trap: u16,
    /// Bits that are the hypervisor's, and what the guest reads of them.
    pub cr0_owned: (u64, u64),
    pub cr4_owned: (u64, u64),
    pub cr3_targets: [Option<u64>; 4],
    pub io_maps: [u64; 2],
    pub msr_map: u64,
    /// The map has four bitmaps, and not pairs of bits.
    pub msr_quarters: bool,
    /// Address and length of the lists of MSRs: loaded at entry, stored and loaded at an exit.
    pub msr_lists: [(u64, u32); 3],
    pub stage2: Option<(u64, SavedTables)>,
    pub asid: u32,
    pub tsc_offset: u64,
    /// A multiplier, and how many bits of it are behind the point.
    pub tsc_scale: (u64, u8),
    pub virtual_interrupts: bool,
    pub host_if: bool,
    pub v_tpr: u8,
    pub v_irq: bool,
    pub v_intr_priority: u8,
    pub v_ignore_tpr: bool,
    pub v_intr_vector: u8,
    pub vgif_enabled: bool,
    pub vgif: bool,
    pub virtual_nmis: bool,
    pub interrupt_window: bool,
    pub nmi_window: bool,
    pub monitor_trap: bool,
    pub preempt_at: Option<u64>,
    pub virtual_vmload_vmsave: bool,
    pub virtual_lbr: bool,
    pub inject: Option<SavedEvent>,
    pub entry_shadow: u8,
    pub inject_return: Option<u64>,
    pub pause_count: u16,
    pub pause_threshold: u16,
    /// What is left of the count, and the time of the last PAUSE.
    pub pause: (u16, u64),
}

fn owned(bits: OwnedBits) -> (u64, u64) {
    (bits.mask, bits.shadow)
}

fn lists(lists: &MsrLists) -> [MsrList; 3] {
    [lists.entry_load, lists.exit_store, lists.exit_load]
}

fn tables(stage2: Stage2) -> (u64, SavedTables) {
    let tables = match stage2.tables {
        Stage2Tables::Own { cr4, efer } => SavedTables::Own { cr4, efer },
        Stage2Tables::Extended { five_levels, dirty } => SavedTables::Extended { five_levels, dirty },
    };
    (stage2.root, tables)
}

fn stage2((root, tables): (u64, SavedTables)) -> Stage2 {
    let tables = match tables {
        SavedTables::Own { cr4, efer } => Stage2Tables::Own { cr4, efer },
        SavedTables::Extended { five_levels, dirty } => Stage2Tables::Extended { five_levels, dirty },
    };
    Stage2 { root, tables }
}

impl SavedControl {
    pub(super) fn of(control: &Control) -> Self {
        Self {
            intercepts: control.intercepts.0,
            exceptions: control.exceptions,
            page_faults: (control.page_faults.mask, control.page_faults.wanted),
            cr_read: control.cr_read,
            cr_write: control.cr_write,
            dr_read: control.dr_read,
            dr_write: control.dr_write,
            cr_write_trap: control.cr_write_trap,
            cr0_owned: owned(control.cr0),
            cr4_owned: owned(control.cr4),
            cr3_targets: control.cr3_targets,
            io_maps: control.io_maps,
            msr_map: control.msr_map,
            msr_quarters: control.msr_layout == MsrLayout::Quarters,
            msr_lists: lists(&control.msr_lists).map(|list| (list.address, list.count)),
            stage2: control.stage2.map(tables),
            asid: control.asid,
            tsc_offset: control.tsc_offset,
            tsc_scale: (control.tsc_scale.multiplier, control.tsc_scale.fraction),
            virtual_interrupts: control.virtual_interrupts,
            host_if: control.host_if,
            v_tpr: control.v_tpr,
            v_irq: control.v_irq,
            v_intr_priority: control.v_intr_priority,
            v_ignore_tpr: control.v_ignore_tpr,
            v_intr_vector: control.v_intr_vector,
            vgif_enabled: control.vgif_enabled,
            vgif: control.vgif,
            virtual_nmis: control.virtual_nmis,
            interrupt_window: control.interrupt_window,
            nmi_window: control.nmi_window,
            monitor_trap: control.monitor_trap,
            preempt_at: control.preempt_at,
            virtual_vmload_vmsave: control.virtual_vmload_vmsave,
            virtual_lbr: control.virtual_lbr,
            inject: control.inject.map(SavedEvent::of),
            entry_shadow: number(control.entry_shadow),
            inject_return: control.inject_return,
            pause_count: control.pause_count,
            pause_threshold: control.pause_threshold,
            pause: (control.pause.left, control.pause.last),
        }
    }

    pub(super) fn control(self) -> Result<Control, RestoreError> {
        let owned = |(mask, shadow)| OwnedBits { mask, shadow };
        let [entry_load, exit_store, exit_load] =
            self.msr_lists.map(|(address, count)| MsrList { address, count });
        let (multiplier, fraction) = self.tsc_scale;
        ensure::<SavedProcessor>(fraction < 64, format!("{fraction} bits of a TSC's scale"))?;
        ensure::<SavedProcessor>(self.asid != 0, "a guest has the processor's own ASID")?;
        Ok(Control {
            intercepts: InterceptSet(self.intercepts),
            exceptions: self.exceptions,
            page_faults: PageFaultFilter { mask: self.page_faults.0, wanted: self.page_faults.1 },
            cr_read: self.cr_read,
            cr_write: self.cr_write,
            dr_read: self.dr_read,
            dr_write: self.dr_write,
            cr_write_trap: self.cr_write_trap,
            cr0: owned(self.cr0_owned),
            cr4: owned(self.cr4_owned),
            cr3_targets: self.cr3_targets,
            io_maps: self.io_maps,
            msr_map: self.msr_map,
            msr_layout: if self.msr_quarters { MsrLayout::Quarters } else { MsrLayout::Pairs },
            msr_lists: MsrLists { entry_load, exit_store, exit_load },
            stage2: self.stage2.map(stage2),
            asid: self.asid,
            tsc_offset: self.tsc_offset,
            tsc_scale: TscScale { multiplier, fraction },
            virtual_interrupts: self.virtual_interrupts,
            host_if: self.host_if,
            v_tpr: self.v_tpr & 0xf,
            v_irq: self.v_irq,
            v_intr_priority: self.v_intr_priority & 0xf,
            v_ignore_tpr: self.v_ignore_tpr,
            v_intr_vector: self.v_intr_vector,
            vgif_enabled: self.vgif_enabled,
            vgif: self.vgif,
            virtual_nmis: self.virtual_nmis,
            interrupt_window: self.interrupt_window,
            nmi_window: self.nmi_window,
            monitor_trap: self.monitor_trap,
            preempt_at: self.preempt_at,
            virtual_vmload_vmsave: self.virtual_vmload_vmsave,
            virtual_lbr: self.virtual_lbr,
            inject: self.inject.map(SavedEvent::event).transpose()?,
            entry_shadow: shadow(self.entry_shadow)?,
            inject_return: self.inject_return,
            pause_count: self.pause_count,
            pause_threshold: self.pause_threshold,
            pause: Pause { left: self.pause.0, last: self.pause.1 },
        })
    }
}
