//! What a process that runs a guest gives up, so that a guest that gets out of its engine has nothing.
//!
//! Knows the kernel's walls: identities, capabilities, namespaces, an empty root, Landlock, seccomp. Must never know what
//! runs inside, nor where a VM keeps its files: it is told. Start reading at [`enter`].

pub mod attempt;
pub mod capabilities;
pub mod enter;
pub mod filter;
pub mod folder;
pub mod identity;
pub mod layer;
mod namespaces;
mod root;
mod rules;
mod sys;
pub mod thread;

pub use filter::Kind;
pub use layer::{Layer, Layers};
pub use sys::close_from;
