//! A key for SSH that is a machine's own: Ed25519, in the files that OpenSSH reads (PROTOCOL.key).

use crate::base64::encode as base64;
use ring::signature::{Ed25519KeyPair, KeyPair};

const KIND: &[u8] = b"ssh-ed25519";

/// The private key's file, and the line of the public one.
pub struct SshKey {
    pub private: String,
    pub public: String,
}

/// Of 32 random bytes, and four more. `None`: they are of no key, which does not happen.
pub fn ssh_key(seed: [u8; 32], check: [u8; 4], comment: &str) -> Option<SshKey> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
    let point = pair.public_key().as_ref();
    let public = [text(KIND), text(point)].concat();
    let mut secret = [&check[..], &check, &public, &text(&[&seed[..], point].concat())].concat();
    secret.extend(text(comment.as_bytes()));
    // Whole blocks of eight, filled up by 1, 2, 3 and so on.
    (1..).take(secret.len().next_multiple_of(8) - secret.len()).for_each(|n| secret.push(n));
    let file = [
        &b"openssh-key-v1\0"[..],
        &text(b"none"),
        &text(b"none"),
        &text(b""),
        &1u32.to_be_bytes(),
        &text(&public),
        &text(&secret),
    ]
    .concat();
    let mut private = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for line in base64(&file).as_bytes().chunks(70) {
        private.push_str(&String::from_utf8_lossy(line));
        private.push('\n');
    }
    private.push_str("-----END OPENSSH PRIVATE KEY-----\n");
    let public = format!("{} {} {comment}", String::from_utf8_lossy(KIND), base64(&public));
    Some(SshKey { private, public })
}

/// RFC 4251: a length and so many bytes.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 1.
    #[test]
    fn the_public_key_is_that_of_its_seed() {
        const SEED: [u8; 32] = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let key = ssh_key(SEED, [1; 4], "web").unwrap();
        let expected = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea web";
        assert_eq!(key.public, expected);
        assert!(super::super::is_key(&key.public));
    }

    #[test]
    fn the_private_keys_file_has_lines_as_ssh_keygen_makes_them() {
        let key = ssh_key([7; 32], [1; 4], "web").unwrap();
        let lines: Vec<&str> = key.private.lines().collect();
        assert_eq!(
            (lines[0], *lines.last().unwrap()),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----")
        );
        assert!(lines[1].starts_with("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"));
        assert!(lines.iter().all(|line| line.len() <= 70));
    }
}
