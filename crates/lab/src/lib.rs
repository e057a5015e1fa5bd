//! Proof: the silicon oracle, hostile guests and tidy checks. Never shipped.
//!
//! Knows every crate below it and the host's processor. Must never be depended on by anything.
//! Start reading at [`oracle`].

pub mod board;
pub mod oracle;
pub mod rng;
pub mod storm;
