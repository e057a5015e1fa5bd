//! One block: from guest bytes to host bytes.
//!
//! A block is a run of instructions within a page, through not-taken conditional branches, up to a jump or an instruction
//! that may change what translation depends on.

use crate::asm::{Asm, Label, Mem, reg};
use crate::classify::{Class, Env, classify, no_such_element};
use crate::ea::{self, Address};
use crate::group::{self, Member};
use crate::key::Key;
use crate::lacking::Lacking;
use crate::layout::{Hot, PINNED};
use crate::length::{self, LONGEST};
use crate::liveness::{self, ALL};
use crate::memory::{Access, GroupAddress, SlowAccess, Ungrouped};
use crate::relocate::{Kind, Number};
use crate::thunk::Reason;
use crate::unroll;
use core::mem::offset_of;
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, InstructionInfo,
    InstructionInfoFactory, OpAccess, OpKind, Register,
};
use ireko_x86::exception::vector;

/// AMD's way of decoding, as the guest's personality is AMD; hints are hints, whatever later processors made of them.
pub const DECODER_OPTIONS: u32 = DecoderOptions::AMD | DecoderOptions::FORCE_RESERVED_NOP;

/// Instructions of one block.
const MOST: usize = 64;

/// What a site is for, when translated code calls a routine from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// A memory access; the address is an offset in the segment, or linear.
    Access {
        read: bool,
        write: bool,
        offset: bool,
    },
    System,
    Raise(u8),
}

/// A place in translated code that calls a routine.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub insn: Instruction,
    pub kind: SiteKind,
    pub size: u16,
    pub segment: u8,
    /// After a write that changed code, the block may be left at the next instruction.
    pub may_leave: bool,
    /// The instruction's addresses are as if its page were at 0.
    pub relative: bool,
    pub block: u32,
}

/// A direct jump that can be linked: where its displacement is, where its stub is, where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub patch: u32,
    pub stub: u32,
    pub target: u64,
    /// For a jump to another page: where it goes if that page may not be linked.
    pub far: Option<u32>,
}

/// What to translate.
pub struct Request<'a> {
    /// Guest bytes from `rip`, up to the end of the page; one instruction more if that crosses the page's end.
    pub bytes: &'a [u8],
    /// Of relative code, the offset in its page.
    pub rip: u64,
    /// Bytes that lie in `rip`'s page.
    pub in_page: usize,
    /// Offset of `rip` in its linear page.
    pub page_offset: usize,
    pub key: Key,
    /// Numbers that the first site and link of this block get.
    pub first_site: u32,
    pub first_link: u32,
    pub block: u32,
}

/// A translated block.
#[derive(Default)]
pub struct Translated {
    pub code: Vec<u8>,
    /// Guest bytes that it stands for.
    pub length: usize,
    /// Bytes of its page that were looked at besides, from `rip`: whether flags are needed where it goes on. Offset and number.
    pub looked_at: Vec<(u16, u16)>,
    pub instructions: u32,
    /// A loop that could be translated several turns in a row, and is not.
    pub could_unroll: bool,
    pub sites: Vec<Site>,
    pub links: Vec<Link>,
    /// Where in the code there are numbers of its sites and links.
    pub numbers: Vec<Number>,
    /// Where links to it lead: they come from the same page.
    pub linked_at: u32,
    /// Host offset of each copied instruction, ascending, and the guest instruction's offset from the block's start.
    pub faults: Vec<(u32, u16)>,
}

#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) insn: Instruction,
    pub(crate) class: Class,
    /// Arithmetic flags that must survive up to this instruction.
    live: u8,
    /// General registers that it writes, whole or in part, a bit each; and whether it may write its memory operand.
    pub written: u16,
    pub stores: bool,
    /// A jump to the block's start that goes on into the next turn instead.
    pub again: bool,
}

/// Turns blocks into code. Keeps its buffers.
pub struct Translator {
    pub env: Env,
    /// Beyond what `env` says.
    pub lacking: Lacking,
    /// Loops are unrolled.
    pub unrolls: bool,
    info: InstructionInfoFactory,
    encoder: Encoder,
    asm: Asm,
    looked_at: Vec<(u16, u16)>,
}

