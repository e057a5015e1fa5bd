//! A small assembler for the instructions that the translator adds around the guest's own.

use crate::relocate::{Kind, Number};

/// Host registers by encoding number.
pub mod reg {
    pub const RAX: u8 = 0;
    pub const RCX: u8 = 1;
    pub const RDX: u8 = 2;
    pub const RSP: u8 = 4;
    pub const RSI: u8 = 6;
    pub const R10: u8 = 10;
    pub const R11: u8 = 11;
    pub const R13: u8 = 13;
    pub const R14: u8 = 14;
}

/// A memory operand: base, optional index and scale (1, 2, 4, 8), displacement.
#[derive(Clone, Copy, Debug)]
pub struct Mem {
    pub base: Option<u8>,
    pub index: Option<(u8, u8)>,
    pub disp: i32,
}

impl Mem {
    pub const fn base(base: u8, disp: i32) -> Self {
        Self { base: Some(base), index: None, disp }
    }
    /// A field of the state at RSP.
    pub const fn state(offset: usize) -> Self {
        Self::base(reg::RSP, offset as i32)
    }
}

/// A place in the code that a jump goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Condition codes in encoding order.
pub mod cond {
    pub const NE: u8 = 5;
    pub const A: u8 = 7;
}

#[derive(Default)]
pub struct Asm {
    pub bytes: Vec<u8>,
    /// Places of numbers of sites and links.
    pub numbers: Vec<Number>,
    labels: Vec<Option<usize>>,
    /// Place of a displacement, its size, and the label that it goes to.
    fixups: Vec<(usize, u8, Label)>,
}

