//! A guest whose agent has nothing else to do: busybox on the serial console.

use super::{drivers, power};
use crate::sys;
use crate::{out, say};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

const BUSYBOX: &str = "/bin/busybox";

/// Runs a shell, or `command` in one, until it ends. `ireko.exec` status goes to the console as a line.
pub fn run(command: Option<&str>) {
    if let Err(error) = drivers::load_all() {
        say!("ireko: {error:#}");
    }
    power::watch();
    let _ = Command::new(BUSYBOX).args(["--install", "-s", "/bin"]).status();
    let mut shell = Command::new(BUSYBOX);
    match command {
        Some(command) => shell.args(["sh", "-c", command]),
        None => shell.args(["sh", "-l"]),
    };
    shell.env_clear().env("PATH", "/bin").env("HOME", "/root").env("TERM", "linux").current_dir("/root");
    let tty = OpenOptions::new().read(true).write(true).open("/dev/ttyS0").ok();
    if let Some(tty) = &tty {
        give(&mut shell, tty);
    }
    match shell.status() {
        Ok(status) if command.is_some() => drop(out!("ireko: the command ended: {status}")),
        Ok(_) => (),
        Err(error) => say!("ireko: cannot run {BUSYBOX}: {error}"),
    }
    tty.iter().for_each(sys::drain);
}

fn give(shell: &mut Command, tty: &File) {
    let stream = || tty.try_clone().map_or_else(|_| Stdio::inherit(), Stdio::from);
    shell.stdin(stream()).stdout(stream()).stderr(stream());
    sys::give_terminal(shell, tty.as_raw_fd());
}
