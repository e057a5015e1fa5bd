//! What a level is told by its parent, on the kernel command line.

use std::net::SocketAddrV4;
use std::str::FromStr;

/// What the agent of a level is to do. Without any of it, a guest offers a shell.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// 1 for a VM of the host.
    pub level: u32,
    /// The innermost level.
    pub depth: u32,
    /// The boot id of the kernel that started this one.
    pub parent: String,
    /// How long one benchmark takes.
    pub bench_ms: u64,
    /// The kernel's messages are wanted, those of deeper levels too.
    pub console: bool,
    /// Processors of each level.
    pub cpus: u32,
    /// Memory is to be checked all the time, at every level.
    pub sums: bool,
    /// It is on a network, and fetches a file.
    pub network: Option<Network>,
    /// A shell command to run instead of everything else.
    pub exec: Option<String>,
}

/// The two ways of Hyper-V's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Each level's machine is bridged by an External switch of the level above, whose adapter may send with its address.
    Mac,
    /// Each level has a router of its own.
    Nat,
}

/// What a level is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub mode: Mode,
    /// Where the server is seen from inside.
    pub server: SocketAddrV4,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mode = match self.mode {
            Mode::Mac => "mac",
            Mode::Nat => "nat",
        };
        write!(f, "{mode},{}", self.server)
    }
}

impl FromStr for Network {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (mode, server) = text.split_once(',').ok_or(())?;
        let mode = match mode {
            "mac" => Mode::Mac,
            "nat" => Mode::Nat,
            _ => return Err(()),
        };
        Ok(Self { mode, server: server.parse().map_err(drop)? })
    }
}

/// What every guest's kernel is told: a panic ends the VM, and the processor's random numbers are trusted so that
/// nobody waits for entropy. The timer is not checked, as on hypervisors that Linux knows: the check counts interrupts against
/// a loop, and a busy host makes it fail.
const ALWAYS: &str = "console=ttyS0 panic=-1 random.trust_cpu=on no_timer_check";

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            level: 0,
            depth: 0,
            parent: String::new(),
            bench_ms: 0,
            console: false,
            cpus: 1,
            sums: false,
            network: None,
            exec: None,
        }
    }
}

impl AgentConfig {
    /// The kernel command line that carries this, then `append`.
    pub fn to_command_line(&self, append: &str) -> String {
        let mut words = vec![ALWAYS.to_owned()];
        words
            .push(if self.console { "earlyprintk=ttyS0 ignore_loglevel" } else { "quiet loglevel=3" }.into());
        if self.level > 0 {
            words.push(format!("ireko.level={} ireko.depth={}", self.level, self.depth));
            words.push(format!("ireko.parent={} ireko.bench={}", self.parent, self.bench_ms));
            words.push(format!("ireko.console={} ireko.cpus={}", u8::from(self.console), self.cpus));
            if let Some(network) = &self.network {
                words.push(format!("ireko.network={network}"));
            }
            if self.sums {
                words.push("ireko.sums=1".into());
            }
        }
        if let Some(command) = &self.exec {
            words.push(format!("ireko.exec=\"{command}\""));
        }
        words.push(append.to_owned());
        words.join(" ").trim_end().to_owned()
    }

    /// What is on a kernel command line. What is missing or not a number has its default.
    pub fn parse(command_line: &str) -> Self {
        let mut config = Self { bench_ms: 100, ..Self::default() };
        for word in words(command_line) {
            let Some((name, value)) = word.strip_prefix("ireko.").and_then(|word| word.split_once('='))
            else {
                continue;
            };
            match name {
                "level" => config.level = value.parse().unwrap_or(0),
                "depth" => config.depth = value.parse().unwrap_or(0),
                "parent" => config.parent = value.to_owned(),
                "bench" => config.bench_ms = value.parse().unwrap_or(config.bench_ms),
                "network" => config.network = value.parse().ok(),
                "cpus" => config.cpus = value.parse().unwrap_or(1),
                "sums" => config.sums = value == "1",
                "console" => config.console = value == "1",
                "exec" => config.exec = Some(value.to_owned()),
                _ => (),
            }
        }
        config
    }

    /// That of the next level.
    pub fn for_child(&self, own_boot_id: &str) -> Self {
        Self { level: self.level + 1, parent: own_boot_id.to_owned(), ..self.clone() }
    }
}

/// Words between spaces; double quotes hold spaces together, as the kernel has it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => words.last_mut().expect("there is always one").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_survives_the_command_line() {
        let config = AgentConfig {
            level: 2,
            depth: 3,
            parent: "a-b".into(),
            bench_ms: 50,
            console: true,
            cpus: 2,
            sums: true,
            network: "mac,172.20.0.1:80".parse().ok(),
            exec: Some("ls -l /".into()),
        };
        assert_eq!(AgentConfig::parse(&config.to_command_line("quiet")), config);
    }

    #[test]
    fn what_a_level_is_told_survives_the_command_line() {
        let network = Network { mode: Mode::Nat, server: "172.20.0.1:8080".parse().unwrap() };
        assert_eq!(network.to_string().parse(), Ok(network));
        assert_eq!("mac".parse::<Network>(), Err(()));
    }

    #[test]
    fn without_a_configuration_the_level_is_zero() {
        assert_eq!(AgentConfig::parse("console=ttyS0 ireko.level=x").level, 0);
    }

    #[test]
    fn a_child_is_one_level_deeper_and_knows_its_parent() {
        let child = AgentConfig { level: 1, depth: 3, ..AgentConfig::default() }.for_child("me");
        assert_eq!((child.level, child.depth, child.parent.as_str()), (2, 3, "me"));
    }
}
