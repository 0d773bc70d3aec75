//! Functions, their revisions and instances.

use super::{State, answer::tagged, input::Names, problem::Refusal};
use crate::registry::{LIVE, Precondition, Stored};
use axum::{Json, extract, http::StatusCode, response::Response};
use std::collections::HashMap;
use types::{
    Alias, AliasName, Fault, Function, FunctionName, Revision, RevisionId,
    api::{FunctionDetail, FunctionList, FunctionSummary, InstanceList, InstanceState, InstanceView, RevisionList},
    fault::Problem,
    scaling::ScalingList,
};

#[utoipa::path(
    get, path = "/v1/functions", tag = "functions",
    responses((status = 200, body = FunctionList), (status = 401, body = Problem)),
)]
/// All functions, by name.
pub(crate) async fn list(extract::State(state): extract::State<State>) -> Result<Json<FunctionList>, Refusal> {
    let mut ready: HashMap<FunctionName, u32> = HashMap::new();
    for instance in state.deps.host.instances() {
        if instance.state == InstanceState::Ready {
            *ready.entry(instance.revision.function).or_default() += 1;
        }
    }
    let summaries = state.deps.registry.functions()?.into_iter().map(|function| summary(&state, &ready, function));
    Ok(Json(FunctionList { functions: summaries.filter_map(Result::transpose).collect::<Result<_, Fault>>()? }))
}

/// `None` for a function that was deleted while the list was made.
fn summary(
    state: &State,
    ready: &HashMap<FunctionName, u32>,
    function: Function,
) -> Result<Option<FunctionSummary>, Fault> {
    let name = function.name;
    let Ok(Stored { value: live, .. }) = state.deps.registry.alias(&name, &AliasName::live()) else { return Ok(None) };
    let Some(main) = live.targets.iter().max_by_key(|target| target.weight) else { return Ok(None) };
    let id = RevisionId { function: name.clone(), number: main.revision };
    let Ok(revision) = state.deps.registry.revision(&id) else { return Ok(None) };
    Ok(Some(FunctionSummary {
        runtime: revision.spec.runtime,
        contract: revision.spec.contract,
        tenant: function.tenant,
        live: live.targets,
        url: state.deployer.url(&name),
        instances: ready.get(&name).copied().unwrap_or(0),
        updated: function.updated,
        name,
    }))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}", tag = "functions", params(("name" = String, Path,)),
    responses(
        (status = 200, body = FunctionDetail, headers(("etag" = String, description = "for `If-Match`"))),
        (status = 404, body = Problem),
    ),
)]
/// Everything about a function.
pub(crate) async fn describe(extract::State(state): extract::State<State>, names: Names) -> Result<Response, Refusal> {
    let name = names.function()?;
    let registry = &state.deps.registry;
    let Stored { value: function, version } = registry.function(&name)?;
    let mut aliases = registry.aliases(&name)?;
    // What people look for first comes first.
    aliases.sort_by_key(|alias: &Alias| (alias.name.as_str() != LIVE, alias.name.clone()));
    let detail = FunctionDetail {
        tenant: function.tenant,
        created: function.created,
        url: state.deployer.url(&name),
        aliases,
        routes: registry.routes_of(&name)?,
        revisions: registry.revisions(&name)?,
        instances: instances_of(&state, &name),
        events: super::limit::all_events(&state, &name)?,
        canaries: state.canaries.of(&name),
        name,
    };
    Ok(tagged(detail, version))
}

#[utoipa::path(
    delete, path = "/v1/functions/{name}", tag = "functions",
    params(("name" = String, Path,), ("if-match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204), (status = 404, body = Problem), (status = 412, body = Problem)),
)]
/// Deletes a function with its revisions, aliases, routes and logs.
pub(crate) async fn remove(
    extract::State(state): extract::State<State>,
    names: Names,
    precondition: Precondition,
) -> Result<StatusCode, Refusal> {
    let name = names.function()?;
    let gone = state.deps.registry.delete_function(&name, precondition).await?;
    state.deps.logs.forget(&name);
    state.deployer.sweep_artifacts(gone.into_iter().map(|revision| revision.artifact).collect()).await;
    tracing::info!(function = %name, "deleted");
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/revisions", tag = "functions", params(("name" = String, Path,)),
    responses((status = 200, body = RevisionList), (status = 404, body = Problem)),
)]
/// A function's revisions, newest first.
pub(crate) async fn revisions(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<RevisionList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(RevisionList { revisions: state.deps.registry.revisions(&name)? }))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/revisions/{number}", tag = "functions",
    params(("name" = String, Path,), ("number" = u32, Path,)),
    responses((status = 200, body = Revision), (status = 404, body = Problem)),
)]
/// One revision.
pub(crate) async fn revision(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<Revision>, Refusal> {
    let function = names.function()?;
    state.deps.registry.function(&function)?;
    Ok(Json(state.deps.registry.revision(&RevisionId { function, number: names.number()? })?))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/instances", tag = "functions", params(("name" = String, Path,)),
    responses((status = 200, body = InstanceList), (status = 404, body = Problem)),
)]
/// A function's instances, all revisions.
pub(crate) async fn instances(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<InstanceList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(InstanceList { instances: instances_of(&state, &name) }))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/scaling", tag = "functions", params(("name" = String, Path,)),
    responses((status = 200, body = ScalingList), (status = 404, body = Problem)),
)]
/// Why a function has as many instances as it has: the last decision on each revision, newest first.
pub(crate) async fn scaling(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<ScalingList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(ScalingList { revisions: state.deps.scaler.explain(&name) }))
}

fn instances_of(state: &State, name: &FunctionName) -> Vec<InstanceView> {
    let all = state.deps.host.instances();
    all.into_iter().filter(|instance| instance.revision.function == *name).collect()
}
