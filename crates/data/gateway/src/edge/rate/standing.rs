//! What answers say about limits: which hold, and what is left of each (draft-ietf-httpapi-ratelimit-headers-10).

use super::{Limits, Policy, Tenant, seconds};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{fmt::Write as _, time::Duration};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What is left to one request's caller, noted while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    policies: [Option<HeaderValue>; 2],
    left: String,
}

impl Standing {
    pub(crate) fn of(limits: Option<&Limits>, tenant: Option<&Tenant>) -> Self {
        let policies = [limits.map(|limits| limits.told.clone()), tenant.map(|tenant| tenant.told.clone())];
        Self { policies, left: String::new() }
    }

    /// `taken` is when the bucket will be full again, or the wait for a token.
    pub(super) fn note(&mut self, policy: &Policy, taken: Result<u64, u64>, now: u64) {
        let (left, wait) = match taken {
            Ok(full) => (policy.left(full, now), full.saturating_sub(now)),
            Err(wait) => (0, wait),
        };
        let comma = if self.left.is_empty() { "" } else { ", " };
        // Writing into a String cannot fail.
        let _ = write!(self.left, "{comma}\"{}\";r={left};t={}", policy.name, seconds(Duration::from_nanos(wait)));
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let left = Some(&self.left).filter(|left| !left.is_empty()).and_then(|left| HeaderValue::try_from(left).ok());
        let policies = self.policies.iter().flatten().map(|policy| (POLICY, policy.clone()));
        policies.chain(left.map(|left| (LEFT, left)))
    }

    /// Tells it in an answer; what the function says under these names gives way.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if self.policies.iter().all(Option::is_none) {
            return;
        }
        headers.remove(POLICY);
        headers.remove(LEFT);
        for (name, value) in self.headers() {
            headers.append(name, value);
        }
    }
}

/// `"function";q=100;w=1`, each after the other. Names are checked where they are written: no quotes are in them.
pub(super) fn policies<'a>(all: impl IntoIterator<Item = &'a Policy>) -> HeaderValue {
    let one = |policy: &Policy| format!("\"{}\";q={};w={}", policy.name, policy.tempo.count, policy.tempo.per.0 / 1000);
    let text = all.into_iter().map(one).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn an_answer_says_what_is_left() {
        let rate = r#"{"limit":"10/m","burst":3,"each":[{"by":"ip","limit":"2/s","burst":4}]}"#;
        let limits = Limits::new(&serde_json::from_str(rate).unwrap());
        let at = limits.epoch + Duration::from_secs(1);
        let told = || {
            let mut standing = Standing::of(Some(&limits), None);
            let asker = crate::edge::Asker { peer: "10.0.0.1".parse().unwrap(), at, tenant: None };
            limits.take_caller(&HeaderMap::new(), asker, &mut standing).unwrap();
            let over = limits.take(at, &mut standing);
            let mut headers = HeaderMap::from_iter([(LEFT, HeaderValue::from_static("the function's own"))]);
            standing.tell(&mut headers);
            assert_eq!(headers[POLICY], "\"address\";q=2;w=1, \"function\";q=10;w=60");
            (headers[LEFT].to_str().unwrap().to_owned(), over.is_ok())
        };
        for (want, ok) in [
            ("\"address\";r=3;t=1, \"function\";r=2;t=6", true),
            ("\"address\";r=2;t=1, \"function\";r=1;t=12", true),
            ("\"address\";r=1;t=2, \"function\";r=0;t=18", true),
            ("\"address\";r=0;t=2, \"function\";r=0;t=6", false),
        ] {
            assert_eq!(told(), (want.to_owned(), ok));
        }
    }

    #[test]
    fn nothing_is_said_without_limits() {
        let mut headers = HeaderMap::from_iter([(LEFT, HeaderValue::from_static("its own"))]);
        Standing::default().tell(&mut headers);
        assert_eq!((headers.len(), &headers[LEFT]), (1, &HeaderValue::from_static("its own")));
        let tenant = Tenant::new("1/h".parse().unwrap());
        let at = Instant::now();
        let mut standing = Standing::of(None, Some(&tenant));
        assert!(tenant.take(at, &mut standing).is_ok());
        assert_eq!(
            tenant.take(at, &mut Standing::default()).unwrap_err().to_string(),
            "more than 1/h with bursts of 1 of all functions of the tenant together"
        );
        standing.tell(&mut headers);
        assert_eq!(
            (&headers[POLICY], &headers[LEFT]),
            (&HeaderValue::from_static("\"tenant\";q=1;w=3600"), &HeaderValue::from_static("\"tenant\";r=0;t=3600"))
        );
    }
}
