//! Guest memory accesses: the inline TLB check, and the way out of line.

use crate::asm::Label;
use crate::asm::{Mem, cond, reg};
use crate::block::{Emitter, SiteKind};
use crate::ea::{self, Address};
use crate::key::Key;
use crate::layout::{Hot, SKEW_ROTATE, TLB, TLB_ENTRIES, TLB_MODE_BYTES, tlb_index};
use crate::liveness::OF;
use crate::relocate::Kind;
use core::mem::offset_of;

/// What an access does and to how much.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub size: usize,
    pub segment: usize,
    /// Arithmetic flags that the access must keep.
    pub live: u8,
}

/// The out-of-line half of an access, put behind the block.
pub(crate) struct SlowAccess {
    entry: Label,
    resume: Label,
    /// The address again, if it is constant; else R14 and RCX still hold sum and index.
    constant: Option<u64>,
    tag: i32,
    live: u8,
    site: u32,
    access: Access,
    /// The operation again, for accesses that must be committed.
    operation: Vec<u8>,
    insn: u16,
    /// Where an offset goes that segmentation has to look at, and the site for that.
    beyond: Option<(Label, u32)>,
}

/// The out-of-line half of a shared check.
pub(crate) struct Ungrouped {
    failed: Label,
    live: u8,
    ip: u64,
    retry: Option<Retry>,
}

/// Another try of a check at the skewed index: R14 and RCX still hold sum and index.
struct Retry {
    check: Label,
    tag: i32,
    span: i32,
    write: bool,
}

/// How a member of a group finds its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAddress {
    /// A pinned base and a displacement.
    Host(u8, i32),
    /// By LEA into R14.
    Computed,
}

/// From an address to the index of its entry, times 4.
const INDEX_SHIFT: u8 = 10;
const INDEX_MASK: i32 = (TLB_ENTRIES as i32 - 1) * 4;

const HOST: i32 = 8;
const WRITE: i32 = 16;

/// Where RAX waits while AX holds flags.
#[derive(Clone, Copy)]
enum Rax {
    InR13,
    /// Where R13 has another use.
    InTemporary,
}

