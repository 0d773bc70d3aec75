//! Routes: the grammar of hosts and paths, and when two of them would take the same request.
//!
//! A path is segments between '/': a literal, `{name}` for any one segment, and at the end `*` for this path and all
//! below it, or `{name+}` for all below it. A host is a name, or `*.` and a name for everything below that name.
//! Which of several matching routes takes a request is written in `docs/decisions/0030-route-order.md`.

use crate::{
    fault::{Code, Fault},
    record::Route,
};
use std::borrow::Cow;

/// Bounds the depth of what a lookup walks.
const SEGMENTS_MAX: usize = 32;
/// Bounds what one route adds to the picture. Source: nginx and Node refuse paths of 8 to 16 KiB by default.
const PATH_MAX: usize = 1024;
/// Source: RFC 1035 §2.3.4.
const HOST_MAX: usize = 253;
const HEADERS_MAX: usize = 8;

/// One part of a route's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    Literal(&'a str),
    /// `{name}`: one segment that is not empty.
    Parameter(&'a str),
    /// `*` at the end: nothing more, or anything below.
    Rest,
    /// `{name+}` at the end: anything below.
    RestParameter(&'a str),
}

impl<'a> Segment<'a> {
    fn of(text: &'a str) -> Self {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match (inner, text) {
            (Some(name), _) => match name.strip_suffix('+') {
                Some(name) => Self::RestParameter(name),
                None => Self::Parameter(name),
            },
            (None, "*") => Self::Rest,
            (None, _) => Self::Literal(text),
        }
    }

    pub const fn is_last(self) -> bool {
        matches!(self, Self::Rest | Self::RestParameter(_))
    }
}

/// The segments of a route's path.
pub fn segments(path: &str) -> impl Iterator<Item = Segment<'_>> {
    path.strip_prefix('/').unwrap_or(path).split('/').map(Segment::of)
}

/// The path without the names of its parameters: two routes with one shape match the same paths.
pub fn shape(path: &str) -> Cow<'_, str> {
    if !path.contains('{') {
        return Cow::Borrowed(path);
    }
    let part = |segment| match segment {
        Segment::Literal(text) => text,
        Segment::Parameter(_) => "{}",
        Segment::Rest | Segment::RestParameter(_) => "*",
    };
    Cow::Owned(segments(path).fold(String::new(), |shape, segment| shape + "/" + part(segment)))
}

/// # Errors
/// What is wrong with a route's path, and how to write one.
pub fn check_path(path: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("`{path}` is no route: {why}; write /name, /name/*, /name/{{id}}/more"));
    let Some(body) = path.strip_prefix('/') else { return wrong("it does not begin with '/'") };
    if path.len() > PATH_MAX {
        return wrong("it is longer than 1024 bytes");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains(['?', '#']) {
        return wrong("it has a space, '?', '#' or a character that a request writes as %XX");
    }
    let count = body.split('/').count();
    if count > SEGMENTS_MAX {
        return wrong("it has more than 32 segments");
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, segment) in segments(path).enumerate() {
        match segment {
            Segment::Literal(text) if text.contains(['*', '{', '}']) => {
                return wrong("'*' and '{name}' stand alone between two '/'");
            }
            Segment::Literal("." | "..") => return wrong("'.' and '..' are resolved by clients before they ask"),
            Segment::Literal(_) => {}
            Segment::Rest | Segment::RestParameter(_) if index + 1 < count => {
                return wrong("'*' and '{name+}' stand only at the end");
            }
            Segment::Rest => {}
            Segment::Parameter(name) | Segment::RestParameter(name) => {
                let ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if !ok {
                    return wrong("a parameter's name is of A-Z, a-z, 0-9, '_' and '-'");
                }
                if names.contains(&name) {
                    return wrong("two parameters have the same name");
                }
                names.push(name);
            }
        }
    }
    Ok(())
}

/// # Errors
/// What is wrong with a route's host.
pub fn check_host(host: &str) -> Result<(), String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match host.len() <= HOST_MAX && name.split('.').all(label) {
        true => Ok(()),
        false => Err(format!("`{host}` is no host name: write www.example.com or *.example.com, without a port")),
    }
}

/// # Errors
/// What is wrong with a route's methods.
pub fn check_methods(methods: &[String]) -> Result<(), String> {
    match methods.iter().find(|m| m.is_empty() || !m.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')) {
        Some(method) => Err(format!("`{method}` is no method")),
        None => Ok(()),
    }
}

/// # Errors
/// What is wrong with the headers that a route asks for.
pub fn check_headers<'a>(headers: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Result<(), String> {
    if headers.len() > HEADERS_MAX {
        return Err(format!("a route asks for {HEADERS_MAX} headers at most"));
    }
    for (name, value) in headers {
        if name.parse::<http::HeaderName>().is_err() {
            return Err(format!("`{name}` is no header's name"));
        }
        if !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(format!("the value of `{name}` has a character outside of ASCII"));
        }
    }
    Ok(())
}

