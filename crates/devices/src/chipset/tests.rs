use super::regs::*;
use super::*;
use crate::acpi::SmiChipset;
use crate::pci::{Function, PciBus};
use crate::probe::Probe;
use crate::{AcpiPm, shared};
use ireko_vmcore::{Clock, Device, Memory, Timers};
use std::sync::Arc;

/// Of the i440FX.
const PAM: usize = 0x59;
const SMRAM: usize = 0x72;

fn byte(function: &mut dyn Function, at: usize) -> u8 {
    let mut data = [0];
    function.read_config(at as u16, &mut data);
    data[0]
}

#[test]
fn the_host_bridge_says_whose_it_is() {
    let mut data = [0; 4];
    HostBridge::i440fx().read_config(0x2c, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0x1100_1af4);
}

#[test]
fn pam_keeps_its_attributes_and_nothing_else() {
    let mut bridge = HostBridge::i440fx();
    bridge.write_config(PAM as u16, &[0xff; 8]);
    assert_eq!(byte(&mut bridge, PAM), 0x30);
    assert_eq!(byte(&mut bridge, PAM + 1), 0x33);
    assert_eq!(byte(&mut bridge, PAM + 7), 0);
}

#[test]
fn locked_smram_stays_closed_until_reset() {
    let mut bridge = HostBridge::i440fx();
    bridge.write_config(SMRAM as u16, &[SMRAM_OPEN | SMRAM_LOCKED]);
    bridge.write_config(SMRAM as u16, &[SMRAM_OPEN]);
    assert_eq!(byte(&mut bridge, SMRAM), SMRAM_LOCKED | SMRAM_RESET);
    bridge.config_mut().reset();
    bridge.reset();
    bridge.write_config(SMRAM as u16, &[SMRAM_OPEN]);
    assert_eq!(byte(&mut bridge, SMRAM), SMRAM_OPEN | SMRAM_RESET);
}

/// 256 MiB of RAM, of which the bridge decides.
fn bridge_with_memory(bridge: HostBridge) -> (HostBridge, Arc<Memory>) {
    let memory = Arc::new(Memory::new(&[(0, LOW_END)]).unwrap());
    (bridge.with_memory(memory.clone(), LOW_END), memory)
}
const LOW_END: u64 = 256 << 20;

