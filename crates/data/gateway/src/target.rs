//! Where a request goes: one host, said once and readably, and no tunnel through us.

use http::{HeaderValue, Method, Request, Version, header};
use types::{Code, Fault};

/// # Errors
/// `bad_request` for what RFC 9112 §3.2 and RFC 9110 §9.3.6 let nobody serve: no host, several, one with the parts of a
/// URL in it, or CONNECT, which asks for a proxy.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), Fault> {
    if request.method() == Method::CONNECT {
        return Err(bad("CONNECT asks for a proxy, which this is not"));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("the request has more than one `Host`"));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    if host.is_none() && authority.is_none() && request.version() != Version::HTTP_10 {
        return Err(bad("the request has no `Host`"));
    }
    match authority.or_else(|| host.map(HeaderValue::as_bytes)) {
        Some(host) if !host.iter().all(|byte| is_readable(*byte)) => Err(bad("`Host` is no name with a port")),
        _ => Ok(()),
    }
}

/// Bytes of a host and its port (RFC 3986 §3.2.2); an empty one is allowed.
fn is_readable(byte: u8) -> bool {
    !matches!(byte, 0..=b' ' | b'"' | b'#' | b'/' | b'<' | b'>' | b'?' | b'@' | b'\\' | b'^' | b'`' | b'{'..=b'}' | 0x7F..)
}

fn bad(detail: &'static str) -> Fault {
    Fault::new(Code::BadRequest, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host() {
        for (method, uri, version, hosts, want) in [
            ("GET", "/x", Version::HTTP_11, &["a.example"][..], true),
            ("GET", "/x", Version::HTTP_11, &["a.example:80"], true),
            ("GET", "/x", Version::HTTP_11, &["[::1]:80"], true),
            ("GET", "/x", Version::HTTP_11, &[""], true),
            ("GET", "/x", Version::HTTP_11, &[], false),
            ("GET", "/x", Version::HTTP_10, &[], true),
            ("GET", "/x", Version::HTTP_11, &["a", "b"], false),
            ("GET", "/x", Version::HTTP_11, &["a", "a"], false),
            ("GET", "/x", Version::HTTP_11, &["a/b"], false),
            ("GET", "/x", Version::HTTP_11, &["me@a"], false),
            ("GET", "/x", Version::HTTP_11, &["a b"], false),
            ("GET", "http://a.example/x", Version::HTTP_11, &["other"], true),
            ("GET", "http://a.example/x", Version::HTTP_11, &["a", "b"], false),
            ("GET", "https://a.example/x", Version::HTTP_2, &[], true),
            ("GET", "https://me@a.example/x", Version::HTTP_2, &[], false),
            ("GET", "/x", Version::HTTP_2, &[], false),
            ("OPTIONS", "*", Version::HTTP_11, &["a"], true),
            ("CONNECT", "a.example:443", Version::HTTP_11, &["a.example:443"], false),
        ] {
            let mut request = Request::builder().method(method).uri(uri).version(version);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let got = check(&request.body(()).unwrap());
            assert_eq!(got.is_ok(), want, "{method} {uri} {version:?} {hosts:?}: {got:?}");
        }
    }
}
