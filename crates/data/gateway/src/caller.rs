//! Who called: the peer of a connection, or whom a trusted proxy names.
//!
//! Anybody can write `X-Forwarded-For`. What it says counts only where the connection comes from a proxy that the
//! operator named, and only up to the first address that is none of those: from there on it is hearsay.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{fmt, net::IpAddr, net::SocketAddr, str::FromStr};

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Addresses by their leading bits: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

impl Net {
    fn contains(self, ip: IpAddr) -> bool {
        let same =
            |a: u128, b: u128, unused: u32| a.checked_shr(unused).unwrap_or(0) == b.checked_shr(unused).unwrap_or(0);
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                same(u128::from(net.to_bits()), u128::from(ip.to_bits()), 32 - u32::from(self.bits))
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => same(net.to_bits(), ip.to_bits(), 128 - u32::from(self.bits)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| format!("`{text}` is no address like 10.0.0.0/8 or ::1"))?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).ok().filter(|bits| *bits <= all);
        bits.map(|bits| Self { address, bits }).ok_or_else(|| format!("`{text}` has no length of 0 to {all} bits"))
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Trusted(pub Vec<Net>);

impl Trusted {
    fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(ip))
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The same as text, made once for all its requests.
    text: HeaderValue,
    /// It is a proxy that is believed.
    trusted: bool,
    /// The connection is encrypted.
    pub(crate) secure: bool,
}

impl Peer {
    pub(crate) fn new(ip: IpAddr, secure: bool, trusted: &Trusted) -> Self {
        let ip = ip.to_canonical();
        let text = HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { ip, text, trusted: trusted.contains(ip), secure }
    }

    fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(if self.secure { "https" } else { "http" })
    }
}

/// Puts the forwarding headers right for the function, and says who called.
///
/// From a trusted proxy they are kept and continued; from anybody else they are replaced by what we saw ourselves.
///
/// `said`: the request says something about that by itself.
pub(crate) fn forwarded(headers: &mut HeaderMap, said: bool, peer: &Peer, trusted: &Trusted, prefix: &str) -> IpAddr {
    if said {
        headers.remove(FORWARDED_PREFIX);
    }
    let ip = if peer.trusted {
        continue_chain(headers, peer, trusted)
    } else {
        if said {
            forget_chain(headers);
        }
        begin_chain(headers, peer)
    };
    if let Ok(prefix) = HeaderValue::from_str(prefix)
        && !prefix.is_empty()
    {
        headers.insert(FORWARDED_PREFIX, prefix);
    }
    ip
}

fn forget_chain(headers: &mut HeaderMap) {
    for name in [FORWARDED_HOST, FORWARDED_PORT, REAL_IP, header::FORWARDED] {
        headers.remove(name);
    }
}

/// Takes off what reads like one of the headers here where '_' is read as '-': CGI, WSGI and PHP do so, and a stranger's
/// `X_Forwarded_For` would be taken for ours.
pub(crate) fn remove_lookalikes(headers: &mut HeaderMap) {
    let alike = |name: &&HeaderName| name.as_str().contains('_') && says_who(&name.as_str().replace('_', "-"));
    while let Some(name) = headers.keys().find(alike).cloned() {
        headers.remove(name);
    }
}

pub(crate) fn says_who(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name.starts_with("mayfly-") || ["forwarded", "x-real-ip"].contains(&name)
}

fn begin_chain(headers: &mut HeaderMap, peer: &Peer) -> IpAddr {
    headers.insert(FORWARDED_FOR, peer.text.clone());
    headers.insert(FORWARDED_PROTO, peer.scheme());
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    peer.ip
}

/// Who called, by the same rules and without touching the headers.
pub(crate) fn client_of(headers: &HeaderMap, peer: &Peer, trusted: &Trusted) -> IpAddr {
    if peer.trusted { client(&hops(headers), peer.ip, trusted) } else { peer.ip }
}

fn hops(headers: &HeaderMap) -> Vec<String> {
    match headers.contains_key(FORWARDED_FOR) {
        true => list(headers, &FORWARDED_FOR),
        false => list(headers, &header::FORWARDED).iter().map(|element| node(element).to_owned()).collect(),
    }
}

fn continue_chain(headers: &mut HeaderMap, peer: &Peer, trusted: &Trusted) -> IpAddr {
    let client = client(&hops(headers), peer.ip, trusted);
    append(headers, FORWARDED_FOR, peer.text.as_bytes());
    if headers.contains_key(header::FORWARDED) {
        let quoted = if peer.ip.is_ipv6() { format!("for=\"[{}]\"", peer.ip) } else { format!("for={}", peer.ip) };
        append(headers, header::FORWARDED, quoted.as_bytes());
    }
    headers.entry(FORWARDED_PROTO).or_insert_with(|| peer.scheme());
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    client
}

/// All elements of a header that is a list, over all its lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|element| element.trim().to_owned()).collect()
}

