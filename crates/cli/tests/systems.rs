//! Machines with a system that is made of Debian's packages: it is made once for all tests, and kept.

mod home;
mod viewer;

use home::Home;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use viewer::Console;

/// Where systems are kept between tests.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("systems")
}

/// Copies what systems there are; where links can be made, without their bytes.
fn copy(from: &Path, to: &Path) {
    for kind in ["-rlT", "-rT"] {
        let done = Command::new("cp").args([kind, "--sparse=always"]).args([from, to]).output().unwrap();
        if done.status.success() {
            return;
        }
        let _ = fs::remove_dir_all(to);
    }
}

fn home_with_systems(name: &str) -> Home {
    let home = Home::new(name);
    home.vm_ok(&["list"]);
    if kept().exists() {
        copy(&kept(), &home.0.join("systems"));
    }
    home
}

fn keep_systems(home: &Home) {
    if !kept().exists() {
        copy(&home.0.join("systems"), &kept());
    }
}

/// The first prompt may be there before cloud-init has set the password.
fn log_in(console: &mut Console, user: &str, password: &str) {
    const TIMES: u32 = 20;
    let is_in = (0..TIMES).any(|_| {
        console.until("login: ");
        console.type_in(user);
        console.until("Password: ");
        console.type_in(password);
        wait_until(|| ["$ ", "Login incorrect"].iter().any(|text| console.seen().contains(text)));
        console.seen().contains("$ ")
    });
    assert!(is_in, "{}", console.seen());
}

fn wait_until(is_so: impl Fn() -> bool) {
    const TIMES: u32 = 240;
    let waited = (0..TIMES).any(|_| {
        let done = is_so();
        std::thread::sleep(std::time::Duration::from_millis(if done { 0 } else { 500 }));
        done
    });
    assert!(waited);
}

/// What a line prints, between words that are not in it.
fn say(console: &mut Console, line: &str) -> String {
    console.type_in(&format!("echo be\"gi\"n; {line}; echo e\"n\"d"));
    console.until("\nend");
    let seen = console.seen();
    seen.split("begin").last().unwrap_or_default().to_owned()
}

#[test]
fn debian_starts_by_both_kinds_of_firmware_with_its_user_key_name_and_size() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDZ6bG9naW4tb2YtYS10ZXN0LWFuZC1ub2JvZHk somebody";
    let home = home_with_systems("debian");
    let key = home.0.join("key.pub");
    fs::write(&key, KEY).unwrap();
    let create = |name: &str, generation: &str, more: &[&str]| {
        let common = ["create", name, "--os", "debian", "--generation", generation, "--engine", "soft"];
        let output = home.run(&[&["vm"], &common[..], &["--start"], more].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        told
    };
    create(
        "one",
        "1",
        &["--user", "eve", "--password", "a b", "--ssh-key", key.to_str().unwrap(), "--size", "6G"],
    );
    keep_systems(&home);
    let mut console = home.console("one");
    log_in(&mut console, "eve", "a b");
    // It says on the console when it is done.
    say(&mut console, "cloud-init status --wait");
    let said = say(&mut console, "hostname; sudo id -un; cat .ssh/authorized_keys; df -h / --output=size");
    assert!(said.contains("one\r\nroot\r\n") && said.contains(KEY) && said.contains("5."), "{said}");
    let said = say(&mut console, "systemctl is-active ssh qemu-guest-agent cloud-final; dpkg --audit");
    assert!(said.contains("active\r\n") && !said.contains("failed"), "{said}");
    drop(console);
    home.vm_ok(&["stop", "one", "--turn-off"]);
    let told = create("two", "2", &[]);
    let password = told.split("the password '").nth(1).and_then(|rest| rest.split('\'').next());
    let mut console = home.console("two");
    log_in(&mut console, "debian", password.unwrap_or_else(|| panic!("{told}")));
    say(&mut console, "cloud-init status --wait");
    let said = say(&mut console, "hostname; ls -d /sys/firmware/efi");
    assert!(said.contains("two\r\n/sys/firmware/efi"), "{said}");
    // With the machine's own key, and without a network.
    let done = home.run(&["vm", "ssh", "two", "--wait", "60", "--", "hostname; exit 7"]);
    assert_eq!((&*done.stdout, done.status.code()), (&b"two\n"[..], Some(7)), "{done:?}");
    // QEMU's guest agent starts with the system.
    wait_until(|| home.vm_ok(&["services", "two", "--name", "Heartbeat"]).contains("OK"));
    wait_until(|| home.vm_ok(&["guest", "two"]).contains("Debian GNU/Linux"));
    what_the_guests_agent_is_asked_for(&home);
    // What the guest connects to must be there, and the machine's user must be let in.
    let shown = home.vm_ok(&["show", "two"]);
    let id = shown.lines().find_map(|line| line.strip_prefix("VMId")).unwrap().trim_matches([' ', ':']);
    let socket = home.0.join("vms").join(id).join("run/vsock.sock_5000");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let connect = |port: u32| {
        let line = format!("s.connect((2, {port})); s.sendall(b'from the guest'); print(s.recv(99))");
        let script = format!("import socket; s = socket.socket(socket.AF_VSOCK); {line}");
        home.command(&["vm", "ssh", "two", "--", &format!("python3 -c \"{script}\"")]).output().unwrap()
    };
    let served = std::thread::spawn(move || {
        let (mut stream, mut bytes) = (listener.accept().unwrap().0, [0; 14]);
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(b"from the host").unwrap();
        bytes
    });
    let done = connect(5000);
    assert!(String::from_utf8_lossy(&done.stdout).contains("from the host"), "{done:?}");
    assert_eq!(&served.join().unwrap(), b"from the guest");
    assert!(!connect(5001).status.success());
    let said = home.vm_error(&["vsock", "two", "9"]);
    assert!(said.contains("nobody in 'two' listens at port 9"), "{said}");
    a_shell_in_it_has_the_terminal(&home);
    a_restart_is_waited_for(&home);
}

