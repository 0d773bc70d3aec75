//! A function's limit of calls at once, and what the platform did about it by itself.

use super::{
    State,
    input::{Document, Names},
    problem::Refusal,
};
use axum::{Json, extract};
use types::{
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
/// Sets how many calls at once a function may have, and has guaranteed: 0 stops it, `null` lifts the limit.
pub(crate) async fn update(
    extract::State(state): extract::State<State>,
    names: Names,
    document: Document<Limit>,
) -> Result<Json<Limit>, Refusal> {
    let limit = document.required()?;
    state.deps.registry.set_limit(&names.function()?, limit.calls).await?;
    Ok(Json(limit))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/events", tag = "functions", params(("name" = String, Path,)),
    responses((status = 200, body = EventList), (status = 404, body = Problem)),
)]
/// What the platform did by itself: instances ejected or replaced, circuits opened and closed; newest first.
pub(crate) async fn events(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<EventList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(EventList { events: state.deps.invocations.events(&name) }))
}
