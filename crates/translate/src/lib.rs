//! Guest machine code in, host machine code out, and the code cache: a same-ISA translator.
//!
//! Knows instructions, registers and how a soft TLB is asked. Must never know paging, devices or hypervisors: what an
//! access means, and what a system instruction does, is behind three routines of its user.
//! Start reading at [`layout`], then [`block`].

pub mod asm;
pub mod block;
pub mod cache;
pub mod classify;
mod ea;
mod exit;
mod group;
mod in_place;
pub mod key;
pub mod lacking;
pub mod layout;
mod length;
pub mod liveness;
pub mod lookup;
mod memory;
mod operand_in_bank;
mod operation;
pub mod privilege;
pub mod refill;
pub mod relocate;
pub mod repeat;
mod stack;
pub mod state;
mod string;
pub mod thunk;
mod unroll;
pub mod verify;
mod x87;

pub use block::{Link, Site, SiteKind, Translated, Translator};
pub use cache::CodeCache;
pub use key::Key;
pub use lacking::Lacking;
pub use layout::{Hot, TlbEntry};
