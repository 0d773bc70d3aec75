//! CORS: preflights are answered here, without an instance; answers say which page may read them.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use types::edge::Cors;
use wire::Body;

/// True for the question that a browser asks before the request itself (Fetch §3.3.2).
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The request's origin where its pages may call, as the answer has to name it.
pub(super) fn allowed(cors: &Cors, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    let fits = |allowed: &String| match allowed.split_once("://*.") {
        Some((scheme, above)) => text
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(|host| host.strip_suffix(above))
            .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        None => allowed == text,
    };
    if cors.origins.0.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    cors.origins.0.iter().any(fits).then(|| origin.clone())
}

pub(super) fn preflight(cors: &Cors, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let origin = allowed(cors, asked);
    let headers = response.headers_mut();
    if origin.is_some() {
        put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods.join(", "));
        let every = cors.headers.iter().any(|name| name == "*");
        let names = match asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|_| every) {
            // `*` does not hold for requests with credentials, nor for `Authorization`: the names do.
            Some(asked) => asked.to_str().unwrap_or("").to_owned(),
            None => cors.headers.join(", "),
        };
        put(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, &names);
        put(headers, header::ACCESS_CONTROL_MAX_AGE, &(cors.max_age.0 / 1000).to_string());
    }
    headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    mark(cors, origin, &mut response);
    response
}

/// Says who may read the answer; what the function itself says about that gives way.
pub(super) fn mark(cors: &Cors, origin: Option<HeaderValue>, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        headers.remove(name);
    }
    let one = origin.as_ref().is_none_or(|origin| origin != "*");
    if one {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose.join(", "));
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if !text.is_empty()
        && let Ok(value) = HeaderValue::from_str(text)
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_named_origins_are_allowed() {
        let cors: Cors = serde_json::from_str(r#"{"origins":["https://a.example","https://*.b.example"]}"#).unwrap();
        for (origin, ok) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("https://x.a.example", false),
            ("https://x.b.example", true),
            ("https://y.x.b.example", true),
            ("https://b.example", false),
            ("https://.b.example", false),
            ("https://evilb.example", false),
            ("https://a.example.evil", false),
            ("null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("origin", origin.parse().unwrap());
            assert_eq!(allowed(&cors, &headers).is_some(), ok, "{origin}");
        }
    }
}
