use crate::adapter::{Adapter, Mirroring, Policy};
use crate::capture::Capture;
use crate::frame::{Frame, Mac};
use crate::learned::MOST_BEHIND;
use crate::role::Role;
use crate::switch::{self, Socket};
use crate::vlan::{Ids, Vlan};
use ireko_vmcore::Port;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// For what comes, and for what does not.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

const EVERYBODY: Mac = [0xff; 6];
const A: Mac = [0, 0x15, 0x5d, 0, 0, 0xa];
const B: Mac = [0, 0x15, 0x5d, 0, 0, 0xb];
const C: Mac = [0, 0x15, 0x5d, 0, 0, 0xc];
const OTHER: Mac = [2, 0, 0, 0, 0, 1];

/// A switch for one test.
struct Switch(PathBuf);

impl Switch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ireko-net-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let ports = std::env::temp_dir().join(name);
        switch::make(&ports).unwrap();
        Self(ports)
    }
    fn port(&self, mac: Mac) -> Adapter {
        let adapter = Adapter::new("test", Policy::of(mac));
        adapter.connect(Some(&self.0)).unwrap();
        adapter
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn frame(to: Mac, from: Mac) -> Vec<u8> {
    [&to[..], &from, &[0x88, 0xb5], &[7; 46]].concat()
}

fn hears(adapter: &Adapter, patience: Duration) -> bool {
    adapter.receive(&mut [0; 1600], patience).is_some()
}

#[test]
fn a_frame_to_everybody_comes_to_all_others() {
    let switch = Switch::new();
    let (a, b, c) = (switch.port(A), switch.port(B), switch.port(C));
    a.send(&frame(EVERYBODY, A));
    assert!(hears(&b, LONG) && hears(&c, LONG) && !hears(&a, SHORT));
}

#[test]
fn a_frame_to_a_learned_address_goes_to_its_port_alone() {
    let switch = Switch::new();
    let (a, c) = (switch.port(A), switch.port(C));
    let listener = Socket::open(&switch.0, "listener", Role::default()).unwrap();
    c.send(&frame(EVERYBODY, C));
    assert!(hears(&a, LONG) && listener.receive(&mut [0; 1600], LONG).is_some());
    a.send(&frame(C, A));
    assert!(hears(&c, LONG) && listener.receive(&mut [0; 1600], SHORT).is_none());
}

#[test]
fn a_frame_to_an_unknown_address_is_heard_by_who_owns_it_only() {
    let switch = Switch::new();
    let (a, b, c) = (switch.port(A), switch.port(B), switch.port(C));
    a.send(&frame(B, A));
    assert!(hears(&b, LONG) && !hears(&c, SHORT));
}

#[test]
fn a_frame_with_a_source_that_was_not_given_is_dropped() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    a.send(&frame(EVERYBODY, OTHER));
    assert!(!hears(&b, SHORT));
}

#[test]
fn spoofing_lets_it_through_from_the_next_frame_on() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    a.set_policy(Policy { spoofing: true, ..Policy::of(A) });
    a.send(&frame(EVERYBODY, OTHER));
    assert!(hears(&b, LONG));
    b.send(&frame(OTHER, B));
    assert!(hears(&a, LONG));
}

#[test]
fn a_group_as_source_is_dropped_even_with_spoofing() {
    let policy = Policy { spoofing: true, ..Policy::of(A) };
    assert!(!policy.may_send(Frame::new(&frame(B, EVERYBODY)).unwrap()));
}

#[test]
fn the_dhcp_guard_drops_a_servers_offers_only() {
    let mut bytes = frame(EVERYBODY, A);
    bytes[12..14].copy_from_slice(&[8, 0]);
    (bytes[14], bytes[23]) = (0x45, 17);
    let guarded = Policy { dhcp_guard: true, ..Policy::of(A) };
    bytes[34..36].copy_from_slice(&67u16.to_be_bytes());
    assert!(!guarded.may_send(Frame::new(&bytes).unwrap()));
    assert!(Policy::of(A).may_send(Frame::new(&bytes).unwrap()));
    bytes[34..36].copy_from_slice(&68u16.to_be_bytes());
    assert!(guarded.may_send(Frame::new(&bytes).unwrap()));
}