impl Home {
    fn shell(&self, line: &str) -> Output {
        self.run(&["shell", "-c", line])
    }

    fn shell_ok(&self, line: &str) -> String {
        let done = self.shell(line);
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && told.is_empty(), "{line}: {told}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn shell_error(&self, line: &str) -> String {
        let done = self.shell(line);
        assert_eq!(done.status.code(), Some(1), "{line}: {done:?}");
        String::from_utf8_lossy(&done.stderr).into_owned()
    }
}

/// Commands, files and services of the machine `two`.
fn what_the_guests_agent_is_asked_for(home: &Home) {
    let said = home.shell_ok("Invoke-Command -VMName two { hostname; exit 3 }; $LASTEXITCODE");
    assert_eq!(said, "two\n3\n");
    let said = home.shell_ok("Invoke-Command -VMName two -ArgumentList 'a b', 7 { echo \"$2 $1\" }");
    assert_eq!(said, "7 a b\n");
    let said = home.shell("Invoke-Command -VMName two { echo out; echo no >&2 }");
    assert_eq!((&*said.stdout, said.status.code()), (&b"out\n"[..], Some(1)), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).starts_with("Invoke-Command : no"), "{said:?}");
    // More than an answer of the agent's may have, and what has no end.
    let said = home.shell_ok("$l = Invoke-Command -VMName two { seq 1 60000 }; \"$($l.Count) $($l[-1])\"");
    assert_eq!(said, "60000 60000\n");
    let said =
        home.shell("(Invoke-Command -VMName two { yes 0123456789abcdef0123456789abcdef }).Count -gt 500000");
    assert_eq!(&*said.stdout, b"True\n", "{said:?}");
    assert!(
        String::from_utf8_lossy(&said.stderr)
            .contains("WARNING: The command in 'two' wrote more than 16 MiB")
    );
    // Of all these nothing is left but this one's own folder.
    let said = home.shell_ok("Invoke-Command -VMName two { ls -d /tmp/tmp.* | wc -l }");
    assert_eq!(said, "1\n");
    // A file of some pieces.
    let file = home.0.join("file");
    fs::write(
        &file,
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>(),
    )
    .unwrap();
    let copy = format!(
        "Copy-VMFile two -SourcePath '{}' -DestinationPath /srv/new/file -FileSource Host",
        file.display()
    );
    let said = home.shell_error(&copy);
    assert!(said.contains("Guest Service Interface of 'two' is off"), "{said}");
    home.shell_ok("Enable-VMIntegrationService 'Guest Service Interface' two");
    let said = home.shell_error(&copy);
    assert!(said.contains("-CreateFullPath makes it"), "{said}");
    home.shell_ok(&format!("{copy} -CreateFullPath"));
    let sum = sum_of(&fs::read(&file).unwrap());
    assert!(home.shell_ok("Invoke-Command -VMName two { sha256sum /srv/new/file }").starts_with(&sum));
    let said = home.shell_error(&copy);
    assert!(said.contains("is there already in 'two'; -Force replaces it"), "{said}");
    fs::write(&file, "another").unwrap();
    home.shell_ok(&format!("{copy} -Force"));
    assert_eq!(
        home.shell_ok("Invoke-Command -VMName two { cat /srv/new/file; ls /srv/new }"),
        "anotherfile\n"
    );
    home.shell_ok(&format!("{} -Force", copy.replace("/srv/new/file", "/srv/new")));
    assert_eq!(home.shell_ok("Invoke-Command -VMName two { ls /srv/new }"), "file\n");
    let said = home.shell_ok(
        "Get-VMIntegrationService two | ForEach-Object { \"$($_.Name): $($_.Enabled) $($_.PrimaryStatusDescription)\" }",
    );
    for line in ["Guest Service Interface: True OK", "Heartbeat: True OK", "Shutdown: True OK"] {
        assert!(said.lines().any(|own| own == line), "{line}: {said}");
    }
}

