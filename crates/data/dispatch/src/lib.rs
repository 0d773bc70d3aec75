//! Brings a call to an instance: the revision by weight, the instance by load, a bounded wait where none is free.
//!
//! The walk of a call is [`Dispatcher::walk`]: choose a revision → take a slot or wait for one → call → record.
//!
//! **Invariant**: it knows nothing about stores or processes. It lives on what it was told last, and warm traffic
//! goes on while control and fleet are silent.

mod directory;
mod history;
mod meter;
mod metrics;
mod pool;

use pool::Pool;
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use types::{Fault, FunctionName, Invocation, Revision, RevisionId};
use wire::{Body, BoxFuture, Call, Demand, Invoke, Refusal, Target};

/// The dispatcher's limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most calls that wait for one revision.
    pub queue_max: usize,
    /// Shortest bound of a wait.
    pub wait_min: Duration,
    /// A wait ends after this many times the usual start time, if that is longer than `wait_min`.
    pub wait_factor: f64,
    /// Most calls remembered for each revision.
    pub history_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { queue_max: 1000, wait_min: Duration::from_secs(10), wait_factor: 3.5, history_max: 200 }
    }
}

/// Most instances that one call is offered to before the caller is told to come again.
const OFFERS_MAX: u32 = 3;

/// The dispatcher. Clones share it.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    options: Options,
    pools: parking_lot::RwLock<HashMap<RevisionId, Arc<Pool>>>,
    demand: OnceLock<Arc<dyn Demand>>,
    metrics: metrics::Metrics,
}

impl Dispatcher {
    pub fn new(options: Options, metrics: &chassis::metrics::Metrics) -> Self {
        let metrics = metrics::Metrics::register(metrics);
        Self(Arc::new(Inner { options, pools: Default::default(), demand: OnceLock::new(), metrics }))
    }

    /// Says whom to ask for instances: once, before the first call.
    pub fn connect(&self, demand: Arc<dyn Demand>) {
        let _ = self.0.demand.set(demand);
    }

    /// The walk of a call.
    async fn walk(&self, target: &Target, mut call: Call) -> Result<http::Response<Body>, Fault> {
        // The revision by weight.
        let revision = choose(target)?;
        let pool = self.pool(revision);
        let mut offers = 0;
        loop {
            // A slot of the least loaded instance, or a bounded wait for one.
            let (link, permit) = pool.acquire(call.id, call.arrived).await?;
            // User code has its time from here on: a wait is bounded by itself.
            call.deadline = chassis::clock::now() + revision.spec.timeout.duration();
            // The instance.
            offers += 1;
            call = match link.call(call, permit).await {
                Ok(mut response) => {
                    response.headers_mut().insert(http::HeaderName::from_static(REVISION), pool.name());
                    return Ok(response);
                }
                // No byte reached user code: the next instance has it.
                Err(Refusal { call: Some(call), .. }) if offers < OFFERS_MAX => *call,
                Err(Refusal { fault, .. }) => return Err(fault),
            };
        }
    }

    fn pool(&self, revision: &Arc<Revision>) -> Arc<Pool> {
        if let Some(pool) = self.0.pools.read().get(&revision.id) {
            return Arc::clone(pool);
        }
        let mut pools = self.0.pools.write();
        Arc::clone(pools.entry(revision.id.clone()).or_insert_with(|| {
            Pool::new(Arc::clone(revision), self.0.options.clone(), self.0.demand.get().cloned(), &self.0.metrics)
        }))
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        self.0.pools.read().values().cloned().collect()
    }
}

const REVISION: &str = types::api::REVISION_HEADER;

/// One of the target's revisions by weight, at random for each call.
fn choose(target: &Target) -> Result<&Arc<Revision>, Fault> {
    let none = || Fault::internal(format!("alias {} of {} points nowhere", target.alias, target.function));
    match &*target.revisions {
        [only] => Ok(&only.revision),
        several => {
            let mut ball = fastrand::u8(..100);
            for weighted in several {
                if ball < weighted.weight {
                    return Ok(&weighted.revision);
                }
                ball -= weighted.weight;
            }
            several.last().map(|last| &last.revision).ok_or_else(none)
        }
    }
}

impl Invoke for Dispatcher {
    fn invoke<'a>(&'a self, target: &'a Target, call: Call) -> BoxFuture<'a, Result<http::Response<Body>, Fault>> {
        Box::pin(self.walk(target, call))
    }
}

impl wire::Invocations for Dispatcher {
    fn recent(&self, function: &FunctionName, limit: usize) -> Vec<Invocation> {
        let pools = self.pools();
        let mut all: Vec<_> = pools
            .iter()
            .filter(|pool| pool.revision().id.function == *function)
            .flat_map(|pool| pool.recent(limit))
            .collect();
        all.sort_by_key(|invocation| std::cmp::Reverse(invocation.started));
        all.truncate(limit);
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
