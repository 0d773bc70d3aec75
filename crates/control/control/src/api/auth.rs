//! Who asks: an id for each request, and the token.

use super::{State, problem::Refusal};
use axum::{
    extract::{self, Request},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use types::{Code, Fault, InvocationId, api::REQUEST_ID_HEADER};

/// The request's id: the caller's own where it sent one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub InvocationId);

/// Gives the request an id and tells it in the answer.
pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let id = sent.unwrap_or_else(InvocationId::random);
    request.extensions_mut().insert(RequestId(id));
    let mut response = next.run(request).await;
    let mut text = [0; 36];
    if let Ok(value) = HeaderValue::from_str(id.encode(&mut text)) {
        response.headers_mut().entry(REQUEST_ID_HEADER).or_insert(value);
    }
    response
}

/// Lets only those pass who know the token.
pub(crate) async fn guard(extract::State(state): extract::State<State>, request: Request, next: Next) -> Response {
    match check(request.headers(), &state.options.token) {
        Ok(()) => next.run(request).await,
        Err(fault) => Refusal(fault).into_response(),
    }
}

fn check(headers: &HeaderMap, token: &str) -> Result<(), Fault> {
    let refused = |detail: &'static str| Err(Fault::new(Code::Unauthorized, detail));
    let Some(value) = headers.get(header::AUTHORIZATION) else { return refused("the request has no token") };
    let Some((scheme, sent)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return refused("the `Authorization` header is not `Bearer TOKEN`");
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return refused("the `Authorization` header is not `Bearer TOKEN`");
    }
    // An empty token would let everybody in.
    if token.is_empty() || !same(sent.trim().as_bytes(), token.as_bytes()) {
        return refused("the token is not the one of this platform");
    }
    Ok(())
}

/// Compares in a time that tells nothing of where they differ: hashes first, so that lengths are equal too.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    let differing = a.iter().zip(b.iter()).fold(0, |differing, (a, b)| differing | (a ^ b));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_passes() {
        for (sent, token, ok) in [
            (Some("Bearer secret"), "secret", true),
            (Some("bearer  secret "), "secret", true),
            (Some("Bearer secret2"), "secret", false),
            (Some("Bearer secre"), "secret", false),
            (Some("Bearer "), "", false),
            (Some("Basic secret"), "secret", false),
            (Some("secret"), "secret", false),
            (None, "secret", false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(header::AUTHORIZATION, sent.parse().unwrap());
            }
            assert_eq!(check(&headers, token).is_ok(), ok, "{sent:?}");
        }
    }
}
