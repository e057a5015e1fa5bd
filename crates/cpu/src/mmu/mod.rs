//! The soft MMU: page walks of every format, composed with stage 2.

pub mod bank;
pub mod format;
pub mod shared;
pub mod tables;
pub mod walk;

use crate::phys::Physical;
use ireko_vmcore::Memory;
use std::sync::Arc;

/// Guest memory, and what is known of how linear addresses lead to it.
pub struct Mmu {
    pub physical: Physical,
    pub(crate) banks: bank::Banks,
    pub(crate) shared_fetch: shared::SharedFetch,
    pub(crate) dependents: tables::Dependents,
    /// How often blocks of memory had gone when translations were last forgotten for it.
    pub(crate) departures: u64,
}

impl Mmu {
    pub fn new(memory: Arc<Memory>) -> std::io::Result<Self> {
        Ok(Self {
            departures: memory.departures(),
            physical: Physical::new(memory),
            banks: bank::Banks::new()?,
            shared_fetch: Default::default(),
            dependents: Default::default(),
        })
    }
}
