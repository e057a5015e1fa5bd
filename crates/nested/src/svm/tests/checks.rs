//! Each entry check refuses what it names, and lets the neighbour through.

use crate::svm::check::CHECKS;
use crate::svm::testing::{Mock, NEXT, code64};
use crate::vendor::Vendor;
use ireko_x86::bits::{cr0, cr4, efer};
use ireko_x86::vmcb::{control, exitcode, save};

type Spoil = fn(&mut Mock);

const LIMIT: u64 = 1 << 48;

/// The check's name, and what makes exactly this one fail.
const REFUSED: &[(&str, Spoil)] = &[
    ("EFER.SVME is zero", |m| m.put(save::EFER, efer::LME | efer::LMA)),
    ("CR0.CD is zero and CR0.NW is set", |m| m.put(save::CR0, cr0::PE | cr0::PG | cr0::NW)),
    ("CR0[63:32] are not zero", |m| m.put(save::CR0, cr0::PE | cr0::PG | 1 << 32)),
    ("CR3 has a bit set that must be zero", |m| m.put(save::CR3, LIMIT)),
    ("CR3 has a bit set that must be zero", |m| {
        m.put(save::EFER, efer::SVME);
        m.put(save::CR3, LIMIT);
    }),
    ("CR4 has a bit set that must be zero", |m| m.put(save::CR4, cr4::PAE | 1 << 13)),
    ("CR4 has a bit set that must be zero", |m| m.put(save::CR4, cr4::PAE | 1 << 63)),
    ("DR6[63:32] are not zero", |m| m.put(save::DR6, 1 << 32)),
    ("DR7[63:32] are not zero", |m| m.put(save::DR7, 1 << 63)),
    ("EFER has a bit set that must be zero", |m| m.put(save::EFER, efer::SVME | efer::LME | 1 << 9)),
    ("EFER has a bit set that must be zero", |m| m.put(save::EFER, efer::SVME | efer::LME | 1 << 16)),
    ("EFER.LME and CR0.PG are set and CR4.PAE is zero", |m| m.put(save::CR4, 0)),
    ("EFER.LME and CR0.PG are set and CR0.PE is zero", |m| m.put(save::CR0, cr0::PG)),
    ("EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set", |m| {
        let mut segment = code64();
        segment.attr |= 1 << 10;
        m.put_segment(save::CS, segment);
    }),
    ("the VMRUN intercept is clear", |m| m.put32(control::INTERCEPTS_4, 0)),
    ("the MSR permission map reaches beyond physical memory", |m| {
        m.put32(control::INTERCEPTS_3, 1 << 28);
        m.put(control::MSRPM_BASE, LIMIT - 0x1000);
    }),
    ("the I/O permission map reaches beyond physical memory", |m| {
        m.put32(control::INTERCEPTS_3, 1 << 27);
        m.put(control::IOPM_BASE, LIMIT - 0x2000);
    }),
    ("the I/O permission map reaches beyond physical memory", |m| {
        m.put32(control::INTERCEPTS_3, 1 << 27);
        m.put(control::IOPM_BASE, u64::MAX);
    }),
    ("EVENTINJ has an illegal type or vector", |m| m.put(control::EVENTINJ, 1 << 31 | 1 << 8)),
    ("EVENTINJ has an illegal type or vector", |m| m.put(control::EVENTINJ, 1 << 31 | 3 << 8 | 2)),
    ("EVENTINJ has an illegal type or vector", |m| m.put(control::EVENTINJ, 1 << 31 | 3 << 8 | 32)),
    ("ASID is zero", |m| m.put32(control::ASID, 0)),
    ("TLB_CONTROL has a reserved encoding", |m| m.put8(control::TLB_CONTROL, 2)),
    ("nested paging with paging off in the host", |m| m.regs.cr0 &= !cr0::PG),
    ("nCR3 has a bit set that must be zero", |m| m.put(control::N_CR3, LIMIT)),
    ("G_PAT has an unsupported memory type", |m| m.put(save::G_PAT, 2 << 16)),
    ("G_PAT has an unsupported memory type", |m| m.put(save::G_PAT, 0x80 << 56)),
    ("a page-directory-pointer entry has a reserved bit set", |m| {
        pae_without_nested_paging(m);
        m.memory[0x5018] = 0x03;
    }),
];

