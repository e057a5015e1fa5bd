use super::reset::COMMAND_REGION;
use super::*;
use crate::probe::{Probe, read8, read16, read32, until, write8, write16};

const PM: usize = 0;

fn power() -> (Power, Arc<Mutex<Vec<PowerEvent>>>) {
    let seen: Arc<Mutex<Vec<PowerEvent>>> = Arc::default();
    let log = seen.clone();
    (Arc::new(move |event| lock(&log).push(event)), seen)
}

fn acpi() -> (AcpiPm, Arc<Probe>, Arc<Mutex<Vec<PowerEvent>>>) {
    let (clock, probe, (power, seen)) = (Clock::new(), Probe::new(), power());
    (AcpiPm::new(clock.clone(), &Timers::new(clock.clone()), probe.line(9), power), probe, seen)
}

#[test]
fn the_smi_command_port_enables_acpi() {
    let (mut acpi, _, _) = acpi();
    write8(&mut acpi, SMI_REGION, 0, ACPI_ENABLE);
    assert_eq!(read16(&mut acpi, PM, 4) & SCI_EN, SCI_EN);
    write8(&mut acpi, SMI_REGION, 0, ACPI_DISABLE);
    assert_eq!(read16(&mut acpi, PM, 4) & SCI_EN, 0);
}

#[test]
fn sleep_type_5_powers_off() {
    let (mut acpi, _, seen) = acpi();
    write16(&mut acpi, PM, 4, SLP_TYP_S5 << SLP_TYP_SHIFT | SLP_EN);
    assert_eq!(*lock(&seen), [PowerEvent::PowerOff]);
}

#[test]
fn sleep_type_without_enable_does_nothing() {
    let (mut acpi, _, seen) = acpi();
    write16(&mut acpi, PM, 4, SLP_TYP_S5 << SLP_TYP_SHIFT);
    assert!(lock(&seen).is_empty());
}

#[test]
fn another_sleep_type_does_nothing() {
    let (mut acpi, _, seen) = acpi();
    write16(&mut acpi, PM, 4, 2 << SLP_TYP_SHIFT | SLP_EN);
    assert!(lock(&seen).is_empty());
}

fn suspended(enable: u16) -> (AcpiPm, Arc<Mutex<Vec<PowerEvent>>>) {
    let (mut acpi, _, seen) = acpi();
    write16(&mut acpi, PM, 2, enable);
    write16(&mut acpi, PM, 4, SLP_TYP_S3 << SLP_TYP_SHIFT | SLP_EN);
    (acpi, seen)
}

#[test]
fn the_power_button_wakes_and_is_told_of() {
    let (mut acpi, seen) = suspended(0);
    acpi.press_power_button();
    acpi.press_power_button();
    assert_eq!(*lock(&seen), [PowerEvent::Suspend, PowerEvent::Wake]);
    assert_eq!(read16(&mut acpi, PM, 0), WAKE | POWER_BUTTON);
}

#[test]
fn an_alarm_wakes_where_it_is_enabled() {
    for (enable, last) in [(RTC_ALARM, PowerEvent::Wake), (0, PowerEvent::Suspend)] {
        let (acpi, seen) = suspended(enable);
        acpi.alarm().set(true);
        assert_eq!(lock(&seen).last(), Some(&last));
    }
}

#[test]
fn an_event_from_before_the_sleep_ends_it_at_once() {
    let (mut acpi, _, seen) = acpi();
    acpi.press_power_button();
    write16(&mut acpi, PM, 4, SLP_TYP_S3 << SLP_TYP_SHIFT | SLP_EN);
    assert_eq!(*lock(&seen), [PowerEvent::Suspend, PowerEvent::Wake]);
}

#[test]
fn the_power_button_raises_sci_until_its_status_is_cleared() {
    let (mut acpi, probe, _) = acpi();
    write8(&mut acpi, SMI_REGION, 0, ACPI_ENABLE);
    write16(&mut acpi, PM, 2, POWER_BUTTON);
    acpi.press_power_button();
    assert!(probe.level(9));
    write16(&mut acpi, PM, 0, POWER_BUTTON);
    assert!(!probe.level(9));
}

#[test]
fn an_event_that_is_not_enabled_raises_nothing() {
    let (mut acpi, probe, _) = acpi();
    write8(&mut acpi, SMI_REGION, 0, ACPI_ENABLE);
    acpi.press_power_button();
    assert!(!probe.level(9));
    assert_eq!(read16(&mut acpi, PM, 0), POWER_BUTTON);
}

#[test]
fn a_general_purpose_event_raises_sci() {
    let (mut acpi, probe, _) = acpi();
    write8(&mut acpi, SMI_REGION, 0, ACPI_ENABLE);
    write16(&mut acpi, PM, 0x22, 1 << 3);
    acpi.raise_gpe(3);
    assert!(probe.level(9));
    write16(&mut acpi, PM, 0x20, 1 << 3);
    assert!(!probe.level(9));
}

