//! Uploads, and the story of each deployment.

use super::{
    State,
    answer::lines,
    input::{Asked, Names},
    problem::Refusal,
};
use axum::{
    Json,
    body::Body,
    extract,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use types::{
    Deployment, Fault, TenantName,
    api::{BuildLine, DeploymentList},
    canary::Way,
    fault::Problem,
};

/// A list's length where the request says nothing.
const LIMIT: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<usize>,
}

/// How the traffic moves; without it, as the manifest says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moves {
    canary: Option<String>,
    every: Option<String>,
    tenant: Option<TenantName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    #[serde(default)]
    follow: bool,
}

#[utoipa::path(
    post, path = "/v1/functions/{name}/deployments", tag = "deployments",
    params(
        ("name" = String, Path,),
        ("canary" = Option<String>, Query, description = "shares of the new revision by steps, as `5,25:2m`; `none` moves \
            the traffic at once. Default: the manifest's `[canary]`"),
        ("every" = Option<String>, Query, description = "how long each step lasts, as `1m`"),
        ("tenant" = Option<String>, Query, description = "whose a new function is; it stays so. Default: `default`"),
    ),
    request_body(content = Vec<u8>, content_type = "application/x-tar+zstd", description = "the folder"),
    responses(
        (status = 202, body = Deployment, headers(("location" = String))),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem),
        (status = 507, body = Problem),
    ),
)]
/// Begins to publish a folder; the deployment's record and log say how it goes.
pub(crate) async fn create(
    extract::State(state): extract::State<State>,
    names: Names,
    Asked(moves): Asked<Moves>,
    body: Body,
) -> Result<Response, Refusal> {
    let name = names.function()?;
    let way = Way::read(moves.canary.as_deref(), moves.every.as_deref())?;
    // Before the upload, which may be long.
    state.deps.registry.check_tenant(&name, moves.tenant.as_ref())?;
    let place = state.deployer.enter()?;
    let upload = state.deployer.receive(body).await?;
    // In a task of its own: a client that hangs up now has deployed, or has not, but never half.
    let begin = tokio::spawn(async move { state.deployer.begin(place, name, upload, way, moves.tenant).await });
    let deployment = begin.await.map_err(Fault::internal)??;
    let location = HeaderValue::from_str(&format!("/v1/deployments/{}", deployment.id)).map_err(Fault::internal)?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(deployment)).into_response())
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/deployments", tag = "deployments",
    params(("name" = String, Path,), ("limit" = Option<usize>, Query,)),
    responses((status = 200, body = DeploymentList)),
)]
/// A function's latest deployments, newest first; those of a function that never went live too.
pub(crate) async fn list(
    extract::State(state): extract::State<State>,
    names: Names,
    Asked(page): Asked<Page>,
) -> Result<Json<DeploymentList>, Refusal> {
    let name = names.function()?;
    let all = state.deployer.deployments()?.into_iter().filter(|deployment| deployment.function == name);
    let deployments: Vec<_> = all.take(page.limit.unwrap_or(LIMIT)).collect();
    if deployments.is_empty() {
        state.deps.registry.function(&name)?;
    }
    Ok(Json(DeploymentList { deployments }))
}

#[utoipa::path(
    get, path = "/v1/deployments/{id}", tag = "deployments", params(("id" = String, Path,)),
    responses((status = 200, body = Deployment), (status = 404, body = Problem)),
)]
/// How a deployment stands. Where it says `live`, the function serves.
pub(crate) async fn show(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<Deployment>, Refusal> {
    Ok(Json(state.deployer.deployment(&names.deployment()?)?))
}

#[utoipa::path(
    get, path = "/v1/deployments/{id}/log", tag = "deployments",
    params(("id" = String, Path,), ("follow" = Option<bool>, Query, description = "until the deployment ended")),
    responses(
        (status = 200, body = BuildLine, content_type = "application/x-ndjson", description = "one document per line"),
        (status = 404, body = Problem),
    ),
)]
/// What a deployment said: the platform's steps and the build tool's own output.
pub(crate) async fn log(
    extract::State(state): extract::State<State>,
    names: Names,
    Asked(asked): Asked<Follow>,
) -> Result<Response, Refusal> {
    Ok(lines(state.deployer.log(names.deployment()?, asked.follow)?))
}
