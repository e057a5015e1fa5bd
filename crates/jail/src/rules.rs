//! Landlock: what this process may do with names in the file system, and with other processes.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fd::OwnedFd;
use std::path::Path;

/// What is handled: as far as this kernel knows of it.
const KNOWN: ABI = ABI::V6;

/// What stays possible below a directory.
#[derive(Clone, Copy, Debug)]
pub enum Use {
    /// Files are written, replaced and removed.
    Files,
    /// Sockets are made, listed and removed.
    Sockets,
    /// Whatever is done with files, directories and links.
    Folder,
    FolderToRead,
}

impl Use {
    fn access(self) -> BitFlags<AccessFs> {
        match self {
            Self::Files => {
                AccessFs::ReadFile
                    | AccessFs::WriteFile
                    | AccessFs::Truncate
                    | AccessFs::ReadDir
                    | AccessFs::MakeReg
                    | AccessFs::RemoveFile
            }
            Self::Sockets => AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile,
            Self::Folder => {
                Self::Files.access()
                    | AccessFs::MakeDir
                    | AccessFs::RemoveDir
                    | AccessFs::MakeSym
                    | AccessFs::Refer
            }
            Self::FolderToRead => AccessFs::ReadFile | AccessFs::ReadDir,
        }
    }
}

/// Nothing but this, for this thread and those that it starts. `network`: streams to and from the host's network stay possible.
pub fn restrict(kept: &[(&Path, Use)], network: bool) -> Result<String, String> {
    let status = build(kept, network).map_err(|error| format!("the rules cannot be made: {error}"))?;
    told(status, network)
}

fn told(status: RulesetStatus, network: bool) -> Result<String, String> {
    match status {
        RulesetStatus::FullyEnforced if network => Ok("files, signals and abstract sockets".into()),
        RulesetStatus::FullyEnforced => Ok("files, networks, signals and abstract sockets".into()),
        RulesetStatus::PartiallyEnforced => Ok("files, as far as this kernel's version of it goes".into()),
        RulesetStatus::NotEnforced => Err("the kernel is built or started without it".into()),
    }
}

/// The same for who has one folder, open.
pub fn restrict_to(folder: &OwnedFd, what: Use) -> Result<String, String> {
    let status = handled(false)
        .and_then(|rules| rules.add_rule(PathBeneath::new(folder, what.access())))
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| format!("the rules cannot be made: {error}"))?;
    told(status.ruleset, false)
}

fn handled(network: bool) -> Result<RulesetCreated, landlock::RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?;
    if !network {
        rules = rules.handle_access(AccessNet::from_all(KNOWN))?;
    }
    rules.create()
}

fn build(kept: &[(&Path, Use)], network: bool) -> Result<RulesetStatus, landlock::RulesetError> {
    let mut rules = handled(network)?;
    for (path, what) in kept {
        // What is not there is not used either.
        if let Ok(place) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(place, what.access()))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}
