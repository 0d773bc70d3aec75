//! The last good answers of a revision, for when it cannot be called: bounded, and only what is anybody's to see.
//!
//! What may be kept is RFC 9111's shared cache, made narrower: `GET` without credentials, 200, whole and small, without
//! `Set-Cookie` and `Vary`, and not `no-store`, `private` or `no-cache`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};
use types::Spec;
use wire::Body;

/// Largest body that is kept.
const BODY_MAX: usize = 64 << 10;
/// All of one revision's, keys and bodies; headers are counted by a guess.
const BYTES_MAX: usize = 4 << 20;
const HEADERS_GUESS: usize = 512;

pub(crate) struct Stale {
    max_age: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<String, Answer>,
    /// Oldest first.
    order: VecDeque<(Instant, String)>,
    bytes: usize,
}

struct Answer {
    at: Instant,
    headers: HeaderMap,
    body: Bytes,
}

impl Stale {
    pub(crate) fn of(spec: &Spec) -> Option<Self> {
        let max_age = spec.resilience.as_ref()?.degrade.as_ref()?.stale?.duration();
        Some(Self { max_age, kept: Mutex::default() })
    }

    /// What a request's answer is found by; `None` where no answer of it is kept.
    pub(crate) fn key(request: &Request<Body>) -> Option<String> {
        let headers = request.headers();
        let secret = headers.contains_key(header::AUTHORIZATION) || headers.contains_key(header::COOKIE);
        if request.method() != Method::GET || secret || headers.contains_key(header::RANGE) {
            return None;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        Some(format!("{host} {}", request.uri()))
    }

    pub(crate) fn keep(&self, key: String, response: &Response<Body>, now: Instant) {
        let (headers, body) = (response.headers(), response.body());
        let body = match body {
            Body::Empty => Bytes::new(),
            Body::Full(body) if body.len() <= BODY_MAX => body.clone(),
            Body::Full(_) | Body::Incoming(_) | Body::Stream(_) => return,
        };
        if response.status() == StatusCode::OK && may_be_shared(headers) {
            self.kept.lock().put(key, Answer { at: now, headers: headers.clone(), body });
        }
    }

    /// The last answer, if it is young enough.
    pub(crate) fn find(&self, key: &str, now: Instant) -> Option<Response<Body>> {
        let kept = self.kept.lock();
        let answer = kept.answers.get(key)?;
        let age = now.saturating_duration_since(answer.at);
        if age > self.max_age {
            return None;
        }
        let mut response = Response::new(Body::from(answer.body.clone()));
        response.headers_mut().clone_from(&answer.headers);
        response.headers_mut().insert(header::AGE, HeaderValue::from(age.as_secs()));
        Some(response)
    }
}

impl Kept {
    fn put(&mut self, key: String, answer: Answer) {
        let size = |key: &str, answer: &Answer| key.len() * 2 + answer.body.len() + HEADERS_GUESS;
        self.bytes += size(&key, &answer);
        self.order.push_back((answer.at, key.clone()));
        if let Some(old) = self.answers.insert(key.clone(), answer) {
            self.bytes -= size(&key, &old);
        }
        // An entry of `order` whose answer was replaced since is skipped; they are at most as many as answers fit.
        while self.bytes > BYTES_MAX || self.order.len() > BYTES_MAX / HEADERS_GUESS {
            let Some((at, key)) = self.order.pop_front() else { return };
            if self.answers.get(&key).is_some_and(|answer| answer.at == at)
                && let Some(old) = self.answers.remove(&key)
            {
                self.bytes -= size(&key, &old);
            }
        }
    }
}

fn may_be_shared(headers: &HeaderMap) -> bool {
    let control = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let mut words = control.flat_map(|value| value.split([',', '='])).map(str::trim);
    let forbidden =
        words.any(|word| ["no-store", "private", "no-cache"].iter().any(|no| word.eq_ignore_ascii_case(no)));
    !forbidden && !headers.contains_key(header::SET_COOKIE) && !headers.contains_key(header::VARY)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stale() -> Stale {
        Stale { max_age: Duration::from_secs(60), kept: Mutex::default() }
    }
    fn request(method: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let builder = Request::builder().method(method).uri("/a?b=1");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(Body::Empty).unwrap()
    }
    fn response(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Response<Body> {
        let builder = Response::builder().status(status);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(Body::from(body)).unwrap()
    }

    #[test]
    fn only_what_is_anybodys_is_kept() {
        let (now, ok) = (Instant::now(), b"hello".to_vec());
        for (what, method, sent, status, answered, kept) in [
            ("a plain answer", "GET", &[][..], 200, &[][..], true),
            ("cacheable", "GET", &[], 200, &[("cache-control", "public, max-age=5")], true),
            ("a post", "POST", &[], 200, &[], false),
            ("with a token", "GET", &[("authorization", "Bearer x")], 200, &[], false),
            ("with a cookie", "GET", &[("cookie", "a=b")], 200, &[], false),
            ("an error", "GET", &[], 500, &[], false),
            ("private", "GET", &[], 200, &[("cache-control", "Private")], false),
            ("private by field", "GET", &[], 200, &[("cache-control", "private=\"x\"")], false),
            ("not to be stored", "GET", &[], 200, &[("cache-control", "max-age=1, no-store")], false),
            ("sets a cookie", "GET", &[], 200, &[("set-cookie", "a=b")], false),
            ("differs by headers", "GET", &[], 200, &[("vary", "accept")], false),
        ] {
            let stale = stale();
            let found = Stale::key(&request(method, sent)).and_then(|key| {
                stale.keep(key.clone(), &response(status, answered, ok.clone()), now);
                stale.find(&key, now)
            });
            assert_eq!(found.is_some(), kept, "{what}");
        }
    }

    #[test]
    fn it_ages_and_is_bounded() {
        let (now, stale) = (Instant::now(), stale());
        stale.keep("a".to_owned(), &response(200, &[("x-y", "z")], b"1".to_vec()), now);
        stale.keep("large".to_owned(), &response(200, &[], vec![0; BODY_MAX + 1]), now);
        let found = stale.find("a", now + Duration::from_secs(59)).unwrap();
        assert_eq!((found.headers()["age"].to_str().unwrap(), found.headers()["x-y"].to_str().unwrap()), ("59", "z"));
        assert!(stale.find("a", now + Duration::from_secs(61)).is_none());
        assert!(stale.find("large", now).is_none());
        for n in 0..1000 {
            let at = now + Duration::from_millis(n);
            stale.keep(format!("k{n}"), &response(200, &[], vec![0; BODY_MAX]), at);
            stale.keep("hot".to_owned(), &response(200, &[], b"x".to_vec()), at);
        }
        let kept = stale.kept.lock();
        assert!(kept.bytes <= BYTES_MAX && kept.answers.len() < 70, "{} bytes", kept.bytes);
        assert!(kept.answers.contains_key("k999") && kept.answers.contains_key("hot"));
        let bytes: usize = kept.answers.iter().map(|(k, a)| k.len() * 2 + a.body.len() + HEADERS_GUESS).sum();
        assert_eq!(bytes, kept.bytes);
    }
}
