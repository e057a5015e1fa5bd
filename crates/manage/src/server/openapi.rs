//! The OpenAPI document, made from the table of operations.

use super::events;
use super::input::{parameters, takes_body};
use super::route::{Route, name_in_path, routes};
use crate::host::{HostFacts, Vm};
use crate::operation::{Impact, Parameter, Type};
use crate::ops::records;
use crate::state::State;
use crate::store::config::Dvd;
use crate::store::{Config, Disk, DriveAddress};
use crate::value::{Kind, Record, Value};
use serde_json::{Map, Value as Json, json};

const DESCRIPTION: &str = "\
The same operations as the cmdlets of `ireko shell` and the verbs of `ireko vm`.

Parameters of GET and DELETE are in the query, those of POST and PATCH in a JSON object; names are written exactly as here, \
and unknown ones are refused. `VMName` in a path is a name, an id, or a pattern with wildcards that may mean several. Paths of \
files are absolute and the server's.

Answers have `results` (records, as `--json` prints them), `warnings` and `messages`. Errors are problem documents \
(RFC 9457) with the category and the id of the cmdlet's error; where several VMs were meant, `errors` has all of them and \
`results` what was done all the same.

Nobody is asked: an operation that would ask answers 409 with the id ConfirmationRequired and does nothing, unless it gets \
`\"Confirm\": false` (or, where it has it, `\"Force\": true`). With `\"WhatIf\": true` it only says what it would do.";

/// What any operation may answer beside its results.
const PROBLEMS: &[(u16, &str)] = &[
    (400, "A parameter or the body is not what the operation takes."),
    (401, "On TCP: the token is missing or wrong."),
    (403, "The server's user may not do it."),
    (404, "There is no such virtual machine, or no such part of it."),
    (408, "The body did not come in time."),
    (
        409,
        "The state of the virtual machine or of the host does not allow it, or it would have to be confirmed.",
    ),
    (413, "The body is larger than 1 MiB."),
    (415, "The body is not application/json."),
    (422, "It is not there yet."),
    (500, "The server or a worker broke."),
    (503, "Too many operations are under way."),
];

pub fn document() -> Json {
    let mut paths: Map<String, Json> = Map::new();
    for route in routes() {
        let path = paths.entry(route.template()).or_insert_with(|| json!({}));
        path[route.method.name().to_lowercase()] = operation(route);
    }
    paths.insert("/openapi.json".into(), json!({"get": own_document()}));
    paths.insert("/events".into(), json!({"get": stream()}));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ireko",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "On TCP; the Unix socket is its owner's alone and asks for nothing.",
            }},
            "schemas": schemas(),
            "responses": responses(),
        },
    })
}

/// The route of the table has the cmdlet's name; a second one says what it is about.
fn operation_id(route: &Route) -> String {
    let cmdlet = route.operation.cmdlet;
    match route.operation.parameters.iter().copied().flatten().find(|p| p.is_called("VMName")) {
        Some(_) if route.template() != template_of_table(route) => format!("{cmdlet}-ByName"),
        _ => cmdlet.to_owned(),
    }
}

fn template_of_table(route: &Route) -> String {
    route.operation.rest.route.replace("{Name}", "{VMName}")
}

fn operation(route: &'static Route) -> Json {
    let own = route.operation;
    let mut in_path_or_query: Vec<Json> = route.parameters().map(in_path).collect();
    if !takes_body(route) {
        in_path_or_query.extend(parameters(route).map(in_query));
    }
    let mut document = json!({
        "operationId": operation_id(route),
        "summary": own.doc.lines().next().unwrap_or_default(),
        "tags": [own.cmdlet.split_once('-').map_or(own.cmdlet, |(_, noun)| noun)],
        "parameters": in_path_or_query,
        "responses": answers(route),
    });
    if takes_body(route) {
        document["requestBody"] = body(route);
    }
    if own.impact == Impact::Danger {
        document["description"] =
            "Would ask before it does it: send `\"Confirm\": false` where it is meant.".into();
    }
    document
}

