//! Who may come in.

use super::*;
use crate::server::{ServeError, Tls};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_socket_and_its_directory_are_their_owners_alone() {
    let live = Live::new();
    assert_eq!(mode(&live.socket), 0o600);
    assert_eq!(mode(live.socket.parent().unwrap()), 0o700);
    assert_eq!(std::fs::read_dir(live.socket.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn tcp_answers_nothing_without_the_token() {
    let live = Live::on_tcp();
    let wrong = "0".repeat(live.token.len());
    let short = &live.token[1..];
    for header in [
        String::new(),
        "Authorization: Bearer \r\n".into(),
        format!("Authorization: Bearer {wrong}\r\n"),
        format!("Authorization: Bearer {short}\r\n"),
        format!("Authorization: Bearer {}0\r\n", live.token),
        format!("Authorization: Basic {}\r\n", live.token),
        format!("Authorization: {}\r\n", live.token),
    ] {
        let answer = live.over_tcp(&header);
        assert_eq!(status(&answer), 401, "{header}");
        assert!(answer.contains("www-authenticate: Bearer") && !answer.contains("results"));
    }
}

#[test]
fn tcp_answers_with_the_token() {
    let live = Live::on_tcp();
    let answer = live.over_tcp(&format!("Authorization: Bearer {}\r\n", live.token));
    assert_eq!(status(&answer), 200);
}

#[test]
fn a_token_that_is_made_is_long_and_its_owners_alone() {
    let live = Live::on_tcp();
    assert_eq!((live.token.len(), mode(&live.scratch.path().join("token"))), (64, 0o600));
}

fn token_error(content: &str, mode: u32) -> String {
    let scratch = Scratch::new();
    let path = scratch.path().join("token");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    Token::from_file(&path).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_token_file_that_others_may_read_is_refused() {
    assert!(token_error(&"x".repeat(64), 0o640).contains("mode 0640"));
    assert_eq!(token_error(&"x".repeat(64), 0o600), "");
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    for content in ["", "short", "two words that are long enough"] {
        assert!(token_error(content, 0o600).contains("one word"), "{content}");
    }
}

#[test]
fn other_machines_are_let_in_only_by_tls() {
    let scratch = Scratch::new();
    let bindings = |address: &str, tls| {
        let token = Token::from_file(&scratch.path().join("token")).unwrap();
        let tcp = Tcp { address: address.parse().unwrap(), token, tls, names: Vec::new() };
        Bindings::new(&scratch.path().join("api.sock"), Some(tcp))
    };
    for remote in ["0.0.0.0:0", "[::]:0"] {
        assert!(matches!(bindings(remote, None), Err(ServeError::Remote(_))), "{remote}");
    }
    let tls = Tls::own(scratch.path(), vec!["localhost".into()]).unwrap();
    assert!(bindings("0.0.0.0:0", Some(tls)).is_ok());
}

#[test]
fn a_second_server_on_the_same_socket_is_refused() {
    let live = Live::new();
    assert!(matches!(Bindings::new(&live.socket, None), Err(ServeError::Taken(_))));
}

#[test]
fn what_a_killed_server_left_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path().join("api.sock");
    drop(Bindings::new(&path, None).unwrap());
    assert!(path.exists() && Bindings::new(&path, None).is_ok());
}

#[test]
fn a_file_in_the_sockets_place_stays() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notes");
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(Bindings::new(&path, None), Err(ServeError::Socket { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_long_path_is_no_obstacle() {
    let scratch = Scratch::new();
    let path = scratch.path().join("deep/".repeat(40)).join("api.sock");
    assert!(Bindings::new(&path, None).is_ok() && connect(&path).is_err());
}
