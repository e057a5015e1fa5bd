use super::*;
use crate::probe::{Probe, read8, write8};

const A: Key = Key { code: 0x1e, extended: false };
const UP: Key = Key { code: 0x48, extended: true };

struct Machine {
    probe: Arc<Probe>,
    i8042: I8042,
    resets: Arc<Mutex<usize>>,
}

fn machine() -> Machine {
    let (probe, resets, clock) = (Probe::new(), Arc::new(Mutex::new(0)), Clock::new());
    let counted = resets.clone();
    let power: Power = Arc::new(move |_| *lock(&counted) += 1);
    let lines = IRQS.map(|irq| probe.line(irq));
    Machine { i8042: I8042::new(clock.clone(), &Timers::new(clock.clone()), lines, power), probe, resets }
}

impl Machine {
    fn command(&mut self, command: u8) {
        write8(&mut self.i8042, COMMAND_REGION, 0, command);
    }
    fn data(&mut self, byte: u8) {
        write8(&mut self.i8042, 0, 0, byte);
    }
    fn status(&mut self) -> u8 {
        read8(&mut self.i8042, COMMAND_REGION, 0)
    }
    /// All that waits, without the time between keys.
    fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            lock(&self.i8042.state).next_key = 0;
            lock(&self.i8042.state).update();
            if self.status() & STATUS_OUTPUT == 0 {
                return bytes;
            }
            bytes.push(read8(&mut self.i8042, 0, 0));
        }
    }
    fn type_key(&mut self, key: Key) {
        let event = |down| KeyEvent { key, down };
        self.i8042.key_events(&[event(true), event(false)]).unwrap();
    }
    /// The command byte.
    fn set_control(&mut self, value: u8) {
        self.command(WRITE_MEMORY);
        self.data(value);
    }
}

#[test]
fn the_controller_passes_its_tests() {
    let mut machine = machine();
    machine.command(SELF_TEST);
    machine.command(TEST_KEYBOARD);
    assert_eq!(machine.read(), [SELF_TEST_PASSED, TEST_PASSED]);
}

#[test]
fn a_key_arrives_as_set_1_by_the_interrupt_of_the_keyboard() {
    let mut machine = machine();
    machine.type_key(A);
    assert!(machine.probe.level(1) && !machine.probe.level(12));
    assert_eq!(machine.read(), [0x1e, 0x9e]);
    assert_eq!(machine.probe.edges(1), 2);
}

#[test]
fn without_translation_a_key_arrives_as_set_2() {
    let mut machine = machine();
    machine.set_control(KEYBOARD_INTERRUPT);
    machine.type_key(UP);
    assert_eq!(machine.read(), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
}

#[test]
fn a_keyboard_that_was_set_to_set_1_sends_that() {
    let mut machine = machine();
    machine.set_control(KEYBOARD_INTERRUPT);
    [SCAN_CODES, 1].into_iter().for_each(|byte| machine.data(byte));
    assert_eq!(machine.read(), [ACKNOWLEDGE, ACKNOWLEDGE]);
    machine.type_key(UP);
    assert_eq!(machine.read(), [0xe0, 0x48, 0xe0, 0xc8]);
}

#[test]
fn the_keyboard_tells_its_identity_and_resets() {
    let mut machine = machine();
    machine.set_control(0);
    machine.data(IDENTIFY);
    assert_eq!(machine.read(), [ACKNOWLEDGE, 0xab, 0x83]);
    machine.data(RESET);
    assert_eq!(machine.read(), [ACKNOWLEDGE, SELF_TEST_DONE]);
}

#[test]
fn a_keyboard_that_is_off_keeps_its_keys() {
    let mut machine = machine();
    machine.command(DISABLE_KEYBOARD);
    machine.type_key(A);
    assert!(machine.read().is_empty());
    machine.command(ENABLE_KEYBOARD);
    assert_eq!(machine.read(), [0x1e, 0x9e]);
}

#[test]
fn keys_come_one_after_the_other_at_their_pace() {
    let mut machine = machine();
    machine.type_key(A);
    assert_eq!(read8(&mut machine.i8042, 0, 0), 0x1e);
    assert_eq!(machine.status() & STATUS_OUTPUT, 0);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while machine.status() & STATUS_OUTPUT == 0 && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(read8(&mut machine.i8042, 0, 0), 0x9e);
}

#[test]
fn more_keys_than_there_is_room_for_are_refused_as_a_whole() {
    let machine = machine();
    let event = KeyEvent { key: A, down: true };
    machine.i8042.key_events(&vec![event; MOST_TYPED - 1]).unwrap();
    assert_eq!(machine.i8042.key_events(&[event, event, event]), Err(Full));
    assert_eq!(machine.i8042.key_events(&[event]), Ok(()));
}

#[test]
fn the_mouse_answers_by_its_own_interrupt() {
    let mut machine = machine();
    machine.set_control(KEYBOARD_INTERRUPT | MOUSE_INTERRUPT);
    machine.command(WRITE_MOUSE);
    machine.data(RESET);
    assert!(machine.probe.level(12) && !machine.probe.level(1));
    assert_eq!(machine.status() & STATUS_MOUSE, STATUS_MOUSE);
    assert_eq!(machine.read(), [ACKNOWLEDGE, SELF_TEST_DONE, 0]);
}

#[test]
fn a_movement_is_told_once_the_mouse_is_on() {
    let mut machine = machine();
    machine.i8042.pointer(Motion { x: 5, y: 0, wheel: 0, buttons: 0 });
    assert!(machine.read().is_empty());
    machine.command(WRITE_MOUSE);
    machine.data(ENABLE);
    machine.i8042.pointer(Motion { x: 300, y: 2, wheel: 0, buttons: 1 });
    // 305 to the right in two packets, 2 down.
    assert_eq!(machine.read(), [ACKNOWLEDGE, 0x29, 0xff, 0xfe, 0x09, 50, 0]);
}

#[test]
fn who_knocks_gets_a_wheel() {
    let mut machine = machine();
    for byte in [SET_RATE, 200, SET_RATE, 100, SET_RATE, 80, IDENTIFY] {
        machine.command(WRITE_MOUSE);
        machine.data(byte);
        let last = machine.read().last().copied();
        assert!(matches!(last, Some(ACKNOWLEDGE | 3)), "{last:?}");
    }
    machine.command(WRITE_MOUSE);
    machine.data(ENABLE);
    machine.i8042.pointer(Motion { wheel: 1, ..Motion::default() });
    assert_eq!(machine.read(), [ACKNOWLEDGE, 0x08, 0, 0, 1]);
}

#[test]
fn a_byte_comes_back_as_if_from_the_mouse() {
    let mut machine = machine();
    machine.command(WRITE_MOUSE_OUTPUT);
    machine.data(0x5a);
    assert_eq!(machine.status() & STATUS_MOUSE, STATUS_MOUSE);
    assert_eq!(machine.read(), [0x5a]);
}

#[test]
fn the_pulse_and_the_output_port_reset() {
    let mut machine = machine();
    machine.command(0xff);
    assert_eq!(*lock(&machine.resets), 0);
    machine.command(0xfe);
    machine.command(WRITE_OUTPUT_PORT);
    machine.data(PORT_A20);
    assert_eq!(*lock(&machine.resets), 2);
}

#[test]
fn a20_reads_as_on() {
    let mut machine = machine();
    machine.command(READ_OUTPUT_PORT);
    assert_eq!(machine.read()[0] & PORT_A20, PORT_A20);
}
