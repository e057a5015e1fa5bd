//! `ireko setup`: what starts with the host is started by systemd, from now on.

use crate::{out, say, unit};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Writes a unit for systemd by which `ireko serve` runs from each start of the host on, and starts the virtual machines whose
/// AutomaticStartAction says so; of root it is the system's, of anybody else the user's own. What is as it should be stays.
#[derive(Args)]
pub struct SetupArgs {
    /// End the server and take the unit away again. Virtual machines go on.
    #[arg(long)]
    pub remove: bool,
}

const NAME: &str = "ireko.service";

/// The service of the server: whose it is, where its unit lies, and what asks systemd.
struct Service<'a> {
    root: bool,
    unit: PathBuf,
    /// Gives what a program says, or its complaint.
    run: &'a dyn Fn(&str, &[&str]) -> Result<String>,
    told: Vec<String>,
}

pub fn run(args: &SetupArgs) -> Result<ExitCode> {
    let root = crate::sys::is_root();
    let mut service = Service { root, unit: place(root)?, run: &program, told: Vec::new() };
    let done = match args.remove {
        true => service.remove(),
        false => {
            is_there(Path::new("/run/systemd/system")).and_then(|()| service.write(&unit::of_this_program()?))
        }
    };
    for line in &service.told {
        out!("{line}")?;
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// sd_booted(3).
fn is_there(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    bail!(
        "systemd does not run this host ({} is not there), so there is nobody to write a unit for; have what starts programs here run `ireko serve`, which starts the virtual machines that are to start with the host",
        directory.display()
    )
}

fn place(root: bool) -> Result<PathBuf> {
    if root {
        return Ok(Path::new("/etc/systemd/system").join(NAME));
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let configuration = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let configuration =
        configuration.context("HOME is not set, so it is not known where your units are; set it")?;
    Ok(configuration.join("systemd/user").join(NAME))
}

fn program(name: &str, words: &[&str]) -> Result<String> {
    let output = Command::new(name).args(words).output().with_context(|| format!("{name} cannot be run"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        let complaint = text(&output.stderr).replace('\n', "; ");
        bail!("`{name} {}` failed: {complaint}", words.join(" "));
    }
    Ok(text(&output.stdout))
}

impl Service<'_> {
    fn systemctl(&self, words: &[&str]) -> Result<String> {
        let own: &[&str] = if self.root { &[] } else { &["--user"] };
        (self.run)("systemctl", &[own, words].concat())
    }

    fn tell(&mut self, line: impl Into<String>) {
        self.told.push(line.into());
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.is_reached()?;
        let text = format!("{}\n", text.trim_end());
        let before = fs::read_to_string(&self.unit).ok();
        let shown = self.unit.display().to_string();
        let same = before.as_deref() == Some(&*text);
        if same {
            self.tell(format!("{shown} is as it should be"));
        } else {
            replace(&self.unit, &text).with_context(|| format!("{shown} cannot be written"))?;
            self.tell(format!("{shown} is {}", if before.is_some() { "another now" } else { "written" }));
        }
        self.systemctl(&["daemon-reload"])?;
        let runs = self.systemctl(&["is-active", NAME]).is_ok();
        self.systemctl(&["enable", "--now", NAME])?;
        match (runs, same) {
            (true, true) => self.tell("its server runs already"),
            (true, false) => {
                self.systemctl(&["restart", NAME])?;
                self.tell("its server runs anew; virtual machines went on");
            }
            (false, _) => self.tell("its server runs now, and from each start of the host on"),
        }
        if self.root { Ok(()) } else { self.linger() }
    }

    /// Before anything is made.
    fn is_reached(&self) -> Result<()> {
        let Err(why) = self.systemctl(&["show", "--property=Version"]) else { return Ok(()) };
        if self.root {
            return Err(why.context("systemd cannot be reached"));
        }
        bail!(
            "systemd's manager of your services cannot be reached ({why:#}); it runs where a login starts it (Debian: packages libpam-systemd and dbus-user-session), or run `ireko setup` as root, for root's virtual machines"
        )
    }

    /// Without it a user's manager runs from the first login to the end of the last one.
    fn linger(&mut self) -> Result<()> {
        let lingers = (self.run)("loginctl", &["show-user", "--property=Linger", "--value", &user()?]);
        if lingers.is_ok_and(|value| value == "yes") {
            return Ok(());
        }
        match (self.run)("loginctl", &["enable-linger"]) {
            Ok(_) => self.tell("your services run without a login from now on (loginctl disable-linger undoes that)"),
            Err(why) => self.tell(format!(
                "it runs only while you are logged in; `sudo loginctl enable-linger {}` changes that ({why:#})",
                user()?
            )),
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<()> {
        let shown = self.unit.display().to_string();
        if !self.unit.exists() {
            self.tell(format!("there is no {shown}, so there is nothing to take away"));
            return Ok(());
        }
        // Where systemd does not run, the file goes all the same.
        let ended = self.systemctl(&["disable", "--now", NAME]);
        fs::remove_file(&self.unit).with_context(|| format!("{shown} cannot be removed"))?;
        let _ = self.systemctl(&["daemon-reload"]);
        match ended {
            Ok(_) => self.tell(format!("{shown} is gone, and its server has ended; virtual machines go on")),
            Err(why) => {
                self.tell(format!("{shown} is gone"));
                say!("ireko: warning: whether its server has ended is not known: {why:#}");
            }
        }
        Ok(())
    }
}

/// By a name beside it, so that there is never half a unit.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let beside = directory.join(format!(".{NAME}.{}", std::process::id()));
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn user() -> Result<String> {
    let id = crate::sys::user_id();
    let all = match fs::read_to_string("/etc/passwd") {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("/etc/passwd"),
        other => other.unwrap_or_default(),
    };
    let own = all.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string()));
    Ok(own.and_then(|line| line.split(':').next()).map_or_else(|| id.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Scene {
        home: PathBuf,
        asked: RefCell<Vec<String>>,
        active: bool,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let home = std::env::temp_dir().join(format!("ireko-setup-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&home);
            Self { home, asked: RefCell::default(), active: false }
        }

        /// What is told, and what programs were asked.
        fn play(
            &self,
            root: bool,
            act: impl FnOnce(&mut Service<'_>) -> Result<()>,
        ) -> (Vec<String>, Vec<String>) {
            self.asked.borrow_mut().clear();
            let run = |name: &str, words: &[&str]| {
                self.asked.borrow_mut().push(format!("{name} {}", words.join(" ")));
                match words.contains(&"is-active") && !self.active {
                    true => Err(anyhow::anyhow!("inactive")),
                    false => Ok("yes".into()),
                }
            };
            let unit = self.home.join("systemd").join(NAME);
            let mut service = Service { root, unit, run: &run, told: Vec::new() };
            act(&mut service).unwrap();
            (service.told, self.asked.borrow().clone())
        }

        fn unit(&self) -> Option<String> {
            fs::read_to_string(self.home.join("systemd").join(NAME)).ok()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.home);
        }
    }

    #[test]
    fn a_unit_is_written_and_its_server_started() {
        let scene = Scene::new("first");
        let (told, asked) = scene.play(true, |service| service.write("[Unit]"));
        assert_eq!(scene.unit().as_deref(), Some("[Unit]\n"));
        assert_eq!(
            asked,
            [
                "systemctl show --property=Version",
                "systemctl daemon-reload",
                "systemctl is-active ireko.service",
                "systemctl enable --now ireko.service"
            ]
        );
        assert!(told[0].ends_with("is written") && told[1].contains("runs now"), "{told:?}");
    }

    #[test]
    fn what_is_there_already_stays() {
        let mut scene = Scene::new("again");
        scene.play(true, |service| service.write("[Unit]"));
        scene.active = true;
        let (told, asked) = scene.play(true, |service| service.write("[Unit]"));
        assert!(told[0].ends_with("is as it should be") && told[1] == "its server runs already", "{told:?}");
        assert!(!asked.iter().any(|line| line.contains("restart")), "{asked:?}");
    }

    #[test]
    fn another_unit_takes_the_place_of_the_one_before_and_the_server_starts_anew() {
        let mut scene = Scene::new("other");
        scene.play(true, |service| service.write("[Unit]"));
        scene.active = true;
        let (_, asked) = scene.play(true, |service| service.write("[Service]"));
        assert_eq!(scene.unit().as_deref(), Some("[Service]\n"));
        assert!(asked.iter().any(|line| line == "systemctl restart ireko.service"), "{asked:?}");
    }

    #[test]
    fn nothing_is_written_for_a_manager_that_cannot_be_reached() {
        let scene = Scene::new("nobody");
        let run = |_: &str, _: &[&str]| Err(anyhow::anyhow!("no bus"));
        let unit = scene.home.join("systemd").join(NAME);
        let mut service = Service { root: false, unit, run: &run, told: Vec::new() };
        let said = service.write("[Unit]").unwrap_err().to_string();
        assert!(said.contains("(no bus)") && said.contains("as root"), "{said}");
        assert!(scene.unit().is_none());
    }

    #[test]
    fn a_users_unit_is_told_to_the_users_manager() {
        let scene = Scene::new("user");
        let (_, asked) = scene.play(false, |service| service.write("[Unit]"));
        assert!(asked.iter().any(|line| line == "systemctl --user enable --now ireko.service"), "{asked:?}");
    }

    #[test]
    fn what_is_taken_away_is_gone_and_twice_is_no_error() {
        let scene = Scene::new("remove");
        scene.play(true, |service| service.write("[Unit]"));
        let (told, asked) = scene.play(true, |service| service.remove());
        assert!(scene.unit().is_none() && told[0].contains("is gone"), "{told:?}");
        assert_eq!(asked[0], "systemctl disable --now ireko.service");
        let (told, asked) = scene.play(true, |service| service.remove());
        assert!(told[0].contains("nothing to take away") && asked.is_empty(), "{told:?}");
    }

    #[test]
    fn a_host_without_systemd_is_said_in_a_sentence() {
        let said = is_there(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(said.contains("systemd does not run this host") && said.contains("ireko serve"), "{said}");
    }
}
