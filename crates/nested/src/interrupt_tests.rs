//! Interrupt masks, the PAUSE filter, the guest's time, and the permission maps.

use super::*;
use crate::control::{MsrLayout, Pause};
use crate::permission::{io_exits, msr_bit, msr_exits};
use crate::svm::msr::tsc_scale;
use crate::svm::testing::Mock;
use crate::{InterceptSet, IoExit};

const OPEN: Masks = Masks { gif: true, interrupt_flag: true, shadow: Shadow::None, nmi_blocked: false };
const MASKED: Masks = Masks { interrupt_flag: false, ..OPEN };
const SHADOWED: Masks = Masks { shadow: Shadow::Sti, ..OPEN };
const NO_GIF: Masks = Masks { gif: false, ..OPEN };

fn with(what: Intercept) -> Control {
    Control { intercepts: InterceptSet::default().with(what), ..Control::default() }
}

#[test]
fn without_a_guest_gif_flag_and_shadow_mask() {
    assert!(physical_allowed(None, OPEN));
    assert!(![MASKED, SHADOWED, NO_GIF].iter().any(|masks| physical_allowed(None, *masks)));
}

#[test]
fn with_masking_the_hosts_flag_alone_masks_physical_interrupts() {
    let mut control = Control { virtual_interrupts: true, host_if: true, ..Control::default() };
    assert!([OPEN, MASKED, SHADOWED].iter().all(|masks| physical_allowed(Some(&control), *masks)));
    assert!(!physical_allowed(Some(&control), NO_GIF));
    control.host_if = false;
    assert!(!physical_allowed(Some(&control), OPEN));
}

#[test]
fn without_masking_the_guests_flag_masks_physical_interrupts() {
    let control = Control { host_if: true, ..Control::default() };
    assert!(physical_allowed(Some(&control), OPEN));
    assert!(!physical_allowed(Some(&control), MASKED));
}

fn pending() -> Control {
    Control { v_irq: true, v_intr_priority: 5, v_tpr: 4, ..Control::default() }
}

#[test]
fn a_virtual_interrupt_waits_for_flag_shadow_and_gif() {
    assert!(virtual_ready(&pending(), OPEN));
    assert!(![MASKED, SHADOWED, NO_GIF].iter().any(|masks| virtual_ready(&pending(), *masks)));
    assert!(!virtual_ready(&Control { v_irq: false, ..pending() }, OPEN));
}

#[test]
fn v_tpr_holds_off_what_is_not_above_it_unless_ignored() {
    assert!(!virtual_ready(&Control { v_tpr: 5, ..pending() }, OPEN));
    assert!(virtual_ready(&Control { v_tpr: 5, v_ignore_tpr: true, ..pending() }, OPEN));
}

#[test]
fn a_virtual_gif_takes_the_place_of_gif() {
    let closed = Control { vgif_enabled: true, ..pending() };
    assert!(!virtual_ready(&closed, OPEN));
    assert!(virtual_ready(&Control { vgif: true, ..closed }, OPEN));
}

#[test]
fn the_pause_filter_counts_down_once() {
    let pause = Pause { left: 2, last: 0 };
    let mut control = Control { pause_count: 2, pause, ..with(Intercept::Pause) };
    let exits = [1, 2, 3].map(|now| pause_exits(&mut control, now));
    assert_eq!(exits, [false, false, true]);
}

#[test]
fn a_zero_filter_exits_at_each_pause_and_no_intercept_never() {
    assert!(pause_exits(&mut with(Intercept::Pause), 1));
    assert!(!pause_exits(&mut Control::default(), 2));
}

#[test]
fn pauses_further_apart_than_the_threshold_start_again() {
    let pause = Pause { left: 1, last: 100 };
    let mut control = Control { pause_count: 1, pause_threshold: 10, pause, ..with(Intercept::Pause) };
    let exits = [105, 120, 125].map(|now| pause_exits(&mut control, now));
    assert_eq!(exits, [false, false, true]);
}

#[test]
fn the_guests_time_is_scaled_then_moved() {
    let control =
        Control { tsc_scale: tsc_scale(3 << 31), tsc_offset: 5u64.wrapping_neg(), ..Control::default() };
    assert_eq!(control.guest_tsc(1000), 1495);
    let long = Control { tsc_scale: tsc_scale(1 << 32), ..Control::default() };
    assert_eq!(long.guest_tsc(u64::MAX), u64::MAX);
}

#[test]
fn msrs_have_two_bits_in_one_of_three_vectors() {
    assert_eq!(msr_bit(MsrLayout::Pairs, 0, false), Some((0, 1)));
    assert_eq!(msr_bit(MsrLayout::Pairs, 0x1b, true), Some((6, 0x80)));
    assert_eq!(msr_bit(MsrLayout::Pairs, 0xc000_0080, false), Some((0x820, 1)));
    assert_eq!(msr_bit(MsrLayout::Pairs, 0xc001_1fff, true), Some((0x17ff, 0x80)));
}

