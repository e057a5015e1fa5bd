//! `ireko shell` as a program: the published command lines against a real VM on the software CPU.

mod home;

use home::Home;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

impl Home {
    fn shell(&self, arguments: &[&str]) -> Command {
        self.command(&[&["shell"], arguments].concat())
    }
    fn line(&self, line: &str) -> Output {
        self.shell(&["-c", line]).output().expect("the ireko binary")
    }
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.shell(arguments).output().expect("the ireko binary");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    fn script(&self, name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
        self.ok(&[&path.display().to_string()])
    }
}

#[test]
fn the_published_lines_nest_a_real_vm_and_take_it_back() {
    let home = Home::new("nesting");
    home.ok(&["-c", "New-VM TestVM 512MB -Engine soft -ProcessorModel amd | Out-Null"]);
    home.script("enable-nesting.ps1");
    assert_eq!(home.ok(&["-c", "(Get-VM TestVM).State"]), "Running\n");
    let shown = home.ok(&["-c", "Get-VMProcessor TestVM | Select *"]);
    let value = |name: &str| {
        let line = shown.lines().find(|line| line.split(':').next().map(str::trim) == Some(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    assert_eq!(value("ExposeVirtualizationExtensions").as_deref(), Some("True"), "{shown}");
    assert_eq!(
        value("OperationalStatus").as_deref(),
        Some("{Ok, HostResourceProtectionDisabled}"),
        "{shown}"
    );
    let refused = home.line("Set-VMProcessor TestVM -ExposeVirtualizationExtensions $false");
    assert_eq!(refused.status.code(), Some(1));
    home.script("disable-nesting.ps1");
    let after =
        home.ok(&["-c", "(Get-VM TestVM).State; (Get-VMProcessor TestVM).ExposeVirtualizationExtensions"]);
    assert_eq!(after, "Off\nFalse\n");
}

#[test]
fn a_script_on_standard_input_runs() {
    let home = Home::new("stdin");
    let mut shell =
        home.shell(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the ireko binary");
    shell
        .stdin
        .take()
        .expect("a pipe")
        .write_all("foreach ($i in 1..2) {\n  $i * 2\n}\n".as_bytes())
        .expect("a reader");
    let output = shell.wait_with_output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2\n4\n");
    assert!(output.status.success());
}

#[test]
fn errors_go_to_standard_error_and_make_the_exit_code() {
    let home = Home::new("error");
    let output = home.line("Get-VM nope; 'after'");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"after\n".as_slice()));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("FullyQualifiedErrorId : InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM")
    );
    assert_eq!(home.line("exit 7").status.code(), Some(7));
}