fn in_path(parameter: &'static Parameter) -> Json {
    let mut schema = schema(parameter, false);
    if schema["type"] == "string" && schema.get("enum").is_none() {
        schema["minLength"] = 1.into();
    }
    json!({
        "name": name_in_path(parameter),
        "in": "path",
        "required": true,
        "description": parameter.doc,
        "schema": schema,
    })
}

fn in_query(parameter: &'static Parameter) -> Json {
    let one = schema(parameter, false);
    let schema = if parameter.many { json!({"type": "array", "items": one}) } else { one };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.required && parameter.set.is_empty(),
        "description": parameter.doc,
        "schema": schema,
    })
}

fn body(route: &'static Route) -> Json {
    let mut properties = Map::new();
    for parameter in parameters(route) {
        let one = schema(parameter, true);
        let mut schema = match parameter.many {
            true => json!({"anyOf": [one, {"type": "array", "items": one}]}),
            false => one,
        };
        schema["description"] = parameter.doc.into();
        properties.insert(parameter.name.into(), schema);
    }
    let required: Vec<&str> = parameters(route)
        .filter(|parameter| parameter.required && parameter.set.is_empty())
        .map(|parameter| parameter.name)
        .collect();
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    json!({"required": !required.is_empty(), "content": {"application/json": {"schema": schema}}})
}

/// `in_json`: types that only JSON tells apart.
fn schema(parameter: &Parameter, in_json: bool) -> Json {
    match parameter.kind {
        Type::Text | Type::Object(_) | Type::AnyOf(_) => json!({"type": "string"}),
        Type::Path if in_json => json!({"type": ["string", "null"], "pattern": "^/[^\\u0000]*$"}),
        Type::Path => json!({"type": "string", "pattern": "^/[^\\u0000]*$"}),
        Type::Int(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Type::Bytes => json!({
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^[0-9]+ ?([KkMmGgTt]([Ii]?[Bb])?)?$"},
            ],
        }),
        Type::Bool | Type::Switch => json!({"type": "boolean"}),
        Type::Enum(words) => json!({"type": "string", "enum": words}),
        Type::Guid => json!({"type": "string", "format": "uuid"}),
    }
}

fn answers(route: &Route) -> Json {
    let mut answers = Map::new();
    let result = json!({
        "description": "Done.",
        "content": {"application/json": {"schema": envelope(route)}},
    });
    if route.operation.cmdlet == "New-VM" {
        let mut made = result.clone();
        made["description"] = "Made.".into();
        made["headers"] = json!({"Location": {"description": "Where it is.", "schema": {"type": "string"}}});
        answers.insert("201".into(), made);
    }
    answers.insert("200".into(), result);
    for (status, _) in PROBLEMS {
        answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{status}")}));
    }
    Json::Object(answers)
}

fn envelope(route: &Route) -> Json {
    let items = match route.operation.result {
        Some(kind) if route.operation.cmdlet != "Get-VM" => reference(kind),
        Some(kind) => json!({"anyOf": [reference(kind), reference(Kind::NestedWorld)]}),
        None => json!({"type": "object"}),
    };
    let texts = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "object",
        "properties": {"results": {"type": "array", "items": items}, "warnings": texts, "messages": texts},
        "required": ["results", "warnings", "messages"],
        "additionalProperties": false,
    })
}

fn reference(kind: Kind) -> Json {
    json!({"$ref": format!("#/components/schemas/{kind:?}")})
}

fn responses() -> Json {
    let content = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let one = |(status, words): &(u16, &str)| {
        (status.to_string(), json!({"description": words, "content": content}))
    };
    Json::Object(PROBLEMS.iter().map(one).collect())
}

fn own_document() -> Json {
    json!({
        "operationId": "openapi",
        "summary": "This document.",
        "responses": {
            "200": {"description": "It.", "content": {"application/json": {"schema": {"type": "object"}}}},
            "401": {"$ref": "#/components/responses/401"},
        },
    })
}

