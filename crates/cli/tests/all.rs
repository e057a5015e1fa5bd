//! What is tried with the command itself, in one program: two tests run at any time, of whatever file they are, and there is one program to link.
//!
//! Tests begin in the order of their names. The two files whose tests take longest are named so that they are first, and nobody waits for them at the
//! end: `a_system` and `boot`. One file's tests: `cargo test -p ireko --test all network::`.

// Each file has the modules that it uses as its own, and may give what is in them more methods.
#![allow(clippy::duplicate_mod)]

#[path = "systems.rs"]
mod a_system;
#[path = "disks.rs"]
mod boot;
#[path = "consoles.rs"]
mod consoles;
#[path = "controllers.rs"]
mod controllers;
#[path = "crash.rs"]
mod crash;
#[path = "devices.rs"]
mod devices;
#[path = "drives.rs"]
mod drives;
#[path = "firmware.rs"]
mod firmware;
#[path = "folders.rs"]
mod folders;
#[path = "formats.rs"]
mod formats;
#[path = "in_guest.rs"]
mod in_guest;
#[path = "in_use.rs"]
mod in_use;
#[path = "installer.rs"]
mod installer;
#[path = "jail.rs"]
mod jail;
#[path = "kernels.rs"]
mod kernels;
#[path = "managed.rs"]
mod managed;
#[path = "memory.rs"]
mod memory;
#[path = "nest.rs"]
mod nest;
#[path = "nesting.rs"]
mod nesting;
#[path = "network.rs"]
mod network;
#[path = "output.rs"]
mod output;
#[path = "reboot.rs"]
mod reboot;
#[path = "saved.rs"]
mod saved;
#[path = "shell.rs"]
mod shell;
#[path = "vm.rs"]
mod vm;