pub(crate) struct Emitter<'a> {
    pub(crate) asm: &'a mut Asm,
    pub(crate) key: Key,
    pub(crate) current: u16,
    pub(crate) faults: Vec<(u32, u16)>,
    pub(crate) slow: Vec<SlowAccess>,
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) request: &'a Request<'a>,
    /// What the current instruction's access is part of.
    pub(crate) member: Option<Member>,
    /// Where operations find the host address: this register + RCX + displacement.
    pub(crate) pointer: (u8, i32),
    pub(crate) ungrouped: Vec<Ungrouped>,
    /// It is a loop, several turns in a row.
    pub(crate) unrolled: bool,
    /// The group whose difference is in RCX, and whether the current instruction leaves it there.
    pub(crate) difference: Option<usize>,
    pub(crate) keeps_rcx: bool,
    pub(crate) insn: Instruction,
    pub(crate) may_leave: bool,
    pub(crate) sites: Vec<Site>,
    pub(crate) links: Vec<Link>,
    pub(crate) exits: Vec<(Label, u64)>,
    pub(crate) stubs: Vec<(Label, usize, Reason, Key)>,
}

impl Translator {
    pub fn new(env: Env) -> Self {
        Self {
            env,
            lacking: Lacking::default(),
            unrolls: false,
            info: InstructionInfoFactory::new(),
            encoder: Encoder::new(64),
            asm: Asm::default(),
            looked_at: Vec::new(),
        }
    }

    /// Translates the block at `request.rip`. `None` if not one whole instruction is among the bytes.
    pub fn translate(&mut self, request: &Request) -> Option<Translated> {
        let mut steps = self.decode(request)?;
        let alone = Key::UNGROUPED | Key::PLAIN | Key::SINGLE;
        let grouped = request.key.has(Key::CODE64) && request.key.0 & alone == 0;
        let turns = if grouped { unroll::turns(&steps, request.rip) } else { None };
        let unrolled = turns.filter(|_| self.unrolls);
        if let Some(turns) = unrolled {
            unroll::unroll(&mut steps, turns);
        }
        self.find_live(request, &mut steps);
        let members = if grouped { group::find(&steps) } else { vec![None; steps.len()] };
        let Self { info, encoder, asm, .. } = self;
        asm.clear();
        let mut emitter = Emitter {
            asm,
            key: request.key,
            current: 0,
            faults: Vec::new(),
            slow: Vec::new(),
            encoder,
            request,
            member: None,
            pointer: (reg::R14, 0),
            ungrouped: Vec::new(),
            unrolled: unrolled.is_some(),
            difference: None,
            keeps_rcx: false,
            insn: Instruction::default(),
            may_leave: true,
            sites: Vec::new(),
            links: Vec::new(),
            exits: Vec::new(),
            stubs: Vec::new(),
        };
        if request.key.relative() {
            emitter.note_page();
        }
        let linked_at = emitter.asm.here() as u32;
        let mut sti = false;
        for (step, member) in steps.iter().zip(members) {
            emitter.member = member;
            emitter.step(step, info.info(&step.insn));
            if sti {
                emitter.check_waiting(step.insn.next_ip());
            }
            sti = step.class == Class::Sti;
        }
        let last = steps.last()?.insn;
        if !ends_flow(steps.last()?) {
            emitter.exit(last.next_ip());
        }
        emitter.finish();
        let Emitter { mut faults, sites, links, .. } = emitter;
        faults.sort_unstable();
        Some(Translated {
            code: self.asm.bytes.clone(),
            length: (last.next_ip().wrapping_sub(request.rip)) as usize,
            looked_at: std::mem::take(&mut self.looked_at),
            instructions: steps.len() as u32,
            could_unroll: turns.is_some() && unrolled.is_none(),
            sites,
            links,
            numbers: self.asm.numbers.clone(),
            linked_at,
            faults,
        })
    }

