//! Calls by name: the body is the event, the answer the function's own.

use super::{
    State,
    auth::RequestId,
    input::{self, Asked, Names},
    problem::{Refusal, call_failed},
};
use axum::{
    Json,
    body::Body,
    extract::{self, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::Response,
};
use http_body_util::BodyExt;
use serde::Deserialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use types::{Code, Fault, InvocationId, api::InvocationList, fault::Problem};
use wire::{Call, Shape, Target};

/// Ends a call that nobody else ends; the dispatcher puts the revision's own timeout in its place.
const DEADLINE_MAX: Duration = Duration::from_secs(60 * 60);
/// A list's length where the request says nothing.
const LIMIT: usize = 50;
/// `Event` asks for a call that is answered before it is made.
const TYPE_HEADER: &str = "mayfly-invocation-type";
/// What of the caller's headers reaches the function: the token must not.
const PASSED: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
/// Belong to one connection (RFC 9110 §7.6.1): not passed on.
const HOP_BY_HOP: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::UPGRADE];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    alias: Option<String>,
    #[serde(default, rename = "async")]
    later: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<usize>,
}

#[utoipa::path(
    post, path = "/v1/functions/{name}/invocations", tag = "invocations",
    params(
        ("name" = String, Path,),
        ("alias" = Option<String>, Query, description = "`live` where left out"),
        ("async" = Option<bool>, Query, description = "not in this version"),
    ),
    request_body(content = serde_json::Value, description = "the event"),
    responses(
        (
            status = 200, body = serde_json::Value, description = "the function's answer",
            headers(("mayfly-request-id" = String), ("mayfly-revision" = String)),
        ),
        (
            status = 502, body = Problem, description = "the function failed",
            headers(("mayfly-function-error" = String, description = "the code, where the function itself failed")),
        ),
        (status = 404, body = Problem), (status = 429, body = Problem), (status = 501, body = Problem),
        (status = 504, body = Problem),
    ),
)]
/// Calls a function and waits for its answer.
pub(crate) async fn create(
    extract::State(state): extract::State<State>,
    names: Names,
    Asked(how): Asked<How>,
    extract::Extension(RequestId(id)): extract::Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let by_header =
        request.headers().get(TYPE_HEADER).is_some_and(|kind| kind.as_bytes().eq_ignore_ascii_case(b"event"));
    if how.later || by_header {
        return Err(Fault::new(Code::AsyncUnavailable, "an asynchronous call was asked for").into());
    }
    let alias = how.alias.as_deref().map_or_else(|| Ok(types::AliasName::live()), input::alias)?;
    let target = target(&state, &names, &alias)?;
    let call = call(id, request)?;
    match state.deps.invoke.invoke(&target, call).await {
        Ok(response) => Ok(passed_back(response)),
        Err(fault) => Ok(call_failed(fault)),
    }
}

fn target(state: &State, names: &Names, alias: &types::AliasName) -> Result<Arc<Target>, Fault> {
    let name = names.function()?;
    let found = state.deps.registry.snapshots().borrow().target(&name, alias).cloned();
    match found {
        Some(target) => Ok(target),
        // Says which of the two is missing.
        None => Err(state
            .deps
            .registry
            .alias(&name, alias)
            .err()
            .unwrap_or_else(|| Fault::new(Code::Unavailable, format!("alias `{alias}` of `{name}` is being made")))),
    }
}

fn call(id: InvocationId, request: Request) -> Result<Call, Fault> {
    let (parts, body) = request.into_parts();
    let mut event = http::Request::new(wire::Body::stream(body.map_err(Into::into)));
    *event.method_mut() = Method::POST;
    for name in PASSED {
        if let Some(value) = parts.headers.get(&name) {
            event.headers_mut().insert(name, value.clone());
        }
    }
    let json = HeaderValue::from_static("application/json");
    event.headers_mut().entry(header::CONTENT_TYPE).or_insert(json);
    let arrived = Instant::now();
    let request = Box::new(event);
    Ok(Call { id, request, shape: Shape::Event, arrived, deadline: arrived + DEADLINE_MAX, peer: None })
}

fn passed_back(response: http::Response<wire::Body>) -> Response {
    let (mut parts, body) = response.into_parts();
    strip(&mut parts.headers);
    Response::from_parts(parts, Body::new(body))
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/invocations", tag = "invocations",
    params(("name" = String, Path,), ("limit" = Option<usize>, Query,)),
    responses((status = 200, body = InvocationList), (status = 404, body = Problem)),
)]
/// A function's last calls, newest first.
pub(crate) async fn list(
    extract::State(state): extract::State<State>,
    names: Names,
    Asked(page): Asked<Page>,
) -> Result<Json<InvocationList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(InvocationList { invocations: state.deps.invocations.recent(&name, page.limit.unwrap_or(LIMIT)) }))
}
