//! The programs that are measured, as a table.

use super::programs::{self, Script};
use super::{compute, memory, simd, system};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What a kernel is about; each has its own bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Compute,
    System,
    Nesting,
    /// Programs, the first time after the start, and again.
    Cold,
    Warm,
}

/// One program: its name, what one operation is, and how many make a measurement of 20 to 100 ms on a fast host.
#[derive(Debug)]
pub struct Kernel {
    pub name: &'static str,
    pub group: Group,
    pub operation: &'static str,
    pub operations: u64,
    pub work: Work,
}

/// How one of them runs.
#[derive(Debug)]
pub enum Work {
    /// Runs so many operations inside the timer and gives a number that must be the same everywhere.
    Function(Function),
    /// Started by a script in the root file system of programs. What it says must be the same everywhere.
    Script(&'static Script),
}

/// What its measurements are known by: a program has the same name in two groups.
pub type Key = (Group, &'static str);

impl Kernel {
    pub fn key(&self) -> Key {
        (self.group, self.name)
    }
}

pub type Function = fn(&mut Timer, u64) -> Ran;

/// What a kernel gives: the number to compare, or what the system refused.
pub type Ran = std::io::Result<u64>;

/// Adds up the time that counts; what a kernel does outside is preparation.
#[derive(Default)]
pub struct Timer {
    pub elapsed: Duration,
}

impl Timer {
    pub fn run<T>(&mut self, body: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = body();
        self.elapsed += start.elapsed();
        result
    }
}

macro_rules! table {
    ($($group:ident $name:literal $operations:literal $run:path, $operation:literal;)*) => {
        &[$(Kernel { name: $name, group: Group::$group, operation: $operation, operations: $operations, work: Work::Function($run) }),*]
    };
}

/// All kernels, in the order of tables.
pub const KERNELS: &[Kernel] = table! {
    Compute "integer" 16_000_000 compute::integer, "64-bit hash mix";
    Compute "sieve" 4 compute::sieve, "sieve of 4 MiB bytes";
    Compute "sort" 400_000 compute::sort, "element of a quicksort that compares by pointer";
    Compute "hash" 6_000_000 compute::hash, "byte through FNV-1a, CRC-32 and SHA-2 rounds";
    Compute "text" 12_000_000 compute::text, "byte of text split into words, counted";
    Compute "calls" 36 compute::calls, "36th part of the 36th Fibonacci number by recursion";
    Compute "chase" 25_000_000 memory::chase_near, "dependent load from 16 KiB";
    Compute "chase64m" 500_000 memory::chase_far, "dependent load from 64 MiB";
    Compute "copy8" 4 memory::copy_words, "64 MiB copied by 8-byte loads and stores";
    Compute "memcpy" 6 memory::copy_bytes, "64 MiB copied by memcpy";
    Compute "matmul" 10 compute::matmul, "scalar product of 200x200 double matrices";
    Compute "sse2" 8_000 simd::sse2, "pass of integer and double SSE2 over 64 KiB";
    Compute "avx2" 16_000 simd::avx2, "pass of integer and double AVX2 over 64 KiB";
    System "syscall" 200_000 system::syscall, "getppid";
    System "fault" 24_576 system::page_fault, "first touch of a fresh page";
    System "forkexec" 60 system::fork_exec, "fork, exec of a static program, wait";
    System "switch" 10_000 system::switch, "round trip between two processes by pipes";
    System "pipe" 4_096 system::pipe, "64 KiB through a pipe";
    System "read" 80_000 system::read, "4 KiB read from a file in memory";
    Nesting "cpuid" 1_000 system::cpuid, "CPUID leaf 0, which the hypervisor answers";
};

/// Kernels and programs.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().chain(programs::PROGRAMS)
}

/// The function of the kernel of that name, and how many operations it is to run.
pub fn find(name: &str) -> Option<(Function, u64)> {
    KERNELS.iter().find(|kernel| kernel.name == name).and_then(|kernel| match kernel.work {
        Work::Function(run) => Some((run, kernel.operations)),
        Work::Script(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundredth of the work, but not of kernels whose one operation is already short.
    fn short(kernel: &Kernel) -> u64 {
        if kernel.name == "calls" { 15 } else { (kernel.operations / 100).max(1) }
    }

    /// `forkexec` starts this program again, which must be `ireko` for that.
    fn testable() -> impl Iterator<Item = &'static Kernel> {
        KERNELS.iter().filter(|kernel| kernel.name != "forkexec")
    }

    #[test]
    fn every_kernel_runs_and_takes_time() {
        for kernel in testable() {
            let mut timer = Timer::default();
            find(kernel.name).unwrap().0(&mut timer, short(kernel)).unwrap();
            assert!(timer.elapsed > Duration::ZERO, "{}", kernel.name);
        }
    }

    #[test]
    fn a_kernels_number_is_the_same_each_time() {
        for kernel in testable() {
            let run = || find(kernel.name).unwrap().0(&mut Timer::default(), short(kernel)).unwrap();
            assert_eq!(run(), run(), "{}", kernel.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KERNELS.len());
    }
}
