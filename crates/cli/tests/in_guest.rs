//! Workers inside a guest of ours: a host with cgroup v2, every namespace, and KVM by our AMD-V.

mod home;
mod kernel;

use home::Home;
use kernel::multiboot;
use std::fs;
use std::process::Stdio;

/// What the guest runs, as root. What it finds comes as `name=value`.
const SCRIPT: &str = r#"
mkdir -p /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
groups() { ls -d /sys/fs/cgroup/ireko-* 2>/dev/null | wc -l; }
bytes() { cat /sys/fs/cgroup/ireko-*/memory.max; }
worker() { ireko vm show v --json | grep WorkerProcessId | tr -dc 0-9; }
state() { ireko vm show v --json | grep '"State"' | tr -d ' ,"'; }
property() { ireko shell -c "(Get-VM v).$1"; }
for engine in soft kvm; do
  tell() { echo "$engine-$1=$2"; }
  ireko vm create v --memory 256M --engine $engine >/dev/null && ireko vm start v || exit 1
  tell engine $(property Engine)
  tell missing $(property Jail | grep -c '^missing')
  tell groups $(groups)
  tell uid $(awk '/^Uid:/ { print ($2 > 1000) }' /proc/$(worker)/status)
  tell memory $(bytes)
  ireko shell -c 'Set-VM v -MemoryStartupBytes 100GB' 2>/dev/null
  tell memory-after-refusal $(bytes)
  if [ $engine = kvm ]; then
    tries=0
    until ireko shell -c 'Set-VM v -MemoryStartupBytes 512MB' 2>/dev/null || [ $tries = 200 ]; do
      tries=$((tries + 1)); sleep 0.2
    done
    tell assigned $(property MemoryAssigned)
    tell memory-after-more $(bytes)
  fi
  ireko vm pause v && tell paused $(state)
  ireko vm resume v
  ireko vm stop v --turn-off && tell off $(state)
  tell groups-after-turn-off $(groups)
  ireko vm start v && kill -9 $(worker)
  while [ "$(state)" = State:Running ]; do sleep 0.1; done
  sleep 0.1
  tell killed $(state)
  tell groups-after-kill $(groups)
  ireko vm remove v --force
done
"#;

#[test]
fn a_jailed_worker_has_a_group_is_given_memory_paused_and_turned_off_on_both_engines() {
    let home = Home::new("both");
    fs::create_dir_all(&home.0).unwrap();
    let disk = home.0.join("script");
    fs::write(&disk, format!("{SCRIPT:\n<8192}")).unwrap();
    let arguments = ["run", "--image", "--nested", "--memory", "1536M", "--engine", "soft", "--exec"];
    let mut guest = home.command(&arguments);
    let output = guest.arg("sh /dev/vda").arg("--disk").arg(&disk).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name}: {said}")).to_owned()
    };
    for engine in ["soft", "kvm"] {
        let found = |name: &str| value(&format!("{engine}-{name}"));
        assert_eq!((found("engine").as_str(), found("missing").as_str()), (engine, "0"), "{said}");
        assert_eq!((found("groups"), found("uid")), ("1".into(), "1".into()), "{said}");
        assert_eq!(found("memory"), found("memory-after-refusal"), "{said}");
        assert_eq!((found("paused"), found("off")), ("State:Paused".into(), "State:Off".into()), "{said}");
        assert_eq!(found("groups-after-turn-off"), "0", "{said}");
        assert_eq!((found("killed"), found("groups-after-kill")), ("State:Off".into(), "0".into()), "{said}");
    }
    assert_eq!(value("kvm-assigned"), (512u64 << 20).to_string(), "{said}");
    let bytes = |name: &str| value(name).parse::<u64>().unwrap();
    assert!(bytes("kvm-memory-after-more") > bytes("kvm-memory"), "{said}");
}

/// Firmware's words on the screen, which is memory that KVM maps where the guest has it: what is typed changes the picture.
const FIRMWARE: &str = r#"
tar xf /dev/vdb -C /tmp; export IREKO_CACHE=/tmp/cache
start() { ireko vm create v --memory 256M --engine kvm --generation $1 --start-with firmware --switch '' >/dev/null && ireko vm start v; }
until_there() { tries=0; until ireko vm $1 v | grep -q "$2" || [ $tries = 200 ]; do tries=$((tries + 1)); sleep 0.2; done; }
start 1 || exit 1
until_there screenshot "No bootable device"
echo bios=$(ireko vm screenshot v | grep -c "No bootable device")
ireko vm stop v --turn-off; ireko vm remove v --force
start 2 || exit 1
until_there log "Shell>"
ireko vm screenshot v /tmp/before.png; ireko vm type v help; sleep 2; ireko vm screenshot v /tmp/after.png
echo uefi=$(cmp -s /tmp/before.png /tmp/after.png; echo $?)
ireko vm stop v --turn-off
"#;

