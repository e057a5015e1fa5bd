//! Get-Process in small: this process and others of this system.

use super::Cmdlet;
use super::stages::once;
use crate::interpret::wildcard;
use crate::syntax::Case;
use crate::types::text;
use crate::value::{Object, Value};

pub static CMDLETS: &[Cmdlet] = &[Cmdlet {
    name: "Get-Process",
    aliases: &["gps", "ps"],
    synopsis: "Lists the processes of this system.",
    parameters: "\
Name/ProcessName:string[]@0 Names; wildcards count.
Id/PID:any[] Numbers.",
    make: |_, bound| {
        once(bound, |interpreter, bound, out| {
            let (names, ids) = (bound.texts("Name"), bound.items("Id"));
            let ids: Vec<String> = ids.iter().map(text).collect();
            let mut found = Vec::new();
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok()) else {
                    continue;
                };
                let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) else { continue };
                let name = name.trim().to_owned();
                let named =
                    names.is_empty() || names.iter().any(|pattern| wildcard(pattern, &name, Case::Ignored));
                if named && (ids.is_empty() || ids.contains(&id.to_string())) {
                    let pages: i64 = std::fs::read_to_string(entry.path().join("statm"))
                        .ok()
                        .and_then(|text| text.split(' ').nth(1)?.parse().ok())
                        .unwrap_or(0);
                    found.push((id, name, pages * 4096));
                }
            }
            found.sort();
            for name in names.iter().filter(|name| !name.contains(['*', '?'])) {
                if !found.iter().any(|(_, own, _)| own.eq_ignore_ascii_case(name)) {
                    let message = format!(
                        "Cannot find a process with the name \"{name}\". Verify the process name and call the cmdlet again."
                    );
                    let record = bound
                        .refuse("NoProcessFoundForGivenName", message)
                        .in_category("ObjectNotFound")
                        .about(Value::text(name));
                    interpreter
                        .report(record.of_type("Microsoft.PowerShell.Commands.ProcessCommandException"))?;
                }
            }
            for (id, name, bytes) in found {
                out.put(
                    interpreter,
                    Object::new("System.Diagnostics.Process")
                        .with("Id", id)
                        .with("ProcessName", name.as_str())
                        .with("Name", name.as_str())
                        .with("WorkingSet", bytes)
                        .into_value(),
                )?;
            }
            Ok(())
        })
    },
}];
