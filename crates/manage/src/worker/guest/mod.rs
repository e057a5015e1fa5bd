//! What QEMU's guest agent does for a VM, as Hyper-V's integration services: a heartbeat, shutting down, setting the time, and what
//! the guest tells of itself. The guest is believed nothing but that.

mod agent;
mod facts;
mod questions;
#[cfg(test)]
mod tests;

pub use facts::{Facts, Interface};
pub use questions::Questions;

use super::server::Control;
use crate::state::State;
use crate::store::config::Integration;
use agent::{Agent, NoAnswer, Wire};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Weak;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two looks.
const TICK: Duration = Duration::from_millis(500);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(5);
/// Between two questions for addresses, and for what changes seldom.
const OFTEN: Duration = Duration::from_secs(15);
const SELDOM: Duration = Duration::from_secs(300);
/// A guest that was asked to shut down and has not begun gets the power button, too.
const GRACE: Duration = Duration::from_secs(20);

/// How it is with the guest's agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contact {
    #[default]
    Never,
    There,
    Lost,
}

/// What is known of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    pub contact: Contact,
    pub facts: Option<Facts>,
}

/// The host's half of a guest's integration services: what is known of the guest, and what is to be done next.
#[derive(Default)]
pub struct IntegrationServices {
    pub guest: Guest,
    pub services: Integration,
    /// Its clock is to be set: it stood still.
    pub late: bool,
    shut_down: Option<ShutDown>,
}

enum ShutDown {
    Wanted,
    /// Since then it knows.
    Asked(Instant),
}

impl IntegrationServices {
    pub fn new(services: Integration) -> Self {
        Self { services, ..Self::default() }
    }

    /// Another machine, after a reset.
    pub fn restart(&mut self) {
        *self = Self::new(self.services.clone());
    }

    pub fn change(&mut self, services: Integration) {
        if !services.heartbeat {
            self.guest.contact = Contact::Never;
        }
        if !services.key_value_pairs {
            self.guest.facts = None;
        }
        self.services = services;
    }

    /// The guest is to shut down, by its agent.
    pub fn want_shut_down(&mut self) {
        self.shut_down = Some(ShutDown::Wanted);
    }

    /// Whether the power button is to be pressed for a guest that is to shut down.
    pub fn needs_button(&self) -> bool {
        match self.shut_down {
            None => true,
            Some(ShutDown::Wanted) => false,
            Some(ShutDown::Asked(at)) => at.elapsed() > GRACE,
        }
    }
}

/// What there is to ask now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Duties {
    shut_down: bool,
    set_time: bool,
    beat: bool,
    often: bool,
    seldom: bool,
}

/// One machine's agent, and when it was asked last.
#[derive(Default)]
struct Visit {
    agent: Agent,
    resets: u64,
    beat: Option<Instant>,
    often: Option<Instant>,
    seldom: Option<Instant>,
}

/// What asking has come to. `None`: it was not asked.
#[derive(Default)]
struct Found {
    answers: Option<bool>,
    shut_down: Option<bool>,
    facts: Option<Facts>,
}

fn due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}

impl Visit {
    fn duties(&self, integration: &IntegrationServices, state: State) -> Duties {
        let services = &integration.services;
        Duties {
            shut_down: state == State::Stopping && matches!(integration.shut_down, Some(ShutDown::Wanted)),
            set_time: integration.late && services.time_synchronization,
            beat: services.heartbeat && due(self.beat, BEAT),
            often: services.key_value_pairs && due(self.often, OFTEN),
            seldom: services.key_value_pairs && due(self.seldom, SELDOM),
        }
    }

    /// Does what is due. Who does not answer is asked nothing more now.
    fn pay(&mut self, wire: &impl Wire, duties: &Duties, known: Option<Facts>, now: Duration) -> Found {
        let mut found = Found::default();
        let mut facts = known.clone().unwrap_or_default();
        let done = self.each(wire, duties, &mut facts, &mut found, now);
        if *duties != Duties::default() {
            found.answers = Some(done.is_ok());
        }
        found.facts =
            Some(facts).filter(|facts| duties.often && done.is_ok() && Some(facts) != known.as_ref());
        found
    }

    fn each(
        &mut self,
        wire: &impl Wire,
        duties: &Duties,
        facts: &mut Facts,
        found: &mut Found,
        now: Duration,
    ) -> Result<(), NoAnswer> {
        if duties.shut_down {
            let told = self.agent.tell(wire, "guest-shutdown", json!({ "mode": "powerdown" }));
            found.shut_down = Some(told.is_ok());
            return told;
        }
        if duties.set_time {
            let time = json!({ "time": i64::try_from(now.as_nanos()).unwrap_or(i64::MAX) });
            self.ask(wire, "guest-set-time", time)?;
        }
        if duties.beat {
            self.beat = Some(Instant::now());
            self.ask(wire, "guest-ping", Value::Null)?;
        }
        if duties.seldom {
            self.seldom = Some(Instant::now());
            facts.hear_name(&self.ask(wire, "guest-get-host-name", Value::Null)?);
            facts.hear_system(&self.ask(wire, "guest-get-osinfo", Value::Null)?);
        }
        if duties.often {
            self.often = Some(Instant::now());
            facts.hear_interfaces(&self.ask(wire, "guest-network-get-interfaces", Value::Null)?);
        }
        Ok(())
    }

