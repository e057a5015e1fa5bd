//! From inside each kind of thread.

use ireko_jail::Kind;
use ireko_jail::attempt::ATTEMPTS;
use ireko_jail::thread::confine;
use std::fs;

/// What a thread of this kind says after it was confined.
fn inside<T: Send + 'static>(kind: Kind, body: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        confine(kind).expect("a kernel with seccomp");
        body()
    })
    .join()
    .expect("no panic inside")
}

fn possible(kind: Kind) -> Vec<&'static str> {
    inside(kind, || ATTEMPTS.iter().filter(|one| one.refused().is_none()).map(|one| one.name).collect())
}

#[test]
fn nothing_is_possible_for_threads_that_serve_guests() {
    for kind in [Kind::Vcpu, Kind::Timers, Kind::Disk, Kind::Device, Kind::Network, Kind::Control] {
        assert_eq!(possible(kind), Vec::<&str>::new(), "{kind:?}");
    }
}

#[test]
fn one_kind_of_thread_uses_names() {
    assert_eq!(possible(Kind::Broker), ["open a file", "make a file", "make a local socket", "make a port"]);
}

/// What is left of the file system, and memory for translated code, are other layers' business.
#[test]
fn who_makes_machines_executes_and_signals_nothing() {
    let names = ["open a file", "make a file", "make a local socket", "make a port"];
    let code = ["map executable memory", "make memory executable"];
    assert_eq!(possible(Kind::Main), [&names[..], &code].concat());
}

#[test]
fn the_attempts_succeed_without_walls() {
    // Programs that are not there, and what needs rights of its own, are no measure.
    let measured = |name: &str| !name.contains("execute a") && !name.contains("process");
    let refused = ATTEMPTS.iter().filter(|one| measured(one.name) && one.refused().is_some());
    assert_eq!(refused.map(|one| one.name).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_confined_thread_has_no_rights_and_gets_none() {
    let status = inside(Kind::Broker, || fs::read_to_string("/proc/thread-self/status").unwrap());
    let value =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()));
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&value(set), 16), Ok(0), "{set}");
    }
}

#[test]
fn a_confined_thread_goes_on_working() {
    let sum = inside(Kind::Vcpu, || {
        let blocks: Vec<Vec<u8>> = (0..100).map(|n| vec![n; 1 << 16]).collect();
        std::thread::sleep(std::time::Duration::from_millis(1));
        blocks.iter().map(|block| u64::from(block[7])).sum::<u64>()
    });
    assert_eq!(sum, 4950);
}

#[test]
fn who_may_start_threads_still_does() {
    let told = inside(Kind::Main, || std::thread::spawn(|| confine(Kind::Vcpu).map(|()| 7)).join());
    assert_eq!(told.unwrap().unwrap(), 7);
}
