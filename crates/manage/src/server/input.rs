//! Queries and JSON bodies to arguments. Stricter than a command line: a program that sends the wrong type has a mistake.

use super::route::{Route, decode};
use crate::operation::{Arguments, Failure, Operation, Parameter, Prints, Type};
use crate::value::Value;
use serde_json::Value as Json;

/// What a caller of this route may send besides the path: no objects, which only a pipeline has.
pub fn parameters(route: &'static Route) -> impl Iterator<Item = &'static Parameter> {
    let sendable = |parameter: &&'static Parameter| !matches!(parameter.kind, Type::Object(_));
    let in_path = |parameter: &Parameter| route.parameters().any(|own| own.name == parameter.name);
    route.operation.all_parameters().filter(sendable).filter(move |parameter| !in_path(parameter))
}

/// The arguments of a request. `query` is everything behind the `?`, `body` the bytes as they came.
pub fn arguments(
    route: &'static Route,
    path: Vec<(&'static Parameter, String)>,
    query: &str,
    body: &[u8],
) -> Result<Arguments, Failure> {
    let mut arguments = Arguments::default();
    for (parameter, text) in path {
        arguments.bind(parameter, from_text(parameter, text)?)?;
    }
    if takes_body(route) {
        if !query.is_empty() {
            return Err(malformed(
                "Parameters of this method go into the JSON body, not behind a question mark.",
            ));
        }
        for (name, value) in object(body)? {
            let parameter = named(route, &name)?;
            arguments.bind(parameter, from_json(parameter, value)?)?;
        }
    } else {
        if !body.is_empty() {
            return Err(malformed("Parameters of this method go behind a question mark, not into a body."));
        }
        from_query(route, query, &mut arguments)?;
    }
    exclusive(route.operation, &arguments)?;
    // As with --json on the command line: who reads JSON wants to see what became of it.
    if route.operation.prints == Prints::Passthru && !arguments.has("Passthru") {
        arguments.set(route.operation, "Passthru", true)?;
    }
    Ok(arguments)
}

pub fn takes_body(route: &Route) -> bool {
    use crate::operation::Method;
    matches!(route.method, Method::Post | Method::Patch)
}

fn malformed(message: impl Into<String>) -> Failure {
    Failure { id: "MalformedRequest", ..Failure::invalid(message) }
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Json>, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(malformed("The body must be a JSON object of parameters, like {\"Name\": \"lab\"}.")),
        Err(error) => Err(malformed(format!("The body is no JSON: {error}."))),
    }
}

fn named(route: &'static Route, name: &str) -> Result<&'static Parameter, Failure> {
    if let Some(parameter) = parameters(route).find(|parameter| parameter.name == name) {
        return Ok(parameter);
    }
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    let hint = match parameters(route).find(|parameter| parameter.is_called(name)) {
        Some(parameter) => format!("It is written {}.", parameter.name),
        None if route.parameters().any(|parameter| parameter.is_called(name)) => "It is in the path.".into(),
        None => {
            let all: Vec<&str> = parameters(route).map(|parameter| parameter.name).collect();
            format!("There are: {}.", all.join(", "))
        }
    };
    Err(Failure {
        id: "NamedParameterNotFound",
        ..Failure::invalid(format!(
            "A parameter cannot be found that matches parameter name '{shown}'. {hint}"
        ))
    })
}

fn from_query(route: &'static Route, query: &str, arguments: &mut Arguments) -> Result<(), Failure> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| {
            decode(&text.replace('+', " "))
                .ok_or_else(|| malformed("The query is not UTF-8 in percent encoding."))
        };
        let parameter = named(route, &plain(name)?)?;
        let value = from_text(parameter, plain(text)?)?;
        match arguments.value(parameter.name) {
            Some(Value::List(before)) if parameter.many => {
                let all: Vec<Value> = before.iter().cloned().chain([value]).collect();
                arguments.bind(parameter, Value::List(all))?;
            }
            Some(_) => return Err(wrong(parameter, "it is given twice")),
            None => arguments.bind(parameter, value)?,
        }
    }
    Ok(())
}

fn wrong(parameter: &Parameter, why: &str) -> Failure {
    Failure {
        id: "ParameterArgumentValidationError",
        ..Failure::invalid(format!("Cannot validate argument on parameter '{}': {why}.", parameter.name))
    }
}

/// A path's or a query's text as what the parameter takes.
fn from_text(parameter: &Parameter, text: String) -> Result<Value, Failure> {
    match parameter.kind {
        Type::Bool | Type::Switch => match text.as_str() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(wrong(parameter, "it takes true or false")),
        },
        Type::Int(..) => match text.parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(wrong(parameter, "it takes a whole number")),
        },
        _ => one(parameter, text.into()),
    }
}

/// A JSON value as what the parameter takes.
fn from_json(parameter: &Parameter, json: Json) -> Result<Value, Failure> {
    match json {
        Json::Array(items) if parameter.many => {
            let items = items.into_iter().map(|item| from_json_one(parameter, item));
            items.collect::<Result<_, _>>().map(Value::List)
        }
        other => from_json_one(parameter, other),
    }
}

fn from_json_one(parameter: &Parameter, json: Json) -> Result<Value, Failure> {
    match (parameter.kind, json) {
        (Type::Path, Json::Null) => Ok(Value::Null),
        (Type::Bool | Type::Switch, Json::Bool(on)) => Ok(on.into()),
        (Type::Bool | Type::Switch, _) => Err(wrong(parameter, "it takes true or false")),
        (Type::Int(..), Json::Number(number)) | (Type::Bytes, Json::Number(number)) => match whole(&number) {
            Some(number) => Ok(number.into()),
            None => Err(wrong(parameter, "it takes a whole number")),
        },
        (Type::Int(..), _) => Err(wrong(parameter, "it takes a whole number")),
        (_, Json::String(text)) => one(parameter, text.into()),
        (Type::Bytes, _) => Err(wrong(parameter, "it takes an amount in bytes, or text like \"512MB\"")),
        _ => Err(wrong(parameter, "it takes text")),
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
    number.as_i64().or_else(|| float().map(|float| float as i64))
}

/// Paths are the server's: there is no working directory that a caller could mean.
fn one(parameter: &Parameter, value: Value) -> Result<Value, Failure> {
    match (parameter.kind, value.as_text()) {
        (Type::Path, Some(text)) if !text.starts_with('/') => {
            Err(wrong(parameter, "it takes an absolute path on the server, or null"))
        }
        (Type::Path, Some(text)) if text.contains('\0') => Err(wrong(parameter, "a path has no NUL")),
        _ => Ok(value),
    }
}

/// Parameters of different sets exclude each other.
fn exclusive(operation: &'static Operation, arguments: &Arguments) -> Result<(), Failure> {
    let given = || operation.all_parameters().filter(|p| !p.set.is_empty() && arguments.has(p.name));
    let Some(first) = given().next() else { return Ok(()) };
    match given().find(|parameter| parameter.set != first.set) {
        Some(other) => Err(Failure {
            id: "AmbiguousParameterSet",
            ..Failure::invalid(format!(
                "'{}' and '{}' exclude each other; give one of them.",
                first.name, other.name
            ))
        }),
        None => Ok(()),
    }
}