impl Emitter<'_> {
    /// Emits one access of the current instruction's own group, or of one without a group.
    pub(crate) fn grouped_access(
        &mut self,
        place: GroupAddress,
        access: Access,
        offset: impl FnOnce(&mut Self) -> Address,
        operation: impl FnOnce(&mut Self),
    ) {
        let Some(member) = self.member else {
            let offset = offset(self);
            return self.access(offset, access, operation);
        };
        let delta = Mem::state(offset_of!(Hot, deltas) + 8 * member.group);
        match member.leads {
            Some(lead) => self.lead(place, lead, delta, access.live, offset),
            None => {
                self.pointer = match place {
                    GroupAddress::Host(base, displacement) => (base, displacement),
                    GroupAddress::Computed => {
                        offset(self);
                        (reg::R14, 0)
                    }
                };
                if self.difference != Some(member.group) {
                    self.asm.load(reg::RCX, delta);
                }
            }
        }
        self.mark();
        operation(self);
        self.pointer = (reg::R14, 0);
        // At a lead that computes its address RCX is another.
        let there = matches!((member.leads, place), (None, _) | (_, GroupAddress::Host(..)));
        self.difference = (there && self.keeps_rcx).then_some(member.group);
    }

    /// The check of a whole group; its page's difference is in RCX afterwards.
    fn lead(
        &mut self,
        place: GroupAddress,
        lead: crate::group::Lead,
        delta: Mem,
        live: u8,
        offset: impl FnOnce(&mut Self) -> Address,
    ) {
        match place {
            GroupAddress::Host(base, displacement) => {
                self.asm.lea(reg::R14, Mem::base(base, displacement + lead.low))
            }
            GroupAddress::Computed => {
                offset(self);
                if lead.low != 0 {
                    self.asm.lea(reg::R14, Mem::base(reg::R14, lead.low));
                }
            }
        }
        let (check, failed) = (self.asm.label(), self.asm.label());
        self.asm.bind(check);
        self.save_flags(live, Rax::InTemporary);
        let table = (TLB + self.key.mmu() * TLB_MODE_BYTES) as i32;
        let tag = table + if lead.write { WRITE } else { 0 };
        if self.unrolled {
            self.asm.rorx(reg::RCX, reg::R14, SKEW_ROTATE);
            self.asm.xor32(reg::RCX, reg::R14);
            self.asm.shr32_imm(reg::RCX, INDEX_SHIFT);
            self.asm.and32_imm(reg::RCX, INDEX_MASK);
        } else {
            self.index();
        }
        self.asm.load(reg::R13, indexed(tag));
        self.asm.add(reg::R14, indexed(tag));
        self.asm.cmp_imm(reg::R14, 4096 - lead.span);
        self.asm.jcc(cond::A, failed);
        self.asm.add(reg::R13, indexed(table + HOST));
        self.asm.store(delta, reg::R13);
        if place == GroupAddress::Computed {
            // The member's own address again: R14 holds an offset in the page. Host = page offset - low + host page.
            self.asm.load(reg::RCX, indexed(table + HOST));
            self.asm.lea(reg::R14, Mem::base(reg::R14, -lead.low));
        } else {
            self.asm.mov(reg::RCX, reg::R13);
        }
        self.restore_flags(live, Rax::InTemporary);
        self.pointer = match place {
            GroupAddress::Host(base, displacement) => (base, displacement),
            GroupAddress::Computed => (reg::R14, 0),
        };
        let retry = self.unrolled.then_some(Retry { check, tag, span: lead.span, write: lead.write });
        self.ungrouped.push(Ungrouped { failed, live, ip: self.insn_ip(), retry });
    }

    /// Where a failed shared check goes: to the block without them, at the instruction that made the check. One at the skewed index asks the
    /// second level first.
    pub(crate) fn emit_ungrouped(&mut self, Ungrouped { failed, live, ip, retry }: Ungrouped) {
        self.asm.bind(failed);
        if let Some(retry) = &retry {
            self.asm.sub(reg::R14, indexed(retry.tag));
        }
        self.restore_flags(live, Rax::InTemporary);
        let (stub, filled) = (self.asm.label(), self.asm.label());
        if let Some(Retry { span, write, .. }) = retry {
            self.asm.imm(reg::RCX, 4096 - span as u64);
            self.asm.call_mem(self.thunk_of_mode(offset_of!(Hot, skewed_thunk), write));
            self.asm.jrcxz(filled);
        }
        self.asm.jmp(stub);
        self.note_ungrouped(stub, ip);
        if let Some(Retry { check, .. }) = retry {
            self.asm.bind(filled);
            self.asm.jmp(check);
        }
    }

    /// Emits one access: `operation` finds the host address as R14 + RCX, and may clobber both and R13.
    /// The address is an offset in the segment.
    pub(crate) fn access(&mut self, offset: Address, access: Access, operation: impl FnOnce(&mut Self)) {
        self.difference = None;
        if self.key.has(Key::PLAIN) || !self.flat(access.segment) || self.through_code(access) {
            return self.access_by_routine(offset, access, operation);
        }
        let kind = |offset| SiteKind::Access { read: access.read, write: access.write, offset };
        let site = self.site(kind(false), &access);
        let (entry, resume) = (self.asm.label(), self.asm.label());
        self.save_flags(access.live, Rax::InR13);
        let beyond = (self.key.bitness() == 16).then(|| (self.asm.label(), self.site(kind(true), &access)));
        let offset =
            if let Some((label, _)) = beyond { self.within_64k(offset, access, label) } else { offset };
        let address = ea::linear(self.asm, offset, access.segment, self.key);
        let tag = self.check(address, access, entry);
        self.restore_flags(access.live, Rax::InR13);
        self.host_page(address);
        if !access.write {
            self.asm.bind(resume);
        }
        let start = self.asm.here();
        self.mark();
        operation(self);
        let copy = if access.write { self.asm.bytes[start..].to_vec() } else { Vec::new() };
        if access.write {
            self.asm.bind(resume);
        }
        let constant = if let Address::Constant(value) = address { Some(value) } else { None };
        let insn = self.current;
        let slow = SlowAccess {
            entry,
            resume,
            constant,
            tag,
            live: access.live,
            site,
            access,
            operation: copy,
            insn,
            beyond,
        };
        self.slow.push(slow);
    }

    /// An operand that reaches beyond 64 KiB goes to `beyond`, its offset in R14. Clobbers flags.
    fn within_64k(&mut self, offset: Address, access: Access, beyond: Label) -> Address {
        if let Address::Constant(value) = offset {
            self.asm.imm(reg::R14, value);
        }
        self.asm.cmp_imm(reg::R14, 0x1_0000 - access.size as i32);
        self.asm.jcc(cond::A, beyond);
        Address::InR14
    }

    /// 64-bit mode has no limits; elsewhere only segments that span all memory go the fast way, or in 16-bit code 64 KiB of it.
    fn flat(&self, segment: usize) -> bool {
        self.key.has(Key::CODE64) || self.key.flat(segment)
    }

    /// A write through CS, which only 64-bit mode lets pass (APM vol. 2, 4.7.2).
    fn through_code(&self, access: Access) -> bool {
        access.write && access.segment == ireko_x86::regs::seg::CS && !self.key.has(Key::CODE64)
    }

    fn access_by_routine(&mut self, offset: Address, access: Access, operation: impl FnOnce(&mut Self)) {
        if let Address::Constant(value) = offset {
            self.asm.imm(reg::R14, value);
        }
        let site =
            self.site(SiteKind::Access { read: access.read, write: access.write, offset: true }, &access);
        self.call_access(site);
        self.mark();
        operation(self);
        if access.write {
            self.call_commit(site);
        }
    }

    /// LAHF and SETO into AX; RAX waits.
    fn save_flags(&mut self, live: u8, rax: Rax) {
        if live == 0 {
            return;
        }
        match rax {
            Rax::InR13 => self.asm.mov(reg::R13, reg::RAX),
            Rax::InTemporary => self.asm.store(ea::temp(0), reg::RAX),
        }
        self.asm.lahf();
        if live & OF != 0 {
            self.asm.seto_al();
        }
    }

    fn restore_flags(&mut self, live: u8, rax: Rax) {
        if live == 0 {
            return;
        }
        if live & OF != 0 {
            self.asm.restore_of();
        }
        self.asm.sahf();
        match rax {
            Rax::InR13 => self.asm.mov(reg::RAX, reg::R13),
            Rax::InTemporary => self.asm.load(reg::RAX, ea::temp(0)),
        }
    }

    /// Compares the tag: jumps to `slow`, or leaves the page offset in R14 (and the index in RCX). Clobbers flags.
    fn check(&mut self, address: Address, access: Access, slow: Label) -> i32 {
        let table = (TLB + self.key.mmu() * TLB_MODE_BYTES) as i32;
        let tag = table + if access.write { WRITE } else { 0 };
        match address {
            Address::Constant(value) => {
                self.asm.imm(reg::R14, value);
                self.asm.add(reg::R14, Mem::base(reg::RSP, tag + 32 * tlb_index(value) as i32));
            }
            Address::InR14 => {
                self.index();
                self.asm.add(reg::R14, indexed(tag));
            }
        }
        self.asm.cmp_imm(reg::R14, 4096 - access.size as i32);
        self.asm.jcc(cond::A, slow);
        tag
    }

    /// The index of the entry of the address in R14, times 4, in RCX. Clobbers flags.
    fn index(&mut self) {
        self.asm.rorx32(reg::RCX, reg::R14, INDEX_SHIFT);
        self.asm.and32_imm(reg::RCX, INDEX_MASK);
    }

    fn host_page(&mut self, address: Address) {
        let table = (TLB + self.key.mmu() * TLB_MODE_BYTES) as i32;
        match address {
            Address::Constant(value) => {
                self.asm.load(reg::RCX, Mem::base(reg::RSP, table + HOST + 32 * tlb_index(value) as i32))
            }
            Address::InR14 => self.asm.load(reg::RCX, indexed(table + HOST)),
        }
    }

    /// Where one of the thunks for misses is that lie by mode.
    fn thunk_of_mode(&self, thunks: usize, write: bool) -> Mem {
        Mem::state(thunks + 16 * self.key.mmu() + 8 * usize::from(write))
    }

    fn call_access(&mut self, site: u32) {
        self.asm.store_number(Mem::state(offset_of!(Hot, site)), Kind::Site, site);
        self.asm.call_mem(Mem::state(offset_of!(Hot, access_thunk)));
    }

    /// Commits what was written to a bounce buffer or a page with code; flags stay.
    fn call_commit(&mut self, site: u32) {
        let skip = self.asm.label();
        self.asm.load(reg::RCX, Mem::state(offset_of!(Hot, pending)));
        self.asm.jrcxz(skip);
        self.asm.store_number(Mem::state(offset_of!(Hot, site)), Kind::Site, site);
        self.asm.call_mem(Mem::state(offset_of!(Hot, commit_thunk)));
        self.asm.bind(skip);
    }

    /// Puts the slow half of an access behind the block.
    pub(crate) fn emit_slow(&mut self, slow: SlowAccess) {
        self.asm.bind(slow.entry);
        match slow.constant {
            Some(value) => self.asm.imm(reg::R14, value),
            None => self.asm.sub(reg::R14, indexed(slow.tag)),
        }
        self.restore_flags(slow.live, Rax::InR13);
        self.asm.store_number(Mem::state(offset_of!(Hot, site)), Kind::Site, slow.site);
        self.asm.imm(reg::RCX, 4096 - slow.access.size as u64);
        self.asm.call_mem(self.thunk_of_mode(offset_of!(Hot, miss_thunk), slow.access.write));
        self.perform(&slow, slow.site);
        if let Some((label, site)) = slow.beyond {
            self.asm.bind(label);
            self.restore_flags(slow.live, Rax::InR13);
            self.call_access(site);
            self.perform(&slow, site);
        }
    }

    /// What follows a slow access: a write is done here, so that it can be committed.
    fn perform(&mut self, slow: &SlowAccess, site: u32) {
        if slow.access.write {
            self.faults.push((self.asm.here() as u32, slow.insn));
            self.asm.put(&slow.operation);
            self.call_commit(site);
        }
        self.asm.jmp(slow.resume);
    }
}

/// A TLB field of the entry whose index, times 4, is in RCX.
fn indexed(offset: i32) -> Mem {
    Mem { base: Some(reg::RSP), index: Some((reg::RCX, 8)), disp: offset }
}
