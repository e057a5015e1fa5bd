//! The OpenAPI document, and the server held against it.

use super::*;
use crate::server::openapi;

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_document_that_is_checked_in_is_that_of_the_table() {
    let text = format!("{:#}\n", openapi::document());
    if std::env::var_os("REGENERATE").is_some() {
        std::fs::write(CHECKED_IN, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(CHECKED_IN).unwrap_or_default();
    assert!(
        checked_in == text,
        "docs/openapi.json is not what the operations say; make it anew with: REGENERATE=1 cargo test -p ireko-manage the_document_that_is_checked_in"
    );
}

#[test]
fn the_server_gives_the_document() {
    let (code, document) = Live::new().read("/openapi.json");
    assert_eq!((code, document), (200, openapi::document()));
}

/// Every operation of the document: path, method, definition.
pub fn operations() -> Vec<(String, String, Json)> {
    let document = openapi::document();
    let paths = document["paths"].as_object().unwrap().clone();
    let each = |(path, methods): (String, Json)| {
        let methods = methods.as_object().unwrap().clone();
        methods
            .into_iter()
            .map(move |(method, own)| (path.clone(), method.to_uppercase(), own))
            .collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(each).collect()
}

#[test]
fn every_operation_of_the_table_is_in_the_document_once() {
    let mut ids: Vec<String> =
        operations().iter().map(|(_, _, own)| own["operationId"].as_str().unwrap().to_owned()).collect();
    for operation in crate::ops::operations() {
        assert!(ids.iter().any(|id| id == operation.cmdlet), "{}", operation.cmdlet);
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = openapi::document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

/// The path with this VM, and 0 for all else.
pub fn fill(template: &str, vm: &str) -> String {
    let segment = |text: &str| match text {
        "{VMName}" => vm.to_owned(),
        _ if text.starts_with('{') => "0".into(),
        _ => text.to_owned(),
    };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_answers_with_a_status_of_the_document() {
    let live = Live::with(&["vm"]);
    for (path, method, own) in operations().into_iter().filter(|(path, ..)| path != "/events") {
        // By name, and by one that is not there.
        for name in ["vm", "no"] {
            let place = fill(&path, name);
            let body = own.get("requestBody").map(|_| json!({}));
            let (code, answer) = live.ask(&method, &place, body.as_ref());
            assert!(own["responses"].get(code.to_string()).is_some(), "{method} {place}: {code} {answer}");
            assert!(code < 500, "{method} {place}: {answer}");
            let is_there = name == "vm" || !path.contains("{VMName}");
            assert!(is_there || code >= 400, "{method} {place}: {answer}");
        }
    }
}

#[test]
fn records_have_the_properties_of_the_document() {
    let live = Live::with(&["vm"]);
    live.post("/vms/vm/start", &json!({}));
    let document = openapi::document();
    for part in ["", "/processor", "/memory", "/firmware", "/adapters"] {
        let record = live.read(&format!("/vms/vm{part}")).1["results"][0].clone();
        let envelope = &document["paths"][format!("/vms/{{VMName}}{part}")]["get"]["responses"]["200"];
        let items = &envelope["content"]["application/json"]["schema"]["properties"]["results"]["items"];
        let reference = items["$ref"].as_str().or(items["anyOf"][0]["$ref"].as_str()).unwrap();
        let schema = document.pointer(&reference[1..]).unwrap();
        let names = |object: &Json| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&record), names(&schema["properties"]), "{part}");
        for (name, value) in record.as_object().unwrap() {
            assert!(fits(value, &schema["properties"][name]["type"]), "{part} {name}: {value}");
        }
    }
}

fn fits(value: &Json, types: &Json) -> bool {
    let name = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    types.as_array().is_none_or(|types| types.iter().any(|own| own == name))
}
