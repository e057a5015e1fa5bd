//! One request: let in, found, read, run, answered.

use super::connections::Slot;
use super::patience::Pace;
use super::problem::{self, Problem};
use super::reply::{self, Body, Reply};
use super::route::{self, Found, Route};
use super::{Server, admission, input, openapi};
use crate::host::Host;
use crate::operation::{Answer, Arguments, Question, Surface, invoke};
use crate::value::{Kind, Record};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The largest body.
pub const MOST_BYTES: usize = 1 << 20;
/// For a body to come.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// For other operations to end.
const QUEUE_PATIENCE: Duration = Duration::from_secs(60);

pub async fn answer(
    server: Arc<Server>,
    slot: &Slot,
    pace: &Pace,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    pace.busy();
    let path = request.uri().path().to_owned();
    if let Err(problem) = server.admission.admit(&request) {
        // Nothing more is read from whoever is not let in.
        let mut response = reply::problem(&problem, &path);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    }
    slot.admit();
    let response = respond(server, request).await.unwrap_or_else(|problem| reply::problem(&problem, &path));
    pace.idle();
    Ok(response)
}

async fn respond(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
    match (method.as_str(), path.as_str()) {
        ("GET", "/openapi.json") => {
            let document = format!("{:#}", openapi::document());
            return Ok(reply::json(Reply { status: StatusCode::OK, document, location: None }));
        }
        ("GET", "/events") => return server.events.subscribe().await.map(reply::stream),
        (_, "/openapi.json" | "/events") => return Err(other_methods(&method, &path, vec!["GET"])),
        _ => (),
    }
    let (route, values) = match route::find(&method, &path) {
        Found::Route(route, values) => (route, values),
        Found::OtherMethods(methods) => return Err(other_methods(&method, &path, methods)),
        Found::Nothing => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "RouteNotFound",
                "There is no such path; GET /openapi.json names all of them.",
            ));
        }
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = body(request).await?;
    let cmdlet = route.operation.cmdlet;
    let arguments =
        input::arguments(route, values, &query, &body).map_err(|failure| Problem::of(failure, cmdlet))?;
    run(server, route, arguments).await
}

fn other_methods(method: &str, path: &str, methods: Vec<&'static str>) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        format!("{path} has no method {method}; it has {}.", methods.join(", ")),
    )
    .with("allow", methods)
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_owned());
    let limited = Limited::new(request.into_body(), MOST_BYTES);
    let bytes = match timeout(BODY_PATIENCE, limited.collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(admission::too_large());
        }
        Ok(Err(error)) => {
            let why = format!("The body did not come as announced: {error}.");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "MalformedRequest", why));
        }
        Err(_) => {
            let why = format!("The body did not come within {} seconds.", BODY_PATIENCE.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", why));
        }
    };
    if !bytes.is_empty() && !is_json(kind.as_deref()) {
        let why = "The body must be JSON; send the header Content-Type: application/json.";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", why));
    }
    Ok(bytes)
}

fn is_json(kind: Option<&[u8]>) -> bool {
    let essence = kind.and_then(|kind| kind.split(|byte| *byte == b';').next()).unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Operations block, so they have threads of their own; what began goes on even if nobody waits for its answer.
async fn run(
    server: Arc<Server>,
    route: &'static Route,
    arguments: Arguments,
) -> Result<Response<Body>, Problem> {
    let permit = match timeout(QUEUE_PATIENCE, server.operations.clone().acquire_owned()).await {
        Ok(Ok(permit)) => permit,
        _ => {
            let why = "Too many operations are under way; try again later.";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", why));
        }
    };
    let host = server.host.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        call(&host, route, &arguments)
    });
    match done.await {
        Ok(result) => result.map(reply::json),
        Err(_) => {
            let why = "The operation broke; what it says is in the server's output.";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "OperationFailed", why))
        }
    }
}

/// Nobody sits at this surface: questions are answered with no, and told.
#[derive(Default)]
struct Remote {
    messages: Vec<String>,
    questions: Vec<String>,
}

/// What a request waits for holds one of the few places that there are for operations: who wants more asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Surface for Remote {
    fn longest_wait(&self) -> Duration {
        LONGEST_WAIT
    }
    fn say(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }
    fn confirm(&mut self, question: &Question) -> bool {
        self.questions.push(question.text.clone());
        false
    }
    fn offer(&mut self, _: &Question) -> bool {
        false
    }
}

/// Records keep the order of their properties.
#[derive(Serialize)]
struct Results<'a> {
    results: &'a [Record],
    warnings: &'a [String],
    messages: &'a [String],
}

fn call(host: &Host, route: &'static Route, arguments: &Arguments) -> Result<Reply, Problem> {
    let operation = route.operation;
    let mut surface = Remote::default();
    let answer = invoke(host, operation, arguments, &mut surface);
    if let Some(problem) = refusal(operation.cmdlet, &answer, &surface.questions) {
        return Err(problem
            .with("results", json!(answer.records))
            .with("warnings", answer.warnings)
            .with("messages", surface.messages));
    }
    let location = match answer.records.as_slice() {
        [made] if operation.cmdlet == "New-VM" && made.kind == Kind::VirtualMachine => {
            made.guid("VMId").map(|id| format!("/vms/{id}"))
        }
        _ => None,
    };
    let status = if location.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let results =
        Results { results: &answer.records, warnings: &answer.warnings, messages: &surface.messages };
    let document = serde_json::to_string_pretty(&results).map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "OperationFailed", error.to_string())
    })?;
    Ok(Reply { status, document, location })
}

/// Errors first; a question that nobody could answer is one, too.
fn refusal(cmdlet: &'static str, answer: &Answer, questions: &[String]) -> Option<Problem> {
    if let Some(first) = answer.errors.first() {
        let all: Vec<Json> =
            answer.errors.iter().map(|failure| Json::Object(problem::error(failure, Some(cmdlet)))).collect();
        return Some(Problem::of(first.clone(), cmdlet).with("errors", all));
    }
    let question = questions.first()?;
    let why = format!("{question} Nobody can be asked here; send \"Confirm\": false where it is meant.");
    Some(Problem::new(StatusCode::CONFLICT, "ConfirmationRequired", why).with("questions", questions))
}