    /// What it cannot do is no silence.
    fn ask(&mut self, wire: &impl Wire, command: &str, arguments: Value) -> Result<Value, NoAnswer> {
        match self.agent.ask(wire, command, arguments) {
            Err(NoAnswer::Refused) => Ok(Value::Null),
            other => other,
        }
    }

    /// Somebody's question.
    fn put(&mut self, control: &Control, command: &str, arguments: Value) -> Result<Value, NoAnswer> {
        let channel = {
            let inner = control.lock();
            if inner.resets != self.resets {
                *self = Self { resets: inner.resets, ..Self::default() };
            }
            inner.remote.guest_agent().filter(|channel| channel.is_open())
        };
        self.agent.ask(&channel.ok_or(NoAnswer::Silent)?, command, arguments)
    }

    fn turn(&mut self, control: &Control) {
        let (channel, duties, known) = {
            let mut inner = control.lock();
            if inner.resets != self.resets {
                *self = Self { resets: inner.resets, ..Self::default() };
            }
            let state = inner.state();
            if !matches!(state, State::Running | State::Stopping) {
                return;
            }
            let channel = inner.remote.guest_agent().filter(|channel| channel.is_open());
            let Some(channel) = channel else {
                self.gone(&mut inner.integration);
                return;
            };
            let duties = self.duties(&inner.integration, state);
            (channel, duties, inner.integration.guest.facts.clone())
        };
        if duties == Duties::default() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let found = self.pay(&channel, &duties, known, now);
        let mut inner = control.lock();
        // Who was paused meanwhile could not answer.
        if inner.resets != self.resets || !matches!(inner.state(), State::Running | State::Stopping) {
            return;
        }
        if found.shut_down == Some(false) {
            inner.remote.power_button();
        }
        self.learn(&mut inner.integration, &duties, found);
    }

    fn learn(&mut self, integration: &mut IntegrationServices, duties: &Duties, found: Found) {
        if duties.set_time {
            integration.late = false;
        }
        if let Some(told) = found.shut_down {
            integration.shut_down = told.then(|| ShutDown::Asked(Instant::now()));
        }
        match found.answers {
            // Its settings may have changed meanwhile.
            Some(true) if integration.services.heartbeat => integration.guest.contact = Contact::There,
            Some(false) => self.gone(integration),
            _ => {}
        }
        if found.facts.is_some() && integration.services.key_value_pairs {
            integration.guest.facts = found.facts;
        }
    }

    /// Nobody is there, or nobody who answers: all is asked anew when somebody is.
    fn gone(&mut self, integration: &mut IntegrationServices) {
        if integration.guest.contact == Contact::There {
            integration.guest.contact = Contact::Lost;
        }
        integration.guest.facts = None;
        (self.often, self.seldom) = (None, None);
        if matches!(integration.shut_down, Some(ShutDown::Wanted)) {
            integration.shut_down = None;
        }
    }
}

/// What somebody wants of the agent, for who asks. The error is a sentence.
pub fn ask(control: &Control, command: &str, arguments: &Value) -> Result<Value, String> {
    let channel = control.lock().remote.guest_agent();
    if !channel.is_some_and(|channel| channel.is_open()) {
        return Err(NOBODY.into());
    }
    // Behind what is asked of it already.
    control.questions.ask(command, arguments, agent::PATIENCE * 2).map_err(|why| match why {
        NoAnswer::Silent => "The guest's agent does not answer, or with more than can be taken.".into(),
        NoAnswer::Refused => format!("The guest's agent refuses {command}: it cannot, or it may not."),
    })
}

const NOBODY: &str =
    "Nobody is there in the guest to do it: it needs QEMU's guest agent (Debian: package qemu-guest-agent).";

/// For as long as the VM is there.
pub fn serve(control: &Weak<Control>) {
    let Some(questions) = control.upgrade().map(|control| control.questions.clone()) else { return };
    let mut visit = Visit::default();
    let mut looked = Instant::now();
    loop {
        let question = questions.next(TICK.saturating_sub(looked.elapsed()));
        let Some(control) = control.upgrade() else { return };
        if let Some(question) = question {
            let answer = visit.put(&control, &question.command, question.arguments.clone());
            question.answer(answer);
        }
        if looked.elapsed() >= TICK {
            visit.turn(&control);
            looked = Instant::now();
        }
    }
}
