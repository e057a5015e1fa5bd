//! What may be set and started, as functions without effects. The sentences name the blocker and the remedy.

pub mod drives;
pub mod memory;
pub mod name;
pub mod nesting;
pub mod start;
