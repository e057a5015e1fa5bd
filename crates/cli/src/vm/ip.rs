//! At which addresses a VM is: one a line, the one to use first.

use super::console::find;
use super::vsock::runs;
use crate::output::out;
use anyhow::{Result, bail};
use ireko_manage::Host;
use ireko_manage::ops::addresses;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Whose, and how many seconds it may take to have one.
pub struct Asked {
    pub name: String,
    pub wait: u64,
}

const AGAIN: Duration = Duration::from_millis(200);

/// Those of its own wire lead nowhere from here.
fn is_useful(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_loopback() && !four.is_link_local(),
        IpAddr::V6(six) => !six.is_loopback() && six.segments()[0] & 0xffc0 != 0xfe80,
    }
}

pub fn show(host: &Host, asked: &Asked) -> Result<ExitCode> {
    let config = find(host, &asked.name)?;
    runs(host, &config)?;
    let until = Instant::now() + Duration::from_secs(asked.wait);
    loop {
        let vm = host.vm(config.clone());
        let mut all: Vec<IpAddr> = vm.config.adapters.iter().flat_map(|own| addresses(&vm, own)).collect();
        all.retain(is_useful);
        all.sort_by_key(|address| (address.is_ipv6(), *address));
        all.dedup();
        if !all.is_empty() {
            out(all.iter().map(|address| format!("{address}\n")).collect::<String>().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        if Instant::now() >= until {
            bail!(
                "'{}' has no address that is known here: its system has asked for none yet, or it is on no switch with a \
                 router; see ireko vm adapters, or wait with --wait SECONDS",
                config.name
            );
        }
        runs(host, &config)?;
        std::thread::sleep(AGAIN);
    }
}
