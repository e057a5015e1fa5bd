//! Names (RFC 1035): the guests' own are answered here, all others are asked of the host's resolvers, byte for byte but for
//! the number of the question.

use crate::config::Config;
use crate::guests::Guests;
use crate::packet::{put, word};
use std::net::IpAddr;
use std::time::Instant;

pub const PORT: u16 = 53;
/// Longer questions are nobody's.
pub const LONGEST_QUESTION: usize = 4096;
/// How long a guest's name may be remembered: its address may change.
const SECONDS: u32 = 5;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// A message with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    pub id: u16,
    pub is_answer: bool,
    opcode: u16,
    wants_recursion: bool,
    /// Lower case, with dots, without the last.
    pub name: String,
    pub kind: u16,
    class: u16,
    /// Name, kind and class as they are.
    pub bytes: &'a [u8],
}

impl<'a> Question<'a> {
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let flags = word(message, 2)?;
        if word(message, 4)? != 1 {
            return None;
        }
        let (mut at, mut name) = (HEADER, String::new());
        loop {
            let len = usize::from(*message.get(at)?);
            at += 1;
            if len == 0 {
                break;
            }
            // A pointer has nothing to point at in a question.
            if len > 63 || name.len() + len > 254 {
                return None;
            }
            let label = message.get(at..at + len)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            at += len;
        }
        Some(Self {
            id: word(message, 0)?,
            is_answer: flags & 0x8000 != 0,
            opcode: flags >> 11 & 15,
            wants_recursion: flags & 0x100 != 0,
            name,
            kind: word(message, at)?,
            class: word(message, at + 2)?,
            bytes: message.get(HEADER..at + 4)?,
        })
    }

    /// What is known here: the answer's code and addresses. `None`: others are to be asked.
    fn known(&self, config: &Config, guests: &Guests, now: Instant) -> Option<(u16, Vec<IpAddr>)> {
        const NO_SUCH_NAME: u16 = 3;
        if self.opcode != 0 || self.class != INTERNET {
            return None;
        }
        let domain = config.domain.to_ascii_lowercase();
        let inner = self.name.strip_suffix(&domain).and_then(|rest| rest.strip_suffix('.'));
        let plain = (!self.name.contains('.')).then_some(self.name.as_str());
        let wanted = inner.or(plain)?;
        let owner = config.names.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let Some((_, mac)) = owner else { return inner.map(|_| (NO_SUCH_NAME, Vec::new())) };
        let mut addresses = guests.addresses(*mac, now);
        addresses.retain(|address| match address {
            IpAddr::V4(_) => self.kind == A,
            IpAddr::V6(six) => self.kind == AAAA && six.segments()[0] & 0xffc0 != 0xfe80,
        });
        Some((0, addresses))
    }

    /// The answer, if it is known here.
    pub fn answer(&self, config: &Config, guests: &Guests, now: Instant) -> Option<Vec<u8>> {
        let (code, addresses) = self.known(config, guests, now)?;
        let mut message = self.head(code, addresses.len() as u16);
        for address in addresses {
            let (kind, bytes) = match address {
                IpAddr::V4(four) => (A, four.octets().to_vec()),
                IpAddr::V6(six) => (AAAA, six.octets().to_vec()),
            };
            // Its name is that of the question.
            message.extend([0xc0, HEADER as u8]);
            message.extend(kind.to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend(SECONDS.to_be_bytes());
            message.extend((bytes.len() as u16).to_be_bytes());
            message.extend(bytes);
        }
        Some(message)
    }

    pub fn is_query(&self) -> bool {
        self.opcode == 0
    }

    /// What is not done here.
    pub fn refusal(&self) -> Vec<u8> {
        const NOT_IMPLEMENTED: u16 = 4;
        self.head(NOT_IMPLEMENTED, 0)
    }

    /// Nobody could be asked.
    pub fn failure(&self) -> Vec<u8> {
        const SERVER_FAILURE: u16 = 2;
        self.head(SERVER_FAILURE, 0)
    }

    fn head(&self, code: u16, answers: u16) -> Vec<u8> {
        let recursion = if self.wants_recursion { 0x180 } else { 0x80 };
        let mut message = vec![0; HEADER];
        put(&mut message, 0, &self.id.to_be_bytes());
        put(&mut message, 2, &(0x8000 | self.opcode << 11 | recursion | code).to_be_bytes());
        put(&mut message, 4, &[0, 1]);
        put(&mut message, 6, &answers.to_be_bytes());
        message.extend(self.bytes);
        message
    }
}

