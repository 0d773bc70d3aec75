//! Faults become responses here and nowhere else.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use std::fmt::Write as _;
use types::{Code, Fault};
use wire::Body;

const ERROR: HeaderName = HeaderName::from_static("mayfly-error");

/// The problem document of `fault` (RFC 9457), with its code in a header for those who read no bodies.
pub(crate) fn response(fault: &Fault) -> Response<Body> {
    let problem = serde_json::to_vec(&fault.problem()).unwrap_or_default();
    let mut response = Response::new(Body::from(problem));
    *response.status_mut() = StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(ERROR, HeaderValue::from_static(fault.code.as_str()));
    if let Some(seconds) = fault.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
    }
    name_revision(headers, fault);
    if fault.code == Code::MethodNotAllowed
        && let Some(allowed) = fault.detail.rsplit_once("takes ").and_then(|(_, methods)| methods.parse().ok())
    {
        headers.insert(header::ALLOW, allowed);
    }
    response
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// True for a call of gRPC, whose clients read no problem documents.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The same where gRPC can be told: it needs HTTP/2.
pub(crate) fn is_grpc_call<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && is_grpc(request.headers())
}

/// The fault as the caller reads it.
pub(crate) fn answer(fault: &Fault, grpc: bool) -> Response<Body> {
    if grpc { self::grpc(fault) } else { response(fault) }
}

/// The fault as gRPC tells it: an answer of trailers only, with status 200 ("PROTOCOL-HTTP2", Responses).
pub(crate) fn grpc(fault: &Fault) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.headers_mut() = grpc_status(fault);
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    name_revision(response.headers_mut(), fault);
    response
}

/// Says which revision did not answer, where one was chosen.
fn name_revision(headers: &mut HeaderMap, fault: &Fault) {
    if let Some(name) = fault.revision().and_then(|revision| HeaderValue::try_from(revision.to_string()).ok()) {
        headers.insert(HeaderName::from_static(types::api::REVISION_HEADER), name);
    }
}

/// `grpc-status` and `grpc-message`, with our own code beside them.
pub(crate) fn grpc_status(fault: &Fault) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(GRPC_STATUS, HeaderValue::from(grpc_code(fault.code)));
    if let Ok(message) = HeaderValue::try_from(percent(&fault.to_string())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    headers.insert(ERROR, HeaderValue::from_static(fault.code.as_str()));
    headers
}

/// Source: <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>. Who may try again is told UNAVAILABLE, which its
/// clients do by themselves; a quota is none of what a second attempt helps against.
fn grpc_code(code: Code) -> u16 {
    if let Code::RateLimited | Code::FunctionLimit | Code::TenantLimit | Code::FunctionStopped = code {
        return 8; // RESOURCE_EXHAUSTED
    }
    match code.status() {
        _ if code.retry() => 14, // UNAVAILABLE
        400 | 414 | 431 => 3,    // INVALID_ARGUMENT
        401 => 16,               // UNAUTHENTICATED
        403 => 7,                // PERMISSION_DENIED
        404 | 405 | 501 => 12,   // UNIMPLEMENTED
        413 => 8,                // RESOURCE_EXHAUSTED
        429 => 8,                // RESOURCE_EXHAUSTED
        504 => 4,                // DEADLINE_EXCEEDED
        502 | 503 => 14,         // UNAVAILABLE
        _ => 13,                 // INTERNAL
    }
}

/// Percent-encoded as `grpc-message` is: printable ASCII without '%'.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing into a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn faults_speak_grpc() {
        for (code, want) in [
            (Code::RouteNotFound, "12"),
            (Code::CapacityExhausted, "14"),
            (Code::FunctionTimeout, "4"),
            (Code::FunctionExited, "14"),
            (Code::RequestTooLarge, "8"),
            (Code::Internal, "13"),
            (Code::HeadersTooLarge, "3"),
            (Code::AccessDenied, "16"),
            (Code::RateLimited, "8"),
            (Code::FunctionLimit, "8"),
            (Code::QueueFull, "14"),
            (Code::DeadlineExceeded, "4"),
            (Code::ShuttingDown, "14"),
        ] {
            let response = grpc(&Fault::new(code, "100 % of\nü"));
            assert_eq!(
                (response.status().as_u16(), &response.headers()["grpc-status"]),
                (200, &HeaderValue::from_static(want))
            );
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert!(message.ends_with("100 %25 of%0A%C3%BC"), "{message}");
        }
    }

    #[test]
    fn a_fault_names_the_revision_that_was_chosen() {
        let chosen = types::RevisionId { function: "hello".parse().unwrap(), number: 7 };
        for grpc in [false, true] {
            let told = |fault: Fault| answer(&fault, grpc).headers().get("mayfly-revision").cloned();
            let fault = Fault::new(Code::FunctionTimeout, "30s");
            assert_eq!(told(fault.clone()), None);
            assert_eq!(told(fault.of(&chosen)).unwrap(), "hello@7");
        }
    }

    #[test]
    fn grpc_is_told_by_its_type() {
        for (kind, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=1", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), want, "{kind}");
        }
    }
}
