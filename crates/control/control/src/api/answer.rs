//! Answers that are no error: documents, with their ETag where they have one, and streams of lines.

use axum::{
    Json,
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use store::Version;

/// Lines of JSON: a stream that can be read as it comes.
const NDJSON: &str = "application/x-ndjson";

/// A document with the version that `If-Match` has to name.
pub(crate) fn tagged<T: Serialize>(document: T, version: Version) -> Response {
    let mut response = Json(document).into_response();
    response.headers_mut().insert(header::ETAG, etag(version));
    response
}

fn etag(version: Version) -> HeaderValue {
    // Digits in quotes are a header's value always.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

pub(crate) fn lines(body: Body) -> Response {
    let headers: [(HeaderName, &str); 2] = [(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}