    fn decode(&mut self, request: &Request) -> Option<Vec<Step>> {
        let bitness = request.key.bitness();
        let options = DECODER_OPTIONS | self.lacking.options();
        let mut decoder = Decoder::with_ip(bitness, request.bytes, request.rip, options);
        let most = if request.key.has(Key::SINGLE) { 1 } else { MOST };
        let mut steps = Vec::with_capacity(most);
        while steps.len() < most && decoder.position() < request.in_page {
            let start = decoder.position();
            let insn = exchange(decoder.decode(), &request.bytes[start..decoder.position()]);
            let insn = scan(insn);
            let insn = if bitness == 64 { flat(insn) } else { insn };
            let rest = &request.bytes[start..];
            let length = if insn.is_invalid() { length::invalid(bitness, rest) } else { insn.len() };
            if length > rest.len() && rest.len() < LONGEST {
                break;
            }
            if decoder.position() > request.in_page && !steps.is_empty() {
                break;
            }
            let info = self.info.info(&insn);
            let (written, stores) = group::effects(info);
            let class = if length > LONGEST {
                Class::Raise(vector::GP)
            } else if insn.is_invalid()
                || self.lacking.covers(&insn)
                || no_such_element(&insn, &request.bytes[start..decoder.position()])
            {
                Class::Raise(vector::UD)
            } else {
                classify(&insn, info, request.key, &self.env)
            };
            let step = Step { insn, class, live: ALL, written, stores, again: false };
            let ends = ends_block(&step);
            steps.push(step);
            hold_sti(&mut steps, ends);
            if ends {
                break;
            }
        }
        (!steps.is_empty()).then_some(steps)
    }

    fn find_live(&mut self, request: &Request, steps: &mut [Step]) {
        self.looked_at.clear();
        // A single step ends in a trap, which shows all flags.
        if request.key.0 & (Key::PLAIN | Key::SINGLE) != 0 {
            return;
        }
        let mut live = ALL;
        if let Some(last) = steps.last() {
            match last.class {
                Class::Jump | Class::Call => {
                    live = self.needed(request, last.insn.ip(), last.insn.near_branch_target())
                }
                _ if !ends_flow(last) => live = self.needed(request, last.insn.ip(), last.insn.next_ip()),
                _ => {}
            }
        }
        for step in steps.iter_mut().rev() {
            let effect = liveness::effect(&step.insn);
            match step.class {
                // The way out of a group leads to a jump back that somebody may interrupt; and what comes behind may be written.
                Class::Branch | Class::Jump if step.again => live = ALL,
                Class::Branch | Class::Loop | Class::JumpIfZero => {
                    live |= self.needed(request, step.insn.ip(), step.insn.near_branch_target());
                    live |= effect.reads;
                }
                Class::System
                | Class::Syscall
                | Class::Sysret
                | Class::State
                | Class::SetBase
                | Class::Pkru
                | Class::Repeat => live = ALL,
                Class::Base | Class::Selector | Class::Control => {}
                Class::Raise(_) | Class::Pushf | Class::AccessCheck(_) => live = ALL,
                Class::Nothing | Class::Cli | Class::Sti | Class::Swapgs | Class::Rdtsc => {}
                _ => live = live & !effect.writes | effect.reads,
            }
            step.live = live;
        }
    }
}

impl Translator {
    /// Flags that a jump's target needs, as far as it can be seen from here. Where a jump leads back somebody may interrupt, who sees all.
    fn needed(&mut self, request: &Request, from: u64, target: u64) -> u8 {
        let offset = target.wrapping_sub(request.rip) as usize;
        if target <= from || offset >= request.in_page {
            return ALL;
        }
        let bytes = &request.bytes[offset..request.in_page];
        let (needed, looked_at) = liveness::needed_at(bytes, request.key.bitness(), target);
        self.looked_at.push((offset as u16, looked_at as u16));
        needed
    }
}

/// F3 90 is PAUSE, but with REX.B it is XCHG of R8 and RAX, whose F3 means nothing. The decoder calls both PAUSE.
fn exchange(insn: Instruction, bytes: &[u8]) -> Instruction {
    let rex = bytes.len().checked_sub(2).map_or(0, |at| bytes[at]);
    if insn.mnemonic() != iced_x86::Mnemonic::Pause || rex & 0xf1 != 0x41 {
        return insn;
    }
    let (code, first, second) = match (rex & 8 != 0, bytes.contains(&0x66)) {
        (true, _) => (Code::Xchg_r64_RAX, Register::R8, Register::RAX),
        (false, true) => (Code::Xchg_r16_AX, Register::R8W, Register::AX),
        _ => (Code::Xchg_r32_EAX, Register::R8D, Register::EAX),
    };
    let mut out = Instruction::with2(code, first, second).unwrap_or(insn);
    out.set_len(insn.len());
    out.set_next_ip(insn.next_ip());
    out.set_code_size(insn.code_size());
    out
}

/// BSF and BSR whose F3 would make them TZCNT and LZCNT on other processors: not to be emitted with it.
fn scan(mut insn: Instruction) -> Instruction {
    if matches!(insn.mnemonic(), iced_x86::Mnemonic::Bsf | iced_x86::Mnemonic::Bsr) {
        insn.set_has_rep_prefix(false);
    }
    insn
}

