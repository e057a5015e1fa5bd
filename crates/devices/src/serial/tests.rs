use super::*;
use crate::lock;
use crate::probe::{Output, Probe, read8, write8};

const LSR: u64 = 5;

fn port() -> (Serial, std::sync::Arc<Probe>, Output) {
    let (probe, output) = (Probe::new(), Output::default());
    (Serial::new(Box::new(output.clone()), probe.line(4)), probe, output)
}

#[test]
fn a_byte_written_to_the_transmitter_reaches_the_output() {
    let (mut serial, _, output) = port();
    write8(&mut serial, 0, DATA, b'x');
    assert_eq!(*lock(&output.0), b"x");
}

#[test]
fn input_raises_the_line_until_it_is_read() {
    let (mut serial, probe, _) = port();
    write8(&mut serial, 0, IER, IER_RDA);
    serial.input(b"a");
    assert!(probe.level(4));
    assert_eq!(read8(&mut serial, 0, DATA), b'a');
    assert!(!probe.level(4));
}

#[test]
fn received_data_stays_pending_when_iir_is_read() {
    let (mut serial, probe, _) = port();
    write8(&mut serial, 0, IER, IER_RDA);
    serial.input(b"a");
    read8(&mut serial, 0, IIR);
    assert_eq!(read8(&mut serial, 0, IIR), IIR_FIFO | IIR_RDA);
    assert!(probe.level(4));
}

#[test]
fn reading_iir_acknowledges_an_empty_transmitter() {
    let (mut serial, probe, _) = port();
    write8(&mut serial, 0, IER, IER_THRE);
    assert!(probe.level(4));
    assert_eq!(read8(&mut serial, 0, IIR), IIR_FIFO | IIR_THRE);
    assert!(!probe.level(4));
}

#[test]
fn disabling_the_transmitter_interrupt_lowers_the_line() {
    let (mut serial, probe, _) = port();
    write8(&mut serial, 0, IER, IER_THRE);
    write8(&mut serial, 0, IER, 0);
    assert!(!probe.level(4));
}

#[test]
fn an_empty_transmitter_stays_pending_behind_received_data() {
    let (mut serial, _, _) = port();
    write8(&mut serial, 0, IER, IER_THRE | IER_RDA);
    serial.input(b"a");
    assert_eq!(read8(&mut serial, 0, IIR), IIR_FIFO | IIR_RDA);
    read8(&mut serial, 0, DATA);
    assert_eq!(read8(&mut serial, 0, IIR), IIR_FIFO | IIR_THRE);
}

#[test]
fn input_longer_than_the_fifo_arrives_whole() {
    let (mut serial, _, _) = port();
    let sent: Vec<u8> = (0..=255).collect();
    serial.input(&sent);
    let mut got = Vec::new();
    while read8(&mut serial, 0, LSR) & 1 != 0 {
        got.push(read8(&mut serial, 0, DATA));
    }
    assert_eq!(got, sent);
}

#[test]
fn fcr_clears_the_receive_fifo() {
    let (mut serial, _, _) = port();
    serial.input(b"abc");
    write8(&mut serial, 0, FCR, 1 | FCR_CLEAR_RX);
    assert_eq!(read8(&mut serial, 0, LSR) & 1, 0);
}

#[test]
fn input_that_nobody_takes_is_kept_up_to_a_bound() {
    let (mut serial, _, _) = port();
    (0..100).for_each(|_| serial.input(&[7; 4096]));
    assert_eq!(serial.backlog.len(), BACKLOG);
}
