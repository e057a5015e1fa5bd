//! Processes that are killed at any moment: the store always loads, and every VM is as it was or as it was to be.

mod kernel;

use ireko_manage::store::{Config, Store};
use kernel::multiboot;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ireko-crash-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ireko"));
        command.args(arguments).env("IREKO_HOME", &self.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("the ireko binary")
    }
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    fn store(&self) -> Store {
        Store::open(&self.0).unwrap()
    }
    /// Every VM; one that cannot be read fails the test.
    fn all(&self) -> Vec<Config> {
        self.store().all().unwrap().into_iter().map(|one| one.expect("every VM loads")).collect()
    }
    fn property(&self, name: &str) -> serde_json::Value {
        let records: serde_json::Value =
            serde_json::from_str(&self.ok(&["vm", "show", "vm", "--json"])).unwrap();
        records[0][name].clone()
    }
    fn state(&self) -> String {
        self.property("State").as_str().unwrap_or_default().to_owned()
    }
    /// A VM of a kernel that does `code`.
    fn create(&self, code: &[u8]) {
        let kernel = self.0.join("kernel");
        fs::write(&kernel, multiboot(code)).unwrap();
        let kernel = kernel.display().to_string();
        self.ok(&["vm", "create", "vm", "--memory", "64M", "--engine", "soft", "--kernel", &kernel]);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["vm", "stop", "*", "--turn-off"]);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// mov al,0xff; out 0x21,al; out 0xa1,al; sti; again: hlt; jmp again. The timer ticks for kernels that a BIOS would have started, and this one has
/// no handlers. With interrupts off the machine would see that it never wakes, and end.
const SLEEPS: &[u8] = &[0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1, 0xfb, 0xf4, 0xeb, 0xfd];
/// mov dx,0x600; again: in ax,dx; test ah,1; jz again; mov dx,0x604; mov ax,0x3400; out dx,ax; jmp self
const HEEDS_THE_BUTTON: &[u8] = &[
    0x66, 0xba, 0x00, 0x06, 0x66, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf9, 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8,
    0x00, 0x34, 0x66, 0xef, 0xeb, 0xfe,
];

/// Moments to kill at, the same ones in every run: xorshift.
struct Moments(u64);

impl Moments {
    fn below(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % (most.as_micros().max(1) as u64))
    }
}

