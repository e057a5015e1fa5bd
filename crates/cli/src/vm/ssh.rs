//! A shell in a running VM, or a command: by this host's own client for SSH, over the VM's socket device. The VM has a key and a list
//! of host keys of its own, so nothing of the user's is read or written for it.

use super::console::find;
use super::vsock::runs;
use anyhow::{Context, Result, anyhow};
use ireko_manage::Host;
use ireko_manage::ops::SSH_KEY;
use ireko_manage::seed::{SSH_PORT, host_name};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode};

/// What is wanted.
pub struct Session {
    pub name: String,
    /// Who logs in; otherwise who was named when the VM was made.
    pub user: Option<String>,
    /// Seconds for its system to listen.
    pub wait: u64,
    /// Without one it is a shell.
    pub command: Vec<OsString>,
}

const PROGRAM: &str = "ssh";
const KNOWN: &str = "known_hosts";

/// Becomes the client: its exit status, which is the command's, is ours.
pub fn begin(host: &Host, session: &Session) -> Result<ExitCode> {
    // Comes back only if it failed.
    let error = client(host, session)?.exec();
    Err(told(error))
}

/// Runs the client to its end; its exit status.
pub fn wait(host: &Host, session: &Session) -> Result<i32> {
    let mut client = client(host, session)?;
    crate::sys::heed_ending_signals(&mut client);
    let status = client.status().map_err(told)?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn told(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => {
            anyhow!(
                "there is no client for SSH on this host; install one (Debian: apt install openssh-client)"
            )
        }
        _ => anyhow!(error).context("cannot start the client for SSH"),
    }
}

fn client(host: &Host, session: &Session) -> Result<Command> {
    let config = find(host, &session.name)?;
    runs(host, &config)?;
    let (directory, id) = (host.store.directory(config.id), config.id.to_string());
    let own = std::env::current_exe().context("cannot find our own binary")?;
    let mut client = Command::new(PROGRAM);
    let proxy = format!("{} vm vsock --wait {} {id} {SSH_PORT}", in_shell(&own), session.wait);
    let options = [
        format!("ProxyCommand={}", literal(&proxy)),
        format!("HostKeyAlias={id}"),
        format!("UserKnownHostsFile=\"{}\"", literal(&directory.join(KNOWN).display().to_string())),
        "GlobalKnownHostsFile=/dev/null".into(),
        "StrictHostKeyChecking=accept-new".into(),
        "CheckHostIP=no".into(),
        "LogLevel=ERROR".into(),
    ];
    for option in &options {
        client.args(["-o", option]);
    }
    let key = directory.join(SSH_KEY);
    if key.is_file() {
        client.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(&key);
    }
    if let Some(user) = session.user.as_ref().or(config.user.as_ref()) {
        client.args(["-l", user]);
    }
    client.args(["--", &host_name(&config.name)]).args(&session.command);
    client.env("IREKO_HOME", host.store.home());
    Ok(client)
}

/// One word of a shell's.
fn in_shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Without the client's own tokens.
fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_one_word_whatever_is_in_them() {
        assert_eq!(in_shell(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert_eq!(literal("/100%h"), "/100%%h");
    }
}
