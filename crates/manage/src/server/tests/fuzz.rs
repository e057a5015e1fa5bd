//! Requests that nobody would send: any method, route, parameters, bodies and headers.

use super::walk::{fill, operations};
use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What a parameter gets.
#[derive(Clone, Debug)]
enum Given {
    /// Something that its schema allows; the number chooses.
    Fitting(usize),
    Anything(Json),
}

#[derive(Clone, Debug)]
struct Case {
    operation: usize,
    vm: String,
    given: Vec<(usize, Given)>,
    unknown: Option<String>,
    /// Instead of a JSON object.
    raw: Option<Vec<u8>>,
    header: String,
}

/// No absolute paths: files outside the test's directory are none of its business.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z*?\\[\\]]{0,4}",
        "\\PC{0,12}",
        any::<String>(),
        Just("../../etc/passwd\0".to_owned()),
        Just("9".repeat(40)),
        Just("x".repeat(5000)),
    ]
    .prop_filter("relative", |text| !text.starts_with('/'))
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        text().prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(text(), inner, 0..4)
                .prop_map(|object| Json::from_iter(object.into_iter())),
        ]
    })
}

fn case(operations: usize) -> impl Strategy<Value = Case> {
    let given = prop_oneof![
        8 => (0usize..64).prop_map(Given::Fitting),
        1 => json().prop_map(Given::Anything),
    ];
    let vm = prop_oneof![4 => Just("vm".to_owned()), 1 => Just("*".to_owned()), 1 => text()];
    let header = prop_oneof![
        8 => Just("Content-Type: application/json\r\n".to_owned()),
        1 => "[A-Za-z-]{1,12}: [ -~]{0,40}\r\n",
        1 => "[ -~]{0,40}\r\n",
    ];
    (
        0..operations,
        vm,
        proptest::collection::vec((0usize..64, given), 0..5),
        proptest::option::weighted(0.1, text()),
        proptest::option::weighted(0.1, proptest::collection::vec(any::<u8>(), 0..200)),
        header,
    )
        .prop_map(|(operation, vm, given, unknown, raw, header)| Case {
            operation,
            vm,
            given,
            unknown,
            raw,
            header,
        })
}

