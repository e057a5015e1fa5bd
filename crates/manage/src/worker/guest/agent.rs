//! Talking to QEMU's guest agent: a line of JSON each way. Whatever the guest says, an answer has a bound and a time.

use ireko_machine::ChannelHost;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What carries the bytes.
pub trait Wire {
    /// False: nobody takes them.
    fn send(&self, bytes: &[u8]) -> bool;
    /// What has come, or comes until then.
    fn receive(&self, until: Instant) -> Vec<u8>;
}

impl Wire for ChannelHost {
    fn send(&self, bytes: &[u8]) -> bool {
        ChannelHost::send(self, bytes)
    }
    fn receive(&self, until: Instant) -> Vec<u8> {
        ChannelHost::receive(self, until)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing sensible came in time.
    Silent,
    /// It says that it cannot.
    Refused,
}

/// For an answer, on whatever host.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// A line that is longer is no answer.
const LONGEST: usize = 256 << 10;
/// Before the answer to guest-sync-delimited.
const SENTINEL: u8 = 0xff;

/// One conversation.
#[derive(Default)]
pub struct Agent {
    /// What came behind the last line.
    rest: Vec<u8>,
    /// Both sides are at the same place.
    synchronized: bool,
    number: u32,
}

impl Agent {
    /// Asks, and gives what is returned.
    pub fn ask(&mut self, wire: &impl Wire, command: &str, arguments: Value) -> Result<Value, NoAnswer> {
        let until = Instant::now() + PATIENCE;
        if !self.synchronized {
            self.synchronize(wire, until)?;
        }
        let answer = self.say(wire, command, arguments).and_then(|()| self.line(wire, until));
        // Whatever comes later is the answer to something else.
        self.synchronized = answer.is_ok();
        let mut answer = answer?;
        match answer.get_mut("return").map(Value::take) {
            Some(value) => Ok(value),
            None => Err(NoAnswer::Refused),
        }
    }

    /// Says something that may have no answer.
    pub fn tell(&mut self, wire: &impl Wire, command: &str, arguments: Value) -> Result<(), NoAnswer> {
        if !self.synchronized {
            self.synchronize(wire, Instant::now() + PATIENCE)?;
        }
        self.synchronized = false;
        self.say(wire, command, arguments)
    }

    fn say(&self, wire: &impl Wire, command: &str, arguments: Value) -> Result<(), NoAnswer> {
        let mut line = json!({ "execute": command });
        if !arguments.is_null() {
            line["arguments"] = arguments;
        }
        if wire.send(format!("{line}\n").as_bytes()) { Ok(()) } else { Err(NoAnswer::Silent) }
    }

    /// Until its answer to this very question comes: all before that is of other questions, or noise.
    fn synchronize(&mut self, wire: &impl Wire, until: Instant) -> Result<(), NoAnswer> {
        self.number = self.number.wrapping_add(1);
        self.rest.clear();
        // It forgets what it had of a line, too.
        if !wire.send(&[SENTINEL]) {
            return Err(NoAnswer::Silent);
        }
        self.say(wire, "guest-sync-delimited", json!({ "id": self.number }))?;
        loop {
            self.skip_to_sentinel(wire, until)?;
            if let Ok(answer) = self.line(wire, until)
                && answer["return"] == json!(self.number)
            {
                self.synchronized = true;
                return Ok(());
            }
        }
    }

    fn skip_to_sentinel(&mut self, wire: &impl Wire, until: Instant) -> Result<(), NoAnswer> {
        loop {
            if let Some(at) = self.rest.iter().position(|byte| *byte == SENTINEL) {
                self.rest.drain(..=at);
                return Ok(());
            }
            self.rest.clear();
            self.more(wire, until)?;
        }
    }

    /// What comes next, if there is time.
    fn more(&mut self, wire: &impl Wire, until: Instant) -> Result<(), NoAnswer> {
        let come = wire.receive(until);
        // One who never stops gets no more time than one who never begins.
        if come.is_empty() || Instant::now() >= until {
            return Err(NoAnswer::Silent);
        }
        self.rest.extend(come);
        Ok(())
    }

