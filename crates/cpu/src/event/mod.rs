//! Exceptions and interrupts: delivery through the interrupt table, and what happens when delivery itself fails.

mod entry;
mod long;
mod protected;
mod real;
mod rules;
mod v86;

use crate::intercept::{exception_intercept, shutdown_intercept};
use crate::{Cpu, Fault};
use ireko_nested::{Event, EventKind};
use ireko_x86::Exception;
use ireko_x86::bits::{debugctl, dr6, dr7, rflags};
use ireko_x86::exception::vector;
pub use real::jump as jump_real;
use rules::Outcome;
pub use v86::virtual_image;

/// Delivers one event. `return_rip` is what its handler returns to. The event itself is not offered to the exception
/// intercepts (so this serves event injection, APM vol. 2, 15.20); exceptions on the way are.
pub fn deliver(cpu: &mut Cpu, event: Event, return_rip: u64) -> Result<(), Fault> {
    let (mut event, mut rip) = (event, return_rip);
    loop {
        cpu.processor.in_flight = Some(event);
        let from = cpu.processor.regs.rip;
        match once(cpu, event, rip) {
            Ok(()) => {
                record(cpu, from);
                cpu.processor.in_flight = None;
                return Ok(());
            }
            Err(Fault::Exception(second)) => event = following(cpu, event, second)?,
            Err(Fault::Exit(exit)) => return Err(Fault::Exit(exit)),
            Err(other) => {
                cpu.processor.in_flight = None;
                return Err(other);
            }
        }
        // A fault in delivery returns to the instruction that the first event interrupted.
        rip = cpu.processor.regs.rip;
    }
}

/// An event is a branch, and keeps the records of the one before it (APM vol. 2, 13.1.1).
fn record(cpu: &mut Cpu, from: u64) {
    if cpu.processor.regs.debugctl & debugctl::LBR != 0 {
        let [last_from, last_to, ..] = cpu.processor.regs.lbr;
        cpu.processor.regs.lbr = [from, cpu.processor.regs.rip, last_from, last_to];
    }
}

/// Raises an exception: to the hypervisor if it asked for it, else to the handler, which returns to `regs.rip`.
pub fn raise(cpu: &mut Cpu, exception: Exception) -> Result<(), Fault> {
    offer(cpu, &exception, EventKind::Exception)?;
    let event = Event { kind: EventKind::Exception, vector: exception.vector, error: exception.error };
    deliver(cpu, event, cpu.processor.regs.rip)
}

/// INT3, INTO and INT1: an exception that a program asks for. Its handler returns to `return_rip`.
pub fn ask(cpu: &mut Cpu, vector: u8, return_rip: u64) -> Result<(), Fault> {
    // The instruction is done, and RF with it.
    cpu.processor.regs.rflags &= !rflags::RF;
    let kind = EventKind::SoftwareException;
    offer(cpu, &Exception::new(vector), kind)?;
    deliver(cpu, Event { kind, vector, error: None }, return_rip)
}

/// INT1, which has an intercept of its own and is not subject to that of #DB (APM vol. 2, 15.12.2).
pub fn ask_int1(cpu: &mut Cpu, return_rip: u64) -> Result<(), Fault> {
    cpu.processor.regs.rflags &= !rflags::RF;
    leave_marks(cpu, &Exception::new(vector::DB));
    let kind = EventKind::PrivilegedSoftwareException;
    deliver(cpu, Event { kind, vector: vector::DB, error: None }, return_rip)
}

/// Exception intercepts (APM vol. 2, 15.12), then what the exception leaves in CR2, DR6 and DR7. Of an intercepted
/// exception the exit tells instead.
fn offer(cpu: &mut Cpu, exception: &Exception, kind: EventKind) -> Result<(), Fault> {
    if let Some(exit) = exception_intercept(cpu, exception, kind) {
        return Err(Fault::Exit(exit));
    }
    leave_marks(cpu, exception);
    Ok(())
}

fn leave_marks(cpu: &mut Cpu, exception: &Exception) {
    match exception.vector {
        vector::DB => {
            const MATCHES: u64 = 0xf;
            cpu.processor.regs.dr6 = cpu.processor.regs.dr6 & !MATCHES | exception.payload | dr6::FIXED;
            cpu.processor.regs.dr7 &= !dr7::GD;
            // APM vol. 2, 13.1.1: so that the records are of what came before.
            cpu.processor.regs.debugctl &= !(debugctl::LBR | debugctl::BTF);
        }
        vector::PF => cpu.processor.regs.cr2 = exception.payload,
        _ => {}
    }
}

/// What is delivered when delivering `first` raised `second`.
fn following(cpu: &mut Cpu, first: Event, second: Exception) -> Result<Event, Fault> {
    let second = rules::with_ext(first, second);
    offer(cpu, &second, EventKind::Exception)?;
    let next = match rules::combine(first, second.vector) {
        Outcome::Serial => second,
        Outcome::DoubleFault => {
            cpu.processor.in_flight = None;
            let double = Exception::with_error(vector::DF, 0);
            offer(cpu, &double, EventKind::Exception)?;
            double
        }
        Outcome::Shutdown => {
            cpu.processor.in_flight = None;
            return Err(shutdown(cpu));
        }
    };
    Ok(Event { kind: EventKind::Exception, vector: next.vector, error: next.error })
}

/// Shutdown, which a hypervisor can intercept (APM vol. 2, 15.14.3).
pub fn shutdown(cpu: &Cpu) -> Fault {
    shutdown_intercept(cpu).map_or(Fault::Shutdown, Fault::Exit)
}

fn once(cpu: &mut Cpu, event: Event, rip: u64) -> Result<(), Fault> {
    if cpu.processor.regs.long_mode() {
        long::deliver(cpu, event, rip)
    } else if !cpu.processor.regs.protected() {
        real::deliver(cpu, event, rip)
    } else {
        protected::deliver(cpu, event, rip)
    }
}

#[cfg(test)]
mod tests;
