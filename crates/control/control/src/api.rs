//! The REST API v1: `types::api` has its documents and the table of its paths.
//!
//! A request walks through [`router`]'s layers: an id, then the token, then the endpoint of its path. Endpoints answer
//! with a document or a [`problem::Refusal`]; nothing else makes error answers.

mod alias;
mod answer;
mod auth;
mod deployment;
mod function;
mod info;
mod input;
mod invoke;
mod key;
mod limit;
mod logs;
mod openapi;
mod problem;
mod route;
mod tenant;

use crate::{Deps, Options, canary::Seen, deploy::Deployer};
use axum::{
    Router, middleware,
    routing::{MethodRouter, delete, get, post, put},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What endpoints work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct State {
    pub options: Arc<Options>,
    pub deps: Deps,
    pub deployer: Arc<Deployer>,
    pub shutdown: CancellationToken,
    /// What is seen of canaries.
    pub canaries: Seen,
}

impl State {
    pub fn new(options: Options, deps: Deps, deployer: Arc<Deployer>, shutdown: CancellationToken) -> Self {
        Self { options: Arc::new(options), deps, deployer, shutdown, canaries: Seen::default() }
    }
}

/// A method (for the tests that compare this with the descriptions), a path, and who answers there.
type Endpoint = (&'static str, &'static str, MethodRouter<State>);

macro_rules! endpoints {
    ($($method:ident $path:literal $handler:path,)*) => {
        vec![$((stringify!($method), $path, $method($handler)),)*]
    };
}

/// Needs the token.
fn guarded() -> Vec<Endpoint> {
    endpoints! {
        get    "/v1/functions" function::list,
        get    "/v1/functions/{name}" function::describe,
        delete "/v1/functions/{name}" function::remove,
        get    "/v1/functions/{name}/revisions" function::revisions,
        get    "/v1/functions/{name}/revisions/{number}" function::revision,
        get    "/v1/functions/{name}/instances" function::instances,
        get    "/v1/functions/{name}/scaling" function::scaling,
        post   "/v1/functions/{name}/deployments" deployment::create,
        get    "/v1/functions/{name}/deployments" deployment::list,
        get    "/v1/deployments/{id}" deployment::show,
        get    "/v1/deployments/{id}/log" deployment::log,
        get    "/v1/functions/{name}/aliases" alias::list,
        get    "/v1/functions/{name}/aliases/{alias}" alias::show,
        put    "/v1/functions/{name}/aliases/{alias}" alias::update,
        delete "/v1/functions/{name}/aliases/{alias}" alias::remove,
        post   "/v1/functions/{name}/rollback" alias::rollback,
        get    "/v1/functions/{name}/limit" limit::show,
        put    "/v1/functions/{name}/limit" limit::update,
        get    "/v1/functions/{name}/events" limit::events,
        get    "/v1/routes" route::list,
        put    "/v1/routes" route::update,
        delete "/v1/routes" route::remove,
        get    "/v1/keys" key::list,
        post   "/v1/keys" key::create,
        delete "/v1/keys/{id}" key::revoke,
        get    "/v1/tenants" tenant::list,
        get    "/v1/tenants/{name}" tenant::show,
        put    "/v1/tenants/{name}" tenant::update,
        delete "/v1/tenants/{name}" tenant::remove,
        post   "/v1/functions/{name}/invocations" invoke::create,
        get    "/v1/functions/{name}/invocations" invoke::list,
        get    "/v1/functions/{name}/logs" logs::read,
        get    "/v1/info" info::info,
    }
}

/// For everybody.
fn open() -> Vec<Endpoint> {
    endpoints! {
        get "/v1/openapi.json" openapi::document,
        get "/healthz" info::healthz,
    }
}

/// The whole API.
pub(crate) fn router(state: State) -> Router {
    let guard = middleware::from_fn_with_state(state.clone(), auth::guard);
    mount(guarded())
        .fallback(problem::no_path)
        .method_not_allowed_fallback(problem::no_method)
        .layer(guard)
        .merge(mount(open()).method_not_allowed_fallback(problem::no_method))
        .layer(middleware::from_fn(auth::identify))
        .with_state(state)
}

fn mount(endpoints: Vec<Endpoint>) -> Router<State> {
    endpoints.into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_endpoint_is_described_and_each_description_served() {
        let served: BTreeSet<(String, String)> =
            guarded().into_iter().chain(open()).map(|(method, path, _)| (method.to_owned(), path.to_owned())).collect();
        let document = serde_json::to_value(openapi::description()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone())))
            .filter(|(method, _)| ["get", "put", "post", "delete"].contains(&method.as_str()))
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn each_reference_in_the_description_leads_somewhere() {
        let document = serde_json::to_value(openapi::description()).unwrap();
        let text = document.to_string();
        let mut found = 0;
        for reference in text.split(r##""$ref":"#"##).skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} is not there");
            found += 1;
        }
        assert!(found > 20, "only {found} references");
    }

    #[test]
    fn each_endpoint_of_the_table_in_types_is_served() {
        let table = include_str!("../../../base/types/src/api.rs");
        let served: BTreeSet<(String, String)> = guarded()
            .into_iter()
            .chain(open())
            .map(|(method, path, _)| (method.to_uppercase(), path.trim_start_matches("/v1").to_owned()))
            .collect();
        let mut rows = 0;
        for row in table.lines().filter_map(|line| line.strip_prefix("//! | `")) {
            let (methods, path) = row.split('`').next().unwrap().split_once(" /").unwrap();
            let path = format!("/{}", path.split('?').next().unwrap());
            let (short, long) = match path.split_once('[') {
                Some((short, rest)) => (short.to_owned(), Some(format!("{short}{}", rest.trim_end_matches(']')))),
                None => (path, None),
            };
            for path in [Some(short), long].into_iter().flatten() {
                for method in methods.split(", ") {
                    assert!(served.contains(&(method.to_owned(), path.clone())), "{method} {path} is not served");
                    rows += 1;
                }
            }
        }
        assert!(rows > 20, "only {rows} endpoints in the table");
    }
}
