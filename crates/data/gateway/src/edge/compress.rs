//! Compression of answers, where the function asks for it: which answers ([`fits`]), in which coding ([`chosen`]), and what
//! their heads say then. [`body`] compresses as the answer streams, [`encoder`] has the three codings.

mod body;
mod encoder;

use body::Compressed;
pub(crate) use encoder::Coding;
use encoder::Encoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;
use wire::Body;

/// A body that is there as a whole is compressed at once up to here, so that its length can be told; the time is
/// some 1 ms.
const WHOLE_MAX: usize = 64 << 10;

/// Said of the bytes as the function wrote them.
const OF_THE_BYTES: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// The coding that the client likes best, of those it takes (RFC 9110 §12.5.3); `None` sends the answer as it is. Where it
/// likes several as much, the one that costs least.
pub(crate) fn chosen(headers: &HeaderMap) -> Option<Coding> {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut weights = [None; Coding::ALL.len()];
    let (mut others, mut identity) = (None, None);
    for one in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = one.split_once(';').map_or((one, ""), |(name, rest)| (name, rest));
        let Some(weight) = quality(weight) else { continue };
        let name = name.trim();
        if name == "*" {
            others = Some(weight);
        } else if name.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if let Some(at) = Coding::ALL.iter().position(|coding| coding.is(name)) {
            weights[at] = Some(weight);
        }
    }
    let weighted = Coding::ALL.into_iter().zip(weights.map(|weight| weight.or(others).unwrap_or(0)));
    // Of equals the first: `max_by_key` gives the last.
    let (coding, weight) = weighted.rev().max_by_key(|(_, weight)| *weight)?;
    (weight > 0 && weight >= identity.unwrap_or(0)).then_some(coding)
}

/// `q=0.5` in thousandths; `None` where it is none.
fn quality(text: &str) -> Option<u16> {
    let text = text.trim();
    if text.is_empty() {
        return Some(1000);
    }
    let value: f32 = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?.trim().parse().ok()?;
    // 0 to 1000: nothing is lost.
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

/// Whether an answer may be compressed at all, whatever the client takes.
fn fits(response: &Response<Body>, min: u64) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let whole = !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT)
        && !headers.contains_key(header::CONTENT_RANGE);
    let plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    let caching = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let fixed = caching.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case("no-transform"));
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size = response.body().size_hint().exact().or(told);
    whole && plain && !fixed && size.is_none_or(|size| size >= min) && is_text(headers)
}

/// Types that shrink. Events of a stream (`text/event-stream`) are small and wanted at once.
fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    (kind.starts_with("text/") && kind != "text/event-stream")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json"
                | "application/xml"
                | "application/javascript"
                | "application/x-ndjson"
                | "application/wasm"
        )
}

