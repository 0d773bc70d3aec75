//! The description of the API, made from the same types that it speaks.

use super::{alias, deployment, function, info, invoke, key, limit, logs, route, tenant};
use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Mayfly", description = "Functions that live exactly as long as they are needed."),
    paths(
        function::list, function::describe, function::remove, function::revisions, function::revision,
        function::instances, function::scaling, deployment::create, deployment::list, deployment::show, deployment::log,
        alias::list, alias::show, alias::update, alias::remove, alias::rollback,
        limit::show, limit::update, limit::events,
        route::list, route::update, route::remove, key::list, key::create, key::revoke,
        tenant::list, tenant::show, tenant::update, tenant::remove, invoke::create, invoke::list, logs::read,
        info::info, info::healthz, document,
    ),
    security(("token" = [])),
    modifiers(&Token),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "platform", security(()),
    responses((status = 200, body = serde_json::Value)),
)]
/// This description.
pub(crate) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}
