//! VNC authentication (RFC 6143, 7.2.2): the viewer encrypts a challenge by DES with the password. It is weak: eight characters, a key of
//! 56 bits, and nothing of what follows is encrypted; so it is for loopback alone.

use des::Des;
use des::cipher::{BlockEncrypt, KeyInit};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::{self, Read, Write};
use std::time::Duration;

/// What VNC authentication takes of a password.
pub const LONGEST: usize = 8;
/// The security type.
pub const KIND: u8 = 2;
const CHALLENGE: usize = 16;
/// Whoever was wrong waits for so long, so that guessing takes its time.
const PENALTY: Duration = Duration::from_secs(1);

/// The answer to a challenge. DES has a parity bit at each byte's end, VNC puts it at the other one.
pub fn answer(challenge: [u8; CHALLENGE], password: &str) -> [u8; CHALLENGE] {
    let mut key = [0; LONGEST];
    for (byte, given) in key.iter_mut().zip(password.bytes()) {
        *byte = given.reverse_bits();
    }
    let (cipher, mut answer) = (Des::new(&key.into()), challenge);
    for block in answer.chunks_exact_mut(8) {
        cipher.encrypt_block(block.into());
    }
    answer
}

/// Asks for the password, and says how it was. An error: it was wrong, or the viewer is gone.
pub fn ask(reader: &mut impl Read, writer: &mut impl Write, password: &str, reasons: bool) -> io::Result<()> {
    const WRONG: &[u8] = b"the password is wrong";
    // By a system call: behind the walls there is no file of random bytes.
    let mut challenge = [0; CHALLENGE];
    SystemRandom::new().fill(&mut challenge).map_err(|_| io::Error::other("no random bytes"))?;
    writer.write_all(&challenge)?;
    writer.flush()?;
    let mut given = [0; CHALLENGE];
    reader.read_exact(&mut given)?;
    let right = answer(challenge, password);
    // However much of it is right takes the same time.
    if given.iter().zip(right).fold(0, |sum, (given, right)| sum | (given ^ right)) == 0 {
        return writer.write_all(&[0; 4]);
    }
    std::thread::sleep(PENALTY);
    writer.write_all(&1u32.to_be_bytes())?;
    if reasons {
        writer.write_all(&(WRONG.len() as u32).to_be_bytes())?;
        writer.write_all(WRONG)?;
    }
    writer.flush()?;
    Err(io::ErrorKind::PermissionDenied.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl enc -des-ecb` has it with the password's bytes turned round for a key.
    #[test]
    fn a_challenge_is_encrypted_by_the_password() {
        const CHALLENGE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        assert_eq!(answer(CHALLENGE, "password"), EXPECTED);
        assert_ne!(answer(CHALLENGE, "passwore"), EXPECTED);
    }

    const EXPECTED: [u8; 16] = [184, 102, 146, 65, 37, 200, 238, 187, 157, 235, 193, 219, 97, 197, 56, 226];

    fn asked(password: &str, given: &str) -> (io::Result<()>, Vec<u8>) {
        /// A viewer: it answers what it was sent last.
        struct Viewer<'a>(&'a std::cell::RefCell<Vec<u8>>, String);
        impl Read for Viewer<'_> {
            fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
                let sent = self.0.borrow();
                let mut challenge = [0; CHALLENGE];
                challenge.copy_from_slice(&sent[sent.len() - CHALLENGE..]);
                data[..CHALLENGE].copy_from_slice(&answer(challenge, &self.1));
                Ok(CHALLENGE)
            }
        }
        struct Sent<'a>(&'a std::cell::RefCell<Vec<u8>>);
        impl Write for Sent<'_> {
            fn write(&mut self, data: &[u8]) -> io::Result<usize> {
                self.0.borrow_mut().extend(data);
                Ok(data.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sent = std::cell::RefCell::default();
        let result = ask(&mut Viewer(&sent, given.into()), &mut Sent(&sent), password, true);
        (result, sent.into_inner().split_off(CHALLENGE))
    }

    #[test]
    fn the_right_password_comes_in_and_another_does_not() {
        let (right, said) = asked("secret", "secret");
        assert!(right.is_ok() && said == [0; 4]);
        let (wrong, said) = asked("secret", "Secret");
        assert!(wrong.is_err() && said.ends_with(b"the password is wrong") && said[..4] == [0, 0, 0, 1]);
    }
}
