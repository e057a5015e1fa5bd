//! Saving and restoring a whole vCPU: the processor, and what lies beside it while it is at rest.

use crate::Cpu;
use crate::data::xsave_area;
use crate::processor::saved::{Beside, SavedProcessor, SavedSelector, SavedVectors};
use crate::processor::x87::Pointers;
use crate::xstate::{MXCSR, ST};
use ireko_translate::thunk;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, ensure};

/// x87 registers in an FXSAVE area.
const ST_SIZE: usize = 128;

impl Cpu {
    /// `running`: for how many ticks the host has run this processor's thread.
    pub(crate) fn save(&mut self, running: u64) -> SavedProcessor {
        self.apic().drain_inbox();
        self.fpu_normalise();
        let vectors = self.save_vectors();
        let counter = self.platform.counter.at(self.platform.clock.counter());
        self.processor.save(Beside { vectors, counter, running })
    }

    fn save_vectors(&mut self) -> SavedVectors {
        let Pointers { opcode, instruction, code, data, segment } = self.processor.x87;
        let area = &self.processor.fpu.0;
        let component = |part: &xsave_area::Part| {
            let bytes = &area[part.here()];
            bytes.iter().any(|byte| *byte != 0).then(|| (part.component, Blob(bytes.to_vec())))
        };
        SavedVectors {
            x87: Bytes(std::array::from_fn(|at| area[at])),
            mxcsr: xsave_area::mxcsr_value(self),
            st: Bytes(std::array::from_fn(|at| area[ST + at])),
            components: xsave_area::vectors().iter().filter_map(component).collect(),
            opcode,
            instruction,
            data,
            code_selector: SavedSelector::of(code),
            data_selector: SavedSelector::of(segment),
        }
    }

    /// The machine's clock stands, and memory is what it was.
    pub(crate) fn restore(&mut self, saved: SavedProcessor) -> Result<(), RestoreError> {
        let (vectors, counter) = (saved.vectors.clone(), saved.counter);
        self.processor = self.processor.restored(saved)?;
        self.platform.counter.set(counter, self.platform.clock.counter());
        self.handoff.outcome = None;
        self.forget_pending();
        self.see_smram();
        self.flush_asid(ireko_nested::Flush::All);
        // That forgets what MONITOR has armed, as a switch does.
        let monitored = self.processor.monitored.take();
        self.world_switched();
        self.processor.monitored = monitored;
        self.flush_tlb(false);
        self.restore_vectors(vectors)?;
        self.apic().restored();
        if let Some(at) = self.control().and_then(|control| control.preempt_at) {
            self.platform.wake_after(at.saturating_sub(self.own_tsc().read()));
        }
        crate::hooks::nesting::entered(self);
        crate::hooks::switched(self);
        self.request_attention();
        Ok(())
    }

    fn restore_vectors(&mut self, saved: SavedVectors) -> Result<(), RestoreError> {
        let area = &mut self.processor.fpu.0;
        // The mask of MXCSR is the host's.
        let mask: [u8; 4] = std::array::from_fn(|at| area[MXCSR + 4 + at]);
        area.fill(0);
        area[MXCSR + 4..MXCSR + 8].copy_from_slice(&mask);
        area[..8].copy_from_slice(&saved.x87.0);
        area[ST..ST + ST_SIZE].copy_from_slice(&saved.st.0);
        for (component, Blob(bytes)) in &saved.components {
            let part = xsave_area::vectors().into_iter().find(|part| part.component == *component);
            let there = part.filter(|part| part.size == bytes.len() && (component & self.vectors.held != 0));
            let what = format!("it has {} bytes of component {component:#x}", bytes.len());
            let part = there.ok_or_else(|| RestoreError::invalid::<SavedProcessor>(what))?;
            area[part.here()].copy_from_slice(bytes);
        }
        area[512] = self.vectors.held as u8;
        area[thunk::IN_MEMORY] = 1;
        let known = saved.mxcsr & !xsave_area::mxcsr_mask(self) == 0;
        ensure::<SavedProcessor>(known, format!("MXCSR is {:#x}", saved.mxcsr))?;
        self.processor.fpu.0[MXCSR..MXCSR + 4].copy_from_slice(&0x1f80u32.to_le_bytes());
        xsave_area::set_mxcsr(self, saved.mxcsr);
        let (opcode, instruction, data) = (saved.opcode, saved.instruction, saved.data);
        let (code, segment) = (saved.code_selector.selector()?, saved.data_selector.selector()?);
        self.set_x87(Pointers { opcode, instruction, code, data, segment });
        Ok(())
    }
}

#[cfg(test)]
#[path = "saved_tests.rs"]
mod tests;
