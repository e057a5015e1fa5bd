//! `-Share` of New-VM and Set-VM: folders of the host's that a guest has.

use super::targets::only_off;
use crate::folder::Share;
use crate::operation::parameter::text;
use crate::operation::{Call, Failure, Parameter};
use crate::state::State;
use crate::store::Config;
use ireko_machine::MOST_FOLDERS;

pub const SHARE: Parameter = text(
    "Share",
    "A folder of this host that its guest has: NAME=FOLDER, or NAME=FOLDER,ro for reading only; again for more. The guest mounts it by mount -t virtiofs NAME /mnt. Empty: none any more (Ireko's own).",
)
.many()
.flag("share");

pub fn apply(call: &Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    if !call.arguments.has("Share") {
        return Ok(());
    }
    let texts = call.arguments.items("Share").iter().map(ToString::to_string);
    let wanted: Vec<Share> = texts
        .filter(|text| !text.is_empty())
        .map(|text| Share::parse(&text))
        .collect::<Result<_, _>>()
        .map_err(Failure::invalid)?;
    if wanted == config.shares {
        return Ok(());
    }
    only_off(state, &config.name, "What is shared with it")?;
    if wanted.len() > MOST_FOLDERS {
        return Err(Failure::invalid(format!(
            "{} folders, and {MOST_FOLDERS} are the most that a virtual machine has; share fewer, or one above them.",
            wanted.len()
        )));
    }
    for (number, one) in wanted.iter().enumerate() {
        if wanted[..number].iter().any(|other| other.name == one.name) {
            return Err(Failure::invalid(format!(
                "'{}' names two folders; give one another name.",
                one.name
            )));
        }
        one.check(call.host.store.home()).map_err(|why| Failure::invalid(format!("{why}.")))?;
    }
    config.shares = wanted;
    Ok(())
}