impl Route {
    /// As it is stored: host and headers' names in lower case, methods in upper case, sorted, each once.
    ///
    /// # Errors
    /// `bad_request` with the part that is wrong.
    pub fn normal(mut self) -> Result<Self, Fault> {
        let bad = |part: &str, why: String| Fault::new(Code::BadRequest, format!("{part}: {why}"));
        check_path(&self.path).map_err(|why| bad("path", why))?;
        if let Some(host) = &mut self.host {
            host.make_ascii_lowercase();
            check_host(host).map_err(|why| bad("host", why))?;
        }
        check_methods(&self.methods).map_err(|why| bad("methods", why))?;
        self.methods.iter_mut().for_each(|method| method.make_ascii_uppercase());
        self.methods.sort();
        self.methods.dedup();
        check_headers(self.headers.iter()).map_err(|why| bad("headers", why))?;
        self.headers = std::mem::take(&mut self.headers)
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        Ok(self)
    }

    /// Two routes clash where one request could match both and none of the two is the more specific one: the same
    /// host and shape of path, a common method, and as many headers, of which none tells them apart.
    pub fn clashes_with(&self, other: &Self) -> bool {
        self.host == other.host
            && shape(&self.path) == shape(&other.path)
            && (self.methods.is_empty()
                || other.methods.is_empty()
                || self.methods.iter().any(|m| other.methods.contains(m)))
            && self.headers.len() == other.headers.len()
            && !self.headers.iter().any(|(name, value)| other.headers.get(name).is_some_and(|other| other != value))
    }

    /// `GET /users/{id}`, as API Gateway calls it; `ANY` where the route takes several methods or all.
    pub fn key(&self) -> String {
        match self.methods.as_slice() {
            [only] => format!("{only} {}", self.path),
            _ => format!("ANY {}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AliasName;

    fn route(host: Option<&str>, path: &str, methods: &[&str], headers: &[(&str, &str)]) -> Route {
        Route {
            host: host.map(str::to_owned),
            path: path.into(),
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            function: "hello".parse().unwrap(),
            alias: AliasName::live(),
            from_manifest: false,
        }
    }

    #[test]
    fn routes_clash_where_one_request_would_match_both() {
        let base = route(None, "/a/*", &["GET"], &[]);
        for (other, clash) in [
            (route(None, "/a/*", &["GET", "POST"], &[]), true),
            (route(None, "/a/*", &[], &[]), true),
            (route(None, "/a/{rest+}", &["GET"], &[]), true),
            (route(None, "/a/*", &["POST"], &[]), false),
            (route(Some("x.example"), "/a/*", &["GET"], &[]), false),
            (route(None, "/a", &["GET"], &[]), false),
            (route(None, "/a/*", &["GET"], &[("x-beta", "1")]), false),
        ] {
            assert_eq!(base.clashes_with(&other), clash, "{other:?}");
            assert_eq!(other.clashes_with(&base), clash, "{other:?}");
        }
        let id = route(None, "/a/{id}", &[], &[("x-beta", "1")]);
        for (other, clash) in [
            (route(None, "/a/{name}", &[], &[("x-beta", "1")]), true),
            (route(None, "/a/{name}", &[], &[("x-beta", "2")]), false),
            (route(None, "/a/{name}", &[], &[("x-other", "1")]), true),
            (route(None, "/a/{name}", &[], &[("x-beta", "1"), ("x-other", "1")]), false),
            (route(None, "/a/id", &[], &[("x-beta", "1")]), false),
        ] {
            assert_eq!(id.clashes_with(&other), clash, "{other:?}");
        }
    }

    #[test]
    fn paths_and_hosts_have_a_grammar() {
        for good in ["/", "/a", "/a/", "/a/*", "/*", "/users/{id}/posts", "/f/{path+}", "/a.b/~c/%20", "/{a}/{b}"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "", "a", "/a*", "/*/b", "/a/{id", "/a/x{id}", "/a/{}", "/a/{i d}", "/{p+}/b", "/{a}/{a}", "/a b", "/a?b",
            "/a#b", "/../a", "/./a", "/ä", "/{+}",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path(&"/a".repeat(33)).is_err());
        for good in ["a", "localhost", "www.example.com", "*.example.com", "xn--bcher-kva.example", "10.0.0.1"] {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        for bad in ["", "*", "*.", "a..b", "a.*.b", "*a.b", "a:80", "a b", "ä.example", &"a.".repeat(130)] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_parameters_are_no_part_of_the_shape() {
        for (path, want) in [("/a/{id}/b/{name}", "/a/{}/b/{}"), ("/a/{rest+}", "/a/*"), ("/a/*", "/a/*"), ("/a", "/a")]
        {
            assert_eq!(shape(path), want);
        }
    }
}