/// A value that the schema allows.
fn fitting(schema: &Json, choice: usize, directory: &str) -> Json {
    let either = |list: &[Json]| list[choice % list.len()].clone();
    if let Some(list) = schema["anyOf"].as_array() {
        return fitting(&either(list), choice / 2, directory);
    }
    if let Some(words) = schema["enum"].as_array() {
        return either(words);
    }
    let kind = schema["type"].as_str().or(schema["type"][0].as_str()).unwrap_or_default();
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    match kind {
        "boolean" => choice.is_multiple_of(2).into(),
        "integer" => {
            either(&[schema["minimum"].clone(), json!(1), json!(1 << 29), schema["maximum"].clone()])
        }
        "array" => json!([fitting(&schema["items"], choice / 2, directory)]),
        "string" if pattern.starts_with("^/") => either(
            &["disk.raw", "kernel", "no/such", "new.raw", "vms"]
                .map(|name| json!(format!("{directory}/{name}"))),
        ),
        "string" if pattern.starts_with("^[0-9]") => either(&[json!("512MB"), json!("0"), json!("99999TB")]),
        _ => either(&[json!("vm"), json!("other"), json!("8.0"), json!(""), json!("*")]),
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn request(case: &Case, method: &str, path: &str, own: &Json, directory: &str) -> (String, Vec<u8>) {
    let body = &own["requestBody"]["content"]["application/json"]["schema"]["properties"];
    let query: Vec<(&str, &Json)> = own["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| Some((parameter["name"].as_str()?, &parameter["schema"])))
        .collect();
    let known: Vec<(&str, &Json)> = match body.as_object() {
        Some(properties) => properties.iter().map(|(name, schema)| (name.as_str(), schema)).collect(),
        None => query,
    };
    let mut values = serde_json::Map::new();
    for (index, given) in case.given.iter().filter(|_| !known.is_empty()) {
        let (name, schema) = known[index % known.len()];
        let value = match given {
            Given::Fitting(choice) => fitting(schema, *choice, directory),
            Given::Anything(value) => value.clone(),
        };
        values.insert(name.into(), value);
    }
    if let Some(name) = &case.unknown {
        values.insert(name.clone(), json!(true));
    }
    // What changes the network of the machine that runs the tests is planned and not done.
    if path.starts_with("/host/") && method != "GET" {
        values.insert("WhatIf".into(), true.into());
    }
    if body.is_object() {
        let body = case.raw.clone().unwrap_or_else(|| Json::Object(values).to_string().into_bytes());
        return (path.into(), body);
    }
    let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one = |(name, value): (&String, &Json)| match value {
        Json::Array(items) => items
            .iter()
            .map(|item| format!("{}={}", encoded(name), encoded(&plain(item))))
            .collect::<Vec<_>>()
            .join("&"),
        other => format!("{}={}", encoded(name), encoded(&plain(other))),
    };
    let query: Vec<String> = values.iter().map(one).collect();
    (format!("{path}?{}", query.join("&")), Vec::new())
}

#[test]
fn whatever_is_asked_the_server_answers_as_documented_and_goes_on() {
    let live = Live::with(&["vm"]);
    let directory = live.scratch.path().display().to_string();
    std::fs::write(live.scratch.path().join("disk.raw"), [0; 1024]).unwrap();
    std::fs::write(live.scratch.path().join("kernel"), "no kernel").unwrap();
    let operations: Vec<_> = operations().into_iter().filter(|(path, ..)| path != "/events").collect();
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&case(operations.len()), |case| {
        if live.read("/vms/vm").0 == 404 {
            live.post("/vms", &json!({"Name": "vm"}));
        }
        let (template, method, own) = &operations[case.operation];
        let path = fill(template, &encoded(&case.vm));
        let (target, body) = request(&case, method, &path, own, &directory);
        let answer = live.request(method, &target, &case.header, &body);
        let code = status(&answer);
        prop_assert!(
            (200..500).contains(&code),
            "{method} {target} {}: {answer}",
            String::from_utf8_lossy(&body)
        );
        // A head that is no HTTP is refused before there is an operation; an empty name is another path.
        let documented = own["responses"].get(code.to_string()).is_some();
        prop_assert!(
            documented || code == 400 || code == 431 || path.contains("//") || path.ends_with('/'),
            "{method} {target}: {answer}"
        );
        Ok(())
    });
    result.unwrap();
    assert_eq!(live.read("/vms").0, 200);
}

/// Bytes instead of a request: an answer or the end of the connection, and the next one is served.
#[test]
fn fuzz_http() {
    const PARTS: [&str; 16] = [
        "GET /vms HTTP/1.1\r\n",
        "POST /vms HTTP/1.1\r\n",
        "Host: x\r\n",
        "Connection: close\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "{\"Name\":\"",
        "\"}",
        "0\r\n\r\n",
        "Content-Type: application/json\r\n",
        "ffffffffffffffff\r\n",
        "PATCH /vms/vm%00 HTTP/1.0\r\n",
        "Authorization: Bearer x\r\n",
        "[[[[[[[[",
    ];
    let live = Live::with(&["vm"]);
    let live = std::panic::AssertUnwindSafe(&live);
    bolero::check!().with_test_time(std::time::Duration::from_secs(2)).with_max_len(60).for_each(
        |input: &[u8]| {
            let mut request: Vec<u8> = Vec::new();
            for byte in input {
                match PARTS.get(usize::from(byte >> 3)) {
                    Some(part) => request.extend(part.as_bytes()),
                    None => request.push(*byte),
                }
            }
            // The end of a head and of what it may promise, so that nobody has to wait for more.
            request.extend(b"\r\n\r\n");
            let mut stream = connect(&live.socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(&request);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let end = stream.read_to_end(&mut answer);
            assert!(
                !end.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock),
                "the server hangs on {request:?}"
            );
            assert!(
                answer.is_empty() || answer.starts_with(b"HTTP/1."),
                "{}",
                String::from_utf8_lossy(&answer)
            );
        },
    );
    assert_eq!(live.read("/vms").0, 200);
}
