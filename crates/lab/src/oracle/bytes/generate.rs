//! Strings of bytes: random ones, ones with the shape of instructions in every map, and instructions of the table with a few
//! bytes changed.

use super::super::arena::{self, CODE, DATA, PAGE};
use super::super::case::{Case, INT3, Piece};
use super::super::generate::{Generator, memory, pointer, registers};
use super::super::native::{Job, PATCH};
use super::super::state::{ArchitecturalState, has_avx512};
use crate::rng::Rng;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

/// Samples that start from one image of memory.
pub const SHARED_IMAGE: u64 = 512;
/// Bytes of a string. Behind it come INT3s.
const MOST: usize = 40;
/// Just behind the code pages, where nothing is mapped.
pub const CODE_END: u64 = CODE + 2 * PAGE as u64;
const TF: u64 = 0x100;

const LEGACY_PREFIXES: [u8; 11] = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/// A string, its place (in the start's RIP) and the state that it starts from.
#[derive(Clone)]
pub struct Sample {
    pub number: u64,
    pub bits: u32,
    pub start: ArchitecturalState,
    pub bytes: Vec<u8>,
}

/// What the arena holds at the start of a sample: INT3s where code goes.
pub fn image(number: u64) -> Vec<u8> {
    let mut image = memory(&mut Rng::new((number / SHARED_IMAGE) ^ 0x6279_7465));
    let code = arena::offset(CODE).unwrap_or(0);
    image[code..code + 2 * PAGE].fill(INT3);
    image
}

/// The sample of a number.
pub fn sample(generator: &mut Generator, number: u64) -> Sample {
    let mut rng = Rng::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1a2b);
    let bits = if rng.percent(25) { 32 } else { 64 };
    if rng.percent(5) {
        return mutated(generator, &mut rng, bits, number);
    }
    let mut start = start(&mut rng, bits);
    let bytes = string(&mut rng, bits);
    place(&mut rng, &mut start, bytes.len());
    Sample { number, bits, start, bytes }
}

/// Mostly pointers and small numbers.
fn start(rng: &mut Rng, bits: u32) -> ArchitecturalState {
    let (mut start, _) = registers(rng, bits);
    let count = if bits == 64 { 16 } else { 8 };
    for n in (0..count).filter(|&n| n != 4) {
        match rng.below(10) {
            0..5 => start.gpr[n] = pointer(rng, bits),
            5..7 => start.gpr[n] = rng.next() & 0x3f,
            _ => {}
        }
    }
    if rng.percent(70) {
        start.gpr[1] = rng.next() & 0x1f;
    }
    if rng.percent(8) {
        start.rflags |= TF;
    }
    start
}

/// Anywhere, across the end of a page, or right up to the end of a page, with another behind it or none.
fn place(rng: &mut Rng, start: &mut ArchitecturalState, length: usize) {
    let length = length as u64;
    start.rip = match rng.below(10) {
        0 => CODE + 0x1000 - length,
        1 => CODE + 0x1000 - rng.below(length as usize + 1) as u64,
        2 => CODE_END - length,
        _ => CODE + rng.below(2 * PAGE - PATCH) as u64,
    };
}

/// Instructions of the table with some bytes changed, left out or put in.
fn mutated(generator: &mut Generator, rng: &mut Rng, bits: u32, number: u64) -> Sample {
    let case = generator.case(rng.next(), bits, None);
    let mut bytes = Vec::new();
    for piece in case.pieces.iter().filter(|p| !p.prelude) {
        if bytes.len() + piece.bytes.len() <= MOST {
            bytes.extend(&piece.bytes);
        }
    }
    for _ in 0..1 + rng.below(2) {
        let at = rng.below(bytes.len() + 1);
        match rng.below(5) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 => bytes.insert(at, rng.pick(&LEGACY_PREFIXES)),
            2 if at < bytes.len() => bytes[at] = rng.next() as u8,
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ => {}
        }
    }
    let mut start = case.start;
    place(rng, &mut start, bytes.len());
    Sample { number, bits, start, bytes }
}

fn string(rng: &mut Rng, bits: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.pick(&[1, 1, 1, 2, 2, 3]) {
        let mut more = match rng.below(12) {
            0 => raw(rng),
            1 => breakpoint(rng),
            _ => shaped(rng, bits),
        };
        if rng.percent(80) {
            tame(rng, bits, &mut more);
        }
        if bytes.len() + more.len() <= MOST {
            bytes.extend(more);
        }
    }
    bytes
}

fn raw(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; 1 + rng.below(15)];
    rng.fill(&mut bytes);
    bytes
}

/// INT3, INT n, INTO and ICEBP behind prefixes.
fn breakpoint(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = prefixes(rng);
    bytes.extend(rng.pick(&[&[INT3][..], &[0xcd, 3], &[0xcd, 4], &[0xcd, 1], &[0xce], &[0xf1]]));
    bytes
}

fn prefixes(rng: &mut Rng) -> Vec<u8> {
    let count = if rng.percent(2) { 13 } else { rng.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 3]) };
    (0..count).map(|_| rng.pick(&LEGACY_PREFIXES)).collect()
}

/// Prefixes, an opcode in some map, ModRM with what belongs to it, and bytes for an immediate.
fn shaped(rng: &mut Rng, bits: u32) -> Vec<u8> {
    let mut bytes = prefixes(rng);
    if bits == 64 && rng.percent(40) {
        // One that another prefix follows is ignored (APM vol. 3, 1.2.7).
        let at = if rng.percent(8) { 0 } else { bytes.len() };
        bytes.insert(at, 0x40 | rng.next() as u8 & 15);
    }
    opcode(rng, bits, &mut bytes);
    modrm(rng, bits, &mut bytes);
    let mut immediate = [0; 8];
    rng.fill(&mut immediate);
    bytes.extend(&immediate[..rng.pick(&[1, 1, 4, 8])]);
    bytes
}

