//! The headers that a proxy takes off and puts on.

use crate::edge::Verified;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use types::InvocationId;
use wire::Matched;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static(types::api::REQUEST_ID_HEADER);
/// The route's parameters, for contracts without an event.
const PATH_PARAMETERS: HeaderName = HeaderName::from_static("mayfly-path-parameters");
/// All claims of the token that the call was let in for: base64url of JSON.
const JWT_CLAIMS: HeaderName = HeaderName::from_static("mayfly-jwt-claims");
/// The id of the API key that the call was let in for.
const KEY_ID: HeaderName = HeaderName::from_static("mayfly-key-id");
/// Headers that a request usually gets here: who called (4), its trace, its id.
pub(crate) const ADDED: usize = 6;
/// What only the platform says.
const OURS: [HeaderName; 3] = [PATH_PARAMETERS, JWT_CLAIMS, KEY_ID];

/// What one look at a head's names tells: most of what a proxy has to take off is hardly ever there, and each search for
/// an absent name costs as much as a look at all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Bytes of the headers as HTTP/1.1 writes them.
    pub(crate) size: usize,
    /// Something that speaks of one connection only, a length beside it or not.
    pub(crate) hop: bool,
    /// Something that says who called, through which proxies.
    pub(crate) who: bool,
    /// Something that may read like one of those, or of ours, where '_' is read as '-'.
    pub(crate) underscore: bool,
    pub(crate) trace: bool,
    /// Something that only the platform says.
    pub(crate) ours: bool,
}

impl Names {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut names = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            names.size += name.len() + value.len() + ": \r\n".len();
            names.underscore |= name.contains('_');
            match name.as_bytes()[0] {
                b'c' => names.hop |= name == "connection",
                b'f' => names.who |= name == "forwarded",
                b'k' => names.hop |= name == "keep-alive",
                b'm' => names.ours |= name.starts_with("mayfly-"),
                b'p' => names.hop |= name.starts_with("proxy-"),
                b't' => {
                    names.hop |= name == "te" || name == "transfer-encoding";
                    names.trace |= name.starts_with("trace");
                }
                b'u' => names.hop |= name == "upgrade",
                b'x' => names.who |= name.starts_with("x-forwarded-") || name == "x-real-ip",
                _ => {}
            }
        }
        names
    }
}

/// Headers that speak of one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// Headers that no `Connection` can take away: who called, and whom, is not the client's to hide from the function.
const KEPT: [&str; 8] = [
    "host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "content-length",
];

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(first) = headers.get(header::CONNECTION).cloned() {
        remove_named(headers, &first);
        for more in headers.get_all(header::CONNECTION).iter().skip(1).cloned().collect::<Vec<_>>() {
            remove_named(headers, &more);
        }
    }
    // A length beside an encoding is void (RFC 9112 §6.3), and would become the length of what goes on.
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Takes off what a line of `Connection` names.
fn remove_named(headers: &mut HeaderMap, line: &HeaderValue) {
    for name in line.to_str().unwrap_or("").split(',') {
        if let Ok(name) = name.trim().parse::<HeaderName>()
            && !KEPT.contains(&name.as_str())
            && name != header::CONNECTION
        {
            headers.remove(name);
        }
    }
}