/// Compresses the answer where that is right; caches are told that others may get it otherwise.
pub(super) fn apply(response: &mut Response<Body>, min: u64, coding: Option<Coding>, method: &Method) {
    if !fits(response, min) {
        return;
    }
    vary(response.headers_mut());
    // The answer to HEAD has the headers of one to GET as far as they are known without its body.
    let Some(coding) = coding.filter(|_| *method != Method::HEAD) else { return };
    let Ok(encoder) = Encoder::new(coding) else { return };
    *response.body_mut() = match std::mem::take(response.body_mut()) {
        Body::Full(bytes) if bytes.len() <= WHOLE_MAX => match encoder.whole(&bytes) {
            Some(small) => small.into(),
            None => return *response.body_mut() = Body::Full(bytes),
        },
        body => Body::stream(Compressed::new(body, encoder)),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
    weaken(headers);
}

fn vary(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let said = lines.flat_map(|line| line.split(',')).map(str::trim);
    if !said.into_iter().any(|one| one == "*" || one.eq_ignore_ascii_case("accept-encoding")) {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Other bytes are the same to who reads them, and not to who asks for a part of them (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_coding() {
        use Coding::{Brotli, Gzip, Zstd};
        for (accepts, want) in [
            (&[][..], None),
            (&["gzip"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip", "br;q=0.9"], Some(Gzip)),
            (&["GZIP;q=0.5, br;Q=0.8"], Some(Brotli)),
            (&["x-gzip"], Some(Gzip)),
            (&["*"], Some(Zstd)),
            (&["zstd;q=0, *;q=0.1"], Some(Brotli)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip;q=0.001"], Some(Gzip)),
            (&["identity"], None),
            (&["identity;q=0.5, gzip;q=0.4"], None),
            (&["identity;q=0.5, gzip"], Some(Gzip)),
            (&["gzip;q=2"], None),
            (&["gzip;q=x"], None),
            (&["deflate, compress"], None),
            (&[""], None),
        ] {
            let headers: HeaderMap =
                accepts.iter().map(|value| (header::ACCEPT_ENCODING, HeaderValue::from_static(value))).collect();
            assert_eq!(chosen(&headers), want, "{accepts:?}");
        }
    }

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: Body) -> Response<Body> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(body).unwrap()
    }

    #[test]
    fn only_what_shrinks_and_may_be_changed_is_compressed() {
        let json = ("content-type", "application/json; charset=utf-8");
        let text = "a".repeat(2000);
        for (status, headers, want) in [
            (200, &[json][..], true),
            (404, &[json], true),
            (200, &[("content-type", "text/html")], true),
            (200, &[("content-type", "image/svg+xml")], true),
            (200, &[("content-type", "text/event-stream")], false),
            (200, &[("content-type", "image/png")], false),
            (200, &[("content-type", "application/grpc")], false),
            (200, &[], false),
            (206, &[json, ("content-range", "bytes 0-1/2")], false),
            (204, &[json], false),
            (304, &[json], false),
            (101, &[json], false),
            (200, &[json, ("content-encoding", "gzip")], false),
            (200, &[json, ("content-encoding", "identity")], true),
            (200, &[json, ("cache-control", "public, no-transform")], false),
        ] {
            let mut response = answer(status, headers, Body::from(text.clone()));
            apply(&mut response, 1024, Some(Coding::Gzip), &Method::GET);
            let shrunk = response.body().size_hint().exact().unwrap() < 2000;
            assert_eq!(shrunk, want, "{status} {headers:?}");
            assert_eq!(response.headers().contains_key(header::VARY), want, "{status} {headers:?}");
        }
    }

    #[test]
    fn the_head_says_what_was_done() {
        let headers = [
            ("content-type", "text/plain"),
            ("content-length", "2000"),
            ("etag", "\"abc\""),
            ("accept-ranges", "bytes"),
            ("content-digest", "sha-256=:AAAA:"),
            ("vary", "Origin"),
        ];
        let mut response = answer(200, &headers, Body::from("a".repeat(2000)));
        apply(&mut response, 0, Some(Coding::Brotli), &Method::GET);
        let head = response.headers();
        let vary: Vec<_> = head.get_all("vary").iter().collect();
        assert_eq!(
            (vary.len(), &head["etag"], &head["content-encoding"]),
            (2, &"W/\"abc\"".parse().unwrap(), &"br".parse().unwrap())
        );
        for gone in ["content-length", "accept-ranges", "content-digest"] {
            assert!(!head.contains_key(gone), "{gone}");
        }
        assert!(response.body().size_hint().exact().unwrap() < 100, "its length is known");
        // What a client gets that takes none: only caches are told.
        for (coding, method) in [(None, Method::GET), (Some(Coding::Gzip), Method::HEAD)] {
            let mut response = answer(200, &headers, Body::from("a".repeat(2000)));
            apply(&mut response, 0, coding, &method);
            assert_eq!(
                (&response.headers()["etag"], &response.headers()["content-length"]),
                (&"\"abc\"".parse().unwrap(), &"2000".parse().unwrap())
            );
            assert_eq!(response.headers().get_all("vary").iter().count(), 2);
        }
        // What does not shrink, and what is too small, goes as it is.
        let mut response = answer(200, &[("content-type", "text/plain")], Body::from("ab"));
        apply(&mut response, 0, Some(Coding::Gzip), &Method::GET);
        assert!(!response.headers().contains_key("content-encoding") && response.body().size_hint().exact() == Some(2));
        let mut response = answer(200, &headers, Body::from("a".repeat(2000)));
        apply(&mut response, 2001, Some(Coding::Gzip), &Method::GET);
        assert!(!response.headers().contains_key("content-encoding"));
    }
}