fn kill(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// How long it takes when nobody kills it, and a little more.
fn lifetime(home: &Home, arguments: &[&str]) -> Duration {
    let since = Instant::now();
    home.ok(arguments);
    since.elapsed().mul_f64(1.2)
}

#[test]
fn a_change_that_is_killed_is_done_or_not_done() {
    let home = Home::new("change");
    home.create(SLEEPS);
    let life = lifetime(&home, &["vm", "set", "vm", "--notes", "0", "--processors", "1"]);
    let mut moments = Moments(0x9e37_79b9_7f4a_7c15);
    let (mut done, mut not_done) = (0, 0);
    for round in 1..=300u32 {
        let before = home.all().remove(0);
        let (notes, processors) = (round.to_string(), (round % 2 + 1).to_string());
        let change = ["vm", "set", "vm", "--notes", &notes, "--processors", &processors];
        let child = home.command(&change).spawn().unwrap();
        std::thread::sleep(moments.below(life));
        kill(child);
        let after = home.all().remove(0);
        let mut wanted = before.clone();
        wanted.notes = notes;
        wanted.processor.count = round % 2 + 1;
        assert!(after == before || after == wanted, "round {round}: {after:?}");
        *(if after == wanted { &mut done } else { &mut not_done }) += 1;
    }
    // A change that could never be completed, or killed, would prove nothing.
    home.ok(&["vm", "set", "vm", "--notes", "last"]);
    assert!(done + not_done == 300 && not_done > 0);
}

#[test]
fn a_vm_that_is_made_or_removed_as_its_command_is_killed_is_whole_or_gone() {
    let home = Home::new("make");
    let life = lifetime(&home, &["vm", "create", "first"]);
    let mut moments = Moments(0x1234_5678_9abc_def1);
    for round in 0..100 {
        let name = format!("vm{round}");
        let child = home.command(&["vm", "create", &name]).spawn().unwrap();
        std::thread::sleep(moments.below(life));
        kill(child);
        home.all();
        let child = home.command(&["vm", "remove", "vm*", "--force"]).spawn().unwrap();
        std::thread::sleep(moments.below(life));
        kill(child);
        home.all();
    }
    home.ok(&["vm", "remove", "*", "--force"]);
    assert!(home.all().is_empty());
    // What the dead left goes when the next one is made.
    home.ok(&["vm", "create", "last"]);
    let names = fs::read_dir(home.0.join("vms")).unwrap().flatten().map(|entry| entry.file_name());
    let drafts: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

/// A server, from the moment on at which it answers.
fn server(home: &Home) -> Child {
    let mut server = home.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("listening"), "{said}");
    server
}

fn ask(home: &Home, method: &str, path: &str, body: &str) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(home.0.join("server/api.sock"))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

#[test]
fn a_server_that_is_killed_leaves_the_old_or_the_new_and_the_next_one_answers() {
    let home = Home::new("server");
    home.create(SLEEPS);
    let mut moments = Moments(0xdead_beef_cafe_f00d);
    for round in 1..=150u32 {
        let server = server(&home);
        let before = home.all().remove(0);
        let notes = round.to_string();
        let _stream = ask(&home, "PATCH", "/vms/vm", &format!("{{\"Notes\": \"{notes}\"}}")).unwrap();
        std::thread::sleep(moments.below(Duration::from_millis(12)));
        kill(server);
        let after = home.all().remove(0);
        assert!(after == before || after == Config { notes, ..before }, "round {round}: {after:?}");
    }
    let last = server(&home);
    let mut answer = String::new();
    ask(&home, "GET", "/vms/vm", "").unwrap().read_to_string(&mut answer).unwrap();
    kill(last);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn a_vm_goes_on_when_the_server_that_started_it_is_killed() {
    let home = Home::new("outlive");
    home.create(SLEEPS);
    let server = server(&home);
    let mut answer = String::new();
    ask(&home, "POST", "/vms/vm/start", "{}").unwrap().read_to_string(&mut answer).unwrap();
    kill(server);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(home.state(), "Running");
}

/// Until the VM is in this state.
fn wait_for(home: &Home, state: &str) {
    let since = Instant::now();
    while home.state() != state {
        assert!(since.elapsed() < Duration::from_secs(120), "it stays {}", home.state());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_worker_that_is_killed_at_any_moment_leaves_its_vm_off_and_ready() {
    let home = Home::new("worker");
    home.create(SLEEPS);
    let config = home.all().remove(0);
    let id = config.id.to_string();
    let mut moments = Moments(0x0bad_cafe_1234_5678);
    // From its first instruction to well after it runs.
    let life = lifetime(&home, &["vm", "start", "vm"]) * 2;
    home.ok(&["vm", "stop", "vm", "--turn-off"]);
    for round in 1..=300 {
        let worker = home.command(&["worker", &id]).spawn().unwrap();
        std::thread::sleep(moments.below(life));
        kill(worker);
        assert_eq!(home.all(), std::slice::from_ref(&config), "round {round}");
        // The process that is killed may be the parent of the one that runs the VM, which ends with it.
        wait_for(&home, "Off");
    }
    home.ok(&["vm", "start", "vm"]);
    assert_eq!(home.state(), "Running");
}

#[test]
fn a_start_that_is_killed_leaves_a_vm_that_runs_or_is_off() {
    let home = Home::new("start");
    home.create(SLEEPS);
    let mut moments = Moments(0x5555_aaaa_5555_aaab);
    let life = lifetime(&home, &["vm", "start", "vm"]);
    home.ok(&["vm", "stop", "vm", "--turn-off"]);
    for _ in 0..50 {
        let child = home.command(&["vm", "start", "vm"]).spawn().unwrap();
        std::thread::sleep(moments.below(life));
        kill(child);
        // It runs already, or its worker is on the way there, or nothing has begun.
        home.ok(&["vm", "start", "vm"]);
        wait_for(&home, "Running");
        home.ok(&["vm", "stop", "vm", "--turn-off"]);
    }
}

#[test]
fn of_two_commands_at_once_neither_is_lost() {
    let home = Home::new("race");
    home.create(SLEEPS);
    for round in 1..=10u32 {
        let (notes, processors) = (round.to_string(), (round % 4 + 1).to_string());
        let one = home.command(&["vm", "set", "vm", "--notes", &notes]).spawn().unwrap();
        let other = home.command(&["vm", "set", "vm", "--processors", &processors]).spawn().unwrap();
        for mut child in [one, other] {
            assert!(child.wait().unwrap().success());
        }
        let config = home.all().remove(0);
        assert_eq!((config.notes, config.processor.count), (notes, round % 4 + 1));
    }
}

#[test]
fn of_a_start_and_a_removal_at_once_one_wins() {
    let home = Home::new("start-remove");
    for _ in 0..5 {
        home.create(SLEEPS);
        let start = home.command(&["vm", "start", "vm"]).spawn().unwrap();
        let remove = home.command(&["vm", "remove", "vm", "--force"]).spawn().unwrap();
        let [started, removed] = [start, remove].map(|mut child| child.wait().unwrap().success());
        assert!(started != removed, "started: {started}, removed: {removed}");
        if started {
            home.ok(&["vm", "stop", "vm", "--turn-off"]);
            home.ok(&["vm", "remove", "vm", "--force"]);
        }
        assert!(home.all().is_empty());
    }
}

fn tell_to_end(home: &Home) {
    let worker = home.property("WorkerProcessId").to_string();
    assert!(Command::new("kill").args(["-TERM", &worker]).status().unwrap().success());
}

#[test]
fn a_worker_that_is_told_to_end_presses_the_power_button() {
    let home = Home::new("term");
    home.create(HEEDS_THE_BUTTON);
    home.ok(&["vm", "start", "vm"]);
    tell_to_end(&home);
    wait_for(&home, "Off");
    let run = fs::read_to_string(home.0.join("vms").join(home.all()[0].id.to_string()).join("run/run.json"))
        .unwrap();
    assert!(run.contains("\"clean\":true") && run.contains("turned itself off"), "{run}");
}

#[test]
fn a_guest_that_does_not_heed_the_button_is_turned_off_at_the_second_signal() {
    let home = Home::new("term-twice");
    home.create(SLEEPS);
    home.ok(&["vm", "start", "vm"]);
    tell_to_end(&home);
    wait_for(&home, "Stopping");
    tell_to_end(&home);
    wait_for(&home, "Off");
}

fn signal(process: u64, signal: &str) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Field `name` of proc_pid_status(5), while the process is there.
fn status(process: u64, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next().map(str::to_owned)
}

#[test]
fn a_stopped_process_outside_of_the_workers_namespace_goes_with_it() {
    let home = Home::new("outer");
    home.create(SLEEPS);
    for both in [false, true] {
        home.ok(&["vm", "start", "vm"]);
        let worker = home.property("WorkerProcessId").as_u64().unwrap();
        let outer: u64 = status(worker, "PPid:").unwrap().parse().unwrap();
        let words = fs::read(format!("/proc/{outer}/cmdline")).unwrap();
        if !words.split(|byte| *byte == 0).any(|word| word == b"worker") {
            eprintln!("left out: workers have no pid namespace here, so nobody waits outside");
            return;
        }
        signal(outer, "-STOP");
        if both {
            signal(worker, "-STOP");
        }
        home.ok(&["vm", "stop", "vm", "--turn-off"]);
        // Whoever started it may have to reap it yet.
        let since = std::time::Instant::now();
        while status(outer, "State:").is_some_and(|state| state != "Z") {
            assert!(since.elapsed() < std::time::Duration::from_secs(60), "process {outer} stays");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// mov dx,0xcf9; mov al,6; out dx,al; jmp self
const RESETS: &[u8] = &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 6, 0xee, 0xeb, 0xfe];

#[test]
fn a_guest_that_resets_itself_without_end_stays_paused() {
    let home = Home::new("resets");
    home.create(RESETS);
    home.ok(&["vm", "start", "vm"]);
    for _ in 0..10 {
        home.ok(&["vm", "pause", "vm"]);
        for _ in 0..2 {
            assert_eq!(home.state(), "Paused");
        }
        home.ok(&["vm", "resume", "vm"]);
    }
    home.ok(&["vm", "stop", "vm", "--turn-off"]);
}

#[test]
fn a_worker_that_is_stopped_is_shown_as_such_and_turned_off() {
    let home = Home::new("stopped");
    home.create(SLEEPS);
    home.ok(&["vm", "start", "vm"]);
    let process = home.property("WorkerProcessId").as_u64().unwrap();
    signal(process, "-STOP");
    assert_eq!(
        (home.state().as_str(), home.property("Status").as_str()),
        ("Running", Some("Not responding"))
    );
    home.ok(&["vm", "stop", "vm", "--turn-off"]);
    assert_eq!(home.state(), "Off");
    let told = home.ok(&["vm", "list"]);
    assert!(told.contains(&format!("its worker (process {process}) did not end and was killed")), "{told}");
    home.ok(&["vm", "start", "vm"]);
    assert_eq!(home.state(), "Running");
}
