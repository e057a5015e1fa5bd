//! What makes a system listen for SSH at its socket device, by systemd: no network is needed, and no address known.

use serde_json::{Value, json};

/// The port, as of SSH everywhere.
pub const PORT: u32 = 22;

/// Units and what they are, the socket first. A session waits until cloud-init has made users and host keys.
pub const LISTENING: [(&str, &str); 2] = [
    (
        "ireko-ssh.socket",
        "[Unit]\nDescription=SSH from this machine's host\nConditionVirtualization=vm\n\n\
         [Socket]\nListenStream=vsock::22\nAccept=yes\nMaxConnections=64\n\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "ireko-ssh@.service",
        "[Unit]\nDescription=SSH session from this machine's host\nAfter=cloud-init.service\n\n\
         [Service]\nExecStartPre=/bin/mkdir -p -m 0755 /run/sshd\nExecStart=-/usr/sbin/sshd -i\n\
         StandardInput=socket\nKillMode=process\n",
    ),
];

/// The same for cloud-init, of a system that others made.
pub fn add(config: &mut Value) {
    let file = |(unit, text): (&str, &str)| json!({ "path": format!("/etc/systemd/system/{unit}"), "content": text });
    config["write_files"] = json!(LISTENING.map(file));
    config["runcmd"] =
        json!([["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", LISTENING[0].0]]);
}
