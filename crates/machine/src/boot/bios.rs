//! What a BIOS leaves behind, on which a multiboot kernel may rely ("as initialized by the BIOS": Multiboot 0.6.96, 3.2): vectors
//! of real mode, the data areas, and interrupt controllers and timer that tick. Of a BIOS' services those are here that say what memory there
//! is, for kernels that go back to real mode to ask; the others fail as where there is no such device.

use super::put;
use crate::MachineError;
use crate::layout::{self, E820, Layout};
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
/// mov dx, 0CF9h; mov al, 6; out dx, al; hlt; jmp the hlt
const RESET: &[u8] = &[0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd];
const HANDLERS: [&[u8]; 5] = [IGNORE, TICK, MASTER, SLAVE, RESET];
/// Of [`RESET`] among them.
const RESETS: u64 = 4;
/// Where a processor starts, and where a system jumps to that wants to start anew.
const RESET_VECTOR: u64 = 0xf_fff0;
/// A far jump.
const JUMP: u8 = 0xea;

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

/// Offset and segment of a handler.
fn pointer(handler: u64) -> [u8; 4] {
    let offset = layout::BIOS_HANDLERS + handler * ROOM - (SEGMENT << 4);
    ((SEGMENT << 16 | offset) as u32).to_le_bytes()
}

fn handler(vector: u64) -> u64 {
    match vector {
        MASTER_VECTOR => 1,
        0x09..=0x0f => 2,
        0x70..=0x77 => 3,
        _ => 0,
    }
}

/// The services' segment, behind the handlers.
const SERVICES: u64 = layout::BIOS_HANDLERS + 0x100;
/// Offsets in [`SERVICE_CODE`]; the memory map is behind it.
const EQUIPMENT: u64 = 0x00;
const CONVENTIONAL_MEMORY: u64 = 0x09;
const NOT_THERE: u64 = 0x12;
const SYSTEM: u64 = 0x30;
/// Interrupts and who serves them (Ralf Brown's Interrupt List): equipment, memory, disks, system, clock and PCI.
const SERVED: [(u64, u64); 5] =
    [(0x11, EQUIPMENT), (0x12, CONVENTIONAL_MEMORY), (0x13, NOT_THERE), (0x15, SYSTEM), (0x1a, NOT_THERE)];

