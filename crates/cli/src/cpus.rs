//! `ireko cpus`: the processors that a VM can be given, and what this machine lacks for each.

use crate::{out, table};
use anyhow::Result;
use std::process::ExitCode;

pub fn run(features: bool) -> Result<ExitCode> {
    if features {
        return list_features();
    }
    let header = ["name", "here", "what"].map(str::to_owned).to_vec();
    let rows = ireko_machine::processors().into_iter().map(|one| {
        let here =
            if one.lacks.is_empty() { "yes".to_owned() } else { format!("lacks {}", one.lacks.join(" ")) };
        vec![one.name.to_owned(), here, one.about.to_owned()]
    });
    let all: Vec<_> = std::iter::once(header).chain(rows).collect();
    out!("{}", table::align(&all).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn list_features() -> Result<ExitCode> {
    let rows =
        ireko_machine::features().into_iter().map(|one| vec![one.name.to_owned(), one.here.to_owned()]);
    let header = ["name", "here"].map(str::to_owned).to_vec();
    let all: Vec<_> = std::iter::once(header).chain(rows).collect();
    out!("{}", table::align(&all).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
