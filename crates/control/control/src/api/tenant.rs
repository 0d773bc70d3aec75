//! Tenants: who owns functions, and what these may do together.

use super::{
    State,
    answer::tagged,
    input::{Document, Names},
    problem::Refusal,
};
use crate::registry::Precondition;
use axum::{
    Json, extract,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use types::{
    Fault, TenantName,
    fault::Problem,
    tenant::{Tenant, TenantLimits, TenantList},
};

#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", responses((status = 200, body = TenantList)))]
/// All tenants by name, `default` among them.
pub(crate) async fn list(extract::State(state): extract::State<State>) -> Result<Json<TenantList>, Refusal> {
    Ok(Json(TenantList { tenants: state.deps.registry.tenants(state.options.limits)? }))
}

#[utoipa::path(
    get, path = "/v1/tenants/{name}", tag = "tenants", params(("name" = String, Path,)),
    responses(
        (status = 200, body = Tenant, headers(("etag" = String, description = "for `If-Match`"))),
        (status = 404, body = Problem),
    ),
)]
/// One tenant. `default` has no ETag while the platform's options alone are its limits.
pub(crate) async fn show(extract::State(state): extract::State<State>, names: Names) -> Result<Response, Refusal> {
    Ok(shown(&state, &names.tenant()?)?)
}

#[utoipa::path(
    put, path = "/v1/tenants/{name}", tag = "tenants", request_body = TenantLimits,
    params(
        ("name" = String, Path,),
        ("if-match" = Option<String>, Header, description = "the ETag that was read, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "`*` makes a new tenant only"),
    ),
    responses(
        (status = 200, body = Tenant, headers(("etag" = String))),
        (status = 400, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem),
    ),
)]
/// Makes a tenant, or sets its limits: `calls_max` 0 stops its functions, `null` is no limit (for `default`: the platform's
/// option). They hold for the next call.
pub(crate) async fn update(
    extract::State(state): extract::State<State>,
    names: Names,
    precondition: Precondition,
    document: Document<TenantLimits>,
) -> Result<Response, Refusal> {
    let (name, limits) = (names.tenant()?, document.required()?);
    state.deps.registry.set_tenant(&name, limits, state.options.limits, precondition).await?;
    Ok(shown(&state, &name)?)
}

#[utoipa::path(
    delete, path = "/v1/tenants/{name}", tag = "tenants",
    params(
        ("name" = String, Path,),
        ("if-match" = Option<String>, Header, description = "the ETag that was read, or `*`"),
    ),
    responses(
        (status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem),
    ),
)]
/// Deletes a tenant that owns no function. `default` stays, with the platform's options as its limits.
pub(crate) async fn remove(
    extract::State(state): extract::State<State>,
    names: Names,
    precondition: Precondition,
) -> Result<StatusCode, Refusal> {
    state.deps.registry.delete_tenant(&names.tenant()?, precondition).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(state: &State, name: &TenantName) -> Result<Response, Fault> {
    let (tenant, version) = state.deps.registry.tenant(name, state.options.limits)?;
    Ok(match version {
        Some(version) => tagged(tenant, version),
        None => Json(tenant).into_response(),
    })
}