fn stream() -> Json {
    json!({
        "operationId": "events",
        "summary": "What happens to virtual machines, as server-sent events.",
        "description": format!(
            "After the comment `listening` everything counts. Events are {}; the data is a JSON object with VMId, VMName, State, and for `state` OldState.",
            events::KINDS.join(", ")
        ),
        "responses": {
            "200": {"description": "A stream without end.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            "401": {"$ref": "#/components/responses/401"},
            "503": {"$ref": "#/components/responses/503"},
        },
    })
}

/// Shapes of records, from a sample: what an operation gives has the same properties.
fn schemas() -> Json {
    let (vm, host) = sample();
    let first = |records: Vec<Record>| records.into_iter().next();
    let samples = [
        Some(records::vm(&vm, &host)),
        Some(records::processor(&vm, &host)),
        Some(records::memory(&vm, &host)),
        first(records::disks(&vm)),
        first(records::dvds(&vm)),
        Some(records::firmware(&vm)),
        first(records::network_adapters(&vm)),
        first(crate::ops::integration::records(&vm)),
    ];
    let mut schemas = Map::new();
    for route in routes() {
        for kind in route.operation.result.into_iter().chain([Kind::NestedWorld]) {
            schemas.insert(format!("{kind:?}"), json!({"type": "object"}));
        }
    }
    for record in samples.into_iter().flatten() {
        schemas.insert(format!("{:?}", record.kind), shape(&record));
    }
    schemas.insert("Problem".into(), problem());
    Json::Object(schemas)
}

fn shape(record: &Record) -> Json {
    let property =
        |(name, value): &(std::borrow::Cow<'static, str>, Value)| (name.to_string(), type_of(value));
    let properties: Map<String, Json> = record.properties.iter().map(property).collect();
    let required: Vec<&str> = record.properties.iter().map(|(name, _)| name.as_ref()).collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// Any of them may be null where there is nothing to tell.
fn type_of(value: &Value) -> Json {
    match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({"type": ["boolean", "null"]}),
        Value::Int(_) => json!({"type": ["integer", "null"]}),
        Value::Float(_) => json!({"type": ["number", "null"]}),
        Value::Text(_) | Value::Duration(_) => json!({"type": ["string", "null"]}),
        Value::Guid(_) => json!({"type": ["string", "null"], "format": "uuid"}),
        Value::Time(_) => json!({"type": ["string", "null"], "format": "date-time"}),
        Value::List(_) => json!({"type": ["array", "null"]}),
        Value::Record(_) => json!({"type": ["object", "null"]}),
    }
}

fn sample() -> (Vm, HostFacts) {
    let mut config = Config::new(crate::Guid::NIL, "sample", 0);
    config.disks.push(Disk::new(DriveAddress::scsi(0), "/disk.raw", false));
    config.dvds.push(Dvd { place: DriveAddress::scsi(1), path: Some("/cd.iso".into()) });
    let host = HostFacts {
        name: String::new(),
        logical_processors: 1,
        memory: 0,
        memory_free: 0,
        vendor: String::new(),
        megahertz: 0,
        brand: String::new(),
    };
    (
        Vm {
            directory: Default::default(),
            config,
            state: State::Off,
            status: None,
            run: None,
            groups: Vec::new(),
            switches: Default::default(),
            routed: Vec::new(),
            silent: false,
            end_reason: None,
        },
        host,
    )
}

fn problem() -> Json {
    let text = json!({"type": "string"});
    let text_or_nothing = json!({"type": ["string", "null"]});
    let error = json!({
        "type": "object",
        "properties": {"detail": text, "category": text, "id": text, "target": text_or_nothing},
    });
    json!({
        "type": "object",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "One sentence for people."},
            "instance": text,
            "category": {"type": "string", "description": "PowerShell's category of the error."},
            "id": {"type": "string", "description": "FullyQualifiedErrorId of the cmdlet's error."},
            "target": text_or_nothing,
            "errors": {"type": "array", "items": error},
            "results": {"type": "array"},
            "warnings": {"type": "array", "items": text},
            "messages": {"type": "array", "items": text},
            "questions": {"type": "array", "items": text},
            "allow": {"type": "array", "items": text},
        },
        "required": ["type", "title", "status", "detail", "category", "id"],
    })
}