/// What comes near a check and passes.
const ALLOWED: &[Spoil] = &[
    |m| m.put(save::CR0, cr0::PE | cr0::PG | cr0::NW | cr0::CD),
    |m| m.put(save::CR3, LIMIT - 0x1000),
    // Paged real mode (15.19).
    |m| {
        m.put(save::EFER, efer::SVME);
        m.put(save::CR0, cr0::PG);
    },
    |m| m.put(control::MSRPM_BASE, u64::MAX),
    |m| {
        m.put32(control::INTERCEPTS_3, 3 << 27);
        m.put(control::MSRPM_BASE, LIMIT - 0x3000 + 0xfff);
        m.put(control::IOPM_BASE, LIMIT - 0x3000 + 0xfff);
    },
    |m| m.put(control::EVENTINJ, 3 << 8 | 2),
    |m| m.put(control::EVENTINJ, 1 << 31 | 3 << 8 | 30),
    |m| m.put8(control::TLB_CONTROL, 7),
    |m| {
        m.put(control::NESTED, 0);
        m.put(control::N_CR3, LIMIT);
        m.put(save::G_PAT, 2);
        m.regs.cr0 &= !cr0::PG;
    },
    |m| {
        pae_without_nested_paging(m);
        // Not present: its reserved bits do not count.
        m.memory[0x5018] = 0x02;
    },
];

fn pae_without_nested_paging(m: &mut Mock) {
    m.put(control::NESTED, 0);
    m.put(save::EFER, efer::SVME);
    m.memory[0x5000] = 1;
}

#[test]
fn each_check_refuses_what_it_names() {
    for (name, spoil) in REFUSED {
        let mut mock = Mock::new();
        spoil(&mut mock);
        assert_eq!(mock.vmrun().err(), Some(*name));
    }
}

#[test]
fn every_check_has_a_case() {
    for check in &CHECKS {
        assert!(REFUSED.iter().any(|(name, _)| *name == check.name), "no case for: {}", check.name);
    }
}

#[test]
fn what_comes_near_a_check_enters() {
    for (n, spoil) in ALLOWED.iter().enumerate() {
        let mut mock = Mock::new();
        spoil(&mut mock);
        assert_eq!(mock.vmrun().err(), None, "case {n}");
    }
}

#[test]
fn a_refused_entry_exits_with_invalid_and_leaves_the_guest_state() {
    let mut mock = Mock::new();
    mock.put32(control::ASID, 0);
    mock.put(control::EVENTINJ, 1 << 31 | 0x20);
    let before = mock.memory.clone();
    mock.vmrun().unwrap_err();
    assert_eq!(mock.get(control::EXITCODE), exitcode::INVALID);
    assert_eq!(mock.get(control::EVENTINJ), 1 << 31 | 0x20);
    assert_eq!(mock.memory[0x3400..0x4000], before[0x3400..0x4000]);
}

#[test]
fn a_refused_entry_goes_on_after_vmrun_with_gif_clear() {
    let mut mock = Mock::new();
    mock.gif = true;
    mock.put32(control::ASID, 0);
    mock.vmrun().unwrap_err();
    assert_eq!((mock.regs.rip, mock.gif, mock.shadow.is_on()), (NEXT, false, false));
    assert_eq!(mock.state.refused(), Some("ASID is zero"));
}

#[test]
fn a_vmcb_where_there_is_no_memory_is_refused() {
    let mut mock = Mock::new();
    let mut state = mock.state.clone();
    assert!(crate::svm::enter::enter(&mut mock, &mut state, 0x70_0000, NEXT).is_none());
}
