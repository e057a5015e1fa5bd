//! Errors as problem documents (RFC 9457).

use crate::operation::{Category, Failure};
use hyper::StatusCode;
use serde_json::{Map, Value as Json, json};

pub const CONTENT_TYPE: &str = "application/problem+json";

/// One request's error.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub failure: Failure,
    /// The operation, for the qualified id.
    pub cmdlet: Option<&'static str>,
    /// Members beside those of the RFC and the failure's.
    pub more: Map<String, Json>,
}

/// What a category comes to. Everything that the VMs' or the host's condition forbids is a conflict, so 5xx means that
/// the server itself is broken or busy.
pub fn status(failure: &Failure) -> StatusCode {
    match failure.category {
        _ if failure.absent => StatusCode::NOT_FOUND,
        Category::InvalidArgument => StatusCode::BAD_REQUEST,
        Category::ObjectNotFound => StatusCode::NOT_FOUND,
        Category::PermissionDenied => StatusCode::FORBIDDEN,
        Category::InvalidOperation
        | Category::ResourceUnavailable
        | Category::OperationTimeout
        | Category::OperationStopped => StatusCode::CONFLICT,
        Category::NotImplemented => StatusCode::UNPROCESSABLE_ENTITY,
        Category::NotSpecified => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    /// Of the server's own, before any operation.
    pub fn new(status: StatusCode, id: &'static str, message: impl Into<String>) -> Self {
        let category = match status {
            StatusCode::NOT_FOUND => Category::ObjectNotFound,
            StatusCode::UNAUTHORIZED => Category::PermissionDenied,
            StatusCode::REQUEST_TIMEOUT => Category::OperationTimeout,
            StatusCode::SERVICE_UNAVAILABLE => Category::ResourceUnavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Category::NotSpecified,
            StatusCode::CONFLICT => Category::InvalidOperation,
            _ => Category::InvalidArgument,
        };
        let failure = Failure::new(category, id, message);
        Self { status, failure, cmdlet: None, more: Map::new() }
    }

    pub fn of(failure: Failure, cmdlet: &'static str) -> Self {
        Self { status: status(&failure), failure, cmdlet: Some(cmdlet), more: Map::new() }
    }

    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }

    pub fn document(&self, path: &str) -> Json {
        let mut document = error(&self.failure, self.cmdlet);
        document.insert("type".into(), "about:blank".into());
        document.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        document.insert("status".into(), self.status.as_u16().into());
        document.insert("instance".into(), path.into());
        document.extend(self.more.clone());
        Json::Object(document)
    }
}

/// One failure: what the cmdlet would have shown of it.
pub fn error(failure: &Failure, cmdlet: Option<&'static str>) -> Map<String, Json> {
    let id = cmdlet.map_or_else(|| failure.id.to_owned(), |cmdlet| failure.qualified_id(cmdlet));
    let document = json!({
        "detail": failure.message,
        "category": format!("{:?}", failure.category),
        "id": id,
        "target": failure.target,
    });
    match document {
        Json::Object(object) => object,
        _ => Map::new(),
    }
}