/// 64-bit mode ignores prefixes of ES, CS, SS and DS, also where a fault asks which segment it was (APM vol. 1, 3.5.2).
fn flat(mut insn: Instruction) -> Instruction {
    if matches!(insn.segment_prefix(), Register::ES | Register::CS | Register::SS | Register::DS) {
        insn.set_segment_prefix(Register::None);
    }
    insn
}

/// STI holds interrupts off for one more instruction: in place only if that one is plain and in the same block, else by
/// the routine.
fn hold_sti(steps: &mut [Step], ends: bool) {
    let Some((last, before)) = steps.split_last_mut() else { return };
    if let Some(sti) = before.last_mut().filter(|s| s.class == Class::Sti) {
        let simple =
            matches!(last.class, Class::Plain | Class::Lea | Class::Push | Class::Pop | Class::Nothing);
        if !simple || ends {
            sti.class = Class::System;
        }
    }
}

/// No instruction of this block comes after it.
fn ends_block(step: &Step) -> bool {
    ends_flow(step) || step.class == Class::System && leaves(&step.insn)
}

/// Control never reaches the next instruction by itself.
fn ends_flow(step: &Step) -> bool {
    match step.class {
        Class::Jump | Class::Call | Class::JumpIndirect | Class::CallIndirect | Class::Return => true,
        Class::Raise(_) | Class::AccessCheck(_) | Class::Syscall | Class::Sysret => true,
        Class::System => !matches!(step.insn.flow_control(), FlowControl::Next | FlowControl::Exception),
        _ => false,
    }
}

/// System instructions after which translation would most likely go on for nothing.
fn leaves(insn: &Instruction) -> bool {
    use iced_x86::Mnemonic::*;
    let control = (0..insn.op_count()).any(|n| {
        let register = insn.op_register(n);
        insn.op_kind(n) == OpKind::Register
            && (register.is_cr() || register.is_dr() || register.is_segment_register())
    });
    control
        || matches!(
            insn.mnemonic(),
            Sti | Popf
                | Popfd
                | Popfq
                | Wrmsr
                | Hlt
                | Lgdt
                | Lidt
                | Lldt
                | Ltr
                | Lmsw
                | Clts
                | Stac
                | Clac
                | Std
                | Cld
        )
        || matches!(
            insn.mnemonic(),
            Xsetbv | Invlpg | Invpcid | Swapgs | Wrfsbase | Wrgsbase | Vmrun | Stgi | Clgi
        )
}

/// How a group member's address is formed: off a pinned base alone, or by LEA.
fn group_place(insn: &Instruction) -> GroupAddress {
    let base = insn.memory_base();
    let base_only = base.is_gpr64() && insn.memory_index() == Register::None;
    match PINNED.get(base.full_register().number()).copied().flatten() {
        Some(host) if base_only => GroupAddress::Host(host, insn.memory_displacement64() as i32),
        _ => GroupAddress::Computed,
    }
}

