//! What a caller gets where its function cannot be called: a stale answer, another function's, a static one, or the fault.
//!
//! **Invariant**: only calls that no user code saw come here, and one that another function stands in for does not come
//! here a second time.

use crate::{Dispatcher, pool::Pool, stale::Stale};
use chassis::clock;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use std::sync::Arc;
use types::{AliasName, Code, Fault, FunctionName, resilience::Answer};
use wire::{Body, Call, Refusal};

/// Says that the answer is not the function's own, and why.
const DEGRADED: HeaderName = HeaderName::from_static(types::api::DEGRADED_HEADER);

/// True where a fault says "too much" or "broken", and not what is wrong with this call.
fn applies(code: Code) -> bool {
    matches!(
        code,
        Code::CircuitOpen
            | Code::Overloaded
            | Code::QueueFull
            | Code::CapacityExhausted
            | Code::FunctionLimit
            | Code::TenantLimit
            | Code::StartFailed
            | Code::StartTimeout
    )
}

impl Dispatcher {
    /// The answer of the pool's policy.
    ///
    /// # Errors
    /// The refusal's own fault, where no policy has an answer. It says which revision was chosen.
    pub(crate) async fn degrade(&self, pool: &Pool, refusal: Refusal) -> Result<Response<Body>, Fault> {
        let Refusal { fault, call } = refusal;
        let fault = fault.of(&pool.revision.id);
        let policy = pool.revision.spec.resilience.as_ref().and_then(|resilience| resilience.degrade.as_ref());
        let (Some(policy), Some(call), true) = (policy, call, applies(fault.code)) else { return Err(fault) };
        if let Some(stale) = &pool.stale
            && let Some(key) = Stale::key(&call.request)
            && let Some(response) = stale.find(&key, clock::now())
        {
            pool.metrics.degraded("stale");
            return Ok(marked(response, "stale"));
        }
        if let Some(function) = &policy.fallback {
            match self.stand_in(function, *call).await {
                Ok(response) => {
                    pool.metrics.degraded("fallback");
                    return Ok(marked(response, "fallback"));
                }
                Err(other) => tracing::debug!(%function, %other, "the fallback cannot answer either"),
            }
        }
        match &policy.answer {
            Some(answer) => {
                pool.metrics.degraded("static");
                let mut response = response(answer);
                response.headers_mut().insert(HeaderName::from_static(crate::REVISION), pool.name.clone());
                Ok(marked(response, "static"))
            }
            None => Err(fault),
        }
    }

    /// The answer of another function's `live`.
    async fn stand_in(&self, function: &FunctionName, call: Call) -> Result<Response<Body>, Fault> {
        let target = self
            .target(function, &AliasName::live())
            .ok_or_else(|| Fault::new(Code::FunctionNotFound, format!("the fallback `{function}` is not there")))?;
        let pool = self.choose(&target, &call)?;
        self.serve(&pool, call).await.map_err(|refusal| refusal.fault)
    }

    fn target(&self, function: &FunctionName, alias: &AliasName) -> Option<Arc<wire::Target>> {
        let snapshots = self.0.snapshots.get()?;
        snapshots.borrow().target(function, alias).cloned()
    }
}

fn marked(mut response: Response<Body>, by: &'static str) -> Response<Body> {
    response.headers_mut().insert(DEGRADED, HeaderValue::from_static(by));
    response
}

fn response(answer: &Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if let Ok(kind) = HeaderValue::from_str(&answer.kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
