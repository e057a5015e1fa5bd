//! What goes back: records with warnings and messages, a problem, a document, or a stream.

use super::events::Stream;
use super::problem::{self, Problem};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value as Json;

pub type Body = Either<Full<Bytes>, Stream>;

/// A response before it is one.
pub struct Reply {
    pub status: StatusCode,
    /// JSON.
    pub document: String,
    /// Where what was made is.
    pub location: Option<String>,
}

pub fn json(reply: Reply) -> Response<Body> {
    let mut response = text(reply.status, "application/json", reply.document);
    if let Some(location) = reply.location.and_then(|place| HeaderValue::try_from(place).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

pub fn problem(problem: &Problem, path: &str) -> Response<Body> {
    let mut response = text(problem.status, problem::CONTENT_TYPE, format!("{:#}", problem.document(path)));
    let mut add = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    match problem.status {
        StatusCode::UNAUTHORIZED => add(header::WWW_AUTHENTICATE, "Bearer realm=\"ireko\""),
        StatusCode::SERVICE_UNAVAILABLE => add(header::RETRY_AFTER, "5"),
        // What is left of the request is not read.
        StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => add(header::CONNECTION, "close"),
        _ => (),
    }
    if let Some(methods) = problem.more.get("allow").and_then(Json::as_array) {
        let names: Vec<&str> = methods.iter().filter_map(Json::as_str).collect();
        add(header::ALLOW, &names.join(", "));
    }
    response
}

pub fn stream(stream: Stream) -> Response<Body> {
    with_type(StatusCode::OK, "text/event-stream", Either::Right(stream))
}

fn text(status: StatusCode, kind: &'static str, document: String) -> Response<Body> {
    with_type(status, kind, Either::Left(Full::from(document + "\n")))
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
