//! Aliases: where a function's traffic goes, by weight, and back.

use super::{
    State,
    answer::tagged,
    input::{Document, Names},
    problem::Refusal,
};
use crate::registry::{Move, Precondition, Step, Stored};
use axum::{Json, extract, http::StatusCode, response::Response};
use std::sync::Arc;
use types::{
    Alias, AliasName, Code, Fault, FunctionName, RevisionId,
    api::{AliasList, AliasUpdate, Rollback},
    fault::Problem,
    record::Target,
};
use wire::{Ensured, Share};

/// A rollback that meets this many other moves of the alias is given up.
const ROLLBACKS_MAX: usize = 4;

#[utoipa::path(
    get, path = "/v1/functions/{name}/aliases", tag = "aliases", params(("name" = String, Path,)),
    responses((status = 200, body = AliasList), (status = 404, body = Problem)),
)]
/// A function's aliases, by name.
pub(crate) async fn list(
    extract::State(state): extract::State<State>,
    names: Names,
) -> Result<Json<AliasList>, Refusal> {
    let name = names.function()?;
    state.deps.registry.function(&name)?;
    Ok(Json(AliasList { aliases: state.deps.registry.aliases(&name)? }))
}

#[utoipa::path(
    get, path = "/v1/functions/{name}/aliases/{alias}", tag = "aliases",
    params(("name" = String, Path,), ("alias" = String, Path,)),
    responses(
        (status = 200, body = Alias, headers(("etag" = String, description = "for `If-Match`"))),
        (status = 404, body = Problem),
    ),
)]
/// One alias.
pub(crate) async fn show(extract::State(state): extract::State<State>, names: Names) -> Result<Response, Refusal> {
    let Stored { value, version } = state.deps.registry.alias(&names.function()?, &names.alias()?)?;
    Ok(tagged(value, version))
}

#[utoipa::path(
    put, path = "/v1/functions/{name}/aliases/{alias}", tag = "aliases", request_body = AliasUpdate,
    params(
        ("name" = String, Path,), ("alias" = String, Path,),
        ("if-match" = Option<String>, Header, description = "the ETag that was read, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "`*` makes a new alias only"),
    ),
    responses(
        (status = 200, body = Alias, headers(("etag" = String))),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 412, body = Problem),
    ),
)]
/// Points an alias at one or two revisions, at once or, with `canary`, by steps; makes it where it is missing. Each revision
/// must start first.
pub(crate) async fn update(
    extract::State(state): extract::State<State>,
    names: Names,
    precondition: Precondition,
    document: Document<AliasUpdate>,
) -> Result<Response, Refusal> {
    let (name, alias) = (names.function()?, names.alias()?);
    let AliasUpdate { targets, canary } = document.required()?;
    let to = Move { targets, step: Step::Forward, canary };
    let moved = apart(state, move |state| async move {
        state.deps.registry.check_move(&name, &alias, &to, precondition)?;
        let _held = ensure(&state, &name, &alias, &to).await?;
        state.deps.registry.move_alias(&name, &alias, &to, precondition).await
    });
    let Stored { value, version } = moved.await?;
    Ok(tagged(value, version))
}

#[utoipa::path(
    delete, path = "/v1/functions/{name}/aliases/{alias}", tag = "aliases",
    params(
        ("name" = String, Path,), ("alias" = String, Path,),
        ("if-match" = Option<String>, Header, description = "the ETag that was read, or `*`"),
    ),
    responses(
        (status = 204), (status = 400, body = Problem), (status = 404, body = Problem), (status = 412, body = Problem),
    ),
)]
/// Deletes an alias; never `live`, nor one that a route points to.
pub(crate) async fn remove(
    extract::State(state): extract::State<State>,
    names: Names,
    precondition: Precondition,
) -> Result<StatusCode, Refusal> {
    state.deps.registry.delete_alias(&names.function()?, &names.alias()?, precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post, path = "/v1/functions/{name}/rollback", tag = "aliases", params(("name" = String, Path,)),
    request_body(content = Option<Rollback>, description = "nothing for the revision before"),
    responses((status = 200, body = Alias, headers(("etag" = String))), (status = 404, body = Problem)),
)]
/// Points `live` back at the revision that it pointed to before, or at a named one.
pub(crate) async fn rollback(
    extract::State(state): extract::State<State>,
    names: Names,
    document: Document<Rollback>,
) -> Result<Response, Refusal> {
    let name = names.function()?;
    let to = document.0.unwrap_or_default().to;
    let Stored { value, version } =
        apart(state, move |state| async move { roll_back(&state, &name, to).await }).await?;
    Ok(tagged(value, version))
}

async fn roll_back(state: &State, name: &FunctionName, to: Option<u32>) -> Result<Stored<Alias>, Fault> {
    let live = AliasName::live();
    let registry = &state.deps.registry;
    for _ in 0..ROLLBACKS_MAX {
        let (number, seen) = match to {
            Some(number) => (number, registry.alias(name, &live)?.version),
            None => registry.before(name, &live)?,
        };
        let targets = vec![Target { revision: number, weight: 100 }];
        let to = Move { targets, step: Step::Back(number), canary: None };
        let _held = ensure(state, name, &live, &to).await?;
        match registry.move_alias(name, &live, &to, Precondition::Version(seen)).await {
            // It was moved while the revision started: where it leads back to now is another question.
            Err(fault) if fault.code == Code::PreconditionFailed => {}
            result => return result,
        }
    }
    Err(Fault::new(Code::Unavailable, format!("`live` of `{name}` is moved all the time by others")))
}

/// Makes sure that each target has the instances for its share before it gets that; they are kept as long as the result.
async fn ensure(state: &State, name: &FunctionName, alias: &AliasName, to: &Move) -> Result<Vec<Ensured>, Fault> {
    // All are looked up before any is started: a typing error starts nothing.
    let find = |target: &Target| {
        let id = RevisionId { function: name.clone(), number: target.revision };
        state.deps.registry.revision(&id).map(Arc::new)
    };
    let revisions = to.targets.iter().map(find).collect::<Result<Vec<_>, Fault>>()?;
    let first = to.canary.as_ref().and_then(|plan| plan.steps.first()).map(|step| step.weight);
    let mut ensured = Vec::new();
    for (revision, target) in revisions.into_iter().zip(&to.targets) {
        let share = Share { alias: alias.clone(), percent: first.unwrap_or(target.weight) };
        ensured.push(state.deps.scaler.ensure(revision, share).await?);
    }
    Ok(ensured)
}

/// Runs a change in a task of its own: a client that hangs up must not tear it in half.
async fn apart<T, F>(state: State, change: impl FnOnce(State) -> F) -> Result<T, Fault>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    tokio::spawn(change(state)).await.map_err(Fault::internal)?
}
