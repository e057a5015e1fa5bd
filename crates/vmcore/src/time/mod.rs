//! Time comes in from outside: one clock, and timers that fire on it. Both stand still while the machine is paused.

mod clock;
mod timers;

pub use clock::Clock;
pub use timers::{Timer, Timers};
