use super::*;
use crate::scratch::Scratch;
use std::fs;

/// What looks like a mount of cgroup v2 with these controllers.
fn mount(controllers: &str) -> Scratch {
    let mount = Scratch::new();
    fs::write(mount.path().join("cgroup.controllers"), controllers).unwrap();
    fs::write(mount.path().join("cgroup.subtree_control"), "").unwrap();
    mount
}

#[test]
fn without_the_controllers_the_reason_is_told() {
    for (controllers, reason) in [("cpu memory", "no controllers memory and pids"), ("", "no controllers")] {
        let mount = mount(controllers);
        assert!(Group::try_out(mount.path()).unwrap_err().contains(reason));
    }
}

#[test]
fn without_cgroup_v2_the_reason_is_told() {
    let nothing = Scratch::new();
    assert!(Group::try_out(nothing.path()).unwrap_err().contains("no cgroup v2"));
}

#[test]
fn a_group_that_cannot_be_limited_is_not_left() {
    // A directory has no file `pids.max`, as a group would.
    let mount = mount("cpu memory pids");
    assert!(Group::enter(mount.path(), "x", 1 << 30, 100).is_err());
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 2);
}

#[test]
fn groups_are_weighed_where_the_processors_can_be_shared() {
    for (controllers, delegated) in [("cpu memory pids", "+cpu"), ("memory pids", "+memory +pids")] {
        let mount = mount(controllers);
        let _ = Group::try_out(mount.path());
        let written = fs::read_to_string(mount.path().join("cgroup.subtree_control")).unwrap();
        assert!(written.starts_with(delegated), "{controllers}: {written}");
    }
}

#[test]
fn leftovers_are_swept_and_others_stay() {
    let mount = mount("memory pids");
    for name in ["ireko-a", "ireko-b", "other"] {
        fs::create_dir(mount.path().join(name)).unwrap();
    }
    fs::write(mount.path().join("ireko-b/somebody"), "").unwrap();
    group::sweep(mount.path());
    let there = |name: &str| mount.path().join(name).exists();
    assert_eq!(["ireko-a", "ireko-b", "other"].map(there), [false, true, true]);
}

#[test]
fn the_overhead_grows_with_the_memory() {
    assert!(overhead(64 << 30) > overhead(128 << 20));
}
