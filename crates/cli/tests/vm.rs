//! VMs that live on after the command: the built-in image on the software CPU, through `ireko vm`.

mod home;

use home::Home;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

impl Home {
    fn vm(&self, arguments: &[&str]) -> Output {
        self.run(&[&["vm"], arguments].concat())
    }
    fn property(&self, name: &str) -> serde_json::Value {
        let records: serde_json::Value =
            serde_json::from_str(&self.vm_ok(&["show", "vm", "--json"])).unwrap();
        records[0][name].clone()
    }
    /// Follows the console until a line has this text; sends `keys` first.
    fn console_until(&self, keys: &str, text: &str) {
        let mut viewer = self
            .command(&["vm", "console", "vm"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a viewer");
        // No way out between here and the wait: a viewer must not be left behind.
        if let Some(stdin) = viewer.stdin.as_mut() {
            let _ = stdin.write_all(keys.as_bytes());
        }
        let mut seen = String::new();
        let mut found = false;
        if let Some(stdout) = viewer.stdout.take() {
            let lines = BufReader::new(stdout).split(b'\n').map_while(Result::ok);
            let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
            found = lines.inspect(|line| seen += line).any(|line| line.contains(text));
        }
        let _ = viewer.kill();
        let _ = viewer.wait();
        assert!(found, "no {text:?} on the console: {seen}");
    }
}

/// One VM at a time: the first one makes the image for all of them.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_vm_lives_on_is_paused_answers_and_shuts_down() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("life");
    home.vm_ok(&["create", "vm", "--memory", "512M", "--engine", "soft"]);
    home.vm_ok(&["start", "vm"]);
    assert_eq!((home.property("State"), home.property("Engine")), ("Running".into(), "soft".into()));
    home.console_until("", "built-in shell");
    home.vm_ok(&["pause", "vm"]);
    assert_eq!(home.property("State"), "Paused");
    home.vm_ok(&["resume", "vm"]);
    home.console_until("echo $((6 * 7))th\n", "42th");
    assert!(home.vm_error(&["remove", "vm", "--force"]).contains("current state"));
    assert!(home.vm_error(&["set", "vm", "--nested"]).contains("use ireko vm stop"));
    home.vm_ok(&["stop", "vm"]);
    assert_eq!(home.property("State"), "Off");
    home.vm_ok(&["remove", "vm", "--force"]);
}

#[test]
fn a_file_that_stands_for_a_machines_name_is_told_as_that_with_the_verbs_options() {
    let home = Home::new("file");
    home.vm_ok(&["create", "vm"]);
    let said = home.vm_error(&["disk-remove", "vm", "/tmp/disk.raw"]);
    let more = "A file is no name of one. Give --controller, --controller-number and --location.";
    assert!(said.contains(more), "{said}");
}

#[test]
fn a_killed_worker_leaves_its_vm_off_with_the_reason() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::new("kill");
    home.vm_ok(&["create", "vm", "--memory", "512M", "--engine", "soft"]);
    home.vm_ok(&["start", "vm"]);
    let worker = home.property("WorkerProcessId").to_string();
    assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
    while home.property("State") != "Off" {}
    let listed = home.vm(&["list"]);
    assert!(
        String::from_utf8_lossy(&listed.stdout)
            .contains(&format!("Ended: its worker (process {worker}) died"))
    );
    assert!(listed.stderr.is_empty());
    home.vm_ok(&["start", "vm"]);
    assert_eq!(home.property("State"), "Running");
}

/// A pipe with a name, at which nobody is.
fn lonely_pipe(home: &Home) -> String {
    std::fs::create_dir_all(&home.0).unwrap();
    let path = home.0.join("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn who_waits_for_a_kernel_from_a_pipe_can_be_ended() {
    let home = Home::new("pipe");
    let path = lonely_pipe(&home);
    let mut vm = home.command(&["run", "--kernel", &path]).spawn().unwrap();
    // It waits in open(2), with a signal or without.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(Command::new("kill").arg(vm.id().to_string()).status().unwrap().success());
    assert!(!vm.wait().unwrap().success());
}

#[test]
fn a_pipe_is_no_disk_and_no_kernel_of_a_vm() {
    let home = Home::new("pipes");
    let path = lonely_pipe(&home);
    for arguments in [["create", "disk", "--disk", &path], ["create", "kernel", "--kernel", &path]] {
        let said = match home.vm(&arguments) {
            created if created.status.success() => home.vm_error(&["start", arguments[1]]),
            refused => String::from_utf8_lossy(&refused.stderr).into_owned(),
        };
        assert!(said.contains("neither a file nor a block device") || said.contains("is no file"), "{said}");
    }
}

#[test]
fn a_kernel_that_is_none_fails_the_start_with_the_reason() {
    let home = Home::new("bad");
    std::fs::create_dir_all(&home.0).unwrap();
    let kernel = home.0.join("kernel");
    std::fs::write(&kernel, "this is no kernel").unwrap();
    home.vm_ok(&["create", "vm", "--kernel", &kernel.display().to_string()]);
    let error = home.vm_error(&["start", "vm"]);
    assert!(error.contains("'vm' failed to start") && error.contains("is not a kernel"), "{error}");
}
