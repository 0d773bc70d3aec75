//! API keys for functions with `[access] auth = "key"`.

use super::{
    State,
    input::{Document, Names},
    problem::Refusal,
};
use axum::{Json, extract, http::StatusCode};
use std::time::SystemTime;
use types::{
    fault::Problem,
    key::{KeyCreated, KeyList, KeyRequest},
};

#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, body = KeyList)))]
/// All API keys without their secrets, newest first.
pub(crate) async fn list(extract::State(state): extract::State<State>) -> Result<Json<KeyList>, Refusal> {
    Ok(Json(KeyList { keys: state.deps.registry.keys()? }))
}

#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = KeyRequest,
    responses(
        (status = 201, body = KeyCreated, description = "the only time that the key is shown"),
        (status = 400, body = Problem), (status = 404, body = Problem),
    ),
)]
/// Makes an API key for some functions or for all.
pub(crate) async fn create(
    extract::State(state): extract::State<State>,
    document: Document<KeyRequest>,
) -> Result<(StatusCode, Json<KeyCreated>), Refusal> {
    let created = state.deps.registry.create_key(document.required()?, SystemTime::now().into()).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path,)),
    responses((status = 204), (status = 404, body = Problem)),
)]
/// Revokes an API key: the next call with it is refused.
pub(crate) async fn revoke(extract::State(state): extract::State<State>, names: Names) -> Result<StatusCode, Refusal> {
    state.deps.registry.revoke_key(names.key()).await?;
    Ok(StatusCode::NO_CONTENT)
}