#[test]
fn what_pam_protects_is_written_by_nobody() {
    for (bridge, pam) in [(HostBridge::i440fx(), PAM), (HostBridge::q35(0), 0x90)] {
        let (mut bridge, memory) = bridge_with_memory(bridge);
        let writable = |address| memory.attributes().writable(address);
        bridge.write_config(pam as u16, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
        assert!((0xc_0000..0x10_0000).step_by(0x1000).all(writable));
        bridge.write_config(pam as u16, &[0x10, 0x31]);
        assert!([0xf_0000, 0xf_ffff, 0xc_0000].iter().all(|address| !writable(*address)));
        assert!([0xc_4000, 0xe_ffff, 0xb_ffff].into_iter().all(writable));
        bridge.write_config(pam as u16 + 6, &[0x13]);
        assert!(writable(0xe_bfff) && !writable(0xe_c000) && !writable(0xe_ffff));
    }
}

#[test]
fn tseg_is_the_end_of_low_memory_and_hidden_while_it_is_on() {
    let (mut bridge, memory) = bridge_with_memory(HostBridge::q35(0));
    let tseg = || memory.attributes().hidden()[1].clone();
    for (size, mib) in [1, 2, 8, 16].into_iter().enumerate() {
        bridge.write_config(ESMRAMC as u16, &[(size as u8) << 1 | TSEG_ENABLED]);
        assert!(tseg().is_empty());
        bridge.write_config(0x9d, &[SMRAM_ENABLED]);
        assert_eq!(tseg(), LOW_END - (mib << 20)..LOW_END);
        bridge.write_config(0x9d, &[0]);
        assert!(tseg().is_empty());
    }
}

#[test]
fn locked_tseg_stays_as_it_is_until_reset() {
    let (mut bridge, memory) = bridge_with_memory(HostBridge::q35(0));
    bridge.write_config(0x9d, &[SMRAM_ENABLED | SMRAM_LOCKED, TSEG_ENABLED]);
    for wrong in [[0, 0], [SMRAM_OPEN, TSEG_SIZE]] {
        bridge.write_config(0x9d, &wrong);
        assert_eq!(memory.attributes().hidden()[1], LOW_END - (1 << 20)..LOW_END);
    }
    bridge.config_mut().reset();
    bridge.reset();
    assert!(memory.attributes().hidden()[1].is_empty());
}

#[test]
fn where_tseg_begins_is_kept_until_it_is_locked() {
    let mut bridge = HostBridge::q35(0);
    let begin = |bridge: &mut HostBridge, base: u32| {
        bridge.write_config(0xac, &base.to_le_bytes());
        bridge.config().word(0xae)
    };
    assert_eq!(begin(&mut bridge, 0x0f0f_ffff), 0x0f00);
    bridge.write_config(0x9d, &[SMRAM_ENABLED | SMRAM_LOCKED]);
    assert_eq!(begin(&mut bridge, 0), 0x0f00);
}

#[test]
fn firmware_is_told_how_large_tseg_can_be() {
    let mut bridge = HostBridge::q35(0);
    bridge.write_config(EXTENDED_TSEG as u16, &[0xff; 2]);
    assert_eq!([byte(&mut bridge, EXTENDED_TSEG), byte(&mut bridge, EXTENDED_TSEG + 1)], [16, 0]);
    bridge.write_config(ESMRAMC as u16, &[0]);
    assert_eq!(byte(&mut bridge, ESMRAMC), ESMRAMC_RESET);
}

#[test]
fn memory_under_the_video_window_is_hidden_until_it_is_opened() {
    let (mut bridge, memory) = bridge_with_memory(HostBridge::i440fx());
    let hidden = || memory.attributes().hides(0xa_0000);
    bridge.write_config(SMRAM as u16, &[SMRAM_ENABLED]);
    assert!(hidden());
    bridge.write_config(SMRAM as u16, &[SMRAM_ENABLED | SMRAM_OPEN]);
    assert!(!hidden());
    bridge.write_config(SMRAM as u16, &[SMRAM_ENABLED | SMRAM_OPEN | SMRAM_LOCKED]);
    assert!(hidden());
}

#[test]
fn what_the_mode_has_of_that_memory_is_said_by_smram() {
    for (bridge, at) in [(HostBridge::i440fx(), SMRAM), (HostBridge::q35(0), 0x9d)] {
        let (mut bridge, memory) = bridge_with_memory(bridge);
        let closed = || [false, true].map(|code| memory.attributes().closes(0xb_ffff, code));
        let shown = [(0, [true, true]), (SMRAM_ENABLED, [false, false])];
        for (control, seen) in shown.into_iter().chain([(SMRAM_ENABLED | SMRAM_CLOSED, [true, false])]) {
            bridge.write_config(at as u16, &[control]);
            assert_eq!(closed(), seen, "{control:#x}");
            assert!(memory.attributes().hides(0xb_ffff) && !memory.attributes().hides(0xc_0000));
        }
    }
}

fn acpi() -> AcpiPm {
    let clock = Clock::new();
    AcpiPm::new(clock.clone(), &Timers::new(clock.clone()), Probe::new().line(9), Arc::new(|_| {}))
}

#[test]
fn smis_of_generation_1_are_enabled_in_configuration_space_and_in_the_pm_block() {
    let (mut acpi, count) = (acpi(), Arc::new(std::sync::atomic::AtomicU32::new(0)));
    let seen = count.clone();
    acpi.connect_smi(
        SmiChipset::Piix4,
        Box::new(move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }),
    );
    let mut bridge = PmBridge::new().with_smi(acpi.clone());
    for (enable, global, smis) in [(0, 0, 0), (2, 0, 0), (0, 1, 0), (2, 1, 1)] {
        bridge.write_config(DEVACTB as u16 + 3, &[enable]);
        acpi.write(0, 0x28, &[global]);
        acpi.write(1, 0, &[7]);
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), smis, "{enable} {global}");
        assert_eq!(byte(&mut bridge, DEVACTB + 3), enable);
    }
}

#[test]
fn smis_of_generation_1_are_off_after_a_sleep() {
    let mut acpi = acpi();
    acpi.connect_smi(SmiChipset::Piix4, Box::new(|| {}));
    let mut bridge = PmBridge::new().with_smi(acpi.clone());
    bridge.write_config(DEVACTB as u16 + 3, &[2]);
    acpi.write(0, 4, &(1u16 << 13 | 1 << 10).to_le_bytes());
    assert_eq!(byte(&mut bridge, DEVACTB + 3), 0);
}

