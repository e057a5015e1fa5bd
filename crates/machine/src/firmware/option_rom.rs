//! An option ROM of our own that a BIOS boots from ("Plug and Play BIOS Specification" 1.0A, 3.2): it has fw_cfg write a kernel's parts into
//! memory and enters it.

/// Its name to SeaBIOS, which runs all ROMs of that directory.
pub const FILE: &str = "genroms/kernel.rom";
/// What SeaBIOS calls it in the boot order.
pub const BOOT_PATH: &str = "/rom@genroms/kernel.rom";

const BLOCK: usize = 512;
/// Offsets of what differs: the ROM's size in blocks, the Plug and Play header's sum.
const SIZE: usize = 2;
const HEADER: std::ops::Range<usize> = 0x20..0x40;
const HEADER_SUM: usize = 0x29;

/// Signature, size, an initialization that returns at once; the Plug and Play header (a bootable device, whose boot entry vector is
/// 50h) with its two names; then the code.
#[rustfmt::skip]
const CODE: [u8; 0xb0] = [
    0x55, 0xaa, 0, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HEADER.start as u8, 0, 0, 0, 0, 0,
    b'$', b'P', b'n', b'P', 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0,
    0x46, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0,
    b'I', b'r', b'e', b'k', b'o', 0, b'k', b'e', b'r', b'n', b'e', b'l', 0, 0, 0, 0,
    // cli; cld; xor ax,ax; mov es,ax; mov ss,ax; mov sp,7c00h; mov si,0b0h
    0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xbe, 0xb0, 0x00,
    // next: cmp dword cs:[si],0; je enter
    0x2e, 0x66, 0x83, 0x3c, 0x00, 0x74, 0x30,
    // mov di,7e00h; mov cx,8; rep movsw es:[di],cs:[si]
    0xbf, 0x00, 0x7e, 0xb9, 0x08, 0x00, 0x2e, 0xf3, 0xa5,
    // mov dx,514h; xor eax,eax; out dx,eax; mov dx,518h; mov eax,7e0000h (7e00h, big endian); out dx,eax
    0xba, 0x14, 0x05, 0x66, 0x31, 0xc0, 0x66, 0xef, 0xba, 0x18, 0x05, 0x66, 0xb8, 0x00, 0x00, 0x7e, 0x00, 0x66, 0xef,
    // wait: mov eax,es:[7e00h]; test eax,eax; jz next; cmp eax,1000000h (error); jne wait; int 18h (no boot)
    0x26, 0x66, 0xa1, 0x00, 0x7e, 0x66, 0x85, 0xc0, 0x74, 0xd3, 0x66, 0x3d, 0x00, 0x00, 0x00, 0x01, 0x75, 0xee, 0xcd, 0x18,
    // enter: mov ax,cs:[si+4]; mov ds,ax; mov es,ax; mov fs,ax; mov gs,ax; mov ss,ax; movzx esp,word cs:[si+6]
    0x2e, 0x8b, 0x44, 0x04, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0, 0x2e, 0x66, 0x0f, 0xb7, 0x64, 0x06,
    // add ax,20h; push ax; push 0; retf
    0x83, 0xc0, 0x20, 0x50, 0x6a, 0x00, 0xcb,
];

/// fw_cfg's DMA descriptor: an item that is selected and read (QEMU's docs/specs/fw_cfg).
const SELECT_AND_READ: u32 = 1 << 3 | 1 << 1;

/// A whole item, and where it goes.
pub struct Transfer {
    pub key: u16,
    pub address: u64,
    pub length: u32,
}

/// Where the kernel's setup is, whose second sector is entered, and the end of its stack.
pub struct Entry {
    pub segment: u16,
    pub stack: u16,
}

pub fn make(transfers: &[Transfer], entry: &Entry) -> Vec<u8> {
    let mut rom = CODE.to_vec();
    for transfer in transfers {
        rom.extend((u32::from(transfer.key) << 16 | SELECT_AND_READ).to_be_bytes());
        rom.extend(transfer.length.to_be_bytes());
        rom.extend(transfer.address.to_be_bytes());
    }
    rom.extend([0; 4]);
    rom.extend(entry.segment.to_le_bytes());
    rom.extend(entry.stack.to_le_bytes());
    // The last byte makes the sum.
    rom.resize((rom.len() + 1).next_multiple_of(BLOCK), 0);
    rom[SIZE] = (rom.len() / BLOCK) as u8;
    rom[HEADER_SUM] = to_zero(&rom[HEADER]);
    let last = rom.len() - 1;
    rom[last] = to_zero(&rom);
    rom
}

/// What makes the sum of `bytes` zero.
fn to_zero(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rom() -> Vec<u8> {
        let transfer = |key| Transfer { key, address: 0x10_0000, length: 300_000 };
        make(&[transfer(0x11), transfer(0x12)], &Entry { segment: 0x1000, stack: 0xe000 })
    }

    #[test]
    fn rom_and_header_sum_up_to_nothing() {
        let rom = rom();
        assert_eq!((to_zero(&rom), to_zero(&rom[HEADER])), (0, 0));
        assert_eq!(usize::from(rom[SIZE]) * BLOCK, rom.len());
    }

    #[test]
    fn transfers_are_descriptors_of_dma_and_the_entry_is_behind_a_zero() {
        let rom = rom();
        assert_eq!(rom[CODE.len()..][..16], [0, 0x11, 0, 10, 0, 4, 0x93, 0xe0, 0, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(rom[CODE.len() + 32..][..8], [0, 0, 0, 0, 0, 0x10, 0, 0xe0]);
    }
}
