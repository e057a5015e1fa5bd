use super::fake::{SLEEPY, ThreadLauncher};
use super::protocol::{Reply, Request, SOCKET};
use super::*;
use crate::guid::Guid;
use crate::scratch::Scratch;
use crate::state::State;
use crate::store::config::{AutomaticCrash, Installer};
use crate::store::run::Kept;
use crate::store::{Config, Run, Store, WorkerLock};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

struct Running {
    _scratch: Scratch,
    store: Store,
    id: Guid,
}

/// Waits for the worker, which a broken one never rewards.
fn until(what: &str, ready: impl Fn() -> bool) {
    let since = std::time::Instant::now();
    while !ready() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Running {
    fn new() -> Self {
        Self::in_directory("")
    }
    fn in_directory(below: &str) -> Self {
        Self::with(below, "")
    }
    fn with(below: &str, command_line: &str) -> Self {
        Self::of(below, |config| config.boot.command_line = command_line.into())
    }
    fn of(below: &str, change: impl FnOnce(&mut Config)) -> Self {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path().join(below)).unwrap();
        let id = Guid::random().unwrap();
        let mut config = Config::new(id, "vm", 0);
        change(&mut config);
        store.create(&config).unwrap();
        ThreadLauncher.launch(&store, id).unwrap();
        Self { _scratch: scratch, store, id }
    }
    fn directory(&self) -> PathBuf {
        self.store.directory(self.id)
    }
    fn ask(&self, request: &Request) -> Reply {
        Client::connect(&self.directory()).unwrap().ask(request).unwrap()
    }
    fn state(&self) -> State {
        Client::connect(&self.directory()).unwrap().status().unwrap().state
    }
    fn wait(&self) -> Run {
        until("the worker's end", || !WorkerLock::held(&self.directory()));
        Run::read(&self.directory()).unwrap()
    }
}

#[test]
fn a_started_worker_answers_that_it_runs() {
    assert_eq!(Running::new().state(), State::Running);
}

#[test]
fn who_hears_of_a_start_finds_it_in_the_consoles_log() {
    let running = Running::new();
    let log = console_log::Reader::new(&running.directory()).read().unwrap();
    assert!(log.starts_with(b"\n[ireko: started at "), "{}", String::from_utf8_lossy(&log));
}

#[test]
fn a_second_worker_for_the_same_vm_is_refused() {
    let running = Running::new();
    assert!(ThreadLauncher.launch(&running.store, running.id).unwrap_err().contains("another worker"));
}

#[test]
fn pausing_and_resuming_are_seen() {
    let running = Running::new();
    assert_eq!((running.ask(&Request::Pause), running.state()), (Reply::Done, State::Paused));
    assert_eq!((running.ask(&Request::Resume), running.state()), (Reply::Done, State::Running));
}

#[test]
fn a_paused_vm_is_not_shut_down() {
    let running = Running::new();
    running.ask(&Request::Pause);
    assert!(
        matches!(running.ask(&Request::ShutDown { seconds: 1 }), Reply::Error(why) if why.contains("Resume-VM"))
    );
}

#[test]
fn the_power_button_is_pressed_until_it_is_heeded() {
    let running = Running::with("", SLEEPY);
    running.ask(&Request::ShutDown { seconds: 3600 });
    assert!(running.wait().clean);
}

#[test]
fn a_reset_is_a_new_machine_in_the_same_worker() {
    let running = Running::new();
    running.ask(&Request::Reset);
    let resets = || Client::connect(&running.directory()).unwrap().status().unwrap().resets;
    until("the reset", || resets() != 0);
    assert_eq!(running.state(), State::Running);
}

#[test]
fn a_guest_that_resets_itself_stays_paused() {
    let running = Running::new();
    let (_, mut keys) = Client::connect(&running.directory()).unwrap().console().unwrap();
    running.ask(&Request::Pause);
    keys.write_all(b"!").unwrap();
    let resets = || Client::connect(&running.directory()).unwrap().status().unwrap().resets;
    until("the reset", || resets() != 0);
    assert_eq!(running.state(), State::Paused);
    assert_eq!((running.ask(&Request::Resume), running.state()), (Reply::Done, State::Running));
}