/// Where the tests' firmware is kept.
fn cache() -> std::path::PathBuf {
    let home = || std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".cache"));
    let base = || std::env::var_os("XDG_CACHE_HOME").map(Into::into).or_else(home);
    let own = std::env::var_os("IREKO_CACHE").map(Into::into);
    own.or_else(|| Some(base()?.join("ireko"))).expect("a place for a cache")
}

/// The newest firmware of both kinds, as a disk whose content is a tar archive.
fn firmware(home: &Home) -> std::path::PathBuf {
    for generation in ["1", "2"] {
        let create =
            ["vm", "create", generation, "--memory", "64M", "--engine", "soft", "--start-with", "firmware"];
        assert!(home.run(&[&create[..], &["--generation", generation]].concat()).status.success());
        assert!(home.run(&["vm", "start", generation]).status.success());
    }
    let archive = home.0.join("firmware.tar");
    let mut tar = std::process::Command::new("tar");
    tar.arg("cf").arg(&archive).arg("-C").arg(cache()).args(["--transform", "s,^,cache/,"]);
    let kept = fs::read_dir(cache()).unwrap().map(|entry| entry.unwrap().file_name());
    tar.args(kept.filter(|name| name.to_string_lossy().starts_with("firmware-")));
    assert!(tar.status().unwrap().success());
    archive
}

#[test]
fn firmware_starts_on_kvm_and_is_seen_on_the_screen() {
    let home = Home::new("firmware");
    fs::create_dir_all(&home.0).unwrap();
    let disk = home.0.join("script");
    fs::write(&disk, format!("{FIRMWARE:\n<8192}")).unwrap();
    let arguments = ["run", "--image", "--nested", "--memory", "1536M", "--engine", "soft", "--exec"];
    let mut guest = home.command(&arguments);
    let archive = firmware(&home);
    let output =
        guest.arg("sh /dev/vda").arg("--disk").arg(&disk).arg("--disk").arg(archive).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["bios=1", "uefi=1"] {
        assert!(said.lines().any(|own| own.trim() == line), "no {line}: {said}");
    }
}

/// A host that has nothing but memory: what it keeps goes to a disk before its reset, and comes from there behind it.
const HOST: &str = r#"
export IREKO_HOME=/store
state() { ireko vm show $1 --json | grep '"State"' | cut -d'"' -f4; }
tell() { for vm in running ended always never; do echo $1-$vm=$(state $vm); done; }
tar xf /dev/vdc -C / 2>/dev/null
if [ ! -d /store ]; then
  dd if=/dev/vdb of=/store-kernel bs=4096 count=1 2>/dev/null
  for vm in running ended always never; do
    ireko vm create $vm --memory 32M --engine kvm --kernel /store-kernel >/dev/null || exit 1
  done
  ireko vm set always --automatic-start Start
  ireko vm set never --automatic-start Nothing
  for vm in running ended never; do ireko vm start $vm || exit 1; done
  ireko vm stop ended --turn-off
  tell before
  tar cf /dev/vdc -C / store store-kernel 2>/dev/null; sync
  reboot -f
fi
tell between
ireko serve &
tries=0
until [ "$(state running)$(state always)" = RunningRunning ] || [ $tries = 200 ]; do tries=$((tries + 1)); sleep 0.1; done
tell after
"#;

#[test]
fn machines_start_again_with_their_host_as_they_were_told_to() {
    // mov al,0ffh; out 21h,al; out 0a1h,al; sti; again: hlt; jmp again
    const WAITING: &[u8] = &[0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1, 0xfb, 0xf4, 0xeb, 0xfd];
    let home = Home::new("host");
    fs::create_dir_all(&home.0).unwrap();
    let [script, kernel, kept] = ["script", "kernel", "kept"].map(|name| home.0.join(name));
    let mut waiting = multiboot(WAITING);
    waiting.resize(4096, 0);
    fs::write(&script, format!("{HOST:\n<8192}")).unwrap();
    fs::write(&kernel, waiting).unwrap();
    fs::write(&kept, vec![0; 4 << 20]).unwrap();
    let mut guest = home.command(&["run", "--image", "--nested", "--engine", "soft", "--reboot", "reset"]);
    for disk in [&script, &kernel, &kept] {
        guest.arg("--disk").arg(disk);
    }
    let output = guest.args(["--append", "ireko.exec=\"sh /dev/vda\""]).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    for (name, states) in [
        ("running", ["Running", "Off", "Running"]),
        ("ended", ["Off"; 3]),
        ("always", ["Off", "Off", "Running"]),
        ("never", ["Running", "Off", "Off"]),
    ] {
        for (when, state) in ["before", "between", "after"].into_iter().zip(states) {
            let line = format!("{when}-{name}={state}");
            assert!(said.lines().any(|own| own.trim() == line), "no {line}: {said}");
        }
    }
}
