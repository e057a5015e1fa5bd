//! Interrupt wires.

use std::sync::Arc;

/// Where the end of a wire is: an interrupt controller's pin.
pub trait LineSink: Send + Sync {
    fn set(&self, pin: u32, level: bool);
    /// So many rising edges of a periodic timer are due, more than one if it comes late. An end that knows when a
    /// processor has served one gives those that it missed then; else they are one edge, and the line stays up.
    fn ticks(&self, pin: u32, _count: u64) {
        self.set(pin, false);
        self.set(pin, true);
    }
    /// The timer was set anew: ticks that nobody has served yet are not wanted any more.
    fn forget_ticks(&self, _pin: u32) {}
}

/// One wire. Cheap to clone; setting a level twice is harmless.
#[derive(Clone)]
pub struct Line {
    sink: Arc<dyn LineSink>,
    pin: u32,
}

impl Line {
    pub fn new(sink: Arc<dyn LineSink>, pin: u32) -> Self {
        Self { sink, pin }
    }
    pub fn set(&self, level: bool) {
        self.sink.set(self.pin, level);
    }
    /// See [`LineSink::ticks`].
    pub fn ticks(&self, count: u64) {
        self.sink.ticks(self.pin, count);
    }
    /// See [`LineSink::forget_ticks`].
    pub fn forget_ticks(&self) {
        self.sink.forget_ticks(self.pin);
    }
    /// A rising and a falling edge.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
    /// A wire that ends nowhere.
    pub fn unconnected() -> Self {
        struct Nowhere;
        impl LineSink for Nowhere {
            fn set(&self, _: u32, _: bool) {}
        }
        Self::new(Arc::new(Nowhere), 0)
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({})", self.pin)
    }
}

/// A message-signalled interrupt: address and data as a PCI function would write them (SDM vol. 3, 11.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    pub address: u64,
    pub data: u32,
}

/// The 8259 pair's INTR output and interrupt-acknowledge cycle, as the local APIC's LINT0 in ExtINT mode sees them.
pub trait ExtInt: Send + Sync {
    fn pending(&self) -> bool;
    /// The acknowledge cycle: gives the vector (spurious if nothing is pending any more).
    fn acknowledge(&self) -> u8;
}
