//! What the gateway found out about a request, for who hands it to user code: in the request's extensions.

use std::sync::Arc;
use types::{
    Route,
    route::{Segment, segments},
};

/// The explicit route that took the request.
#[derive(Debug, Clone)]
pub struct Matched(pub Arc<Route>);

impl Matched {
    /// The route's parameters with what `path` has for them, as it was sent (percent-encoded).
    pub fn parameters<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = path.strip_prefix('/');
        segments(&self.0.path).filter_map(move |segment| {
            let left = rest?;
            if let Segment::RestParameter(name) = segment {
                return Some((name, left));
            }
            let (part, more) = left.split_once('/').map_or((left, None), |(part, more)| (part, Some(more)));
            rest = more;
            match segment {
                Segment::Parameter(name) => Some((name, part)),
                Segment::Literal(_) | Segment::Rest | Segment::RestParameter(_) => None,
            }
        })
    }

    pub fn has_parameters(&self) -> bool {
        self.0.path.contains('{')
    }
}

/// The token that a call was let in for, where the function asks for one: verified, so that user code may believe it.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorizer {
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Those of `scope`, one by one.
    pub scopes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_path() {
        for (route, path, want) in [
            ("/users/{id}/posts/{post}", "/users/7/posts/a%20b", &[("id", "7"), ("post", "a%20b")][..]),
            ("/f/{path+}", "/f/a/b", &[("path", "a/b")]),
            ("/{a}/*", "/x/y/z", &[("a", "x")]),
            ("/a", "/a", &[]),
        ] {
            let route = Route {
                host: None,
                path: route.to_owned(),
                methods: Vec::new(),
                headers: Default::default(),
                function: "f".parse().unwrap(),
                alias: types::AliasName::live(),
                from_manifest: false,
            };
            let matched = Matched(Arc::new(route));
            assert_eq!(matched.parameters(path).collect::<Vec<_>>(), want);
        }
    }
}
