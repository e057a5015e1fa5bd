//! A home for the virtual machines of one test, and the `ireko` binary run in it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A directory of its own, with every VM turned off at the end.
pub struct Home(pub PathBuf);

impl Home {
    /// `name` tells apart the tests of one file, which each has this module as its own.
    pub fn new(name: &str) -> Self {
        let suite = module_path!().replace("::", "-");
        let path = std::env::temp_dir().join(format!("ireko-{suite}-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ireko"));
        command.args(arguments).env("IREKO_HOME", &self.0).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the ireko binary")
    }
}

/// Not every suite manages machines.
#[allow(dead_code)]
impl Home {
    /// What `ireko vm` says, which succeeds.
    pub fn vm_ok(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["vm"], arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What it says where it fails.
    pub fn vm_error(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["vm"], arguments].concat());
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["vm", "stop", "*", "--turn-off"]);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