#[test]
fn an_installer_is_done_when_it_has_reset_the_machine_itself() {
    let running = Running::of("", |config| {
        let (kernel, initrd, command_line) = ("kernel".into(), "initrd".into(), String::new());
        config.boot.installer = Some(Installer { kernel, initrd, command_line });
    });
    let (_, mut keys) = Client::connect(&running.directory()).unwrap().console().unwrap();
    let resets = || Client::connect(&running.directory()).unwrap().status().unwrap().resets;
    running.ask(&Request::Reset);
    until("the host's reset", || resets() == 1);
    assert!(!Run::noted_installed(&running.directory()));
    keys.write_all(b"q").unwrap();
    until("the guest's reset", || resets() == 2);
    assert!(Run::noted_installed(&running.directory()));
}

/// A worker whose machine's disk waits for room, and its keyboard.
fn full() -> (Running, UnixStream) {
    let running = Running::new();
    let (_, mut keys) = Client::connect(&running.directory()).unwrap().console().unwrap();
    keys.write_all(b"f").unwrap();
    until("the machine to be held", || running.state() == State::PausedCritical);
    (running, keys)
}

#[test]
fn a_machine_that_is_held_for_its_disk_says_why() {
    let (running, _keys) = full();
    let status = Client::connect(&running.directory()).unwrap().status().unwrap();
    let said = status.disk_error.unwrap();
    assert!(
        said.starts_with("the disk 'full' cannot be written: ") && said.ends_with("until there is room"),
        "{said}"
    );
}

#[test]
fn a_machine_that_is_held_for_its_disk_goes_on_when_that_has_room() {
    let (running, mut keys) = full();
    keys.write_all(b"r").unwrap();
    until("the machine to go on", || running.state() == State::Running);
}

#[test]
fn a_machine_that_somebody_paused_meanwhile_stays_paused() {
    let (running, mut keys) = full();
    assert_eq!(running.ask(&Request::Pause), Reply::Done);
    keys.write_all(b"r").unwrap();
    until("the disk to be done", || running.state() == State::Paused);
    assert_eq!((running.ask(&Request::Resume), running.state()), (Reply::Done, State::Running));
}

#[test]
fn a_machine_that_is_held_for_its_disk_can_be_turned_off() {
    let (running, _keys) = full();
    assert_eq!(running.ask(&Request::TurnOff), Reply::Done);
    assert!(running.wait().clean);
}

#[test]
fn viewers_of_the_console_leave_room_for_whoever_asks() {
    let running = Running::new();
    let view = || Client::connect(&running.directory()).unwrap().console();
    let viewers: Vec<_> = (0..32).map(|_| view().unwrap()).collect();
    for _ in 0..64 {
        assert!(view().unwrap_err().to_string().contains("32 viewers have the console"));
    }
    assert_eq!(running.ask(&Request::Pause), Reply::Done);
    drop(viewers);
}

#[test]
fn turning_off_is_a_clean_end() {
    let running = Running::new();
    running.ask(&Request::TurnOff);
    let run = running.wait();
    assert!(run.clean && run.ended.is_some());
}

#[test]
fn a_triple_fault_is_a_reset() {
    let running = Running::new();
    let (_, mut keys) = Client::connect(&running.directory()).unwrap().console().unwrap();
    keys.write_all(b"!").unwrap();
    let resets = || Client::connect(&running.directory()).unwrap().status().unwrap().resets;
    until("the reset", || resets() != 0);
    assert_eq!(running.state(), State::Running);
}

/// With a guest that has had a triple fault.
fn crashed(action: AutomaticCrash) -> Running {
    let running = Running::new();
    assert_eq!(running.ask(&Request::Crash { action }), Reply::Done);
    let (_, mut keys) = Client::connect(&running.directory()).unwrap().console().unwrap();
    keys.write_all(b"!").unwrap();
    running
}

