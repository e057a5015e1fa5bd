//! The seam for what knows no vendor: what instruments ask of the half that owns the control structures, which answers in its
//! manual's words, and how a guest's run ends. A trace, a dump, a ledger of worlds and the switch between worlds know no VMCB.

use crate::{Control, Core, Exit, ExitContext};
use ireko_x86::Registers;
use std::borrow::Cow;

/// The manual's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The control structure of one virtual processor.
    pub structure: &'static str,
    /// The instruction that enters a guest.
    pub entry: &'static str,
    /// What tells its address spaces from others'.
    pub tag: &'static str,
    /// The root of the second stage's tables, and that stage itself.
    pub stage2_root: &'static str,
    pub stage2: &'static str,
    /// What an exit tells besides its reason.
    pub information: [&'static str; 2],
    /// The event to deliver at entry, and the one that an exit cut short.
    pub injected: &'static str,
    pub in_flight: &'static str,
}

/// An exit as the vendor numbers it, and what it tells besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitRecord {
    pub code: u64,
    pub information: [u64; 2],
}

/// Reads system-physical memory; `false` if there is none.
pub type Read<'a> = dyn Fn(u64, &mut [u8]) -> bool + 'a;
/// ` <name>` of an address of the guest's, or nothing.
pub type Symbol<'a> = dyn Fn(u64) -> String + 'a;

/// One vendor's virtualization at work. Entries are its own instructions' business.
pub trait Virtualization: Vendor {
    /// Leaves the guest: tells its hypervisor why, and makes the processor its own again. RIP is the instruction's, or where
    /// the guest goes on.
    fn exit<C: Core>(&mut self, core: &mut C, control: &Control, context: &ExitContext<'_>);
}

/// One vendor's virtualization as instruments see it.
pub trait Vendor {
    fn words(&self) -> &'static Words;
    /// System-physical address of the control structure of the running guest, or of the last one.
    fn current(&self) -> Option<u64>;
    /// Name of the entry check that refused the last entry, if one did.
    fn refused(&self) -> Option<&'static str>;
    /// Whether virtualization is switched on in the processor's own world. `regs` are those in force, a guest's if `in_guest`.
    fn switched_on(&self, regs: &Registers, in_guest: bool) -> bool;
    /// Where the processor's own world goes on after the next exit.
    fn return_rip(&self) -> u64;
    /// `regs` are the guest's as the exit leaves them.
    fn record(&self, exit: &Exit, control: &Control, regs: &Registers) -> ExitRecord;
    fn exit_name(&self, code: u64) -> Cow<'static, str>;
    /// The control structure that the guest wants entered, in its own physical memory, if that is why it exits.
    fn wants(&self, exit: &Exit, regs: &Registers) -> Option<u64>;
    /// Names of the plain intercepts that are on.
    fn intercepts(&self, control: &Control) -> Vec<&'static str>;
    /// The state of the processor's own world that waits for the exit.
    fn describe_own(&self, out: &mut String, symbol: &Symbol<'_>);
    /// What memory has of a guest: why it exited last, and where it was. Nothing, if there is no memory.
    fn describe(&self, out: &mut String, address: u64, running: bool, read: &Read<'_>, symbol: &Symbol<'_>);
}
