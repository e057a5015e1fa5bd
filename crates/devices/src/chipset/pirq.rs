//! PCI interrupts as ISA interrupts, for systems that use the PIC.

use super::regs::*;
use crate::lock;
use ireko_vmcore::{Line, LineSink};
use std::sync::{Arc, Mutex};

struct PirqState {
    levels: [bool; PIRQS],
    routes: [u8; PIRQS],
}

impl PirqState {
    /// The ISA interrupt of a PIRQ, if it is routed to one that can be.
    fn irq(&self, pirq: usize) -> Option<u32> {
        let route = self.routes[pirq];
        let irq = u32::from(route & PIRQ_IRQ);
        (route & PIRQ_OFF == 0 && PIRQ_ALLOWED >> irq & 1 != 0).then_some(irq)
    }

    fn asserted(&self, irq: u32) -> bool {
        (0..PIRQS).any(|pirq| self.levels[pirq] && self.irq(pirq) == Some(irq))
    }
}

/// Routes PIRQA# to PIRQD# (82371SB, 4.1.10). Interrupts that share an ISA line are its wired OR.
pub struct PirqRouter {
    state: Mutex<PirqState>,
    isa: Vec<Line>,
}

impl PirqRouter {
    /// `isa` are the sixteen ISA wires.
    pub fn new(isa: Vec<Line>) -> Arc<Self> {
        let state = PirqState { levels: [false; PIRQS], routes: [PIRQ_OFF; PIRQS] };
        Arc::new(Self { state: Mutex::new(state), isa })
    }

    /// The wire for INTA# of a slot: PIRQ and slot rotate, and slot 1 has PIRQA#.
    pub fn intx(self: &Arc<Self>, slot: u32) -> Line {
        Line::new(self.clone(), (slot + PIRQS as u32 - 1) % PIRQS as u32)
    }

    /// Writes a route control register.
    pub fn route(&self, pirq: usize, value: u8) {
        self.change(|state| state.routes.get_mut(pirq).map(|route| *route = value));
    }

    fn change(&self, change: impl FnOnce(&mut PirqState) -> Option<()>) {
        // The lock is held over the wires so that an older level cannot come last.
        let mut state = lock(&self.state);
        let before: Vec<Option<u32>> = (0..PIRQS).map(|pirq| state.irq(pirq)).collect();
        change(&mut state);
        let now = (0..PIRQS).map(|pirq| state.irq(pirq));
        let mut concerned: Vec<u32> = before.into_iter().chain(now).flatten().collect();
        concerned.sort_unstable();
        concerned.dedup();
        for irq in concerned {
            if let Some(line) = self.isa.get(irq as usize) {
                line.set(state.asserted(irq));
            }
        }
    }
}

impl LineSink for PirqRouter {
    fn set(&self, pirq: u32, level: bool) {
        self.change(|state| state.levels.get_mut(pirq as usize).map(|old| *old = level));
    }
}