fn append(headers: &mut HeaderMap, name: HeaderName, element: &[u8]) {
    let lines: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).chain([element]).collect();
    if let Ok(value) = HeaderValue::from_bytes(&lines.join(&b", "[..])) {
        headers.insert(name, value);
    }
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4), without quotes.
fn node(element: &str) -> &str {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| name.eq_ignore_ascii_case("for")).map_or("", |(_, value)| value.trim_matches('"'))
}

/// The nearest hop that is no trusted proxy. A hop that is no address ends the search: what lies behind it cannot be
/// told from an invention.
fn client(hops: &[String], peer: IpAddr, trusted: &Trusted) -> IpAddr {
    let mut nearest = peer;
    for hop in hops.iter().rev() {
        let Some(ip) = address(hop) else { return nearest };
        nearest = ip;
        if !trusted.contains(ip) {
            return ip;
        }
    }
    nearest
}

/// An address with or without port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn trusted(nets: &[&str]) -> Trusted {
        Trusted(nets.iter().map(|net| net.parse().unwrap()).collect())
    }

    #[test]
    fn nets_hold_what_their_bits_say() {
        for (net, ip, want) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ] {
            assert_eq!(net.parse::<Net>().unwrap().contains(ip.parse().unwrap()), want, "{net} {ip}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0.0/x", "::/129", "example.com", "10.0.0.0/-1"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = ["127.0.0.0/8", "10.0.0.0/8"];
        for (peer, header, value, want) in [
            ("203.0.113.7", "x-forwarded-for", "1.1.1.1", "203.0.113.7"),
            ("203.0.113.7", "forwarded", "for=1.1.1.1", "203.0.113.7"),
            ("127.0.0.1", "x-forwarded-for", "1.1.1.1", "1.1.1.1"),
            ("127.0.0.1", "x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.3", "1.1.1.1"),
            ("127.0.0.1", "x-forwarded-for", "10.0.0.4, 10.0.0.3", "10.0.0.4"),
            ("127.0.0.1", "x-forwarded-for", "1.1.1.1:4000", "1.1.1.1"),
            ("127.0.0.1", "x-forwarded-for", "[2001:db8::1]:4000", "2001:db8::1"),
            ("127.0.0.1", "x-forwarded-for", "::ffff:1.1.1.1", "1.1.1.1"),
            ("127.0.0.1", "x-forwarded-for", "1.1.1.1, unknown", "127.0.0.1"),
            ("127.0.0.1", "x-forwarded-for", "", "127.0.0.1"),
            ("127.0.0.1", "forwarded", "for=1.1.1.1;proto=https, For=\"10.0.0.3:80\"", "1.1.1.1"),
            ("127.0.0.1", "forwarded", "for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("127.0.0.1", "forwarded", "for=_hidden", "127.0.0.1"),
        ] {
            let trusted = trusted(&proxies);
            let peer = Peer::new(peer.parse().unwrap(), false, &trusted);
            let mut headers = HeaderMap::new();
            headers.insert(header, value.parse().unwrap());
            let got = forwarded(&mut headers, true, &peer, &trusted, "");
            assert_eq!(got, want.parse::<IpAddr>().unwrap(), "{header}: {value} from {}", peer.ip);
        }
    }

    #[test]
    fn lookalikes_go_and_others_stay() {
        let names =
            ["x_forwarded_for", "x_forwarded-proto", "x_real_ip", "mayfly_request_id", "x-forwarded-for", "my_own"];
        let pair = |name: &str| (name.parse().unwrap(), HeaderValue::from_static("1"));
        let mut headers: HeaderMap = names.into_iter().map(pair).collect();
        remove_lookalikes(&mut headers);
        assert_eq!(headers, HeaderMap::from_iter(["x-forwarded-for", "my_own"].map(pair)));
    }

    #[test]
    fn what_strangers_claim_is_replaced_and_what_proxies_say_goes_on() {
        let claims = [
            ("host", "a.example"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b.example"),
            ("x-forwarded-port", "444"),
            ("x-forwarded-prefix", "/claimed"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let headers: HeaderMap =
            claims.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
        let seen = |trusted: Trusted, secure| {
            let mut headers = headers.clone();
            let peer = Peer::new("127.0.0.1".parse().unwrap(), secure, &trusted);
            forwarded(&mut headers, true, &peer, &trusted, "/hello");
            claims.map(|(name, _)| headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned())
        };
        assert_eq!(
            seen(Trusted::default(), false),
            ["a.example", "127.0.0.1", "http", "a.example", "", "/hello", "", ""]
        );
        assert_eq!(seen(Trusted::default(), true)[2], "https");
        assert_eq!(
            seen(trusted(&["127.0.0.1"]), false),
            [
                "a.example",
                "1.1.1.1, 127.0.0.1",
                "https",
                "b.example",
                "444",
                "/hello",
                "1.1.1.1",
                "for=1.1.1.1, for=127.0.0.1"
            ]
        );
    }
}
