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

/// What a shell says of a line, with answers on its standard input.
fn answered(home: &Home, line: &str, answers: &str) -> Output {
    let mut shell = home.shell(&["-c", line]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().expect("the ireko binary");
    shell.stdin.take().expect("a pipe").write_all(answers.as_bytes()).expect("a reader");
    shell.wait_with_output().expect("an end")
}

#[test]
fn answers_come_from_a_pipe() {
    let home = Home::new("answers");
    let line = "$n = [int](Read-Host 'count'); for ($i = 1; $i -le $n; $i++) { Read-Host }; 'done'";
    let output = answered(&home, line, "2\nx\r\ny\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x\ny\ndone\n");
    assert!(output.status.success());
}

#[test]
fn a_loop_that_asks_ends_with_the_answers() {
    let home = Home::new("endless");
    let output = answered(&home, "while ($true) { $line = Read-Host; \"again $line\" }", "x\n");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"again x\n".as_slice()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("FullyQualifiedErrorId : InvalidOperation,"));
}

#[test]
fn a_script_is_found_by_a_name_of_another_system() {
    let home = Home::new("windows");
    let folder = std::env::temp_dir().join(format!("ireko-scripts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("hello.ps1"), "param($Name) \"hello $Name\"; exit 4").expect("a script");
    for name in ["hello.ps1", ".\\hello.ps1", "C:\\Scripts\\hello.ps1"] {
        let output =
            home.shell(&[name, "-Name", "x"]).current_dir(&folder).output().expect("the ireko binary");
        let said = (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned());
        assert_eq!(said, (Some(4), "hello x\n".to_owned()), "{name}");
    }
    std::fs::remove_dir_all(&folder).expect("a folder");
}

#[test]
fn a_script_that_has_no_end_is_one_error() {
    let home = Home::new("long");
    let path = std::env::temp_dir().join(format!("ireko-long-{}.ps1", std::process::id()));
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(100 << 20).expect("room");
    let output = home.shell(&[&path.display().to_string()]).output().expect("the ireko binary");
    std::fs::remove_file(&path).expect("the file");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("longer than 16 MiB"));
}
