//! What a machine prints and is told, seen from Debian's Linux inside: the console's log, and COM 2 as a socket; and its screen at a port
//! with a password.

mod home;
mod viewer;

use des::cipher::{BlockEncrypt, KeyInit};
use home::Home;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use viewer::{Console, PATIENCE};

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
    home.vm_ok(&["create", "pc", "--memory", "512M", "--engine", "soft"]);
    home.vm_ok(&["com-set", "pc", "--number", "2", "--path", socket.to_str().unwrap()]);
    home.vm_ok(&["start", "pc"]);
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
    home.vm_ok(&["stop", "pc", "--turn-off"]);
    let log = home.vm_ok(&["log", "pc", "--follow"]);
    assert!(log.contains("[ireko: started at ") && log.contains("kept-23"), "{log}");
    assert!(!home.vm_ok(&["log", "pc", "--tail", "3"]).contains("[ireko: started at "));
}

/// A port that is nobody's.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A viewer that says a password (RFC 6143, 7.1 and 7.2.2): what the server says of it, and the connection.
fn say_password(port: u16, password: &[u8; 8]) -> (u32, TcpStream) {
    let mut viewer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    viewer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut version = [0; 12];
    viewer.read_exact(&mut version).unwrap();
    viewer.write_all(b"RFB 003.008\n").unwrap();
    let mut kinds = [0; 2];
    viewer.read_exact(&mut kinds).unwrap();
    assert_eq!(kinds, [1, 2], "VNC authentication and nothing else");
    viewer.write_all(&[2]).unwrap();
    let (mut challenge, mut said) = ([0; 16], [0; 4]);
    viewer.read_exact(&mut challenge).unwrap();
    let cipher = des::Des::new(&password.map(u8::reverse_bits).into());
    challenge.chunks_exact_mut(8).for_each(|block| cipher.encrypt_block(block.into()));
    viewer.write_all(&challenge).unwrap();
    viewer.read_exact(&mut said).unwrap();
    (u32::from_be_bytes(said), viewer)
}

#[test]
fn a_screen_is_at_its_port_for_who_knows_the_password() {
    let home = Home::new("vnc");
    let port = free_port();
    home.vm_ok(&["create", "pc", "--memory", "64M", "--engine", "soft", "--start-with", "firmware"]);
    home.vm_ok(&["screen-set", "pc", "--port", &port.to_string(), "--password", "secret"]);
    home.vm_ok(&["start", "pc"]);
    assert!(home.vm_ok(&["screen", "pc"]).contains(&format!("127.0.0.1::{port}")));
    assert_eq!(say_password(port, b"Secret\0\0").0, 1);
    let (said, mut viewer) = say_password(port, b"secret\0\0");
    assert_eq!(said, 0);
    // Others may look, too; then the screen's size and format come.
    viewer.write_all(&[1]).unwrap();
    let mut size = [0; 4];
    viewer.read_exact(&mut size).unwrap();
    assert!(size[..2] != [0, 0] && size[2..] != [0, 0], "{size:?}");
}
