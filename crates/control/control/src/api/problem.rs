//! Faults become answers: RFC 9457 problem documents.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use types::{Blame, Code, Fault, api::FUNCTION_ERROR_HEADER, fault::Problem};

/// An endpoint's answer when it does not do what was asked.
#[derive(Debug)]
pub(crate) struct Refusal(pub Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let problem: Problem = self.0.problem();
        let code = self.0.code;
        if code.blame() == Blame::Platform {
            tracing::warn!(fault = %self.0, "a request failed");
        }
        // Only strings and numbers: this cannot fail, and an empty body with the right status is all right if it does.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
        if code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer of a call that failed: besides the document, a header says whether the function itself did.
pub(crate) fn call_failed(fault: Fault) -> Response<Body> {
    let code = fault.code;
    let revision = fault.revision().and_then(|revision| HeaderValue::try_from(revision.to_string()).ok());
    let mut response = Refusal(fault).into_response();
    if let Some(revision) = revision {
        response.headers_mut().insert(types::api::REVISION_HEADER, revision);
    }
    if code.blame() == Blame::Function {
        response.headers_mut().insert(FUNCTION_ERROR_HEADER, HeaderValue::from_static(code.as_str()));
    }
    response
}

pub(crate) async fn no_path(request: Request) -> Refusal {
    let detail = format!("the API has no path `{}`; GET /v1/openapi.json describes all", request.uri().path());
    Refusal(Fault::new(Code::RouteNotFound, detail))
}

pub(crate) async fn no_method(request: Request) -> Refusal {
    let detail = format!("`{}` does not take {}", request.uri().path(), request.method());
    Refusal(Fault::new(Code::MethodNotAllowed, detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_show_the_documents_as_they_are() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/errors");
        let table = std::fs::read_to_string(format!("{docs}/README.md")).unwrap();
        for code in Code::ALL {
            let page = std::fs::read_to_string(format!("{docs}/{code}.md")).unwrap();
            let (_, rest) = page.split_once("```json\n").unwrap_or_else(|| panic!("{code}.md has no example"));
            let shown: Problem = serde_json::from_str(rest.split("```").next().unwrap()).unwrap();
            assert_eq!(shown, Fault::from(shown.clone()).problem(), "{code}.md");
            assert_eq!(shown.code, *code);
            assert!(page.contains(&format!("HTTP status {} ", code.status())), "{code}.md");
            let row = format!("| [{code}]({code}.md) | {} | ", code.status());
            assert!(table.contains(&row) && table.contains(code.hint()), "README.md has no row `{row}`");
        }
    }
}