#[test]
fn the_router_guard_drops_advertisements() {
    let mut bytes = frame(EVERYBODY, A);
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    bytes[20] = 58;
    bytes[54] = 134;
    assert!(!Policy { router_guard: true, ..Policy::of(A) }.may_send(Frame::new(&bytes).unwrap()));
}

#[test]
fn frames_of_any_content_are_judged() {
    let policy = Policy { dhcp_guard: true, router_guard: true, ..Policy::of(A) };
    for kind in [[8, 0], [0x86, 0xdd], [0, 0]] {
        for length in 0..80 {
            for fill in [0u8, 0x4f, 0xff, 17, 58, 1] {
                let mut bytes = vec![fill; length];
                bytes.iter_mut().skip(12).zip(kind).for_each(|(to, from)| *to = from);
                assert!(Frame::new(&bytes).is_none_or(|frame| !policy.may_send(frame)));
            }
        }
    }
}

#[test]
fn what_is_no_frame_is_not_sent() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    a.send(&frame(EVERYBODY, A)[..13]);
    a.send(&[&frame(EVERYBODY, A)[..], &[0; 1500]].concat());
    assert!(!hears(&b, SHORT));
}

#[test]
fn a_port_that_died_is_removed_and_the_address_found_anew() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    b.send(&frame(EVERYBODY, B));
    assert!(hears(&a, LONG));
    let dead = fs::read_dir(&switch.0).unwrap().count();
    // As after kill -9: the socket's file stays.
    let stale = switch.0.join("stale.1.1");
    drop(std::os::unix::net::UnixDatagram::bind(&stale).unwrap());
    a.send(&frame(EVERYBODY, A));
    assert_eq!((stale.exists(), fs::read_dir(&switch.0).unwrap().count()), (false, dead));
    b.connect(None).unwrap();
    let other = switch.port(B);
    a.send(&frame(B, A));
    assert!(hears(&other, LONG));
}

#[test]
fn who_has_the_name_of_a_port_that_died_is_left_alone_and_hears() {
    let switch = Switch::new();
    let a = switch.port(A);
    let port = switch.0.join("port.0");
    let bind = || std::os::unix::net::UnixDatagram::bind(&port).unwrap();
    let died = bind();
    a.send(&frame(EVERYBODY, A));
    drop(died);
    fs::remove_file(&port).unwrap();
    let other = bind();
    other.set_read_timeout(Some(LONG)).unwrap();
    // The first goes to the one that died.
    (0..2).for_each(|_| a.send(&frame(EVERYBODY, A)));
    assert!(port.exists() && other.recv(&mut [0; 1600]).is_ok());
}

#[test]
fn a_pulled_plug_is_seen_and_nothing_comes() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    b.connect(None).unwrap();
    a.send(&frame(EVERYBODY, A));
    assert!(!b.connected() && !hears(&b, SHORT) && a.connected());
}

#[test]
fn a_switch_that_is_removed_is_seen() {
    let switch = Switch::new();
    let a = switch.port(A);
    fs::remove_dir_all(&switch.0).unwrap();
    assert!(!a.connected());
}

#[test]
fn a_receiver_that_does_not_take_costs_frames_and_no_more() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    (0..2000).for_each(|_| a.send(&frame(EVERYBODY, A)));
    assert!(hears(&b, LONG));
}

#[test]
fn ports_are_behind_a_directory_that_is_their_owners_only() {
    let switch = Switch::new();
    let _a = switch.port(A);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let port = fs::read_dir(&switch.0).unwrap().flatten().next().unwrap().path();
    assert_eq!((mode(switch.0.clone()), mode(port)), (0o700, 0o660));
}

#[test]
fn a_port_that_comes_later_hears_and_one_that_went_is_left_alone() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    a.send(&frame(EVERYBODY, A));
    drop(b);
    let c = switch.port(C);
    a.send(&frame(EVERYBODY, A));
    assert!(hears(&c, LONG));
}

