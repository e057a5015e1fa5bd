//! The x87 environment: FNSTENV, FLDENV, FNSAVE and FRSTOR, and the pointers in it (APM vol. 1, 6.2.6; vol. 2, 11.4.3).

use super::vector::require_x87;
use crate::cpu::Privilege;
use crate::processor::x87::{Pointers, Selector};
use crate::xstate::ST;
use crate::{Cpu, Fault, Next};
use iced_x86::{Code, Instruction};
use ireko_x86::Exception;
use ireko_x86::exception::vector;

/// Bits of the status word: an unmasked exception is pending, and (the same, since the 387) busy.
const ES: u16 = 1 << 7;
const B: u16 = 1 << 15;
/// The six exceptions, in the control word their masks.
const EXCEPTIONS: u16 = 0x3f;
/// Places in the XSAVE area.
const CONTROL: usize = 0;
const STATUS: usize = 2;
const TAGS: usize = 4;
const REGISTERS: usize = 80;
impl Cpu {
    /// `fpu` was written as a whole, its pointers too.
    pub(crate) fn take_x87_pointers(&mut self) {
        let quad =
            |at: usize| (0..8).rev().fold(0, |sum, n| sum << 8 | u64::from(self.processor.fpu.0[at + n]));
        let (opcode, instruction, data) = (half(&self.processor.fpu.0, 6), quad(8), quad(16));
        self.set_x87(Pointers { opcode, instruction, data, ..Pointers::default() });
    }

