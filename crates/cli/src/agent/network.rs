//! A level's own address, and what it fetches.

use super::drivers;
use crate::agent_config::Network;
use crate::level::network::{Fetched, INTERFACE, fetch};
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const BUSYBOX: &str = "/bin/busybox";
const SCRIPT: &str = "/tmp/lease";
const LEASED: &str = "/tmp/address";
/// What is done with a lease (busybox's udhcpc gives it in the environment).
const LEASE: &str = r#"#!/bin/busybox sh
[ "$1" = bound ] || exit 0
busybox ip addr add $ip/$mask dev $interface
busybox ip route add default via $router
echo $ip >/tmp/address
"#;

/// Asks for a lease; gives the address.
pub fn join() -> Result<String> {
    drivers::load_network()?;
    // The driver has its device a moment later.
    for _ in 0..200 {
        if Path::new("/sys/class/net").join(INTERFACE).exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    fs::write(SCRIPT, LEASE).and_then(|()| fs::set_permissions(SCRIPT, Permissions::from_mode(0o755)))?;
    busybox(&["ip", "link", "set", INTERFACE, "up"])?;
    busybox(&["udhcpc", "-i", INTERFACE, "-s", SCRIPT, "-n", "-q", "-t", "20", "-T", "3"])
        .context("no lease came")?;
    let address = fs::read_to_string(LEASED).context("no lease came")?;
    Ok(address.trim().to_owned())
}

fn busybox(words: &[&str]) -> Result<()> {
    let output = Command::new(BUSYBOX)
        .args(words)
        .env("PATH", "/bin")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not run", words[0]))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", words.join(" "), said.lines().last().unwrap_or("failed without a word"));
    }
    Ok(())
}

pub fn fetched(network: &Network) -> Result<Fetched> {
    fetch(network.server)
}
