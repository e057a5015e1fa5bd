//! The soft MMU: page walks of every format, composed with stage 2.

pub mod bank;
pub mod format;
pub mod shared;
pub mod tables;
pub mod walk;
