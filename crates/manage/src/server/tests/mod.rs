//! The server with fake machines, over its real sockets.

mod api;
mod bindings;
mod events;
mod fuzz;
mod hostile;
mod secure;
mod siege;
mod walk;

use super::bindings::connect;
use super::{Bindings, Tcp, Tls, Token, serve};
use crate::host::{EngineFacts, Host, HostFacts, HostSystem};
use crate::scratch::Scratch;
use crate::store::Store;
use crate::worker::fake::ThreadLauncher;
use serde_json::{Value as Json, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A calm machine that can do everything.
struct Here;

impl HostSystem for Here {
    fn host(&self) -> HostFacts {
        HostFacts {
            name: "here".into(),
            logical_processors: 2,
            memory: 8 << 30,
            memory_free: 4 << 30,
            vendor: "AuthenticAMD".into(),
            megahertz: 2000,
            brand: "a brand".into(),
        }
    }
    fn engine(&self, _: &str, _: bool) -> Result<EngineFacts, String> {
        Ok(EngineFacts { name: "soft".into(), reason: String::new(), nested: true, max_vcpus: 8 })
    }
}

struct Live {
    scratch: Scratch,
    socket: PathBuf,
    address: Option<SocketAddr>,
    token: String,
}

/// Longer than any answer takes, so that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

impl Live {
    fn new() -> Self {
        Self::start(false, false)
    }
    fn on_tcp() -> Self {
        Self::start(true, false)
    }
    fn secured() -> Self {
        Self::start(true, true)
    }
    fn with(names: &[&str]) -> Self {
        let live = Self::new();
        for name in names {
            assert_eq!(live.post("/vms", &json!({"Name": name})).0, 201);
        }
        live
    }
    fn start(tcp: bool, tls: bool) -> Self {
        let scratch = Scratch::new();
        let mut host = Host::new(Store::open(scratch.path()).unwrap(), Box::new(ThreadLauncher));
        host.system = Box::new(Here);
        let (socket, file) = (scratch.path().join("server/api.sock"), scratch.path().join("token"));
        let tcp = tcp.then(|| Tcp {
            address: "127.0.0.1:0".parse().unwrap(),
            token: Token::from_file(&file).unwrap(),
            tls: tls.then(|| Tls::own(&scratch.path().join("server"), vec!["localhost".into()]).unwrap()),
            names: Vec::new(),
        });
        let bindings = Bindings::new(&socket, tcp).unwrap();
        let address = bindings.address();
        std::thread::spawn(move || serve(Arc::new(host), bindings));
        let token = std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
        Self { scratch, socket, address, token }
    }

    fn store(&self) -> Store {
        Store::open(self.scratch.path()).unwrap()
    }

    /// A whole request; the rest of the connection comes back.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        // What has been answered is answered, even if what was not read yet breaks the connection.
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the server hangs"),
            _ => String::from_utf8_lossy(&answer).into_owned(),
        }
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        let text = body.map(Json::to_string).unwrap_or_default();
        parse(&self.request(method, path, "Content-Type: application/json\r\n", text.as_bytes()))
    }
    fn read(&self, path: &str) -> (u16, Json) {
        self.ask("GET", path, None)
    }
    fn post(&self, path: &str, body: &Json) -> (u16, Json) {
        self.ask("POST", path, Some(body))
    }
    fn patch(&self, path: &str, body: &Json) -> (u16, Json) {
        self.ask("PATCH", path, Some(body))
    }
    fn delete(&self, path: &str) -> (u16, Json) {
        self.ask("DELETE", path, None)
    }

    fn over_tcp(&self, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET /host HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn parse(answer: &str) -> (u16, Json) {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status(answer), serde_json::from_str(body).unwrap_or(Json::Null))
}
