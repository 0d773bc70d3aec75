//! Routes: explicit places of functions, beside the `/<function>/…` that each has by default.

use super::{State, input::Document, problem::Refusal};
use axum::{Json, extract, http::StatusCode};
use types::{Route, api::RouteList, fault::Problem};

#[utoipa::path(get, path = "/v1/routes", tag = "routes", responses((status = 200, body = RouteList)))]
/// All explicit routes, those from manifests among them.
pub(crate) async fn list(extract::State(state): extract::State<State>) -> Result<Json<RouteList>, Refusal> {
    Ok(Json(RouteList { routes: state.deps.registry.routes()? }))
}

#[utoipa::path(
    put, path = "/v1/routes", tag = "routes", request_body = Route,
    responses(
        (status = 200, body = Route), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "another function has it"),
    ),
)]
/// Sets a route. Routes of the same function that it clashes with give way.
pub(crate) async fn update(
    extract::State(state): extract::State<State>,
    document: Document<Route>,
) -> Result<Json<Route>, Refusal> {
    Ok(Json(state.deps.registry.put_route(document.required()?).await?))
}

#[utoipa::path(
    delete, path = "/v1/routes", tag = "routes", request_body = Route,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
/// Deletes the function's route with this host, path and methods. One from a manifest comes back with the next deploy.
pub(crate) async fn remove(
    extract::State(state): extract::State<State>,
    document: Document<Route>,
) -> Result<StatusCode, Refusal> {
    state.deps.registry.delete_route(document.required()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
