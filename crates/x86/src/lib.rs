//! Facts of the x86 architecture: registers, control bits, MSRs, exceptions, page-table formats, VMCB layout.
//!
//! Knows the manuals (AMD APM, Intel SDM), and cites them. Must never know what anybody does with these facts:
//! no memory, no engine, no policy. Start reading at [`regs`].
#![no_std]
#![forbid(unsafe_code)]

pub mod apic;
pub mod bits;
pub mod cpuid;
pub mod descriptor;
pub mod exception;
pub mod models;
pub mod msr;
pub mod paging;
pub mod regs;
pub mod smram;
pub mod vmcb;

pub use exception::Exception;
pub use regs::{Registers, Segment, Table};
