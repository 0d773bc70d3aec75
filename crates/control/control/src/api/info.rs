//! What this platform is, and that it lives.

use super::{State, problem::Refusal};
use axum::{Json, extract};
use toolchain::Toolchain;
use types::{
    Fault, Runtime,
    api::{Info, RuntimeInfo},
};

#[utoipa::path(get, path = "/v1/info", tag = "platform", responses((status = 200, body = Info)))]
/// Version, addresses, and which runtimes this host has.
pub(crate) async fn info(extract::State(state): extract::State<State>) -> Result<Json<Info>, Refusal> {
    let toolchain = state.deps.toolchain.clone();
    // The first to ask waits for the programs to tell their versions.
    let runtimes = tokio::task::spawn_blocking(move || Runtime::ALL.map(|runtime| about(&toolchain, runtime)));
    let calls = state.deps.registry.unreserved(state.options.limits.calls_max)?;
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gateway_url: state.options.gateway_url.clone(),
        runtimes: runtimes.await.map_err(Fault::internal)?.into(),
        isolation: state.options.isolation.clone(),
        calls_max: calls.map(|(max, _)| max),
        calls_unreserved: calls.map(|(_, left)| left),
    }))
}

fn about(toolchain: &Toolchain, runtime: Runtime) -> RuntimeInfo {
    match toolchain.runtime(runtime) {
        Ok(Some(found)) => {
            let detail = format!("{} {}", found.path.display(), found.version);
            RuntimeInfo { runtime, available: true, detail }
        }
        Ok(None) => RuntimeInfo { runtime, available: true, detail: "needs no program on the host to run".to_owned() },
        Err(fault) => RuntimeInfo { runtime, available: false, detail: fault.detail.into_owned() },
    }
}

#[utoipa::path(get, path = "/healthz", tag = "platform", security(()), responses((status = 200, body = String)))]
/// The API answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}
