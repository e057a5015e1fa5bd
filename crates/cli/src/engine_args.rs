//! What the VMs of `nest` and `run` have in common on the command line.

use anyhow::Result;
use clap::Args;
use ireko_machine::EngineChoice;

#[derive(Args)]
pub struct EngineArgs {
    /// What executes guest code: auto, soft or kvm.
    #[arg(long, default_value = "auto")]
    pub engine: String,
    /// Engine debugging and bisection options.
    #[arg(long = "option", value_name = "NAME=VALUE")]
    pub options: Vec<String>,
}

impl EngineArgs {
    pub fn engine(&self) -> Result<EngineChoice> {
        Ok(self.engine.parse()?)
    }
}