    /// Whether an unmasked x87 exception is pending.
    pub(crate) fn x87_pending(&self) -> bool {
        half(&self.processor.fpu.0, STATUS) & ES != 0
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Two bits for each register: valid, zero, special or empty.
fn tags(area: &[u8]) -> u16 {
    let top = top(area);
    (0..8).fold(0, |tags, n| {
        let used = area[TAGS] >> n & 1 != 0;
        let value = &area[ST + 16 * ((n + 8 - top) & 7)..][..10];
        tags | (if used { tag(value) } else { 3 }) << (2 * n)
    })
}

/// Of a register that is not empty.
fn tag(value: &[u8]) -> u16 {
    let exponent = half(value, 8) & 0x7fff;
    let integer = value[7] & 0x80 != 0;
    match exponent {
        0 if value[..8].iter().all(|byte| *byte == 0) => 1,
        0 | 0x7fff => 2,
        _ if integer => 0,
        _ => 2,
    }
}

/// The four forms of an image (APM vol. 2, figures 11-3 to 11-6).
#[derive(Clone, Copy)]
struct Form {
    wide: bool,
    protected: bool,
}

impl Form {
    fn of(cpu: &Cpu, insn: &Instruction) -> Self {
        use Code::*;
        let narrow = [Fnstenv_m14byte, Fldenv_m14byte, Fnsave_m94byte, Frstor_m94byte];
        let protected = cpu.processor.regs.protected() && !cpu.processor.regs.v86();
        Self { wide: !narrow.contains(&insn.code()), protected }
    }

    /// Bytes of the environment, and from one word of it to the next.
    fn size(self) -> usize {
        7 * self.step()
    }
    fn step(self) -> usize {
        if self.wide { 4 } else { 2 }
    }

    fn write(self, cpu: &mut Cpu) -> [u8; 28] {
        let at = cpu.processor.x87;
        let [code, segment] = [at.code, at.segment].map(|selector| selector.value(&cpu.processor.regs));
        let mut bytes = [if self.wide { 0xff } else { 0 }; 28];
        let area = &cpu.processor.fpu.0;
        for (n, word) in [half(area, CONTROL), half(area, STATUS), tags(area)].into_iter().enumerate() {
            put(&mut bytes, n * self.step(), word);
        }
        let mut pointer = |n: usize, offset: u64, selector: u16, opcode: u16| {
            let linear = (u32::from(selector) << 4).wrapping_add(offset as u32);
            let (low, high) = match (self.wide, self.protected) {
                (true, true) => (offset as u32, u32::from(selector) | u32::from(opcode) << 16),
                (false, true) => (offset as u32 & 0xffff, u32::from(selector)),
                (_, false) => (linear & 0xffff, linear >> 16 << 12 | u32::from(opcode)),
            };
            let step = self.step();
            bytes[n * step..][..step].copy_from_slice(&low.to_le_bytes()[..step]);
            bytes[(n + 1) * step..][..step].copy_from_slice(&high.to_le_bytes()[..step]);
        };
        pointer(3, at.instruction, code, at.opcode);
        pointer(5, at.data, segment, 0);
        if self.wide && self.protected {
            put(&mut bytes, 26, 0xffff);
        }
        bytes
    }

    fn pointers(self, bytes: &[u8]) -> Pointers {
        let field = |n: usize| {
            let low = u32::from(half(bytes, n * self.step()));
            if self.wide { low | u32::from(half(bytes, n * 4 + 2)) << 16 } else { low }
        };
        let linear = |n: usize| u64::from(field(n) & 0xffff | (field(n + 1) >> 12) << 16);
        if !self.protected {
            let opcode = field(4) as u16 & 0x7ff;
            return Pointers { opcode, instruction: linear(3), data: linear(5), ..Pointers::default() };
        }
        let (code, opcode) = (field(4) as u16, (field(4) >> 16) as u16 & 0x7ff);
        let (instruction, data) = (field(3).into(), field(5).into());
        let [code, segment] = [code, field(6) as u16].map(Selector::Loaded);
        Pointers { opcode, instruction, code, data, segment }
    }

    fn load(self, cpu: &mut Cpu, bytes: &[u8]) {
        let (control, tags) = (half(bytes, 0), half(bytes, 2 * self.step()));
        put(&mut cpu.processor.fpu.0, CONTROL, control & 0x1f3f | 0x40);
        set_status(cpu, half(bytes, self.step()));
        cpu.processor.fpu.0[TAGS] = (0..8).fold(0, |used, n| used | u8::from(tags >> (2 * n) & 3 != 3) << n);
        recompute(cpu);
        cpu.set_x87(self.pointers(bytes));
    }
}

fn top(area: &[u8]) -> usize {
    usize::from(half(area, STATUS) >> 11 & 7)
}

/// The area has the registers in the stack's order: as TOP moves, each keeps its number.
fn set_status(cpu: &mut Cpu, status: u16) {
    let area = &mut cpu.processor.fpu.0;
    let old = top(area);
    put(area, STATUS, status);
    let by = (top(area) + 8 - old) & 7;
    area[ST..ST + 128].rotate_left(16 * by);
}

/// ES and B are what the flags and their masks make of them.
fn recompute(cpu: &mut Cpu) {
    let (control, status) = (half(&cpu.processor.fpu.0, CONTROL), half(&cpu.processor.fpu.0, STATUS));
    let pending = if status & !control & EXCEPTIONS != 0 { ES | B } else { 0 };
    put(&mut cpu.processor.fpu.0, STATUS, status & !(ES | B) | pending);
}

/// Masks all exceptions, and gives the masks as they were.
pub fn mask_all(cpu: &mut Cpu) -> u16 {
    let control = half(&cpu.processor.fpu.0, CONTROL);
    put(&mut cpu.processor.fpu.0, CONTROL, control | EXCEPTIONS);
    recompute(cpu);
    control & EXCEPTIONS
}

/// The masks are what they were.
pub fn unmask(cpu: &mut Cpu, masks: u16) {
    let control = half(&cpu.processor.fpu.0, CONTROL);
    put(&mut cpu.processor.fpu.0, CONTROL, control & !EXCEPTIONS | masks);
    recompute(cpu);
}

/// FLDENV and FRSTOR first take what is pending.
fn waiting(cpu: &Cpu) -> Result<(), Fault> {
    if cpu.x87_pending() { Err(Exception::new(vector::MF).into()) } else { Ok(()) }
}

pub fn fnstenv(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    require_x87(cpu)?;
    cpu.fpu_normalise();
    let form = Form::of(cpu, insn);
    let address = cpu.operand_address(insn, form.size() as u64, true)?;
    let bytes = form.write(cpu);
    cpu.write_linear(address, &bytes[..form.size()], Privilege::Current)?;
    mask_all(cpu);
    Ok(Next::Advance)
}

pub fn fldenv(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    require_x87(cpu)?;
    cpu.fpu_normalise();
    waiting(cpu)?;
    let form = Form::of(cpu, insn);
    let address = cpu.operand_address(insn, form.size() as u64, false)?;
    let mut bytes = [0; 28];
    cpu.read_linear(address, &mut bytes[..form.size()], Privilege::Current)?;
    form.load(cpu, &bytes);
    Ok(Next::Advance)
}

pub fn fnsave(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    require_x87(cpu)?;
    cpu.fpu_normalise();
    let form = Form::of(cpu, insn);
    let size = form.size() + REGISTERS;
    let address = cpu.operand_address(insn, size as u64, true)?;
    let mut bytes = [0; 108];
    bytes[..28].copy_from_slice(&form.write(cpu));
    for n in 0..8 {
        bytes[form.size() + 10 * n..][..10].copy_from_slice(&cpu.processor.fpu.0[ST + 16 * n..][..10]);
    }
    cpu.probe_write(address, size, Privilege::Current)?;
    cpu.write_linear(address, &bytes[..size], Privilege::Current)?;
    // As FNINIT: the registers keep their bits, and are empty.
    set_status(cpu, 0);
    cpu.processor.fpu.0[TAGS] = 0;
    put(&mut cpu.processor.fpu.0, CONTROL, 0x37f);
    cpu.processor.ignne = false;
    cpu.set_x87(Pointers::default());
    Ok(Next::Advance)
}

pub fn frstor(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    require_x87(cpu)?;
    cpu.fpu_normalise();
    waiting(cpu)?;
    let form = Form::of(cpu, insn);
    let size = form.size() + REGISTERS;
    let address = cpu.operand_address(insn, size as u64, false)?;
    let mut bytes = [0; 108];
    cpu.read_linear(address, &mut bytes[..size], Privilege::Current)?;
    form.load(cpu, &bytes);
    for n in 0..8 {
        cpu.processor.fpu.0[ST + 16 * n..][..10].copy_from_slice(&bytes[form.size() + 10 * n..][..10]);
    }
    Ok(Next::Advance)
}