/// What a frame costs: the directory is gone from its place, and known ports are reached all the same.
#[test]
fn a_frame_looks_up_no_path() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    b.send(&frame(EVERYBODY, B));
    a.send(&frame(EVERYBODY, A));
    assert!(hears(&a, LONG) && hears(&b, LONG));
    let elsewhere = switch.0.with_extension("moved");
    fs::rename(&switch.0, &elsewhere).unwrap();
    a.send(&frame(B, A));
    let heard = hears(&b, LONG);
    fs::rename(&elsewhere, &switch.0).unwrap();
    assert!(heard);
}

#[test]
fn a_port_whose_process_is_gone_is_no_company() {
    let switch = Switch::new();
    let own = Socket::open(&switch.0, "own", Role::default()).unwrap();
    assert!(!own.has_company());
    // What a process that was killed leaves behind: a name, and nobody behind it.
    let left = switch.0.join("left.0.00000000");
    let other = std::os::unix::net::UnixDatagram::bind(&left).unwrap();
    assert!(own.has_company());
    drop(other);
    assert!(left.exists() && !own.has_company());
}

#[test]
fn a_datagram_of_nothing_is_no_frame() {
    let switch = Switch::new();
    let (a, b) = (Socket::open(&switch.0, "a", Role::default()).unwrap(), switch.port(B));
    assert!(a.has_company());
    assert!(!hears(&b, SHORT));
}

fn vlan_port(switch: &Switch, mac: Mac, vlan: Vlan) -> Adapter {
    let adapter = Adapter::new("test", Policy { vlan, ..Policy::of(mac) });
    adapter.connect(Some(&switch.0)).unwrap();
    adapter
}

fn dropped(adapter: &Adapter) -> Vec<(String, u64)> {
    adapter.report().dropped
}

#[test]
fn vlans_are_apart_and_a_trunk_hears_both_with_their_tags() {
    let switch = Switch::new();
    let trunk = Vlan::Trunk { native: 0, allowed: Ids::parse("10,20").unwrap() };
    let (ten, twenty) = (vlan_port(&switch, A, Vlan::Access(10)), vlan_port(&switch, B, Vlan::Access(20)));
    let (other, trunk) = (vlan_port(&switch, C, Vlan::Access(10)), vlan_port(&switch, OTHER, trunk));
    ten.send(&frame(EVERYBODY, A));
    let mut room = [0; 1600];
    let len = other.receive(&mut room, LONG).unwrap();
    assert_eq!(&room[..len], frame(EVERYBODY, A));
    let len = trunk.receive(&mut room, LONG).unwrap();
    assert_eq!((Frame::new(&room[..len]).unwrap().tag(), len), (Some(10), frame(EVERYBODY, A).len() + 4));
    assert!(!hears(&twenty, SHORT));
    // And back: with the tag of the other.
    let mut back = frame(EVERYBODY, OTHER);
    back.splice(12..12, [0x81, 0, 0, 20]);
    trunk.send(&back);
    assert!(hears(&twenty, LONG) && !hears(&ten, SHORT));
    back[15] = 30;
    trunk.send(&back);
    assert_eq!(dropped(&trunk), [("VLAN".to_owned(), 1)]);
}

#[test]
fn what_is_mirrored_is_heard_both_ways_and_teaches_nobody() {
    let switch = Switch::new();
    let (a, b) = (switch.port(A), switch.port(B));
    a.set_policy(Policy { mirroring: Mirroring::Source, ..Policy::of(A) });
    let mirror = Adapter::new("mirror", Policy { mirroring: Mirroring::Destination, ..Policy::of(C) });
    mirror.connect(Some(&switch.0)).unwrap();
    a.send(&frame(B, A));
    assert!(hears(&b, LONG) && hears(&mirror, LONG));
    b.send(&frame(A, B));
    assert!(hears(&a, LONG) && hears(&mirror, LONG));
    // To where its own address is, although a copy came from elsewhere.
    mirror.send(&frame(B, C));
    assert!(hears(&b, LONG));
}

