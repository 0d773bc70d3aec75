//! The headers that a proxy takes off and puts on.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use types::InvocationId;
use wire::Matched;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static(types::api::REQUEST_ID_HEADER);
/// The route's parameters, for contracts without an event.
const PATH_PARAMETERS: HeaderName = HeaderName::from_static("mayfly-path-parameters");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Headers that speak of one connection only (RFC 9110 §7.6.1). `Upgrade` stays out: no contract takes it yet.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).cloned() {
        for name in named.to_str().unwrap_or("").split(',') {
            if let Ok(name) = name.trim().parse::<HeaderName>() {
                headers.remove(name);
            }
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Says who called and how. What a client claims about earlier hops stays in front of what we saw.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, peer: Option<&HeaderValue>, prefix: &str) {
    if let Some(peer) = peer {
        let seen = match headers.get(&FORWARDED_FOR) {
            Some(earlier) => HeaderValue::from_bytes(&[earlier.as_bytes(), b", ", peer.as_bytes()].concat()).ok(),
            None => Some(peer.clone()),
        };
        if let Some(seen) = seen {
            headers.insert(FORWARDED_FOR, seen);
        }
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    if !prefix.is_empty()
        && let Ok(prefix) = HeaderValue::from_str(prefix)
    {
        headers.insert(FORWARDED_PREFIX, prefix);
    }
}

/// What only the platform says: a client's own is taken off.
pub(crate) fn remove_ours(headers: &mut HeaderMap) {
    headers.remove(&PATH_PARAMETERS);
}

/// `id=7&path=a/b`, as the path has them: percent-encoded.
pub(crate) fn add_parameters(headers: &mut HeaderMap, matched: &Matched, path: &str) {
    if matched.has_parameters() {
        let pairs: Vec<_> =
            matched.parameters(path).map(|(name, value)| format!("{name}={}", value.replace('&', "%26"))).collect();
        if let Ok(value) = HeaderValue::from_str(&pairs.join("&")) {
            headers.insert(PATH_PARAMETERS, value);
        }
    }
}

/// The caller's id for the call where it sent a valid one, a new one otherwise.
pub(crate) fn request_id(headers: &HeaderMap) -> InvocationId {
    let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    sent.unwrap_or_else(InvocationId::random)
}

pub(crate) fn id_value(id: InvocationId) -> HeaderValue {
    let mut buffer = [0; 36];
    HeaderValue::from_str(id.encode(&mut buffer)).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_own_headers_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-mine"),
            ("keep-alive", "1"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("x-yours", "1"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-yours"]);
    }

    #[test]
    fn forwarding_appends_what_was_seen() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "10.0.0.9".parse().unwrap());
        headers.insert("host", "a.example".parse().unwrap());
        add_forwarded(&mut headers, Some(&HeaderValue::from_static("127.0.0.1")), "/hello");
        assert_eq!(headers["x-forwarded-for"], "10.0.0.9, 127.0.0.1");
        assert_eq!(headers["x-forwarded-host"], "a.example");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-prefix"], "/hello");
    }
}
