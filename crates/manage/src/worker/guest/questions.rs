//! What others want of a guest's agent. One thread talks to it; they wait for its answers.

use super::agent::NoAnswer;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Who comes while so many wait is sent away.
const MOST: usize = 64;

pub struct Question {
    pub command: String,
    pub arguments: Value,
    answer: SyncSender<Result<Value, NoAnswer>>,
    asked: Instant,
    patience: Duration,
}

impl Question {
    /// Who asked may be gone.
    pub fn answer(self, answer: Result<Value, NoAnswer>) {
        let _ = self.answer.send(answer);
    }
}

#[derive(Default)]
pub struct Questions {
    waiting: Mutex<VecDeque<Question>>,
    comes: Condvar,
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Question>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks and waits for the answer, whose time is bounded by who talks to the agent.
    pub fn ask(&self, command: &str, arguments: &Value, patience: Duration) -> Result<Value, NoAnswer> {
        let (answer, comes) = sync_channel(1);
        {
            let mut waiting = self.lock();
            if waiting.len() >= MOST {
                return Err(NoAnswer::Silent);
            }
            let (command, arguments, asked) = (command.to_owned(), arguments.clone(), Instant::now());
            waiting.push_back(Question { command, arguments, answer, asked, patience });
        }
        self.comes.notify_one();
        comes.recv_timeout(patience).unwrap_or(Err(NoAnswer::Silent))
    }

    /// The next one, or nothing for so long. Whoever has given up was told that nothing is done.
    pub fn next(&self, within: Duration) -> Option<Question> {
        let waited = self.comes.wait_timeout_while(self.lock(), within, |waiting| waiting.is_empty());
        let mut waiting = waited.unwrap_or_else(|e| e.into_inner()).0;
        std::iter::from_fn(|| waiting.pop_front())
            .find(|question| question.asked.elapsed() < question.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_asks_gets_the_answer_to_his_question() {
        let questions = Questions::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let question = questions.next(LONG).expect("a question");
                let answer = question.command.clone().into();
                question.answer(Ok(answer));
            });
            assert_eq!(questions.ask("guest-ping", &Value::Null, LONG), Ok("guest-ping".into()));
        });
    }

    #[test]
    fn a_question_that_nobody_takes_is_silence() {
        let questions = Questions::default();
        assert_eq!(questions.ask("guest-ping", &Value::Null, Duration::ZERO), Err(NoAnswer::Silent));
        assert!(questions.next(Duration::ZERO).is_none());
    }
}
