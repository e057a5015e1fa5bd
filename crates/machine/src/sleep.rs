//! Suspend to memory (ACPI 6.5, 16.1.2 and 16.3): how a processor begins when the system wakes. The rest of the board keeps its power.

use crate::boot;
use crate::layout::{Board, Layout};
use ireko_devices::Rtc;
use ireko_vmcore::{CpuState, Memory};
use ireko_x86::regs::seg;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// CMOS memory's shutdown status, and what it says to firmware that starts after a sleep (SeaBIOS, `handle_resume`).
const SHUTDOWN_STATUS: u8 = 0x0f;
const RESUME: u8 = 0xfe;
/// The FACS' field with the 32-bit waking vector (ACPI 6.5, table 5.13).
const WAKING_VECTOR: u64 = 12;
/// A waking vector is code of real mode, below 1 MiB.
const VECTOR_BITS: u32 = 0xf_ffff;

/// Whether a board's firmware, or the machine in its place, brings the system back.
pub fn offered(board: Board) -> bool {
    matches!(board, Board::Direct | Board::I440fx)
}

/// Who wakes the first processor.
pub enum Waker {
    /// The machine: where the FACS says, whose address this is. `management`: as the layout has it.
    Facs { memory: Arc<Memory>, address: u64, management: (u64, bool) },
    /// Firmware, which is told by the clock's memory.
    Firmware(Rtc),
}

impl Waker {
    pub fn new(layout: &Layout, memory: &Arc<Memory>, facs: u64, rtc: Rtc) -> Self {
        match layout.board {
            Board::Direct => {
                Self::Facs { memory: memory.clone(), address: facs, management: layout.management() }
            }
            Board::I440fx | Board::Q35 => Self::Firmware(rtc),
        }
    }

    /// The state in which the first processor begins.
    pub fn state(&self) -> CpuState {
        match self {
            Self::Facs { memory, address, management } => {
                let at = GuestAddress(address + WAKING_VECTOR);
                real_mode(memory.ram().read_obj::<u32>(at).unwrap_or_default(), *management)
            }
            Self::Firmware(rtc) => {
                rtc.set_cmos(SHUTDOWN_STATUS, RESUME);
                CpuState::reset()
            }
        }
    }
}

/// At a waking vector: its paragraph is in CS, what is left of it in IP.
fn real_mode(vector: u32, management: (u64, bool)) -> CpuState {
    let vector = vector & VECTOR_BITS;
    let mut state = boot::after_reset(management);
    let code = &mut state.regs.seg[seg::CS];
    (code.selector, code.base) = ((vector >> 4) as u16, u64::from(vector & !0xf));
    state.regs.rip = u64::from(vector & 0xf);
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANAGEMENT: (u64, bool) = (0xa_0000, true);

    #[test]
    fn a_processor_wakes_where_the_facs_says() {
        let memory = Arc::new(Memory::new(&[(0, 0x1000)]).unwrap());
        memory.ram().write_obj(0xfff_9a123u32, GuestAddress(0x40 + WAKING_VECTOR)).unwrap();
        let regs = Waker::Facs { memory, address: 0x40, management: MANAGEMENT }.state().regs;
        let code = regs.seg[seg::CS];
        assert_eq!((code.selector, code.base, regs.rip), (0x9a12, 0x9_a120, 3));
        assert!(!regs.protected());
    }

    #[test]
    fn a_facs_that_is_not_there_wakes_at_nothing() {
        let memory = Arc::new(Memory::new(&[(0, 0x1000)]).unwrap());
        assert_eq!(
            Waker::Facs { memory, address: u64::MAX - 20, management: MANAGEMENT }.state().regs.rip,
            0
        );
    }
}
