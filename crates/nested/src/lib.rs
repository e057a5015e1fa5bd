//! Virtualizing in an engine: the neutral [`Control`] and [`Exit`], and SVM on top of them.
//!
//! Knows what a guest may do and how its hypervisor hears of what it may not. Must never know translation, paging
//! caches or devices: it reaches the processor through the small [`Core`] trait only.
//! Start reading at [`control`] and [`exit`].
#![forbid(unsafe_code)]

pub mod control;
pub mod core;
pub mod event;
pub mod exit;
pub mod intercept;
pub mod interrupt;
pub mod msr_list;
pub mod permission;
pub mod svm;
pub mod vendor;

pub use control::{Control, Shadow, Stage2, Stage2Tables, TscScale};
pub use core::{Core, Flush};
pub use event::{Event, EventKind};
pub use exit::{CrAccess, Exit, ExitContext, IoExit, Stage2Fault};
pub use intercept::{Intercept, InterceptSet};
pub use vendor::{Vendor, Virtualization};
