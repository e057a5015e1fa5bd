//! The language of the control socket: one JSON document a line, a request and its reply. A console request turns the
//! connection into the console's bytes, both ways.

use super::introspection::Introspection;
use super::screen::Head;
use crate::state::State;
use ireko_jail::Layers;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};

/// In the VM's directory.
pub const SOCKET: &str = "run/control.sock";
/// A line that is longer is not ours.
pub const LONGEST: u64 = 256 << 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Request {
    Status,
    /// Presses the power button; the VM counts as Stopping for so many seconds at most.
    ShutDown {
        seconds: u64,
    },
    TurnOff,
    Reset,
    Pause,
    Resume,
    /// Starts metering anew, or forgets it.
    Meter {
        on: bool,
    },
    /// Other settings of memory, as far as a running VM can take them.
    Memory {
        settings: crate::store::Memory,
    },
    /// Other settings of network adapters, as far as a running VM can take them.
    Network {
        adapters: Vec<crate::store::Adapter>,
    },
    /// What its processors take of the host's at most, in percent.
    Processor {
        maximum: u32,
    },
    /// Its weight where processors are short; an error if it can only be had at its start.
    Weight {
        weight: u32,
    },
    /// Something for the guest's agent, in its own words; the reply has its answer.
    Agent {
        command: String,
        arguments: serde_json::Value,
    },
    /// Other limits of disks.
    Disks {
        disks: Vec<crate::store::Disk>,
    },
    /// Another medium in a DVD drive, whose file comes with the request, or none.
    Medium {
        dvd: crate::store::config::Dvd,
    },
    /// A disk more; its file comes with the request.
    AddDisk {
        disk: crate::store::Disk,
    },
    /// A disk less.
    RemoveDisk {
        place: crate::store::config::DriveAddress,
    },
    /// What becomes of a guest that crashes.
    Crash {
        action: crate::store::config::AutomaticCrash,
    },
    /// Other integration services.
    Integration {
        settings: crate::store::config::Integration,
    },
    /// What runs inside.
    Introspection,
    /// What the screen shows: the reply is followed by its pixels.
    Screen,
    /// Keys to type, as `keys::pack` has them.
    Keys {
        keys: Vec<u16>,
    },
    /// The console's kept output and all that follows; what is sent goes to the guest.
    Console,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done,
    Status(Box<Status>),
    Introspection(Box<Introspection>),
    Screen(Head),
    Agent(Box<serde_json::Value>),
    Error(String),
}

/// What a worker says of its VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    pub pid: u32,
    pub uptime_seconds: f64,
    pub engine: String,
    pub engine_reason: String,
    /// What the guest can use, in bytes.
    pub memory_assigned: u64,
    /// What it was given besides and has not taken into use, as far as it says so.
    #[serde(default)]
    pub memory_offline: u64,
    /// What it can have at most until its next start.
    #[serde(default)]
    pub memory_reachable: u64,
    /// What it should have.
    #[serde(default)]
    pub memory_target: u64,
    /// The guest is on its way there.
    #[serde(default)]
    pub memory_adjusting: bool,
    /// What the guest uses, if it says so.
    #[serde(default)]
    pub memory_demand: Option<u64>,
    /// What the worker uses, in bytes.
    pub memory_resident: u64,
    pub cpu_seconds: f64,
    /// Over the last seconds, of one processor of the host: 2.0 is two busy ones.
    pub cpu_load: f64,
    /// Whether the VM was started with virtualization extensions.
    pub nested: bool,
    /// Whether a hypervisor runs inside, and how many worlds it holds: at most a second old. `None`: not known.
    #[serde(default)]
    pub hypervisor: Option<bool>,
    #[serde(default)]
    pub worlds: Option<u32>,
    /// What bounds the worker on its host.
    #[serde(default)]
    pub limits: Option<String>,
    pub resets: u64,
    /// How its guest crashed, if it is held for a look since.
    #[serde(default)]
    pub crashed: Option<String>,
    /// What the host could not do with its disks last, and how often there was something.
    #[serde(default)]
    pub disk_error: Option<String>,
    #[serde(default)]
    pub disk_errors: u64,
    pub console_bytes: u64,
    pub viewers: usize,
    /// What each network adapter has counted.
    #[serde(default)]
    pub traffic: Vec<(crate::guid::Guid, ireko_net::traffic::Report)>,
    /// What its guest's agent tells.
    #[serde(default)]
    pub guest: super::guest::Guest,
    /// What it has used, if it is metered.
    #[serde(default)]
    pub meter: Option<crate::store::Meter>,
    /// What stands between the guest and the host besides its engine.
    #[serde(default)]
    pub jail: Layers,
}

/// How a worker's start went, on its standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    Running { pid: u32, engine: String },
    Error(String),
}

pub fn write_line(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// None at the end of the stream.
pub fn read_line<T: serde::de::DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let count = from.take(LONGEST).read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
    }
    serde_json::from_slice(&line).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_line() {
        let mut line = Vec::new();
        write_line(&mut line, &Request::ShutDown { seconds: 5 }).unwrap();
        assert_eq!(read_line(&mut line.as_slice()).unwrap(), Some(Request::ShutDown { seconds: 5 }));
    }

    /// Whatever comes through the socket, every line is a message or an error, and the stream ends.
    #[test]
    fn fuzz_control_lines() {
        bolero::check!().with_test_time(std::time::Duration::from_secs(2)).for_each(|input: &[u8]| {
            // Words of the language between the bytes.
            const WORDS: [&str; 8] = [
                "{\"do\":\"",
                "shut_down\"",
                ",\"seconds\":",
                "memory\"",
                "\"settings\":{",
                "}\n",
                "[",
                "network\"",
            ];
            let text: Vec<u8> = input
                .iter()
                .flat_map(|byte| match byte {
                    0x80..0xc0 => WORDS[usize::from(byte & 7)].as_bytes().to_vec(),
                    _ => vec![*byte],
                })
                .collect();
            let (mut requests, mut replies) = (text.as_slice(), text.as_slice());
            while let Ok(Some(_)) | Err(_) = read_line::<Request>(&mut requests)
                && !requests.is_empty()
            {}
            while let Ok(Some(_)) | Err(_) = read_line::<Reply>(&mut replies)
                && !replies.is_empty()
            {}
        });
    }

    #[test]
    fn a_line_without_end_is_not_read_for_ever() {
        assert!(read_line::<Request>(&mut io::BufReader::new(io::repeat(b'x'))).is_err());
    }
}
