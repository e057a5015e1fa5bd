//! Who has a file that somebody wants, in words that people use.

use ireko_machine::MachineError;
use ireko_machine::lock::User;
use ireko_manage::store::{Store, default_home};

pub fn in_use_by(user: &User) -> String {
    machine(user).map_or_else(|| user.to_string(), |name| format!("the virtual machine '{name}'"))
}

/// The virtual machine of this store that the process runs.
fn machine(user: &User) -> Option<String> {
    let [_, command, id] = &user.words[..] else { return None };
    let home = default_home().ok().filter(|home| command == "worker" && home.exists())?;
    Some(Store::open(home).ok()?.load(id.parse().ok()?).ok()?.name)
}

pub fn explained(error: MachineError) -> anyhow::Error {
    match error {
        MachineError::DiskInUse { name, user } => anyhow::anyhow!(
            "the disk `{name}` is in use by {}; end that, or give this virtual machine a disk of its own",
            in_use_by(&user)
        ),
        error => error.into(),
    }
}
