//! What a BIOS leaves behind, on which a multiboot kernel may rely ("as initialized by the BIOS": Multiboot 0.6.96, 3.2): vectors
//! of real mode, the data area, and interrupt controllers and timer that tick.

use super::put;
use crate::MachineError;
use crate::layout;
use ireko_vmcore::memory::GuestRam;
use ireko_vmcore::{Bus, Space};

const SEGMENT: u64 = 0xf000;
const VECTORS: u64 = 256;
const DATA_AREA: u64 = 0x400;

/// Nobody asked for this interrupt: IRET.
const IGNORE: &[u8] = &[0xcf];
/// push ax; push ds; xor ax, ax; mov ds, ax; inc dword [46Ch]; int 1Ch; mov al, 20h; out 20h, al; pop ds; pop ax; iret
const TICK: &[u8] = &[
    0x50, 0x1e, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x6c, 0x04, 0xcd, 0x1c, 0xb0, 0x20, 0xe6, 0x20,
    0x1f, 0x58, 0xcf,
];
/// push ax; mov al, 20h; out 20h, al; pop ax; iret
const MASTER: &[u8] = &[0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf];
/// push ax; mov al, 20h; out 0A0h, al; out 20h, al; pop ax; iret
const SLAVE: &[u8] = &[0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf];
const HANDLERS: [&[u8]; 4] = [IGNORE, TICK, MASTER, SLAVE];
/// Bytes for each.
const ROOM: u64 = 32;

/// Where the interrupts of the two controllers are.
const MASTER_VECTOR: u64 = 0x08;
const SLAVE_VECTOR: u64 = 0x70;

/// What is written to which port: both controllers (8259A, ICW1 to ICW4; of their inputs only the timer's and the cascade are open), and
/// counter 0 of the 8254 with 18.2 ticks a second.
const PORTS: [(u64, u8); 13] = [
    (0x20, 0x11),
    (0x21, MASTER_VECTOR as u8),
    (0x21, 0x04),
    (0x21, 0x01),
    (0xa0, 0x11),
    (0xa1, SLAVE_VECTOR as u8),
    (0xa1, 0x02),
    (0xa1, 0x01),
    (0x21, 0xfa),
    (0xa1, 0xff),
    (0x43, 0x34),
    (0x40, 0x00),
    (0x40, 0x00),
];

fn handler(vector: u64) -> u64 {
    match vector {
        MASTER_VECTOR => 1,
        0x09..=0x0f => 2,
        0x70..=0x77 => 3,
        _ => 0,
    }
}

pub fn write(ram: &GuestRam) -> Result<(), MachineError> {
    for (n, code) in (0..).zip(HANDLERS) {
        put(ram, layout::BIOS_HANDLERS + n * ROOM, code)?;
    }
    for vector in 0..VECTORS {
        let offset = layout::BIOS_HANDLERS + handler(vector) * ROOM - (SEGMENT << 4);
        put(ram, 4 * vector, &(SEGMENT << 16 | offset).to_le_bytes()[..4])?;
    }
    let words: [(u64, u64); 3] = [
        // COM1's ports, the segment of the extended data area, KiB of conventional memory.
        (0x00, 0x3f8),
        (0x0e, layout::CONVENTIONAL_END >> 4),
        (0x13, layout::CONVENTIONAL_END >> 10),
    ];
    words.iter().try_for_each(|(at, word)| put(ram, DATA_AREA + at, &word.to_le_bytes()[..2]))
}

/// Programs the interrupt controllers and the timer of a machine that has its own.
pub fn program(bus: &dyn Bus) {
    PORTS.iter().for_each(|&(port, value)| bus.write(Space::Port, port, &[value]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ireko_vmcore::Memory;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn every_vector_leads_to_code_that_returns() {
        let memory = Memory::new(&[(0, 0x10_0000)]).unwrap();
        write(memory.ram()).unwrap();
        for vector in 0..VECTORS {
            let pointer: u32 = memory.ram().read_obj(GuestAddress(4 * vector)).unwrap();
            let at = u64::from(pointer >> 16 << 4) + u64::from(pointer & 0xffff);
            let mut code = [0; ROOM as usize];
            memory.ram().read_slice(&mut code, GuestAddress(at)).unwrap();
            assert!(code.contains(&0xcf), "vector {vector:#x}");
        }
    }

    #[test]
    fn handlers_fit_their_room() {
        assert!(HANDLERS.iter().all(|code| code.len() <= ROOM as usize));
    }
}
