//! `ireko image`: makes the guest image, says what is in it, and writes it for others.

use crate::{image, out, progress, size};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct ImageArgs {
    /// Make it anew from the newest packages.
    #[arg(long)]
    pub refresh: bool,
    /// Debian's Xen with its dom0, as `run --xen` boots it, instead.
    #[arg(long)]
    pub xen: bool,
    /// Write its kernel and root file system as vmlinuz and initramfs (and with --xen, xen.gz) into a directory, for other
    /// hypervisors and boot loaders.
    #[arg(long, value_name = "DIRECTORY")]
    pub write: Option<PathBuf>,
}

pub fn run(args: &ImageArgs) -> Result<ExitCode> {
    if args.xen {
        return xen(args);
    }
    let parts = image::ensure(args.refresh, &progress::Progress::new())?;
    let state = image::state()?;
    if let Some(directory) = &args.write {
        let archive = parts.archive(&image::own_binary()?, true);
        for (name, data) in [("vmlinuz", &parts.kernel), ("initramfs", &archive)] {
            let path = directory.join(name);
            std::fs::write(&path, data).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    out!("image    {}", state.image.unwrap_or(state.cache).display())?;
    out!("kernel   {}", size::show(parts.kernel.len() as u64))?;
    out!("busybox  {}", size::show(parts.busybox.len() as u64))?;
    let modules: Vec<_> = parts.modules.iter().map(|(name, _)| name.as_str()).collect();
    out!("modules  {}", modules.join(" "))?;
    Ok(ExitCode::SUCCESS)
}

fn xen(args: &ImageArgs) -> Result<ExitCode> {
    let made = image::xen::ensure_made(args.refresh, &progress::Progress::new())?;
    for name in image::xen::FILES {
        let file = made.join(name);
        if let Some(directory) = &args.write {
            let path = directory.join(name);
            std::fs::copy(&file, &path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        out!("{name:<9}  {}", size::show(file.metadata()?.len()))?;
    }
    out!("kept in    {}", made.display())?;
    Ok(ExitCode::SUCCESS)
}