#[test]
fn msrs_outside_the_vectors_always_exit() {
    let mock = Mock::new();
    let control = Control { msr_map: 0x8000, ..with(Intercept::Msr) };
    for msr in [0x2000, 0xbfff_ffff, 0xc000_2000, 0xc001_2000, u32::MAX] {
        assert!(msr_exits(&control, msr, false, mock.reader()));
    }
    assert!(!msr_exits(&control, 0x1fff, false, mock.reader()));
}

#[test]
fn an_msr_exits_by_its_bit_and_direction() {
    let mut mock = Mock::new();
    let control = Control { msr_map: 0x8000, ..with(Intercept::Msr) };
    mock.memory[0x8000 + 0x820] = 2;
    assert!(msr_exits(&control, 0xc000_0080, true, mock.reader()));
    assert!(!msr_exits(&control, 0xc000_0080, false, mock.reader()));
    assert!(!msr_exits(&Control { msr_map: 0x8000, ..Control::default() }, 0xc000_0080, true, mock.reader()));
}

fn port(port: u16, size: u8) -> IoExit {
    let (input, string, rep) = (true, false, false);
    IoExit { port, size, input, string, rep, address_size: 8, segment: 0, next_rip: 0 }
}

#[test]
fn io_exits_if_any_of_its_ports_does() {
    let mut mock = Mock::new();
    let control = Control { io_maps: [0x8000, 0x8000 + 0x1000], ..with(Intercept::Io) };
    // Port 68h.
    mock.memory[0x800d] = 1;
    assert!(io_exits(&control, &port(0x68, 1), mock.reader()));
    assert!(io_exits(&control, &port(0x67, 2), mock.reader()));
    assert!(io_exits(&control, &port(0x65, 4), mock.reader()));
    assert!(!io_exits(&control, &port(0x64, 4), mock.reader()));
    assert!(!io_exits(&control, &port(0x69, 1), mock.reader()));
}

#[test]
fn the_last_ports_have_bits_in_the_third_page() {
    let mut mock = Mock::new();
    let control = Control { io_maps: [0x8000, 0x8000 + 0x1000], ..with(Intercept::Io) };
    mock.memory[0xa000] = 1;
    assert!(io_exits(&control, &port(0xffff, 2), mock.reader()));
    assert!(!io_exits(&control, &port(0xffff, 1), mock.reader()));
}

#[test]
fn a_map_that_is_not_memory_exits() {
    let mock = Mock::new();
    let control = Control {
        io_maps: [0x80_0000, 0x80_0000 + 0x1000],
        msr_map: 0x80_0000,
        intercepts: InterceptSet(u64::MAX),
        ..Control::default()
    };
    assert!(io_exits(&control, &port(0x80, 1), mock.reader()));
    assert!(msr_exits(&control, 0x1b, false, mock.reader()));
}

/// SDM vol. 3, 25.6.9.
#[test]
fn msrs_in_quarters_have_a_bit_for_each_direction_and_half() {
    let bit = |msr, write| msr_bit(MsrLayout::Quarters, msr, write);
    assert_eq!(bit(0x1b, false), Some((3, 8)));
    assert_eq!(bit(0x1b, true), Some((0x803, 8)));
    assert_eq!(bit(0xc000_0080, false), Some((0x410, 1)));
    assert_eq!(bit(0xc000_0080, true), Some((0xc10, 1)));
    assert_eq!(bit(0xc001_0000, false), None);
}

#[test]
fn a_port_access_across_8000h_looks_into_both_maps() {
    let mut mock = Mock::new();
    (mock.memory[0x9000], mock.memory[0xa000]) = (1, 0);
    let intercepts = InterceptSet::default().with(Intercept::Io);
    let control = Control { intercepts, io_maps: [0x7000, 0x9000], ..Control::default() };
    assert!(io_exits(&control, &port(0x7fff, 2), mock.reader()));
    assert!(!io_exits(&control, &port(0x7fff, 1), mock.reader()));
}

/// SDM vol. 3, 25.6.1: what blocks NMIs is virtual then.
#[test]
fn virtual_nmis_let_physical_ones_through() {
    let blocked = Masks { nmi_blocked: true, ..OPEN };
    assert!(!nmi_allowed(None, blocked) && nmi_allowed(None, OPEN));
    let control = Control { virtual_nmis: true, ..Control::default() };
    assert!(nmi_allowed(Some(&control), blocked) && !nmi_allowed(Some(&control), NO_GIF));
}

/// SDM vol. 3, 26.2: blocking by STI does not close the window of NMIs.
#[test]
fn windows_open_as_soon_as_the_event_could_be_taken() {
    let control = Control { interrupt_window: true, nmi_window: true, ..Control::default() };
    assert!(interrupt_window(&control, OPEN));
    assert!(![MASKED, SHADOWED].iter().any(|masks| interrupt_window(&control, *masks)));
    assert!([OPEN, MASKED, SHADOWED].iter().all(|masks| nmi_window(&control, *masks)));
    let closed = [Masks { shadow: Shadow::MovSs, ..OPEN }, Masks { nmi_blocked: true, ..OPEN }];
    assert!(!closed.iter().any(|masks| nmi_window(&control, *masks)));
}
