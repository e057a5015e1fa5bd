//! The soft MMU: page walks of every format, composed with stage 2.

pub mod format;
pub mod walk;
pub mod bank;
pub mod tables;