#[test]
fn a_capture_hears_what_goes_to_one_port_alone_and_is_no_company() {
    let switch = Switch::new();
    let (a, b, c) = (switch.port(A), switch.port(B), switch.port(C));
    b.send(&frame(EVERYBODY, B));
    assert!(hears(&a, LONG) && hears(&c, LONG));
    let mut all = Capture::open(&switch.0, None).unwrap();
    let mut one = Capture::open(&switch.0, Some(&["none".to_owned()])).unwrap();
    let mut room = [0; ireko_vmcore::port::LONGEST_FRAME + 1];
    // Those that know where to send hear of it within a moment.
    std::thread::sleep(Duration::from_millis(150));
    a.send(&frame(B, A));
    let heard = all.next(&mut room, LONG).unwrap();
    assert_eq!((heard.bytes, heard.from), (&frame(B, A)[..], "test"));
    assert!(one.next(&mut room, SHORT).is_none());
    assert!(hears(&b, LONG) && !hears(&c, SHORT));
    drop((a, b, c));
    assert!(!Socket::open(&switch.0, "own", Role::default()).unwrap().has_company());
}

#[test]
fn drops_are_counted_by_cause_with_the_foreign_address_and_what_it_says_of_itself() {
    let switch = Switch::new();
    let a = switch.port(A);
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &OTHER, &[10, 0, 0, 7], &[0; 10]].concat();
    a.send(&[&EVERYBODY[..], &OTHER, &[8, 6], &arp, &[0; 18]].concat());
    a.send(&frame(EVERYBODY, OTHER));
    a.send(&frame(EVERYBODY, A));
    let report = a.report();
    assert_eq!(report.dropped, [("foreign source address".to_owned(), 2)]);
    let foreign = &report.foreign[0];
    assert_eq!((foreign.mac.as_str(), foreign.frames), ("020000000001", 2));
    assert_eq!(foreign.addresses, ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((report.sent, report.sources.len()), (1, 0));
}

/// With spoofing on, which is the worst.
#[test]
fn a_hundred_thousand_forged_addresses_push_no_one_out_and_grow_nothing() {
    let switch = Switch::new();
    let (a, b, c) = (switch.port(A), switch.port(B), switch.port(C));
    let (outside, quiet) = (Socket::open(&switch.0, "uplink", Role::default()).unwrap(), [6, 0, 0, 0, 0, 9]);
    // Somebody behind another port was seen before.
    outside.send(Frame::new(&frame(EVERYBODY, quiet)).unwrap());
    assert!(hears(&b, LONG) && hears(&c, LONG));
    a.set_policy(Policy { spoofing: true, ..Policy::of(A) });
    for n in 0..100_000u32 {
        let [p, q, r, s] = n.to_be_bytes();
        a.send(&frame(B, [2, 1, p, q, r, s]));
        assert!(hears(&b, LONG));
    }
    assert!(b.learned_count() <= MOST_BEHIND + 1);
    assert!(a.report().sources.len() <= 32);
    // Who was seen is found at once, and by who was given an address all are.
    b.send(&frame(quiet, B));
    assert!(outside.receive(&mut [0; 1600], LONG).is_some() && !hears(&c, SHORT));
    c.send(&frame(B, C));
    b.send(&frame(C, B));
    assert!(hears(&b, LONG) && hears(&c, LONG));
}

#[test]
fn an_address_that_another_port_was_given_cannot_be_taken_even_with_spoofing() {
    let switch = Switch::new();
    let (a, b, c) = (switch.port(A), switch.port(B), switch.port(C));
    a.set_policy(Policy { spoofing: true, ..Policy::of(A) });
    a.send(&frame(EVERYBODY, OTHER));
    assert!(hears(&b, LONG) && hears(&c, LONG));
    a.send(&frame(EVERYBODY, B));
    assert!(!hears(&c, SHORT));
    assert_eq!(dropped(&a), [("source address of another port".to_owned(), 1)]);
    c.send(&frame(B, C));
    assert!(hears(&b, LONG));
}