fn opcode(rng: &mut Rng, bits: u32, bytes: &mut Vec<u8>) {
    let any = rng.next() as u8;
    // In 32-bit code, VEX and EVEX are LES, LDS and BOUND unless the next byte looks like a register form.
    let high = if bits == 32 && rng.percent(90) { 0xc0 } else { 0 };
    match rng.below(20) {
        0..7 => {}
        7..13 => bytes.push(0x0f),
        13 | 14 => bytes.extend([0x0f, 0x38]),
        15 => bytes.extend([0x0f, 0x3a]),
        16 => bytes.extend([0xc5, vector_byte(rng) | high]),
        17 => bytes.extend([0xc4, (any & 0xe0 | (1 + any % 3)) | high, vector_byte(rng)]),
        18 if rng.percent(if has_avx512() { 85 } else { 30 }) => {
            bytes.extend([0x62, any & 0xf3 | high, vector_byte(rng) | 4, rng.next() as u8])
        }
        18 => bytes.extend([0xc4, any | high, rng.next() as u8]),
        _ if any & 1 == 0 => bytes.extend([0x8f, any & 0xe0 | (8 + any % 3), rng.next() as u8]),
        _ => bytes.extend([0x0f, 0x0f]),
    }
    bytes.push(rng.next() as u8);
}

/// W, vvvv, L and pp; vvvv mostly names no register.
fn vector_byte(rng: &mut Rng) -> u8 {
    rng.next() as u8 | if rng.percent(50) { 0x78 } else { 0 }
}

fn modrm(rng: &mut Rng, bits: u32, bytes: &mut Vec<u8>) {
    let modrm = rng.next() as u8;
    bytes.push(modrm);
    let (mode, base) = (modrm >> 6, modrm & 7);
    let mut plain = base == 5;
    if mode != 3 && base == 4 {
        let sib = rng.next() as u8;
        bytes.push(sib);
        plain = sib & 7 == 5;
    }
    match mode {
        0 if plain => {
            // Relative to RIP in 64-bit code, absolute elsewhere and behind a SIB byte.
            let relative = bits == 64 && base == 5;
            let target = pointer(rng, 32) as u32;
            let from = if relative { CODE as u32 + rng.below(0x2000) as u32 } else { 0 };
            bytes.extend(target.wrapping_sub(from).to_le_bytes());
        }
        1 => bytes.push(rng.next() as u8),
        2 => bytes.extend(rng.pick(&[0u32, 8, 0x40, 0xffff_fff0, 0x7ff, 0xfff, 0xffff_f001]).to_le_bytes()),
        _ => {}
    }
}

/// Cuts what is behind the first instruction, lets it jump only a little forward, and gives it an address that is mapped.
fn tame(rng: &mut Rng, bits: u32, bytes: &mut Vec<u8>) {
    let insn = Decoder::with_ip(bits, bytes, CODE, DecoderOptions::AMD).decode();
    if insn.is_invalid() {
        return;
    }
    bytes.truncate(insn.len());
    let length = bytes.len();
    if insn.is_jmp_short_or_near()
        || insn.is_call_near()
        || insn.flow_control() == FlowControl::ConditionalBranch
    {
        let wide = if insn.is_jcc_short() || insn.is_jmp_short() || length < 5 { 1 } else { 4 };
        bytes[length - wide..].fill(0);
        bytes[length - wide] = rng.below(20) as u8;
    }
    let opcode = length.checked_sub(9).map(|at| bytes[at]);
    if bits == 64 && matches!(opcode, Some(0xa0..=0xa3)) && insn.memory_displ_size() == 8 {
        let target = DATA + rng.below(0x1000) as u64;
        bytes[length - 8..].copy_from_slice(&target.to_le_bytes());
    }
}

impl Sample {
    /// The string and INT3s behind it, as far as code is mapped.
    pub fn job(&self) -> Job {
        let mut patch = self.bytes.clone();
        let room = (CODE_END - self.start.rip) as usize;
        patch.resize(PATCH.min(room).max(self.bytes.len()), INT3);
        let patch_at = arena::offset(self.start.rip).unwrap_or(0);
        Job { start: self.start.clone(), bits: self.bits, patch_at, patch }
    }

    /// The instructions that lie in the string, one behind the other.
    pub fn instructions(&self) -> Vec<Instruction> {
        let job = self.job();
        let mut decoder = Decoder::with_ip(self.bits, &job.patch, self.start.rip, DecoderOptions::AMD);
        let mut found = Vec::new();
        while decoder.position() < self.bytes.len() {
            found.push(decoder.decode());
        }
        found
    }

    /// As the oracle of the table has it, but for the memory. A jump may have led into the middle of an instruction: what is
    /// at `end` comes last, as a prelude, unless it is in the row.
    pub fn case(&self, end: u64) -> Case {
        let patch = self.job().patch;
        let piece = |insn: Instruction, at: usize, prelude| {
            let bytes = patch[at..(at + insn.len()).min(patch.len())].to_vec();
            Piece { insn, bytes, prelude }
        };
        let mut at = 0;
        let mut pieces = Vec::new();
        for insn in self.instructions() {
            pieces.push(piece(insn, at, false));
            at += insn.len();
        }
        let inside = end.wrapping_sub(self.start.rip) as usize;
        if inside < patch.len() && pieces.iter().all(|p| p.insn.ip() != end) {
            let insn = Decoder::with_ip(self.bits, &patch[inside..], end, DecoderOptions::AMD).decode();
            pieces.push(piece(insn, inside, true));
        }
        Case { seed: self.number, bits: self.bits, pieces, start: self.start.clone(), memory: Vec::new() }
    }
}
