//! `ireko nest`'s command line.

use crate::agent_config::Mode;
use crate::engine_args::EngineArgs;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct NestArgs {
    /// The innermost level.
    #[arg(long, default_value_t = 2)]
    pub depth: u32,
    /// The first level's processor: amd, host, auto, or a name of `ireko cpus`.
    #[arg(long, default_value = "amd")]
    pub cpu: String,
    /// The first level's memory, like 512M or 2G.
    #[arg(long, default_value = "2G")]
    pub memory: String,
    /// Virtual processors of each level, 1 to 64. On the software engine there may be more than this machine has.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    #[command(flatten)]
    engine: EngineArgs,
    /// Put each level on a network, and let it fetch a file from a server on this machine's loopback: bridged, with MAC address
    /// spoofing through two switches at each level, or with a router at each level.
    #[arg(long, value_name = "WAY")]
    pub network: Option<Mode>,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Say where the first level's processor spent its time, by level: shares, exits, TLB misses. Counting costs a little.
    #[arg(long)]
    pub stats: bool,
    /// Write every level's console to a file. The kernels' messages cost time.
    #[arg(long, value_name = "FILE")]
    pub keep_console: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    pub timeout: u64,
    /// Milliseconds for one benchmark at each level.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub bench_ms: u64,
    /// More words for the first level's kernel command line.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub append: String,
}

impl std::ops::Deref for NestArgs {
    type Target = EngineArgs;
    fn deref(&self) -> &EngineArgs {
        &self.engine
    }
}

impl NestArgs {
    pub fn memory_size(&self) -> Result<u64> {
        Ok(ireko_machine::parse_memory(&self.memory)?)
    }
}
