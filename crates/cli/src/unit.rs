//! `ireko serve --unit`: what systemd wants to know of the server.

use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fmt::Write;

/// What decides where virtual machines and the cache are; the server's own are the unit's.
const PLACES: [&str; 4] = ["IREKO_HOME", "IREKO_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME"];

/// A unit of this program for its user: of the system if that is root, of the user's own manager if not. Workers are not systemd's to
/// end with the server (`KillMode`).
pub fn of_this_program() -> Result<String> {
    let program = std::env::current_exe().context("this program's path")?.into_os_string();
    let program = program
        .into_string()
        .map_err(|_| anyhow::anyhow!("the path of this program is not UTF-8; move it"))?;
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let places: Vec<_> = PLACES.iter().filter_map(|name| Some((*name, set(name)?))).collect();
    text(&program, &places, crate::sys::is_root())
}

fn text(program: &str, places: &[(&str, OsString)], root: bool) -> Result<String> {
    let (file, manager, target) = match root {
        true => ("/etc/systemd/system/ireko.service", "systemctl", "multi-user.target"),
        false => ("~/.config/systemd/user/ireko.service", "systemctl --user", "default.target"),
    };
    let mut unit = format!("# {file}; then: {manager} daemon-reload && {manager} enable --now ireko\n");
    if !root {
        unit += "# Without a login it runs after: loginctl enable-linger\n";
    }
    unit += "[Unit]\nDescription=Virtual machines of Ireko: its API, and what starts with the host\n";
    if root {
        unit += "After=network.target\n";
    }
    // The system's manager has no HOME, which says where the cache is.
    write!(
        unit,
        "\n[Service]\nExecStart={} serve\nEnvironment=HOME=%h\n",
        quoted(program).replace('$', "$$")
    )?;
    for (name, place) in places {
        let place = place.to_str().with_context(|| format!("{name} is not UTF-8; give it another value"))?;
        writeln!(unit, "Environment={}", quoted(&format!("{name}={place}")))?;
    }
    write!(unit, "KillMode=process\nRestart=on-failure\n\n[Install]\nWantedBy={target}")?;
    Ok(unit)
}

/// A word of a unit (systemd.syntax, "Quoting"; systemd.unit, "Specifiers").
fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    if word.contains([' ', '\t', '\'', '"', ';', '\\']) { format!("\"{word}\"") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_unit_starts_the_server_and_leaves_workers_alone() {
        let unit = text("/usr/local/bin/ireko", &[], true).unwrap();
        for line in ["ExecStart=/usr/local/bin/ireko serve", "KillMode=process", "WantedBy=multi-user.target"]
        {
            assert!(unit.lines().any(|other| other == line), "{line}: {unit}");
        }
    }

    #[test]
    fn a_users_unit_is_for_the_users_manager() {
        let unit = text("/i", &[], false).unwrap();
        assert!(unit.contains("systemctl --user") && unit.ends_with("WantedBy=default.target"), "{unit}");
    }

    #[test]
    fn the_servers_places_are_the_units() {
        let unit = text("/my $x/50%", &[("IREKO_HOME", "/srv/the vms".into())], true).unwrap();
        assert!(unit.contains("Environment=\"IREKO_HOME=/srv/the vms\"\n"), "{unit}");
        assert!(unit.contains("ExecStart=\"/my $$x/50%%\" serve\n"), "{unit}");
    }
}