impl Emitter<'_> {
    /// Notes that the next host instruction stands for the current guest instruction.
    pub(crate) fn mark(&mut self) {
        self.faults.push((self.asm.here() as u32, self.current));
    }

    pub(crate) fn site(&mut self, kind: SiteKind, access: &Access) -> u32 {
        self.push_site(kind, access.size as u16, access.segment as u8)
    }

    pub(crate) fn push_site(&mut self, kind: SiteKind, size: u16, segment: u8) -> u32 {
        let may_leave = self.may_leave;
        let block = self.request.block;
        let relative = self.key.relative();
        self.sites.push(Site { insn: self.insn, kind, size, segment, may_leave, relative, block });
        self.request.first_site + self.sites.len() as u32 - 1
    }

    pub(crate) fn encode(&mut self, insn: &Instruction) -> bool {
        let done = self.encoder.encode(insn, 0).is_ok();
        let bytes = self.encoder.take_buffer();
        if done {
            self.asm.put(&bytes);
        }
        done
    }

    /// An instruction that cannot be copied after all: it raises #UD, rather than doing something else.
    pub(crate) fn give_up(&mut self, _: &Instruction) {
        self.call_system(SiteKind::Raise(vector::UD));
    }

    pub(crate) fn call_system(&mut self, kind: SiteKind) {
        let site = self.push_site(kind, 0, 0);
        self.asm.store_number(Mem::state(offset_of!(Hot, site)), Kind::Site, site);
        self.asm.call_mem(Mem::state(offset_of!(Hot, system_thunk)));
    }

    pub(crate) fn step(&mut self, step: &Step, info: &InstructionInfo) {
        let insn = &step.insn;
        self.insn = *insn;
        self.current = insn.ip().wrapping_sub(self.request.rip) as u16;
        self.may_leave = true;
        let stack = match step.class {
            Class::Push => !matches!(insn.op0_kind(), OpKind::Memory),
            Class::Pop => insn.op0_kind() == OpKind::Register,
            Class::Call | Class::Return => true,
            _ => false,
        };
        self.keeps_rcx = stack && self.key.has(Key::CODE64);
        if !self.keeps_rcx {
            self.difference = None;
        }
        match step.class {
            Class::Nothing => {}
            Class::Plain => self.plain(step, info),
            Class::BitTest => self.bit_test(step, info),
            Class::Lea => self.lea(insn),
            Class::Jump if step.again => {}
            Class::Jump => self.exit(insn.near_branch_target()),
            Class::Branch if step.again => self.branch_unless(insn),
            Class::Branch => self.branch(insn),
            Class::Call => self.call(insn, step.live),
            Class::CallIndirect => self.call_indirect(insn),
            Class::JumpIndirect => self.jump_indirect(insn),
            Class::Return => self.ret(insn),
            Class::JumpIfZero => self.jump_if_zero(insn),
            Class::Loop => self.count_down(insn),
            Class::Push => self.push(insn, step.live),
            Class::Pop => self.pop(insn, step.live),
            Class::Leave => self.leave(insn, step.live),
            Class::String => self.string(insn, step.live),
            Class::Cli => self.asm.store_imm64(Mem::state(offset_of!(Hot, interrupt_flag)), 0),
            Class::Sti => self.asm.store_imm64(Mem::state(offset_of!(Hot, interrupt_flag)), 0x200),
            Class::Swapgs => self.swapgs(),
            Class::AccessCheck(on) => self.access_check(on),
            Class::Rdtsc => self.rdtsc(),
            Class::Pushf => self.pushf(),
            Class::Base => self.base(insn),
            Class::SetBase => self.set_base(insn),
            Class::Pkru => self.pkru(),
            Class::Selector => self.selector(insn, step.live),
            Class::Control => self.control(insn),
            Class::State => self.state(insn),
            Class::Repeat => self.repeat(insn),
            Class::Syscall => self.jump_by(offset_of!(Hot, syscall_thunk)),
            Class::Sysret => self.jump_by(offset_of!(Hot, sysret_thunk)),
            Class::System => self.call_system(SiteKind::System),
            Class::Raise(vector) => self.call_system(SiteKind::Raise(vector)),
        }
    }

    pub(crate) fn operand_access(&self, insn: &Instruction, info: &InstructionInfo, live: u8) -> Access {
        let used = info.used_memory().iter().fold((false, false), |(r, w), m| match m.access() {
            OpAccess::Read | OpAccess::CondRead => (true, w),
            OpAccess::Write => (r, true),
            OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            _ => (r, w),
        });
        let size = insn.memory_size().size();
        Access { read: used.0, write: used.1, size, segment: ea::segment(insn), live }
    }

    pub(crate) fn plain(&mut self, step: &Step, info: &InstructionInfo) {
        let insn = &step.insn;
        let has_memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
        if !has_memory {
            self.copy(insn, info, false);
            return self.note_x87(insn);
        }
        let access = self.operand_access(insn, info, step.live);
        if access.size == 0 {
            return self.give_up(insn);
        }
        let key = self.key;
        let place = group_place(insn);
        let offset = |e: &mut Self| ea::offset(e.asm, insn, key);
        self.grouped_access(place, access, offset, |e| {
            e.copy(insn, info, true);
            e.note_x87(insn);
        });
    }

    /// BT/BTS/BTR/BTC of memory by a register: the address moves by the signed bit offset.
    pub(crate) fn bit_test(&mut self, step: &Step, info: &InstructionInfo) {
        let insn = &step.insn;
        let bits = insn.op1_register();
        let (size, shift) = match bits.size() {
            2 => (2u8, 4u64),
            4 => (4, 5),
            _ => (8, 6),
        };
        if let Address::Constant(value) = ea::offset(self.asm, insn, self.key) {
            self.asm.imm(reg::R14, value);
        }
        self.load_guest(reg::R13, bits);
        match size {
            2 => self.asm.rr(true, &[0x0f, 0xbf], reg::R13, reg::R13), // MOVSX
            4 => self.asm.rr(true, &[0x63], reg::R13, reg::R13),       // MOVSXD
            _ => {}
        }
        self.asm.imm(reg::RCX, shift);
        self.asm.put(&[0xc4, 0x42, 0xf2, 0xf7, 0xed]); // SARX R13, R13, RCX
        self.asm.lea(reg::R14, Mem { base: Some(reg::R14), index: Some((reg::R13, size)), disp: 0 });
        match ea::address_size(insn, self.key) {
            8 => {}
            4 => self.asm.mov32(reg::R14, reg::R14),
            _ => self.asm.movzx16(reg::R14, reg::R14),
        }
        let access = self.operand_access(insn, info, step.live);
        self.access(Address::InR14, access, |e| {
            e.asm.lea(reg::R14, Mem { base: Some(reg::R14), index: Some((reg::RCX, 1)), disp: 0 });
            e.load_guest(reg::R13, bits);
            e.asm.imm(reg::RCX, u64::from(size) * 8 - 1);
            e.asm.put(&[0xc4, 0x62, 0x92, 0xf5, 0xe9]); // PEXT R13, R13, RCX
            let mut copy = *insn;
            crate::operation::point_at(&mut copy, Register::R14, Register::None);
            copy.set_op1_register(crate::operation::sized(reg::R13, size.into()));
            e.mark();
            if !e.encode(&copy) {
                e.give_up(insn);
            }
        });
    }

    /// All 64 bits of a guest register into a host register.
    pub(crate) fn load_guest(&mut self, to: u8, register: Register) {
        let gpr = register.full_register().number();
        match PINNED[gpr] {
            Some(host) => self.asm.mov(to, host),
            None => self.asm.load(to, ea::parked(gpr)),
        }
    }

    pub(crate) fn store_guest(&mut self, register: Register, from: u8) {
        let gpr = register.full_register().number();
        match PINNED[gpr] {
            Some(host) => self.asm.mov(host, from),
            None => self.asm.store(ea::parked(gpr), from),
        }
    }

    /// As a write to a register of this size does it: 32 bits clear those above, 16 and 8 leave them.
    pub(crate) fn store_sized_guest(&mut self, register: Register, from: u8) {
        let gpr = register.full_register().number();
        match (register.size(), PINNED[gpr]) {
            (8, _) => self.store_guest(register, from),
            (4, _) => {
                self.asm.mov32(from, from);
                self.store_guest(register, from);
            }
            (_, Some(host)) => self.asm.mov16(host, from),
            (_, None) => self.asm.store_sized(2, ea::parked(gpr), from),
        }
    }

    pub(crate) fn lea(&mut self, insn: &Instruction) {
        let target = insn.op0_register();
        if let (8, Some(host)) = (target.size(), PINNED[target.full_register().number()]) {
            if let Address::Constant(value) = ea::offset_in(self.asm, insn, self.key, host) {
                self.asm.imm(host, value);
            }
            return;
        }
        if let Address::Constant(value) = ea::offset(self.asm, insn, self.key) {
            self.asm.imm(reg::R14, value);
        }
        self.store_sized_guest(target, reg::R14);
    }

    /// What lies behind the main line: taken sides, slow accesses, link stubs.
    pub(crate) fn finish(&mut self) {
        for (label, target) in std::mem::take(&mut self.exits) {
            self.asm.bind(label);
            self.exit(target);
        }
        for slow in std::mem::take(&mut self.slow) {
            self.emit_slow(slow);
        }
        for ungrouped in std::mem::take(&mut self.ungrouped) {
            self.emit_ungrouped(ungrouped);
        }
        for (label, number, reason, key) in std::mem::take(&mut self.stubs) {
            // What follows STAC or CLAC runs under another key.
            self.key = key;
            self.asm.bind(label);
            self.links[number].stub = self.asm.here() as u32;
            self.leave_by(number, reason);
            if self.links[number].far.is_some() {
                self.links[number].far = Some(self.asm.here() as u32);
                let target = self.links[number].target;
                self.address(reg::R14, target);
                self.jump_by_table(target);
            }
        }
        self.asm.resolve();
    }
}
