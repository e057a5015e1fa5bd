//! The software CPU: state, soft MMU, exceptions and interrupts, system instructions, local APIC, run loop.
//!
//! Knows the architecture's system level and drives [`ireko_translate`] for everything else. Must never know a device
//! or a file. Start reading at [`processor`], then [`run`].

pub mod access;
pub mod apic;
mod blocks;
pub mod boundary;
pub mod breakpoints;
pub mod code;
pub mod construct;
pub mod control_registers;
pub mod cpu;
pub mod cpuid;
pub mod data;
pub mod direct;
mod direct_execution;
pub mod engine;
mod enter;
pub mod event;
pub mod fault;
mod ferr;
mod hash;
pub mod hooks;
pub mod host;
pub mod inspect;
pub mod intercept;
mod invalidate;
pub mod isa;
mod lockstep;
mod memory_functions;
pub mod mmu;
pub mod msr;
pub mod operand;
pub mod pending;
pub mod platform;
mod ports;
pub mod processor;
pub mod routine;
mod routines;
pub mod run;
mod saved;
pub mod segmentation;
pub mod siblings;
pub mod signal;
mod single_copy;
mod slow;
mod smm;
pub mod svm;
pub mod system;
pub mod tsc;
pub mod tuning;
pub mod wake;
pub mod world;
pub mod xstate;

pub use boundary::HostFault;
pub use cpu::Cpu;
pub use engine::SoftHypervisor;
pub use fault::{Fault, Next};
pub use signal::guard;
