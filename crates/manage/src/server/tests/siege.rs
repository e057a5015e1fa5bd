//! Connections that want to keep others out.

use super::*;
use std::io::ErrorKind;

/// More than all places of a binding.
const MANY: usize = 300;

fn silent(live: &Live, first: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(live.address.unwrap()).unwrap();
        let _ = stream.write_all(first);
        stream
    };
    (0..MANY).map(one).collect()
}

#[test]
fn silent_connections_and_half_heads_on_tcp_keep_nobody_out_at_either_binding() {
    let live = Live::on_tcp();
    for first in [&b""[..], b"GET /host HTTP/1.1\r\nHost: localhost\r\nX: "] {
        let _silent = silent(&live, first);
        assert_eq!(live.read("/host").0, 200);
        let answer = live.over_tcp(&format!("Authorization: Bearer {}\r\n", live.token));
        assert_eq!(status(&answer), 200, "{answer}");
    }
}

#[test]
fn those_who_are_too_many_are_sent_away() {
    let live = Live::on_tcp();
    let mut first = silent(&live, b"").remove(0);
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(first.read(&mut [0; 1]), Ok(0)));
}

/// How many bytes of a head are taken, ten a second, until the connection is over.
fn trickled(mut stream: impl Read + Write) -> usize {
    let mut sent = 0;
    for byte in std::iter::repeat_n(b'x', 1000) {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        sent += 1;
        match stream.read(&mut [0; 1]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            _ => break,
        }
    }
    sent
}

#[test]
fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let live = Live::on_tcp();
    let tick = Some(Duration::from_millis(100));
    let socket = connect(&live.socket).unwrap();
    let tcp = TcpStream::connect(live.address.unwrap()).unwrap();
    socket.set_read_timeout(tick).unwrap();
    tcp.set_read_timeout(tick).unwrap();
    let other = std::thread::spawn(move || trickled(tcp));
    assert!(trickled(socket) < 100 && other.join().unwrap() < 100);
}

#[test]
fn two_ways_to_tell_a_bodys_length_are_refused_and_nothing_after_them_is_read() {
    let live = Live::new();
    let (length, chunked) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    for headers in [format!("{length}{chunked}"), format!("{chunked}{length}"), chunked.to_owned()] {
        let smuggled = "0\r\n\r\nGET /host HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = format!("POST /vms HTTP/1.1\r\nHost: x\r\n{headers}\r\n{smuggled}");
        let answer = live.raw(request.as_bytes());
        assert_eq!((status(&answer), answer.matches("HTTP/1.1").count()), (411, 1), "{answer}");
    }
}

#[test]
fn lengths_that_differ_are_refused() {
    let live = Live::new();
    let request = "POST /vms HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ";
    assert_eq!(status(&live.raw(request.as_bytes())), 400);
}