/// Takes off what belongs to the client's connection, and puts on what the next one needs.
///
/// Trailers are passed on where the client takes them (RFC 9110 §10.1.4), and so is the wish to change the protocol
/// (§7.8) where the connection can: `upgrade` says so.
pub(crate) fn of_request(headers: &mut HeaderMap, upgrade: bool) {
    let trailers = headers.get(header::TE).is_some_and(|te| has_token(te, "trailers"));
    let protocol = if upgrade { headers.get(header::UPGRADE).cloned() } else { None };
    // HTTP/2 behind our back would be calls that nobody routes, checks or counts (RFC 9113 §3.1: obsolete).
    let protocol = protocol.filter(|protocol| !has_token(protocol, "h2c"));
    remove_hop_by_hop(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
}

/// The same for the answer: 101 names the protocol that the connection now speaks.
pub(crate) fn of_response(headers: &mut HeaderMap, status: StatusCode) {
    if !Names::of(headers).hop {
        return;
    }
    let protocol = if status == StatusCode::SWITCHING_PROTOCOLS { headers.get(header::UPGRADE).cloned() } else { None };
    remove_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// What the target says about the host counts, not the header (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
pub(crate) fn take_host(headers: &mut HeaderMap, uri: &Uri) {
    if let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
}

/// HTTP/2 may split cookies; functions read HTTP/1.1 (RFC 9113 §8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    if cookies.by_ref().nth(1).is_some() {
        let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

/// True where a list of tokens has this one; parameters behind ';' don't count.
fn has_token(value: &HeaderValue, token: &str) -> bool {
    let list = value.to_str().unwrap_or("");
    list.split(',').any(|one| one.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(token))
}

/// What only the platform says: a client's own is taken off.
pub(crate) fn remove_ours(headers: &mut HeaderMap) {
    for name in OURS {
        headers.remove(name);
    }
}

/// Whom the call was let in as.
pub(crate) fn add_verified(headers: &mut HeaderMap, verified: &Verified) {
    if let Some(claims) = verified.token.as_ref().and_then(|token| token.header.clone()) {
        headers.insert(JWT_CLAIMS, claims);
    }
    if let Some(id) = verified.key.as_ref().and_then(|key| HeaderValue::from_str(&key.id).ok()) {
        headers.insert(KEY_ID, id);
    }
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
pub(crate) fn request_id(headers: &HeaderMap, names: Names) -> InvocationId {
    let sent = if names.ours { headers.get(REQUEST_ID) } else { None };
    let sent = sent.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
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

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        headers.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    #[test]
    fn one_look_tells_what_there_is() {
        let plain = Names { size: 0, ..Names::default() };
        for (name, want) in HOP_BY_HOP
            .iter()
            .chain([&header::TRANSFER_ENCODING])
            .map(|name| (name.as_str(), Names { hop: true, ..plain }))
            .chain(OURS.iter().chain([&REQUEST_ID]).map(|name| (name.as_str(), Names { ours: true, ..plain })))
            .chain(["traceparent", "tracestate"].map(|name| (name, Names { trace: true, ..plain })))
            .chain(["x-forwarded-for", "x-forwarded-port", "x-real-ip", "forwarded"].map(|name| {
                assert!(crate::caller::says_who(name));
                (name, Names { who: true, ..plain })
            }))
            .chain(["x_forwarded_for", "a_b"].map(|name| (name, Names { underscore: true, ..plain })))
            .chain(["host", "cookie", "content-length", "user-agent", "x-mine"].map(|name| (name, plain)))
        {
            let mut headers = HeaderMap::new();
            headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("abc"));
            let size = name.len() + "abc".len() + 4;
            assert_eq!(Names::of(&headers), Names { size, ..want }, "{name}");
        }
    }

    #[test]
    fn a_connections_own_headers_stay_behind() {
        for (sent, upgrade, want) in [
            (&[("connection", "keep-alive, x-mine"), ("keep-alive", "1"), ("x-mine", "1")][..], true, &[][..]),
            (&[("connection", "x-a"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "1")], true, &[]),
            (&[("connection", "host, x-forwarded-for"), ("host", "a")], true, &[("host", "a")]),
            (&[("transfer-encoding", "chunked"), ("content-length", "3")], true, &[]),
            (&[("te", "gzip")], true, &[]),
            (&[("te", "gzip, trailers")], true, &[("te", "trailers")]),
            (&[("te", "trailers;q=1")], true, &[("te", "trailers")]),
            (&[("connection", "upgrade"), ("upgrade", "websocket")], true, &[("upgrade", "websocket")]),
            (&[("connection", "upgrade"), ("upgrade", "websocket")], false, &[]),
            (&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "x")], true, &[]),
            (&[("proxy-authorization", "x"), ("trailer", "x-sum")], true, &[("trailer", "x-sum")]),
        ] {
            let mut headers = map(sent);
            of_request(&mut headers, upgrade);
            assert_eq!(headers, map(want), "{sent:?}");
        }
    }

    #[test]
    fn only_a_switch_names_a_protocol_in_the_answer() {
        let sent = [("connection", "upgrade, x-mine"), ("upgrade", "websocket"), ("x-mine", "1")];
        let mut headers = map(&sent);
        of_response(&mut headers, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(headers, map(&[("upgrade", "websocket"), ("connection", "upgrade")]));
        let mut headers = map(&sent);
        of_response(&mut headers, StatusCode::UPGRADE_REQUIRED);
        assert_eq!(headers, map(&[]));
    }

    #[test]
    fn http2_becomes_what_functions_read() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("x", "1")]);
        take_host(&mut headers, &"https://a.example/x".parse().unwrap());
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2"), ("x", "1"), ("host", "a.example")]));
    }
}
