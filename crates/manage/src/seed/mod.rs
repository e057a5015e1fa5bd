//! What a system is told at its first start, by cloud-init's data source NoCloud: a small file system with the label CIDATA
//! that has its name, its user, and how to log in.

mod hash;
mod iso;
mod key;
mod listening;

pub use hash::hashed;
pub use key::{SshKey, ssh_key};
pub use listening::{LISTENING, PORT as SSH_PORT};

use serde_json::{Value, json};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    /// Of the machine, as its owner calls it.
    pub name: String,
    /// Another one is another machine to cloud-init: it does everything anew.
    pub instance: String,
    /// None: the one that the system's makers chose.
    pub user: Option<String>,
    /// Hashed, as crypt(3) has it.
    pub password: Option<String>,
    pub keys: Vec<String>,
    /// It is to be made to listen for SSH at its socket device.
    pub listens: bool,
    /// What somebody wrote for cloud-init, and what is said here comes before.
    pub own: Option<Vec<u8>>,
}

impl Seed {
    /// The image of the file system.
    pub fn image(&self) -> Vec<u8> {
        let meta = json!({ "instance-id": self.instance, "local-hostname": host_name(&self.name) });
        let config = document(&self.config());
        let (user, vendor) = match &self.own {
            Some(own) => (own.clone(), config),
            None => (config, Vec::new()),
        };
        let meta = meta.to_string().into_bytes();
        let mut files = vec![("meta-data", meta), ("user-data", user)];
        if !vendor.is_empty() {
            files.push(("vendor-data", vendor));
        }
        iso::image("CIDATA", &files)
    }

    fn config(&self) -> Value {
        let mut config = json!({ "growpart": { "mode": "auto", "devices": ["/"] } });
        match &self.user {
            Some(name) => config["users"] = json!([self.account(name)]),
            None => {
                if !self.keys.is_empty() {
                    config["ssh_authorized_keys"] = json!(self.keys);
                }
                if let Some(password) = &self.password {
                    config["password"] = json!(password);
                }
            }
        }
        if self.listens {
            listening::add(&mut config);
        }
        if self.password.is_some() {
            config["chpasswd"] = json!({ "expire": false });
        }
        config
    }

    fn account(&self, name: &str) -> Value {
        let mut account = json!({
            "name": name,
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": self.password.is_none(),
            "ssh_authorized_keys": self.keys,
        });
        if let Some(password) = &self.password {
            account["passwd"] = json!(password);
        }
        account
    }
}

/// JSON is YAML.
fn document(config: &Value) -> Vec<u8> {
    format!("#cloud-config\n{config:#}\n").into_bytes()
}

/// A host name of a machine's name (RFC 1123): letters, digits and hyphens.
pub fn host_name(name: &str) -> String {
    const LONGEST: usize = 63;
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let text: String = letters.collect();
    let text: String = text.trim_matches('-').chars().take(LONGEST).collect();
    let text = text.trim_end_matches('-');
    if text.is_empty() { "ireko".into() } else { text.into() }
}

/// Whether a user can have this name: what useradd(8) takes everywhere.
pub fn is_user(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    first
        && name.len() <= 32
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

/// Whether it looks like a line of authorized_keys: a kind, and behind it the key.
pub fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let key = words.next().unwrap_or_default();
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start));
    known && key.len() >= 32 && key.starts_with("AAAA") && !line.contains(|c: char| c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed { name: "web".into(), instance: "i-1".into(), ..Seed::default() }
    }

    fn config(seed: &Seed) -> Value {
        let text = String::from_utf8(document(&seed.config())).unwrap();
        serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap()
    }

    #[test]
    fn a_user_has_password_and_keys() {
        let seed = Seed {
            user: Some("eve".into()),
            password: Some("$6$x".into()),
            keys: vec!["k".into()],
            ..seed()
        };
        let user = &config(&seed)["users"][0];
        assert_eq!((&user["passwd"], &user["lock_passwd"]), (&json!("$6$x"), &json!(false)));
        assert_eq!(user["ssh_authorized_keys"], json!(["k"]));
    }

    #[test]
    fn without_a_user_it_is_the_systems_own() {
        let config = config(&Seed { password: Some("$6$x".into()), ..seed() });
        assert_eq!((config.get("users"), &config["password"]), (None, &json!("$6$x")));
    }

    #[test]
    fn a_system_that_others_made_is_made_to_listen() {
        let listens = |listens| config(&Seed { listens, ..seed() });
        assert_eq!(listens(false).get("write_files"), None);
        assert_eq!(listens(true)["write_files"][0]["path"], json!("/etc/systemd/system/ireko-ssh.socket"));
        assert_eq!(listens(true)["runcmd"][1][3], json!("ireko-ssh.socket"));
    }

    #[test]
    fn what_somebody_wrote_is_the_users_data() {
        let image = Seed { own: Some(b"#!/bin/sh\necho mine\n".to_vec()), ..seed() }.image();
        let files = iso::tests::files(&image);
        assert_eq!(files["user-data"], b"#!/bin/sh\necho mine\n");
        assert!(files["vendor-data"].starts_with(b"#cloud-config\n"));
    }

    #[test]
    fn a_host_name_has_letters_digits_and_hyphens() {
        assert_eq!(host_name("My VM (2)"), "my-vm--2");
        assert_eq!(host_name("入れ子"), "ireko");
    }

    #[test]
    fn keys_and_users_that_cannot_be_are_told_from_those_that_can() {
        assert!(is_user("eve") && !is_user("Eve") && !is_user("") && !is_user("a:b"));
        assert!(is_key(&format!("ssh-ed25519 AAAA{} a@b", "C3".repeat(30))));
        assert!(!is_key("-----BEGIN OPENSSH PRIVATE KEY-----") && !is_key("ssh-rsa short"));
    }
}
