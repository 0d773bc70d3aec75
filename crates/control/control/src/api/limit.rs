//! A function's limit of calls at once, and what the platform did about it by itself.

use super::{
    State,
    input::{Document, Names},
    problem::Refusal,
};
use axum::{Json, extract};
use types::{
    Event, Fault, FunctionName,
    api::{EventList, Limit},
    fault::Problem,
};

#[utoipa::path(
    get, path = "/v1/functions/{name}/limit", tag = "functions", params(("name" = String, Path,)),
    responses((status = 200, body = Limit), (status = 404, body = Problem)),
)]
/// How many calls at once a function may have.
pub(crate) async fn show(extract::State(state): extract::State<State>, names: Names) -> Result<Json<Limit>, Refusal> {
    Ok(Json(Limit { calls: state.deps.registry.limit(&names.function()?)? }))
}

#[utoipa::path(
    put, path = "/v1/functions/{name}/limit", tag = "functions", params(("name" = String, Path,)),
    request_body = Limit,
    responses((status = 200, body = Limit), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
/// Sets how many calls at once a function may have, and has guaranteed: 0 stops it, `null` lifts the limit. Functions
/// without one keep a tenth of what their tenant may have.
pub(crate) async fn update(
    extract::State(state): extract::State<State>,
    names: Names,
    document: Document<Limit>,
) -> Result<Json<Limit>, Refusal> {
    let limit = document.required()?;
    state.deps.registry.set_limit(&names.function()?, limit.calls, state.options.limits.calls_max).await?;
    Ok(Json(limit))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/events", tag = "functions", params(("name" = String, Path,)),
    responses((status = 200, body = EventList), (status = 404, body = Problem)),
)]
/// What the platform did by itself: instances ejected or replaced, circuits opened and closed, canaries moved on and back;
/// newest first.
pub(crate) async fn events(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<EventList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(EventList { events: all_events(&state, &name)? }))
}

/// What the dispatcher did and what happened to aliases, newest first.
pub(super) fn all_events(state: &State, name: &FunctionName) -> Result<Vec<Event>, Fault> {
    let mut events = state.deps.registry.events(name)?;
    events.extend(state.deps.invocations.events(name));
    events.sort_by_key(|event| std::cmp::Reverse(event.time));
    Ok(events)
}
