//! How the gateway refuses a caller: a fault, with the headers that tell a client what to do about it.

use super::rate::{Over, Standing};
use http::{HeaderName, HeaderValue, Response, header};
use std::{borrow::Cow, fmt::Write as _};
use types::{Code, Fault};
use wire::Body;

/// A fault with what its answer says besides.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub fault: Fault,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with what a request brought, in the words of RFC 6750 §3.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Nothing that could be judged: no error code is told.
    Missing(&'static str),
    /// `invalid_request`: a header came twice.
    Twice(HeaderName),
    /// `invalid_token`.
    Invalid(Cow<'static, str>),
    /// `insufficient_scope`: it is good, but not for this.
    Insufficient { detail: Cow<'static, str>, scopes: Option<String> },
    /// The issuer's keys are not known.
    NoKeys(&'static str),
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        let (code, detail, challenge) = match wrong {
            Wrong::Missing(detail) => (Code::AccessDenied, detail.into(), Some("Bearer".to_owned())),
            Wrong::Twice(name) => {
                let detail = Cow::from(format!("the header `{name}` came twice"));
                let challenge = challenge("invalid_request", &detail);
                (Code::BadRequest, detail, Some(challenge))
            }
            Wrong::Invalid(detail) => {
                let challenge = challenge("invalid_token", &detail);
                (Code::AccessDenied, detail, Some(challenge))
            }
            Wrong::Insufficient { detail, scopes } => {
                let mut challenge = challenge("insufficient_scope", &detail);
                if let Some(scopes) = scopes {
                    // Writing into a String cannot fail.
                    let _ = write!(challenge, ", scope=\"{scopes}\"");
                }
                (Code::Forbidden, detail, Some(challenge))
            }
            Wrong::NoKeys(detail) => (Code::IssuerUnavailable, detail.into(), None),
        };
        let header = challenge.and_then(|text| HeaderValue::try_from(text).ok());
        Self {
            fault: Fault::new(code, detail),
            headers: header.map(|value| (header::WWW_AUTHENTICATE, value)).into_iter().collect(),
        }
    }
}

/// A quoted string takes printable ASCII but `"` and `\` (RFC 6750 §3).
fn challenge(error: &str, detail: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '\'' };
    let detail: String = detail.chars().map(plain).collect();
    format!("Bearer error=\"{error}\", error_description=\"{detail}\"")
}

impl From<Over> for Refusal {
    fn from(over: Over) -> Self {
        let seconds = over.seconds();
        let fault = Fault::new(Code::RateLimited, over.to_string());
        Self { fault, headers: vec![(header::RETRY_AFTER, HeaderValue::from(seconds))] }
    }
}

impl Refusal {
    /// Says what is left of the limits that the request was counted against.
    pub(super) fn with(mut self, standing: &Standing) -> Self {
        self.headers.extend(standing.headers());
        self
    }

    /// The answer, out of what the fault itself is told by.
    pub(crate) fn onto(self, mut response: Response<Body>) -> Response<Body> {
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_has_its_code_and_challenge() {
        let scopes = || Some("read write".to_owned());
        for (wrong, status, challenge) in [
            (Wrong::Missing("none"), 401, Some("Bearer")),
            (
                Wrong::Twice(header::AUTHORIZATION),
                400,
                Some("Bearer error=\"invalid_request\", error_description=\"the header `authorization` came twice\""),
            ),
            (
                Wrong::Invalid("a \"b\"\\\nü".into()),
                401,
                Some("Bearer error=\"invalid_token\", error_description=\"a 'b''''\""),
            ),
            (
                Wrong::Insufficient { detail: "it lacks write".into(), scopes: scopes() },
                403,
                Some("Bearer error=\"insufficient_scope\", error_description=\"it lacks write\", scope=\"read write\""),
            ),
            (Wrong::NoKeys("down"), 503, None),
        ] {
            let refusal = Refusal::from(wrong);
            assert_eq!(refusal.fault.code.status(), status);
            let response = refusal.onto(Response::new(Body::Empty));
            let told = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap());
            assert_eq!(told, challenge);
        }
    }
}
