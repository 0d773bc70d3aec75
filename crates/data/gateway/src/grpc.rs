//! What gRPC's clients understand: a status in trailers, and their own deadline in a header.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use crate::problem::{self, ERROR};
use http::{HeaderMap, Response, header};
use std::time::Duration;
use types::{Code, Fault};
use wire::Body;

const TIMEOUT: &str = "grpc-timeout";
/// Digits of a timeout.
const DIGITS_MAX: usize = 8;
/// More is as good as none.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The time that the caller gives the call, from here on.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > DIGITS_MAX || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    let limit = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(limit.min(LONGEST))
}

/// The fault of a call whose caller's own deadline passed.
pub(crate) fn overdue(limit: Duration) -> Fault {
    Fault::new(Code::DeadlineExceeded, format!("the caller gave the call {limit:?}"))
}

/// A problem document of ours as gRPC tells it; what a function answered stays as it is.
pub(crate) fn translate(response: Response<Body>) -> Response<Body> {
    let Some(fault) = fault_of(&response) else { return response };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut told = problem::grpc(&fault);
    // Beside it stays what says when to try again, and from where.
    parts.headers.extend(std::mem::take(told.headers_mut()));
    *told.headers_mut() = parts.headers;
    told
}

fn fault_of(response: &Response<Body>) -> Option<Fault> {
    let code = response.headers().get(ERROR)?.to_str().ok()?;
    let code = *Code::ALL.iter().find(|known| known.as_str() == code)?;
    let Body::Full(body) = response.body() else { return None };
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(Fault::new(code, document.get("detail")?.as_str()?.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read() {
        for (text, want) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999H", Some(LONGEST)),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0S", Some(Duration::ZERO)),
            ("100000000S", None),
            ("-1S", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("1ü", None),
            ("1s", None),
        ] {
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static(TIMEOUT),
                header::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            )]);
            assert_eq!(timeout(&headers), want, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn our_own_problems_are_translated_and_nothing_else() {
        let mut refused = problem::response(&Fault::new(Code::AccessDenied, "no token"));
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        let told = translate(refused);
        assert_eq!(told.status(), 200);
        assert_eq!(told.headers()["grpc-status"], "16");
        assert_eq!(told.headers()["grpc-message"], "access_denied: no token");
        assert_eq!(told.headers()["www-authenticate"], "Bearer");
        assert_eq!(told.headers()[header::CONTENT_TYPE], "application/grpc");
        let other = translate(Response::builder().status(500).body(Body::from("{}")).unwrap());
        assert_eq!(other.status(), 500);
    }
}