#[test]
fn a_crashed_guest_is_held_until_it_is_reset() {
    let running = crashed(AutomaticCrash::Pause);
    let status = || Client::connect(&running.directory()).unwrap().status().unwrap();
    until("the guest to be held", || status().state == State::Paused);
    assert!(status().crashed.unwrap().ends_with("triple fault; its registers are in worker.log"));
    assert!(matches!(running.ask(&Request::Resume), Reply::Error(why) if why.contains("Restart-VM")));
    assert_eq!(running.ask(&Request::Reset), Reply::Done);
    until("the reset", || status().resets != 0);
    assert_eq!((status().state, status().crashed), (State::Running, None));
}

#[test]
fn a_crashed_guest_that_is_held_is_turned_off_in_order() {
    let running = crashed(AutomaticCrash::Pause);
    until("the guest to be held", || running.state() == State::Paused);
    running.ask(&Request::TurnOff);
    assert!(running.wait().clean);
}

#[test]
fn a_crash_is_the_end_where_that_is_asked_for() {
    let run = crashed(AutomaticCrash::TurnOff).wait();
    assert!(!run.clean && run.reason.unwrap().ends_with("triple fault; its registers are in worker.log"));
}

fn read(from: &mut impl Read, count: usize) -> String {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn two_viewers_see_the_same_and_what_was_before() {
    let running = Running::new();
    let view = || Client::connect(&running.directory()).unwrap().console().unwrap();
    let (mut one, mut keys) = view();
    keys.write_all(b"hello").unwrap();
    assert_eq!(read(&mut one, 10), "boot\nhello");
    let (mut other, _keys) = view();
    assert_eq!(read(&mut other, 10), "boot\nhello");
}

#[test]
fn viewers_are_told_of_the_end() {
    let running = Running::new();
    let (mut output, _keys) = Client::connect(&running.directory()).unwrap().console().unwrap();
    running.ask(&Request::TurnOff);
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"boot\n");
}

#[test]
fn the_socket_is_its_owners_alone() {
    let running = Running::new();
    let meta = std::fs::metadata(running.directory().join(SOCKET)).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_long_home_is_no_obstacle() {
    assert_eq!(Running::in_directory(&"deep/".repeat(40)).state(), State::Running);
}

#[test]
fn nonsense_on_the_socket_ends_only_its_connection() {
    let running = Running::new();
    let opened = std::fs::File::open(running.directory()).unwrap();
    let socket = format!("/proc/self/fd/{}/{SOCKET}", std::os::fd::AsRawFd::as_raw_fd(&opened));
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"\xff{not json\n").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!((rest.len(), running.state()), (0, State::Running));
}

/// Two VMs with this disk in one store; the first one runs.
fn sharing(read_only: bool) -> (Running, Guid) {
    use crate::store::Disk;
    let first = Running::new();
    let path = first.store.home().join("disk.raw");
    std::fs::write(&path, [0; 512]).unwrap();
    first.ask(&Request::TurnOff);
    first.wait();
    let (lock, mut config) = first.store.lock(first.id).unwrap();
    config.disks.push(Disk::new(crate::store::DriveAddress::scsi(0), path, read_only));
    first.store.save(&lock, &config).unwrap();
    let second = Config { id: Guid::random().unwrap(), name: "other".into(), ..config };
    first.store.create(&second).unwrap();
    ThreadLauncher.launch(&first.store, first.id).unwrap();
    (first, second.id)
}

#[test]
fn a_disk_that_another_vm_writes_to_is_refused_with_its_name() {
    let (first, second) = sharing(false);
    let error = ThreadLauncher.launch(&first.store, second).unwrap_err();
    assert!(error.contains("disk.raw") && error.contains("the virtual machine 'vm'"), "{error}");
    first.ask(&Request::TurnOff);
    first.wait();
    ThreadLauncher.launch(&first.store, second).unwrap();
}

#[test]
fn a_disk_that_nobody_writes_to_is_shared() {
    let (first, second) = sharing(true);
    ThreadLauncher.launch(&first.store, second).unwrap();
}