impl Asm {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.numbers.clear();
        self.labels.clear();
        self.fixups.clear();
    }
    pub fn here(&self) -> usize {
        self.bytes.len()
    }
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
    fn dword(&mut self, value: i32) {
        self.put(&value.to_le_bytes());
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }
    /// Fills in all displacements; every label that is used is bound by now.
    pub fn resolve(&mut self) {
        for &(at, size, label) in &self.fixups {
            let target = self.labels[label.0].expect("a bound label");
            let delta = target as i64 - (at + size as usize) as i64;
            if size == 1 {
                self.bytes[at] = i8::try_from(delta).expect("a near label") as u8;
            } else {
                self.bytes[at..at + 4].copy_from_slice(&(delta as i32).to_le_bytes());
            }
        }
    }

    fn rex(&mut self, wide: bool, reg: u8, index: u8, base: u8) {
        let rex = 0x40 | (wide as u8) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0x40 {
            self.byte(rex);
        }
    }

    /// ModRM, SIB and displacement.
    fn modrm(&mut self, reg: u8, mem: Mem) {
        let reg = (reg & 7) << 3;
        let Some(base) = mem.base else {
            let (index, scale) = mem.index.expect("a base or an index");
            self.put(&[reg | 4, (scale.trailing_zeros() as u8 * 64) | ((index & 7) << 3) | 5]);
            return self.dword(mem.disp);
        };
        let mode = match mem.disp {
            0 if base & 7 != 5 => 0,
            -128..=127 => 0x40,
            _ => 0x80,
        };
        match mem.index {
            Some((index, scale)) => self.put(&[
                mode | reg | 4,
                (scale.trailing_zeros() as u8 * 64) | ((index & 7) << 3) | (base & 7),
            ]),
            None if base & 7 == 4 => self.put(&[mode | reg | 4, 0x24]),
            None => self.byte(mode | reg | base & 7),
        }
        match mode {
            0x40 => self.byte(mem.disp as u8),
            0x80 => self.dword(mem.disp),
            _ => {}
        }
    }

    /// An instruction with a register and a memory operand.
    pub fn rm(&mut self, wide: bool, opcode: &[u8], reg: u8, mem: Mem) {
        self.rex(wide, reg, mem.index.map_or(0, |i| i.0), mem.base.unwrap_or(0));
        self.put(opcode);
        self.modrm(reg, mem);
    }
    /// An instruction with two registers: `reg` field and `rm` field.
    pub fn rr(&mut self, wide: bool, opcode: &[u8], reg: u8, rm: u8) {
        self.rex(wide, reg, 0, rm);
        self.put(opcode);
        self.byte(0xc0 | (reg & 7) << 3 | rm & 7);
    }

    pub fn load(&mut self, reg: u8, mem: Mem) {
        self.rm(true, &[0x8b], reg, mem);
    }
    pub fn load32(&mut self, reg: u8, mem: Mem) {
        self.rm(false, &[0x8b], reg, mem);
    }
    pub fn store(&mut self, mem: Mem, reg: u8) {
        self.rm(true, &[0x89], reg, mem);
    }
    pub fn store32(&mut self, mem: Mem, reg: u8) {
        self.rm(false, &[0x89], reg, mem);
    }
    /// The low 1, 2, 4 or 8 bytes of a register. (Of one byte, RSP to RDI are no source: they would be AH to BH.)
    pub fn store_sized(&mut self, size: usize, mem: Mem, reg: u8) {
        match size {
            1 => self.rm(false, &[0x88], reg, mem),
            2 => {
                self.byte(0x66);
                self.rm(false, &[0x89], reg, mem);
            }
            4 => self.store32(mem, reg),
            _ => self.store(mem, reg),
        }
    }
    /// As many bytes, with zeros above them.
    pub fn load_sized(&mut self, size: usize, reg: u8, mem: Mem) {
        match size {
            1 => self.rm(false, &[0x0f, 0xb6], reg, mem),
            2 => self.rm(false, &[0x0f, 0xb7], reg, mem),
            4 => self.load32(reg, mem),
            _ => self.load(reg, mem),
        }
    }
    /// The low two bytes; those above stay.
    pub fn mov16(&mut self, to: u8, from: u8) {
        self.byte(0x66);
        self.rr(false, &[0x8b], to, from);
    }
    /// CMP of the low 1, 2, 4 or 8 bytes of two registers.
    pub fn cmp_sized(&mut self, size: usize, left: u8, right: u8) {
        if size == 2 {
            self.byte(0x66);
        }
        self.rr(size == 8, &[if size == 1 { 0x3a } else { 0x3b }], left, right);
    }
    /// Bits 31:16 of a register; no flags.
    pub fn high_half(&mut self, to: u8, from: u8) {
        let (to_bit, from_bit) = ((!(to >> 3) & 1) << 7, (!(from >> 3) & 1) << 5);
        self.put(&[0xc4, 0x43 | to_bit | from_bit, 0x7b, 0xf0, 0xc0 | (to & 7) << 3 | from & 7, 16]); // RORX
        self.movzx16(to, to);
    }
    pub fn lea(&mut self, reg: u8, mem: Mem) {
        self.rm(true, &[0x8d], reg, mem);
    }
    pub fn lea32(&mut self, reg: u8, mem: Mem) {
        self.rm(false, &[0x8d], reg, mem);
    }
    pub fn mov(&mut self, to: u8, from: u8) {
        if to != from {
            self.rr(true, &[0x8b], to, from);
        }
    }
    /// Also zeroes the upper half.
    pub fn mov32(&mut self, to: u8, from: u8) {
        self.rr(false, &[0x8b], to, from);
    }
    /// The shortest MOV of a constant; no flags.
    pub fn imm(&mut self, reg: u8, value: u64) {
        if let Ok(small) = u32::try_from(value) {
            self.rex(false, 0, 0, reg);
            self.byte(0xb8 | reg & 7);
            self.dword(small as i32);
        } else if let Ok(signed) = i32::try_from(value as i64) {
            self.rex(true, 0, 0, reg);
            self.put(&[0xc7, 0xc0 | reg & 7]);
            self.dword(signed);
        } else {
            self.rex(true, 0, 0, reg);
            self.byte(0xb8 | reg & 7);
            self.put(&value.to_le_bytes());
        }
    }
    /// MOV of the number of a site or link.
    pub fn store_number(&mut self, mem: Mem, kind: Kind, number: u32) {
        self.store_imm32(mem, number as i32);
        self.numbers.push(Number::new(self.here() - 4, kind));
    }
    pub fn store_imm32(&mut self, mem: Mem, value: i32) {
        self.rm(false, &[0xc7], 0, mem);
        self.dword(value);
    }
    /// MOV qword, sign-extended.
    pub fn store_imm64(&mut self, mem: Mem, value: i32) {
        self.rm(true, &[0xc7], 0, mem);
        self.dword(value);
    }
    pub fn cmp_imm(&mut self, reg: u8, value: i32) {
        self.rex(true, 0, 0, reg);
        self.put(&[0x81, 0xf8 | reg & 7]);
        self.dword(value);
    }
    pub fn shr32_imm(&mut self, reg: u8, count: u8) {
        self.rex(false, 0, 0, reg);
        self.put(&[0xc1, 0xe8 | reg & 7, count]);
    }
    /// RORX: `from` rotated right; no flags.
    pub fn rorx(&mut self, to: u8, from: u8, count: u8) {
        self.rorx_of(0xfb, to, from, count);
    }
    /// The same of the low halves.
    pub fn rorx32(&mut self, to: u8, from: u8, count: u8) {
        self.rorx_of(0x7b, to, from, count);
    }
    fn rorx_of(&mut self, width: u8, to: u8, from: u8, count: u8) {
        self.put(&[
            0xc4,
            0x43 | (!to & 8) << 4 | (!from & 8) << 2,
            width,
            0xf0,
            0xc0 | (to & 7) << 3 | from & 7,
            count,
        ]);
    }
    pub fn and32_imm(&mut self, reg: u8, value: i32) {
        self.rex(false, 0, 0, reg);
        self.put(&[0x81, 0xe0 | reg & 7]);
        self.dword(value);
    }
    pub fn add(&mut self, reg: u8, mem: Mem) {
        self.rm(true, &[0x03], reg, mem);
    }
    pub fn xor32(&mut self, to: u8, with: u8) {
        self.rr(false, &[0x33], to, with);
    }
    pub fn sub(&mut self, reg: u8, mem: Mem) {
        self.rm(true, &[0x2b], reg, mem);
    }
    pub fn movzx16(&mut self, to: u8, from: u8) {
        self.rr(false, &[0x0f, 0xb7], to, from);
    }
    /// PDEP: puts the low bits of `value` where the mask in memory has bits; no flags.
    pub fn pdep(&mut self, to: u8, value: u8, mask: Mem) {
        let (x, b) = (mask.index.map_or(0, |i| i.0) >> 3 & 1, mask.base.unwrap_or(0) >> 3);
        let second = (!(to >> 3) & 1) << 7 | (!x & 1) << 6 | (!b & 1) << 5 | 2;
        self.put(&[0xc4, second, 0x80 | (!value & 15) << 3 | 3, 0xf5]);
        self.modrm(to, mask);
    }
    pub fn lahf(&mut self) {
        self.byte(0x9f);
    }
    pub fn sahf(&mut self) {
        self.byte(0x9e);
    }
    pub fn seto_al(&mut self) {
        self.put(&[0x0f, 0x90, 0xc0]);
    }
    /// Sets OF from AL as SETO left it (0 or 1), before SAHF sets the others.
    pub fn restore_of(&mut self) {
        self.put(&[0x04, 0x7f]);
    }
    pub fn jcc(&mut self, cond: u8, label: Label) {
        self.put(&[0x0f, 0x80 | cond]);
        self.fixups.push((self.bytes.len(), 4, label));
        self.dword(0);
    }
    pub fn jmp(&mut self, label: Label) {
        self.byte(0xe9);
        self.fixups.push((self.bytes.len(), 4, label));
        self.dword(0);
    }
    pub fn jmp_short(&mut self, label: Label) {
        self.byte(0xeb);
        self.fixups.push((self.bytes.len(), 1, label));
        self.byte(0);
    }
    pub fn jrcxz(&mut self, label: Label) {
        self.byte(0xe3);
        self.fixups.push((self.bytes.len(), 1, label));
        self.byte(0);
    }
    pub fn jmp_mem(&mut self, mem: Mem) {
        self.rm(false, &[0xff], 4, mem);
    }
    pub fn call_mem(&mut self, mem: Mem) {
        self.rm(false, &[0xff], 2, mem);
    }
}