    fn line(&mut self, wire: &impl Wire, until: Instant) -> Result<Value, NoAnswer> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.rest[looked..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=looked + at).collect();
                return serde_json::from_slice(&line).map_err(|_| NoAnswer::Silent);
            }
            looked = self.rest.len();
            if looked > LONGEST {
                self.rest.clear();
                return Err(NoAnswer::Silent);
            }
            self.more(wire, until)?;
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// A guest that answers each line, as it likes.
    pub struct Fake<F: Fn(&Value) -> Vec<u8>> {
        answers: F,
        come: RefCell<VecDeque<Vec<u8>>>,
    }

    impl<F: Fn(&Value) -> Vec<u8>> Fake<F> {
        pub fn new(answers: F) -> Self {
            Self { answers, come: RefCell::default() }
        }
    }

    impl<F: Fn(&Value) -> Vec<u8>> Wire for Fake<F> {
        fn send(&self, bytes: &[u8]) -> bool {
            if let Ok(question) = serde_json::from_slice(bytes) {
                self.come.borrow_mut().push_back((self.answers)(&question));
            }
            true
        }
        fn receive(&self, _: Instant) -> Vec<u8> {
            self.come.borrow_mut().pop_front().unwrap_or_default()
        }
    }

    /// What the real one says, of what it is asked in tests.
    pub fn answer(question: &Value, own: &Value) -> Vec<u8> {
        match question["execute"].as_str() {
            Some("guest-sync-delimited") => {
                let mut answer = vec![b'x', SENTINEL];
                answer.extend(json!({ "return": question["arguments"]["id"] }).to_string().bytes());
                answer.push(b'\n');
                answer
            }
            _ => format!("{own}\n").into_bytes(),
        }
    }

    fn asked(own: Value) -> Result<Value, NoAnswer> {
        Agent::default().ask(&Fake::new(|question: &Value| answer(question, &own)), "guest-info", Value::Null)
    }

    #[test]
    fn what_is_returned_is_the_answer() {
        assert_eq!(asked(json!({ "return": { "a": 1 } })), Ok(json!({ "a": 1 })));
        assert_eq!(asked(json!({ "return": {} })), Ok(json!({})));
    }

    #[test]
    fn an_error_is_a_refusal() {
        assert_eq!(asked(json!({ "error": { "class": "GenericError" } })), Err(NoAnswer::Refused));
    }

    #[test]
    fn both_begin_at_the_same_place_and_again_after_what_is_no_answer() {
        let wire = Fake::new(|question: &Value| match question["execute"].as_str() {
            Some("noise") => b"}{\n".to_vec(),
            _ => answer(question, &json!({ "return": 7 })),
        });
        let mut agent = Agent::default();
        assert_eq!(agent.ask(&wire, "one", Value::Null), Ok(json!(7)));
        assert_eq!(agent.ask(&wire, "noise", Value::Null), Err(NoAnswer::Silent));
        assert_eq!((agent.number, agent.ask(&wire, "two", Value::Null), agent.number), (1, Ok(json!(7)), 2));
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let wire = Fake::new(|question: &Value| match question["execute"].as_str() {
            Some("long") => vec![b' '; 2 * LONGEST],
            _ => answer(question, &Value::Null),
        });
        assert_eq!(Agent::default().ask(&wire, "long", Value::Null), Err(NoAnswer::Silent));
    }

    #[test]
    fn an_answer_to_something_else_is_not_taken() {
        let wire = Fake::new(|_: &Value| b"\xff{\"return\": 99}\n".to_vec());
        assert_eq!(Agent::default().ask(&wire, "x", Value::Null), Err(NoAnswer::Silent));
    }

    /// Whatever comes, there is an end and nothing is kept beyond a bound.
    #[test]
    fn fuzz_guest_agent() {
        bolero::check!().with_test_time(Duration::from_secs(2)).for_each(|input: &[u8]| {
            let wire = Fake::new(|question: &Value| match input.first() {
                Some(0..64) => input.to_vec(),
                _ => answer(question, &Value::String(String::from_utf8_lossy(input).into_owned())),
            });
            let mut agent = Agent::default();
            for command in ["guest-ping", "guest-info"] {
                let _ = agent.ask(&wire, command, Value::Null);
            }
            assert!(agent.rest.len() <= 2 * LONGEST);
        });
    }
}
