//! What gRPC's clients understand: a status in trailers, and their own deadline in a header.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use http::HeaderMap;
use std::time::Duration;
use types::{Code, Fault};

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::header;

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
}