fn router() -> (Arc<Probe>, Arc<PirqRouter>) {
    let probe = Probe::new();
    let router = PirqRouter::new((0..16).map(|irq| probe.line(irq)).collect());
    (probe, router)
}

#[test]
fn a_pci_interrupt_goes_where_its_route_says() {
    let (probe, router) = router();
    let mut bridge = IsaBridge::piix3(router.clone());
    router.intx(2).set(true);
    bridge.write_config(PIRQ_ROUTES as u16, &[10, 11]);
    assert!(!probe.level(10) && probe.level(11));
    bridge.write_config(PIRQ_ROUTES as u16 + 1, &[PIRQ_OFF]);
    assert!(!probe.level(11));
}

#[test]
fn a_shared_isa_interrupt_stays_until_the_last_is_gone() {
    let (probe, router) = router();
    [0, 1].into_iter().for_each(|pirq| router.route(pirq, 5));
    let wires = [router.intx(1), router.intx(2)];
    wires.iter().for_each(|wire| wire.set(true));
    wires[0].set(false);
    assert!(probe.level(5));
    wires[1].set(false);
    assert!(!probe.level(5));
}

#[test]
fn interrupts_that_cannot_be_routed_to_are_let_alone() {
    let (probe, router) = router();
    for irq in [0, 1, 2, 8, 13] {
        router.route(0, irq);
        router.intx(1).set(true);
        assert!(!probe.level(irq.into()), "{irq}");
    }
}

#[test]
fn system_management_mode_looks_set_up() {
    assert_eq!(byte(&mut PmBridge::new(), DEVACTB + 3), 2);
}

#[test]
fn a_slot_has_the_functions_that_were_added() {
    let pci = PciBus::behind(shared(HostBridge::i440fx()), Vec::new());
    pci.add_function(1, 0, shared(IsaBridge::piix3(router().1))).unwrap();
    pci.add_function(1, 3, shared(PmBridge::new())).unwrap();
    let id = |function| {
        let mut data = [0; 4];
        pci.read_config(function, 0, &mut data);
        u32::from_le_bytes(data)
    };
    assert_eq!([0, 8, 9, 11].map(id), [0x1237_8086, 0x7000_8086, 0xffff_ffff, 0x7113_8086]);
}

#[test]
fn a_slot_of_generation_2_has_the_upper_four_routes() {
    let (probe, router) = router();
    let mut bridge = IsaBridge::ich9(router.clone());
    bridge.write_config(ICH9_PIRQ_ROUTES_A as u16, &[5; 4]);
    bridge.write_config(ICH9_PIRQ_ROUTES_E as u16, &[10; 4]);
    router.intx(2).set(true);
    assert!(probe.level(10) && !probe.level(5));
}

#[test]
fn generation_2_says_where_configuration_space_and_power_management_are() {
    let mut data = [0; 8];
    HostBridge::q35(0xb000_0001).read_config(Q35_PCIEXBAR as u16, &mut data);
    assert_eq!(u64::from_le_bytes(data), 0xb000_0001);
    let mut data = [0; 2];
    IsaBridge::ich9(router().1).read_config(PM_BASE as u16, &mut data);
    assert_eq!(u16::from_le_bytes(data), 0x601);
}

#[test]
fn locked_smis_stay_on_until_reset() {
    let mut acpi = acpi();
    acpi.connect_smi(SmiChipset::Ich9, Box::new(|| {}));
    let mut bridge = IsaBridge::ich9(router().1).with_smi(acpi.clone());
    acpi.write(0, 0x30, &0x21u32.to_le_bytes());
    bridge.write_config(ICH9_GEN_PMCON_1 as u16, &[ICH9_SMI_LOCK]);
    bridge.write_config(ICH9_GEN_PMCON_1 as u16, &[0]);
    assert_eq!(byte(&mut bridge, ICH9_GEN_PMCON_1), ICH9_SMI_LOCK);
    let mut enable = [0; 4];
    acpi.write(0, 0x30, &[0; 4]);
    acpi.read(0, 0x30, &mut enable);
    assert_eq!(enable, [1, 0, 0, 0]);
}
