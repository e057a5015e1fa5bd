use super::agent::tests::{Fake, answer};
use super::*;
use std::cell::RefCell;

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A guest as Debian's, which notes what it is asked.
fn asked(visit: &mut Visit, duties: &Duties) -> (Found, Vec<Value>) {
    let questions = RefCell::new(Vec::new());
    let wire = Fake::new(|question: &Value| {
        questions.borrow_mut().push(question.clone());
        let own = match question["execute"].as_str() {
            Some("guest-get-host-name") => json!({ "host-name": "web" }),
            Some("guest-get-osinfo") => json!({ "name": "Debian GNU/Linux", "kernel-release": "6.1.0" }),
            Some("guest-network-get-interfaces") => json!([{ "hardware-address": "02:15:5d:00:00:0a",
                "ip-addresses": [{ "ip-address": "10.0.0.5" }] }]),
            _ => json!({}),
        };
        answer(question, &json!({ "return": own }))
    });
    let found = visit.pay(&wire, duties, None, NOW);
    let asked =
        questions.borrow().iter().filter(|one| one["execute"] != "guest-sync-delimited").cloned().collect();
    (found, asked)
}

fn silent(visit: &mut Visit, duties: &Duties) -> Found {
    visit.pay(&Fake::new(|_: &Value| Vec::new()), duties, None, NOW)
}

fn integration() -> IntegrationServices {
    IntegrationServices::new(Integration::default())
}

fn all() -> Duties {
    Visit::default().duties(&integration(), State::Running)
}

#[test]
fn a_guest_that_answers_is_there_and_tells_of_itself() {
    let (mut visit, mut integration) = (Visit::default(), integration());
    let (found, questions) = asked(&mut visit, &all());
    assert_eq!(questions.len(), 4);
    visit.learn(&mut integration, &all(), found);
    let facts = integration.guest.facts.unwrap();
    assert_eq!((integration.guest.contact, &*facts.host_name), (Contact::There, "web"));
    assert_eq!(facts.addresses("02155D00000A").len(), 1);
}

#[test]
fn nothing_is_asked_again_at_once() {
    let mut visit = Visit::default();
    asked(&mut visit, &all());
    assert_eq!(visit.duties(&integration(), State::Running), Duties::default());
}

#[test]
fn one_that_falls_silent_is_lost_with_what_it_told() {
    let (mut visit, mut integration) = (Visit::default(), integration());
    let (found, _) = asked(&mut visit, &all());
    visit.learn(&mut integration, &all(), found);
    let found = silent(&mut visit, &all());
    visit.learn(&mut integration, &all(), found);
    assert_eq!(integration.guest, Guest { contact: Contact::Lost, facts: None });
}

#[test]
fn a_service_that_is_off_asks_nothing() {
    let off = Integration {
        heartbeat: false,
        key_value_pairs: false,
        time_synchronization: false,
        ..Integration::default()
    };
    let mut integration = IntegrationServices::new(off);
    integration.late = true;
    assert_eq!(Visit::default().duties(&integration, State::Running), Duties::default());
}

#[test]
fn what_is_switched_off_is_forgotten() {
    let mut integration = integration();
    integration.guest = Guest { contact: Contact::There, facts: Some(Facts::default()) };
    integration.change(Integration { heartbeat: false, key_value_pairs: false, ..Integration::default() });
    assert_eq!(integration.guest, Guest::default());
}

#[test]
fn a_guest_whose_clock_stood_still_is_told_the_time_once() {
    let (mut visit, mut integration) = (Visit::default(), integration());
    integration.late = true;
    let duties = visit.duties(&integration, State::Running);
    let (found, questions) = asked(&mut visit, &duties);
    assert_eq!(questions[0]["arguments"]["time"], json!(NOW.as_nanos() as i64));
    visit.learn(&mut integration, &duties, found);
    assert!(!integration.late);
}

#[test]
fn a_guest_that_is_to_shut_down_is_asked_by_its_agent_and_has_time_before_the_button() {
    let (mut visit, mut integration) = (Visit::default(), integration());
    assert!(integration.needs_button());
    integration.want_shut_down();
    let duties = visit.duties(&integration, State::Stopping);
    assert!(duties.shut_down && !integration.needs_button());
    let (found, questions) = asked(&mut visit, &duties);
    assert_eq!(questions, [json!({ "execute": "guest-shutdown", "arguments": { "mode": "powerdown" } })]);
    visit.learn(&mut integration, &duties, found);
    assert!(!integration.needs_button() && !visit.duties(&integration, State::Stopping).shut_down);
}

#[test]
fn one_that_does_not_hear_it_gets_the_button() {
    let (mut visit, mut integration) = (Visit::default(), integration());
    integration.want_shut_down();
    let duties = visit.duties(&integration, State::Stopping);
    let found = silent(&mut visit, &duties);
    assert_eq!(found.shut_down, Some(false));
    visit.learn(&mut integration, &duties, found);
    assert!(integration.needs_button());
}

#[test]
fn what_a_guest_cannot_do_is_no_silence() {
    let wire =
        Fake::new(|question: &Value| answer(question, &json!({ "error": { "class": "CommandNotFound" } })));
    let found = Visit::default().pay(&wire, &all(), None, NOW);
    assert_eq!(found.answers, Some(true));
}
