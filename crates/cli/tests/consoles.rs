//! What a machine prints and is told, seen from Debian's Linux inside: the console's log, and COM 2 as a socket.

mod home;
mod viewer;

use home::Home;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use viewer::{Console, PATIENCE};

impl Home {
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["vm"], arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Console {
    /// Runs a line to its end.
    fn run(&mut self, line: &str) {
        self.type_in(&format!("{line}\necho done-$((6 * 7))"));
        self.until("done-42");
    }
}

#[test]
fn a_second_serial_port_is_a_socket_and_the_console_has_a_log() {
    let home = Home::new("com");
    std::fs::create_dir_all(&home.0).unwrap();
    let socket = home.0.join("com2");
    home.ok(&["create", "pc", "--memory", "512M", "--engine", "soft"]);
    home.ok(&["com-set", "pc", "--number", "2", "--path", socket.to_str().unwrap()]);
    home.ok(&["start", "pc"]);
    let mut console = home.console("pc");
    console.until("built-in shell");
    let mut line = String::new();
    // One after the other: each has the wire to itself.
    for name in ["one", "two"] {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // What comes before the port is opened is lost, as its driver empties it then.
        console.type_in(&format!("{{ echo to {name} > /dev/ttyS1; head -n 1; }} < /dev/ttyS1"));
        line.clear();
        let mut reader = BufReader::new(&stream);
        while !line.contains(&format!("to {name}")) {
            assert!(reader.read_line(&mut line).unwrap() > 0, "{line}");
        }
        (&stream).write_all(format!("from {name}\n").as_bytes()).unwrap();
        console.until(&format!("from {name}"));
    }
    console.run("echo kept-$((20 + 3))");
    drop(console);
    home.ok(&["stop", "pc", "--turn-off"]);
    let log = home.ok(&["log", "pc", "--follow"]);
    assert!(log.contains("[ireko: started at ") && log.contains("kept-23"), "{log}");
    assert!(!home.ok(&["log", "pc", "--tail", "3"]).contains("[ireko: started at "));
}
