//! Configuration files that somebody has written by hand, or that a disk has damaged.

use super::*;
use crate::Guid;
use crate::store::{Config, config};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};

/// Another value in one place, or other bytes.
#[derive(Clone, Debug)]
enum Damage {
    Value(usize, Json),
    Byte(usize, u8),
    End(usize),
}

fn value() -> impl Strategy<Value = Json> {
    let texts =
        ["", "vm", "../../x", "/", "/dev/null", "a\u{0}b", "a\nb", "\u{1b}[2J", "soft", "8.0", "65535.65535"];
    prop_oneof![
        proptest::sample::select(vec![0, 1, 511, 1 << 20, 1 << 40, u64::MAX / 2, u64::MAX - 1, u64::MAX])
            .prop_map(Json::from),
        proptest::sample::select(vec![-1, i64::MIN]).prop_map(Json::from),
        Just(json!(1e308)),
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        proptest::sample::select(texts.to_vec()).prop_map(Json::from),
        Just(json!("x".repeat(70_000))),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[], {}, null, 5])),
    ]
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        8 => (0usize..1000, value()).prop_map(|(place, value)| Damage::Value(place, value)),
        1 => (0usize..5000, any::<u8>()).prop_map(|(place, byte)| Damage::Byte(place, byte)),
        1 => (0usize..5000).prop_map(Damage::End),
    ];
    proptest::collection::vec(one, 1..4)
}

/// Where values are; the schema's number and the id say whose file it is and stay mostly.
fn places(json: &Json, at: String, all: &mut Vec<String>) {
    match json {
        Json::Object(object) => {
            object.iter().for_each(|(name, value)| places(value, format!("{at}/{name}"), all))
        }
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, format!("{at}/{index}"), all));
        }
        _ => (),
    }
    all.push(at);
}

fn damaged(config: &Config, damage: &[Damage]) -> Vec<u8> {
    let mut json = serde_json::to_value(config).unwrap();
    let mut all = Vec::new();
    places(&json, String::new(), &mut all);
    for one in damage {
        if let Damage::Value(place, value) = one
            && let Some(old) = json.pointer_mut(&all[place % all.len()])
        {
            *old = value.clone();
        }
    }
    let mut text = json.to_string().into_bytes();
    for one in damage {
        match one {
            Damage::Byte(place, byte) if !text.is_empty() => {
                let place = place % text.len();
                text[place] = *byte;
            }
            Damage::End(place) => text.truncate(*place),
            _ => (),
        }
    }
    text
}

#[test]
fn whatever_a_configuration_file_holds_nothing_breaks_and_the_others_are_there() {
    let live = Live::with(&["other"]);
    let mut config = Config::new(Guid::random().unwrap(), "vm", 0);
    config.disks.push(crate::store::Disk::new(crate::store::DriveAddress::scsi(0), "/dev/null", true));
    live.store().create(&config).unwrap();
    let file = live.store().directory(config.id).join(config::FILE);
    let id = config.id.to_string();
    let steps: &[(&str, &str, Option<Json>)] = &[
        ("GET", "", None),
        ("GET", "/processor", None),
        ("GET", "/memory", None),
        ("GET", "/disks", None),
        ("GET", "/firmware", None),
        ("GET", "/adapters", None),
        ("GET", "/meter", None),
        ("GET", "/nested", None),
        ("POST", "/start", Some(json!({}))),
        ("GET", "", None),
        ("PATCH", "/memory", Some(json!({"StartupBytes": "1026MB"}))),
        ("POST", "/stop", Some(json!({"TurnOff": true}))),
        ("PATCH", "", Some(json!({"Notes": "n", "ProcessorCount": 2}))),
        ("PATCH", "/memory", Some(json!({"DynamicMemoryEnabled": true, "Buffer": 30}))),
        ("PATCH", "/adapters", Some(json!({"MacAddressSpoofing": "On"}))),
        ("POST", "/meter", Some(json!({}))),
        ("GET", "/meter", None),
        ("POST", "/update-version", Some(json!({"Force": true}))),
        ("POST", "/nest", Some(json!({"Force": true}))),
    ];
    let cases = Cases { cases: 120, failure_persistence: None, ..Cases::default() };
    let mut runner = TestRunner::new_with_rng(cases, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&damage(), |damage| {
        std::fs::write(&file, damaged(&config, &damage)).unwrap();
        for (method, part, body) in steps {
            let (code, answer) = live.ask(method, &format!("/vms/{id}{part}"), body.as_ref());
            prop_assert!((200..500).contains(&code), "{method} {part}: {code} {answer}");
        }
        let others = live.read("/vms").1["results"].as_array().cloned().unwrap_or_default();
        prop_assert!(others.iter().any(|vm| vm["VMName"] == "other"));
        Ok(())
    });
    result.unwrap();
}
