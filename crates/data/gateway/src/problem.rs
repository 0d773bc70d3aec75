//! Faults become responses here and nowhere else.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use types::{Code, Fault};
use wire::Body;

const ERROR: HeaderName = HeaderName::from_static("mayfly-error");

/// Seconds after which a refused caller may try again.
const RETRY_AFTER: &str = "1";

/// The problem document of `fault` (RFC 9457), with its code in a header for those who read no bodies.
pub(crate) fn response(fault: &Fault) -> Response<Body> {
    let problem = serde_json::to_vec(&fault.problem()).unwrap_or_default();
    let mut response = Response::new(Body::from(problem));
    *response.status_mut() = StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(ERROR, HeaderValue::from_static(fault.code.as_str()));
    if fault.code.retry() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    if fault.code == Code::MethodNotAllowed
        && let Some(allowed) = fault.detail.rsplit_once("takes ").and_then(|(_, methods)| methods.parse().ok())
    {
        headers.insert(header::ALLOW, allowed);
    }
    response
}
