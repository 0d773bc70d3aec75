//! What a request says, parsed once: names in the path, queries, documents, preconditions.

use super::problem::Refusal;
use crate::registry::Precondition;
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, HeaderValue, header, request},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use store::Version;
use types::{AliasName, Code, Fault, FunctionName, TenantName, id::DeploymentId};

/// Largest document that a request may carry; archives and calls are streamed and have limits of their own.
const DOCUMENT_MAX: usize = 64 << 10;

fn bad(detail: impl Into<String>) -> Fault {
    Fault::new(Code::BadRequest, detail.into())
}

/// The variable parts of a path.
pub(crate) struct Names(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(names)| Self(names)).map_err(|error| Refusal(bad(error.body_text())))
    }
}

impl Names {
    fn text(&self, part: &str) -> &str {
        self.0.get(part).map_or("", String::as_str)
    }

    /// # Errors
    /// `name_invalid`.
    pub fn function(&self) -> Result<FunctionName, Fault> {
        self.text("name").parse().map_err(|error: types::id::Error| Fault::new(Code::NameInvalid, error.to_string()))
    }
    /// # Errors
    /// `name_invalid`.
    pub fn tenant(&self) -> Result<TenantName, Fault> {
        self.text("name").parse().map_err(|error: types::id::Error| Fault::new(Code::NameInvalid, error.to_string()))
    }
    /// # Errors
    /// `name_invalid`.
    pub fn alias(&self) -> Result<AliasName, Fault> {
        alias(self.text("alias"))
    }
    /// # Errors
    /// `revision_not_found`: what is no number is no revision's.
    pub fn number(&self) -> Result<u32, Fault> {
        let text = self.text("number");
        let no_number = |_| Fault::new(Code::RevisionNotFound, format!("`{text}` is no revision's number"));
        text.parse().map_err(no_number)
    }
    /// What is no key's id is not found.
    pub fn key(&self) -> &str {
        self.text("id")
    }
    /// # Errors
    /// `deployment_not_found`: what is no id is no deployment's.
    pub fn deployment(&self) -> Result<DeploymentId, Fault> {
        let text = self.text("id");
        text.parse().map_err(|error: types::id::Error| Fault::new(Code::DeploymentNotFound, error.to_string()))
    }
}

/// # Errors
/// `name_invalid`.
pub(crate) fn alias(text: &str) -> Result<AliasName, Fault> {
    text.parse().map_err(|error: types::id::Error| Fault::new(Code::NameInvalid, error.to_string()))
}

/// A query, strictly typed.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|error| Refusal(bad(error.body_text())))
    }
}

/// A JSON document, whatever the content type says; `None` where the body is empty.
pub(crate) struct Document<T>(pub Option<T>);

impl<T> Document<T> {
    /// # Errors
    /// `bad_request`.
    pub fn required(self) -> Result<T, Fault> {
        self.0.ok_or_else(|| bad("the request has no body: send a JSON document"))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Document<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Refusal> {
        let body = match Limited::new(request.into_body(), DOCUMENT_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let detail = format!("the document is over {DOCUMENT_MAX} bytes");
                return Err(Refusal(Fault::new(Code::RequestTooLarge, detail)));
            }
            Err(error) => return Err(Refusal(bad(format!("the body broke off: {error}")))),
        };
        if body.is_empty() {
            return Ok(Self(None));
        }
        let document = serde_json::from_slice(&body).map_err(|error| bad(format!("the body: {error}")))?;
        Ok(Self(Some(document)))
    }
}

/// The request's `If-Match`, or `If-None-Match: *`.
impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Refusal> {
        Ok(precondition(&parts.headers)?)
    }
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Fault> {
    match (headers.get(header::IF_MATCH), headers.get(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (Some(value), None) => if_match(value),
        (None, Some(value)) if value.as_bytes() == b"*" => Ok(Precondition::Absent),
        (None, Some(_)) => Err(bad("If-None-Match: a change takes `*` only, for what is not there yet")),
        (Some(_), Some(_)) => Err(bad("If-Match and If-None-Match contradict each other")),
    }
}

fn if_match(value: &HeaderValue) -> Result<Precondition, Fault> {
    let text = value.to_str().unwrap_or("").trim();
    if text == "*" {
        return Ok(Precondition::Exists);
    }
    // RFC 9110 §13.1.1 allows a list; nobody who read one ETag has two.
    let tag = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match tag.map(str::parse) {
        Some(Ok(version)) => Ok(Precondition::Version(Version(version))),
        // An ETag that was never ours matches nothing.
        Some(Err(_)) => Err(Fault::new(Code::PreconditionFailed, format!("{text} is no ETag of this API"))),
        None => Err(bad(format!("If-Match: `{text}` is neither * nor one ETag in quotes"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_precondition_is_read_or_refused() {
        let (no, of) = (header::IF_NONE_MATCH, header::IF_MATCH);
        for (sent, read) in [
            (&[][..], Ok(Precondition::None)),
            (&[(&of, "*")], Ok(Precondition::Exists)),
            (&[(&of, "\"17\"")], Ok(Precondition::Version(Version(17)))),
            (&[(&of, "\"abc\"")], Err(Code::PreconditionFailed)),
            (&[(&of, "17")], Err(Code::BadRequest)),
            (&[(&of, "\"1\", \"2\"")], Err(Code::PreconditionFailed)),
            (&[(&of, "W/\"1\"")], Err(Code::BadRequest)),
            (&[(&no, "*")], Ok(Precondition::Absent)),
            (&[(&no, "\"17\"")], Err(Code::BadRequest)),
            (&[(&no, "*"), (&of, "*")], Err(Code::BadRequest)),
        ] {
            let headers = sent.iter().map(|(name, value)| ((*name).clone(), value.parse().unwrap())).collect();
            assert_eq!(precondition(&headers).map_err(|fault| fault.code), read, "{sent:?}");
        }
    }
}