/// A question that was passed on.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The guest's number, and ours.
    pub id: u16,
    pub ours: u16,
    pub message: Vec<u8>,
    /// How many resolvers were asked.
    pub tries: usize,
    pub again: Instant,
}

impl Asked {
    /// The resolver's answer with the guest's number, if it is one to this question.
    pub fn fits(&self, answer: &mut [u8]) -> bool {
        let fits = match (Question::parse(answer), Question::parse(&self.message)) {
            (Some(answer), Some(asked)) => {
                answer.is_answer && answer.id == self.ours && answer.bytes.eq_ignore_ascii_case(asked.bytes)
            }
            _ => false,
        };
        if fits {
            put(answer, 0, &self.id.to_be_bytes());
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use std::net::Ipv4Addr;

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    fn known() -> (Config, Guests, Instant) {
        let network = Network { router: Ipv4Addr::new(10, 0, 0, 1), length: 24 };
        let mut config = Config::new([2; 6], network);
        config.names = vec![("web".into(), [4; 6])];
        let (mut guests, now) = (Guests::default(), Instant::now());
        guests.see([4; 6], "10.0.0.9".parse().unwrap(), now);
        (config, guests, now)
    }

    #[test]
    fn a_guests_name_is_answered_with_its_address() {
        let (config, guests, now) = known();
        for name in ["web", "WEB.ireko"] {
            let message = question(name, A);
            let answer = Question::parse(&message).unwrap().answer(&config, &guests, now).unwrap();
            assert_eq!((&answer[..2], &answer[6..8]), (&[0x12, 0x34][..], &[0, 1][..]));
            assert!(answer.ends_with(&[10, 0, 0, 9]));
        }
    }

    #[test]
    fn a_guest_without_such_an_address_is_no_error() {
        let (config, guests, now) = known();
        let message = question("web", AAAA);
        let answer = Question::parse(&message).unwrap().answer(&config, &guests, now).unwrap();
        assert_eq!((answer[3] & 15, &answer[6..8]), (0, &[0, 0][..]));
    }

    #[test]
    fn names_of_others_are_asked_of_others() {
        let (config, guests, now) = known();
        for name in ["example.com", "unknown", "xireko", "ireko"] {
            let message = question(name, A);
            assert_eq!(Question::parse(&message).unwrap().answer(&config, &guests, now), None, "{name}");
        }
        let message = question("unknown.ireko", A);
        let answer = Question::parse(&message).unwrap().answer(&config, &guests, now).unwrap();
        assert_eq!(answer[3] & 15, 3);
    }

    #[test]
    fn an_answer_counts_only_with_our_number_and_the_same_question() {
        let message = question("example.com", A);
        let asked = Asked { id: 1, ours: 0x1234, message, tries: 0, again: Instant::now() };
        let mut answer = question("example.com", A);
        assert!(!asked.fits(&mut answer.clone()), "a question is no answer");
        answer[2] |= 0x80;
        let mut other = question("example.org", A);
        other[2] |= 0x80;
        assert!(!asked.fits(&mut other));
        let mut forged = answer.clone();
        forged[0] ^= 1;
        assert!(!asked.fits(&mut forged));
        assert!(asked.fits(&mut answer));
        assert_eq!(answer[..2], [0, 1]);
    }
}