#[rustfmt::skip]
const SERVICE_CODE: [u8; 0xb0] = [
    // equipment: push ds; push 40h; pop ds; mov ax,[10h]; pop ds; iret
    0x1e, 0x6a, 0x40, 0x1f, 0xa1, 0x10, 0x00, 0x1f, 0xcf,
    // memory: the same with [13h]
    0x1e, 0x6a, 0x40, 0x1f, 0xa1, 0x13, 0x00, 0x1f, 0xcf,
    // not there: push bp; mov bp,sp; mov ah,86h; or byte [bp+6],1 (the caller's carry flag); pop bp; iret
    0x55, 0x89, 0xe5, 0xb4, 0x86, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xcf,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    // system: push bp; mov bp,sp; cmp ax,0e820h; je map; cmp ax,0e801h; je both; cmp ah,88h; je first
    0x55, 0x89, 0xe5, 0x3d, 0x20, 0xe8, 0x74, 0x2b, 0x3d, 0x01, 0xe8, 0x74, 0x13, 0x80, 0xfc, 0x88, 0x74, 0x08,
    // fail: mov ah,86h; or byte [bp+6],1; pop bp; iret
    0xb4, 0x86, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xcf,
    // first: mov ax,cs:[0b2h]; jmp good
    0x2e, 0xa1, 0xb2, 0x00, 0xeb, 0x0d,
    // both: mov ax,cs:[0b2h]; mov bx,cs:[0b4h]; mov cx,ax; mov dx,bx
    0x2e, 0xa1, 0xb2, 0x00, 0x2e, 0x8b, 0x1e, 0xb4, 0x00, 0x89, 0xc1, 0x89, 0xda,
    // good: and byte [bp+6],0feh; pop bp; iret
    0x80, 0x66, 0x06, 0xfe, 0x5d, 0xcf,
    // map: cmp edx,'SMAP'; jne fail; cmp cx,20; jb fail; cmp bx,cs:[0b0h]; jae fail
    0x66, 0x81, 0xfa, 0x50, 0x41, 0x4d, 0x53, 0x75, 0xd6, 0x83, 0xf9, 0x14, 0x72, 0xd1, 0x2e, 0x3b, 0x1e, 0xb0, 0x00, 0x73, 0xca,
    // push si; push di; imul si,bx,20; add si,0b6h; mov cx,10; cld; rep movsw es:[di],cs:[si]; pop di; pop si
    0x56, 0x57, 0x6b, 0xf3, 0x14, 0x81, 0xc6, 0xb6, 0x00, 0xb9, 0x0a, 0x00, 0xfc, 0x2e, 0xf3, 0xa5, 0x5f, 0x5e,
    // inc bx; cmp bx,cs:[0b0h]; jb more; xor bx,bx
    0x43, 0x2e, 0x3b, 0x1e, 0xb0, 0x00, 0x72, 0x02, 0x31, 0xdb,
    // more: movzx ebx,bx; mov eax,'SMAP'; mov ecx,20; jmp good
    0x66, 0x0f, 0xb7, 0xdb, 0x66, 0xb8, 0x50, 0x41, 0x4d, 0x53, 0x66, 0xb9, 0x14, 0x00, 0x00, 0x00, 0xeb, 0xb7,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// What the services' code reads: the number of entries, KiB from 1 to 16 MiB, pieces of 64 KiB from there on, the entries (INT 15h, AX=E801h
/// and E820h).
fn memory_map(layout: &Layout) -> Vec<u8> {
    const BEHIND: u64 = 16 << 20;
    let map = layout.e820();
    let kib = (layout.low_end.min(BEHIND) - layout::HIGH_MEMORY) >> 10;
    let pieces = layout.low_end.saturating_sub(BEHIND) >> 16;
    let numbers = [map.len() as u64, kib, pieces].map(|number| (number as u16).to_le_bytes());
    let entry = |e: &E820| {
        [&e.start.to_le_bytes()[..], &e.size.to_le_bytes(), &(e.kind as u32).to_le_bytes()].concat()
    };
    numbers.concat().into_iter().chain(map.iter().flat_map(entry)).collect()
}

/// Words of the data area at 400h: COM1's ports, the segment of the extended data area, equipment (a coprocessor, a serial port, with a
/// display 80 columns in color), KiB of conventional memory, and the keyboard's empty buffer.
fn data_area(layout: &Layout) -> Vec<(u64, u64)> {
    const EQUIPMENT: u64 = 1 << 1 | 1 << 9;
    const COLOR: u64 = 2 << 4;
    const BUFFER: (u64, u64) = (0x1e, 0x3e);
    let mut words = vec![
        (0x00, 0x3f8),
        (0x0e, layout::CONVENTIONAL_END >> 4),
        (0x10, EQUIPMENT | if layout.display { COLOR } else { 0 }),
        (0x13, layout::CONVENTIONAL_END >> 10),
        (0x1a, BUFFER.0),
        (0x1c, BUFFER.0),
        (0x80, BUFFER.0),
        (0x82, BUFFER.1),
    ];
    if layout.display {
        // Text mode 3: its number, columns, the CRTC's port, the last row.
        words.extend([(0x49, 3), (0x4a, 80), (0x63, 0x3d4), (0x84, 24)]);
    }
    words
}

pub fn write(ram: &GuestRam, layout: &Layout) -> Result<(), MachineError> {
    for (n, code) in (0..).zip(HANDLERS) {
        put(ram, layout::BIOS_HANDLERS + n * ROOM, code)?;
    }
    for vector in 0..VECTORS {
        put(ram, 4 * vector, &pointer(handler(vector)))?;
    }
    put(ram, RESET_VECTOR, &[JUMP])?;
    put(ram, RESET_VECTOR + 1, &pointer(RESETS))?;
    for (vector, offset) in SERVED {
        put(ram, 4 * vector, &(SERVICES >> 4 << 16 | offset).to_le_bytes()[..4])?;
    }
    put(ram, SERVICES, &[&SERVICE_CODE[..], &memory_map(layout)].concat())?;
    // The extended data area begins with its size in KiB.
    put(ram, layout::CONVENTIONAL_END, &[1])?;
    data_area(layout).iter().try_for_each(|(at, word)| put(ram, DATA_AREA + at, &word.to_le_bytes()[..2]))
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
        write(memory.ram(), &Layout::new(16 << 20).unwrap()).unwrap();
        for vector in 0..VECTORS {
            let pointer: u32 = memory.ram().read_obj(GuestAddress(4 * vector)).unwrap();
            let at = u64::from(pointer >> 16 << 4) + u64::from(pointer & 0xffff);
            let mut code = [0; SERVICE_CODE.len()];
            memory.ram().read_slice(&mut code, GuestAddress(at)).unwrap();
            assert!(code.contains(&0xcf), "vector {vector:#x}");
        }
    }

    #[test]
    fn the_reset_vector_leads_to_a_reset() {
        let memory = Memory::new(&[(0, 0x10_0000)]).unwrap();
        write(memory.ram(), &Layout::new(16 << 20).unwrap()).unwrap();
        let jump: [u8; 5] = memory.ram().read_obj(GuestAddress(RESET_VECTOR)).unwrap();
        let at = u64::from(u16::from_le_bytes([jump[3], jump[4]])) << 4;
        let at = at + u64::from(u16::from_le_bytes([jump[1], jump[2]]));
        let mut code = [0; RESET.len()];
        memory.ram().read_slice(&mut code, GuestAddress(at)).unwrap();
        assert_eq!((jump[0], &code[..]), (JUMP, RESET));
    }

    #[test]
    fn handlers_and_services_fit_their_room() {
        assert!(HANDLERS.iter().all(|code| code.len() <= ROOM as usize));
        assert!(layout::BIOS_HANDLERS + HANDLERS.len() as u64 * ROOM <= SERVICES);
        let map = memory_map(&Layout::new(8 << 30).unwrap().with_hot(1 << 30));
        assert!(SERVICES + (SERVICE_CODE.len() + map.len()) as u64 <= RESET_VECTOR);
    }
}