fn a_shell_in_it_has_the_terminal(home: &Home) {
    let said = home.shell_error("Enter-PSSession -VMName two");
    assert!(said.contains("needs a terminal; Invoke-Command -VMName 'two'"), "{said}");
    // script(1) is a terminal.
    let line = format!(
        "{} shell -c 'Enter-PSSession -VMName two; \"left with $LASTEXITCODE\"'",
        env!("CARGO_BIN_EXE_ireko")
    );
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).env("IREKO_HOME", &home.0);
    let child = terminal.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(b"hostname; tty; exit 5\n").unwrap();
    let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
    assert!(said.contains("two\r\n/dev/pts/") && said.contains("left with 5"), "{said}");
}

/// It is back when the command returns, and another than before.
fn a_restart_is_waited_for(home: &Home) {
    const BOOT: &str = "Invoke-Command -VMName two { cat /proc/sys/kernel/random/boot_id }";
    let said = home.shell_ok(&format!("$before = {BOOT}; Restart-VM two -Force -Wait; $before -ne ({BOOT})"));
    assert_eq!(said, "True\n");
}

#[test]
fn a_system_that_nobody_knows_is_said_in_a_sentence() {
    let home = Home::new("unknown");
    let said = home.vm_error(&["create", "vm", "--os", "windows-3.11"]);
    assert!(said.contains("There is no system 'windows-3.11'"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}

/// The seed of a machine is a file system that a system mounts.
#[test]
fn what_cloud_init_is_told_is_on_a_file_system_of_its_own() {
    let home = Home::new("seed");
    home.vm_ok(&["create", "My VM", "--user", "eve", "--password", "x", "--engine", "soft", "--start"]);
    let mut console = home.console("My VM");
    console.until("built-in shell");
    let load = "for name in cdrom isofs; do insmod /lib/modules/$name.ko; done";
    let look = "mkdir -p /s; mount -t iso9660 /dev/vda /s; ls /s; cat /s/meta-data /s/user-data";
    let said = say(&mut console, &format!("{load}; {look}"));
    assert!(said.contains("meta-data") && said.contains("user-data"), "{said}");
    assert!(said.contains("\"local-hostname\":\"my-vm\"") && said.contains("\"name\": \"eve\""), "{said}");
}

/// A server on loopback that has one file, and how often it was asked.
fn serve(data: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/disk.img", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            assert!(request[0].starts_with("GET /disk.img "), "{request:?}");
            count.fetch_add(1, Ordering::SeqCst);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", data.len()).unwrap();
            let _ = stream.write_all(&data);
        }
    });
    (url, asked)
}

/// `vm create --os mine`, with a list of one's own.
fn create_from_list(home: &Home, name: &str, list: &str) -> Output {
    let configuration = home.0.join("configuration");
    fs::create_dir_all(configuration.join("ireko")).unwrap();
    fs::write(configuration.join("ireko/systems.json"), list).unwrap();
    let mut command = home.command(&["vm", "create", name, "--os", "mine", "--password", "x", "--json"]);
    command.env("XDG_CONFIG_HOME", configuration).output().unwrap()
}

fn entry(url: &str, sum: &str) -> String {
    format!("{{\"mine\": {{\"url\": \"{url}\", \"sha256\": \"{sum}\"}}}}")
}

fn sum_of(data: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_image_of_the_users_list_is_got_once() {
    let home = Home::new("list");
    home.vm_ok(&["list"]);
    let data = vec![7; 1 << 20];
    let (url, asked) = serve(data.clone());
    for name in ["one", "two"] {
        let output = create_from_list(&home, name, &entry(&url, &sum_of(&data)));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(home.vm_ok(&["disks", "one", "--json"]).contains("disk.qcow2"));
}

#[test]
fn an_image_of_another_sum_is_refused_and_nothing_of_it_is_kept() {
    let home = Home::new("sum");
    home.vm_ok(&["list"]);
    let (url, _) = serve(vec![7; 1 << 20]);
    let output = create_from_list(&home, "one", &entry(&url, &"0".repeat(64)));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("is not what the list says"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ireko: ")).count(), 1, "{said}");
    let kept = |name| fs::read_dir(home.0.join(name)).unwrap().count();
    assert_eq!((kept("systems"), kept("vms")), (0, 0));
}

#[test]
fn a_list_that_is_not_right_says_where() {
    let home = Home::new("wrong");
    home.vm_ok(&["list"]);
    let output = create_from_list(&home, "one", "{\"mine\": {\"url\": \"ftp://x\", \"sha256\": \"1\"}}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("systems.json is not right: `mine`"), "{said}");
}
