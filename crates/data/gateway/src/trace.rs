//! W3C Trace Context: a caller's trace goes on, and a call without one begins its own.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, §3.2 and §4. A gateway that records no span of its own passes
//! `traceparent` on as it is (§3.3, "forwarding").

use http::{HeaderMap, HeaderName, HeaderValue};
use types::InvocationId;

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const LEN: usize = 55;

/// Sees that the request has a valid `traceparent`; `sent`: it says something about a trace by itself.
///
/// A new trace has the call's own id, so that who knows one of them finds the other; it is sampled: a function that
/// records spans decides by itself how many. `tracestate` belongs to the caller's trace and goes with it (§4.3).
pub(crate) fn ensure(headers: &mut HeaderMap, sent: bool, id: InvocationId) {
    if sent {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        if let (Some(value), None) = (parents.next(), parents.next())
            && is_valid(value.as_bytes())
        {
            return;
        }
        headers.remove(TRACESTATE);
    }
    // A caller may have sent an id of zeros, and a trace may not have it.
    let id = if id == InvocationId::default() { InvocationId::random() } else { id };
    headers.insert(TRACEPARENT, begin(id, fastrand::u64(1..)));
}

fn begin(id: InvocationId, span: u64) -> HeaderValue {
    let mut text = [b'0'; LEN];
    let mut uuid = [0; 36];
    id.encode(&mut uuid);
    text[2] = b'-';
    for (to, from) in text[3..35].iter_mut().zip(uuid.iter().filter(|byte| **byte != b'-')) {
        *to = *from;
    }
    text[35] = b'-';
    // Sixteen places for eight bytes: it cannot fail.
    let _ = hex::encode_to_slice(span.to_be_bytes(), &mut text[36..52]);
    text[52..].copy_from_slice(b"-01");
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
}

/// A later version may be longer, after another '-' (§3.2.4).
fn is_valid(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &[u8]| part.iter().any(|b| *b != b'0');
    let Some((text, rest)) = value.split_at_checked(LEN) else { return false };
    let dashes = [text[2], text[35], text[52]] == *b"---";
    let (version, trace, span, flags) = (&text[..2], &text[3..35], &text[36..52], &text[53..]);
    dashes
        && [version, trace, span, flags].into_iter().all(hex)
        && (some(trace) && some(span) && version != b"ff")
        && (rest.is_empty() || (version != b"00" && rest[0] == b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_valid_parents_are_kept() {
        for (sent, kept) in [
            (GOOD, true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, sent.parse().unwrap());
            headers.insert(TRACESTATE, "a=1".parse().unwrap());
            ensure(&mut headers, true, InvocationId::random());
            assert_eq!((headers[TRACEPARENT] == sent, headers.contains_key(TRACESTATE)), (kept, kept), "{sent}");
            assert!(is_valid(headers[TRACEPARENT].as_bytes()), "{:?}", headers[TRACEPARENT]);
        }
        // Two of them are none (§3.2.1 has one).
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        ensure(&mut headers, true, InvocationId::random());
        assert_ne!(headers[TRACEPARENT], GOOD);
    }

    #[test]
    fn a_new_trace_has_the_calls_id() {
        let id = "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap();
        assert_eq!(begin(id, 0xb7ad), "00-0f8fad5bd9cb469fa16570867728950e-000000000000b7ad-01");
    }
}
