//! States that are damaged: loading one says what is wrong, or makes a machine of it that harms nobody.

use super::begin;
use anyhow::{Result, ensure};
use ireko_machine::{Endpoints, MachineError, Outcome, SavedMachine, Vm};
use ireko_vmcore::Record;
use ireko_vmcore::saved::mutated;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// For how long a machine runs that was made of one.
const TRIED: Duration = Duration::from_millis(5);

/// How many were refused.
pub fn try_all(
    count: u32,
    saved: &SavedMachine,
    make: &impl Fn(Endpoints) -> Result<Vm, MachineError>,
    below: &mut dyn FnMut(u64) -> u64,
) -> Result<u32> {
    let mut refused = 0;
    for number in 0..count {
        let Some(damaged) = damaged(saved, below) else { continue };
        let tried = catch_unwind(AssertUnwindSafe(|| one(&damaged, make)));
        let taken = tried.unwrap_or_else(|_| anyhow::bail!("a panic by damaged state {number}"))?;
        refused += u32::from(!taken);
    }
    Ok(refused)
}

/// Processors and what they share are damaged as often as all the rest.
fn damaged(saved: &SavedMachine, below: &mut dyn FnMut(u64) -> u64) -> Option<SavedMachine> {
    let mut damaged = saved.clone();
    match below(3) {
        0 => damaged.partition = mutated(&saved.partition, below)?,
        1 => {
            let one = below(saved.vcpus.len() as u64) as usize;
            damaged.vcpus[one] = mutated(&saved.vcpus[one], below)?;
        }
        _ => damaged = mutated(&Record::of(saved), below)?.get().ok()?,
    }
    Some(damaged)
}

/// Memory holds nothing; false: the state was refused.
fn one(damaged: &SavedMachine, make: &impl Fn(Endpoints) -> Result<Vm, MachineError>) -> Result<bool> {
    let mut vm = make(Endpoints::serial(std::io::sink()))?;
    let nothing = u64::MAX.to_le_bytes();
    if vm.restore(damaged, &mut &nothing[..]).is_err() {
        return Ok(false);
    }
    vm.save()?;
    let (handle, ended) = begin(vm)?;
    std::thread::sleep(TRIED);
    handle.stop();
    let outcome = ended.recv()?;
    let panicked = matches!(&outcome, Outcome::Failed(why) if why.contains("a panic"));
    ensure!(!panicked, "{outcome}");
    Ok(true)
}