#[test]
fn a_byte_write_leaves_the_other_byte() {
    let (mut acpi, _, _) = acpi();
    write16(&mut acpi, PM, 2, PM1_ENABLE_BITS);
    write8(&mut acpi, PM, 2, 0);
    assert_eq!(read16(&mut acpi, PM, 2), PM1_ENABLE_BITS & 0xff00);
}

#[test]
fn the_pm_timer_goes_on() {
    let (acpi, _, _) = acpi();
    let acpi = std::cell::RefCell::new(acpi);
    let now = || read32(&mut *acpi.borrow_mut(), PM, 8);
    let first = now();
    until("the PM timer", || now() != first);
}

#[test]
fn the_top_bit_of_the_timer_sets_the_carry_status() {
    let mut registers = Registers::default();
    registers.advance((1 << 31) - 1);
    assert_eq!(registers.status, 0);
    registers.advance(1 << 31);
    assert_eq!(registers.status, TIMER_CARRY);
}

#[test]
fn the_reset_register_resets_on_a_rising_bit() {
    let (power, seen) = power();
    let mut reset = ResetControl::new(power);
    reset.write(0x02);
    assert!(lock(&seen).is_empty());
    reset.write(RESET_VALUE);
    assert_eq!(*lock(&seen), [PowerEvent::Reset]);
}

#[test]
fn the_keyboard_controllers_pulse_resets() {
    let (power, seen) = power();
    let mut i8042 = ResetPulse::new(power);
    write8(&mut i8042, COMMAND_REGION, 0, I8042_PULSE_RESET);
    assert_eq!(*lock(&seen), [PowerEvent::Reset]);
}

#[test]
fn the_keyboard_controller_is_absent() {
    let (power, _) = power();
    assert_eq!(read8(&mut ResetPulse::new(power), COMMAND_REGION, 0), 0xff);
}

/// ACPI 6.5, 4.8.2.4: RTC_STS, by which an alarm wakes a system that sleeps.
#[test]
fn an_alarm_of_the_clock_raises_sci() {
    let (mut acpi, probe, _) = acpi();
    write8(&mut acpi, SMI_REGION, 0, ACPI_ENABLE);
    write16(&mut acpi, PM, 2, RTC_ALARM);
    acpi.alarm().pulse();
    assert!(probe.level(9));
    write16(&mut acpi, PM, 0, RTC_ALARM);
    assert!(!probe.level(9));
}

/// With SMI control, and how many SMIs came.
fn with_smi() -> (AcpiPm, Arc<Mutex<u32>>) {
    let (acpi, _, _) = acpi();
    let count = Arc::new(Mutex::new(0));
    let seen = count.clone();
    acpi.connect_smi(SmiChipset::Ich9, Box::new(move || *lock(&seen) += 1));
    (acpi, count)
}

#[test]
fn a_write_to_the_apm_port_raises_an_smi_where_both_enables_are_on() {
    let (mut acpi, count) = with_smi();
    for (enable, smis) in [(0, 0), (GLOBAL_SMI, 0), (APM_SMI, 0), (GLOBAL_SMI | APM_SMI, 1)] {
        write8(&mut acpi, PM, SMI_ENABLE as u64, enable as u8);
        write8(&mut acpi, SMI_REGION, 0, 7);
        assert_eq!(*lock(&count), smis, "{enable:#x}");
    }
    write8(&mut acpi, SMI_REGION, 1, 7);
    assert_eq!((*lock(&count), read8(&mut acpi, SMI_REGION, 0), read8(&mut acpi, SMI_REGION, 1)), (1, 7, 7));
}

#[test]
fn what_raised_an_smi_is_said_until_it_is_cleared() {
    let (mut acpi, _) = with_smi();
    write8(&mut acpi, PM, SMI_ENABLE as u64, (GLOBAL_SMI | APM_SMI) as u8);
    write8(&mut acpi, SMI_REGION, 0, 7);
    assert_eq!(read32(&mut acpi, PM, SMI_STATUS as u64), APM_STATUS);
    write8(&mut acpi, PM, SMI_STATUS as u64, APM_STATUS as u8);
    assert_eq!(read32(&mut acpi, PM, SMI_STATUS as u64), 0);
}

#[test]
fn commands_of_acpi_raise_no_smi() {
    let (mut acpi, count) = with_smi();
    write8(&mut acpi, PM, SMI_ENABLE as u64, (GLOBAL_SMI | APM_SMI) as u8);
    write8(&mut acpi, SMI_REGION, 0, ACPI_ENABLE);
    assert_eq!((*lock(&count), read16(&mut acpi, PM, 4) & SCI_EN), (0, SCI_EN));
}

#[test]
fn without_smi_control_there_is_none() {
    let (mut acpi, _, _) = acpi();
    write8(&mut acpi, PM, SMI_ENABLE as u64, 0xff);
    assert_eq!(read32(&mut acpi, PM, SMI_ENABLE as u64), 0);
}
