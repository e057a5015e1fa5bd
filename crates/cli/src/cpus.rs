//! `ireko cpus`: the processors that a VM can be given, and what this machine lacks for each.

use crate::{out, table};
use anyhow::Result;
use std::process::ExitCode;

pub fn run(features: bool) -> Result<ExitCode> {
    if features {
        let rows = ireko_machine::features().into_iter();
        return show(["name", "here"], rows.map(|one| [one.name, one.here].map(str::to_owned)));
    }
    let rows = ireko_machine::processors().into_iter().map(|one| {
        let here =
            if one.lacks.is_empty() { "yes".to_owned() } else { format!("lacks {}", one.lacks.join(" ")) };
        [one.name.to_owned(), here, one.about.to_owned()]
    });
    show(["name", "here", "what"], rows)
}

fn show<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<ExitCode> {
    let all: Vec<Vec<String>> =
        std::iter::once(header.map(str::to_owned)).chain(rows).map(Vec::from).collect();
    out!("{}", table::align(&all).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
