//! Brings a call to an instance: the revision by weight, the instance by load, a bounded wait where none is free.
//!
//! The walk of a call is [`Dispatcher::walk`]: choose a revision → take a slot or wait for one → call → record; where none
//! can be had, degrade.
//!
//! Reading order: [`choose`] takes the revision; [`pool`] is the heart, with [`slot`] (which instance), [`wait`] and
//! [`queue`] (who is next); [`limit`], [`breaker`], [`eject`], [`retry`] and [`adapt`] decide, each a table of its own;
//! [`degrade`], [`stale`] and [`hedge`] are what owners may ask for; [`emergency`] is for a silent fleet.
//!
//! **Invariant**: it knows nothing about stores or processes. It lives on what it was told last, and warm traffic
//! goes on while control and fleet are silent.

mod adapt;
mod breaker;
mod choose;
mod degrade;
mod directory;
mod eject;
mod emergency;
mod hedge;
mod history;
mod limit;
mod meter;
mod metrics;
mod policy;
mod pool;
mod queue;
mod retry;
mod ring;
mod slot;
mod stale;
mod wait;

use chassis::clock;
use emergency::Emergency;
use limit::Limits;
use pool::{House, Pool};
use stale::Stale;
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use types::{Event, Fault, FunctionName, Invocation, Revision, RevisionId};
use wait::Waiting;
use wire::{Body, BoxFuture, Call, Demand, Host, Invoke, Logs, Refusal, Snapshots, Tally, Target};

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
    /// Most calls at once of the functions of tenant `default` together, unless its record says otherwise.
    pub calls_max: Option<u32>,
    /// A fleet that has not looked for this long is silent.
    pub silent_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_max: 1000,
            wait_min: Duration::from_secs(10),
            wait_factor: 3.5,
            history_max: 200,
            calls_max: None,
            silent_after: Duration::from_secs(4),
        }
    }
}

/// Most instances that one call is offered to before the caller is told to come again.
const OFFERS_MAX: u32 = 3;

/// The dispatcher. Clones share it.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    house: Arc<House>,
    limits: Limits,
    snapshots: OnceLock<Snapshots>,
    pools: parking_lot::RwLock<HashMap<RevisionId, Arc<Pool>>>,
    metrics: metrics::Metrics,
}

impl Dispatcher {
    pub fn new(options: Options, metrics: &chassis::metrics::Metrics) -> Self {
        let metrics = metrics::Metrics::register(metrics);
        let limits = Limits::new(options.calls_max);
        let emergency = Emergency::new(options.silent_after);
        let house = Arc::new(House { options, demand: OnceLock::new(), logs: OnceLock::new(), emergency });
        Self(Arc::new(Inner { house, limits, snapshots: OnceLock::new(), pools: Default::default(), metrics }))
    }

    /// Says whom to ask for instances: once, before the first call.
    pub fn connect(&self, demand: Arc<dyn Demand>) {
        let _ = self.0.house.demand.set(demand);
    }

    /// Says where functions' logs are, for what happens to their instances: once.
    pub fn tell(&self, logs: Arc<dyn Logs>) {
        let _ = self.0.house.logs.set(logs);
    }

    /// Says where instances can be started while the fleet is silent: once.
    pub fn stand_by(&self, host: Arc<dyn Host>) {
        self.0.house.emergency.stand_by(host, Arc::downgrade(&self.0));
    }

    /// Takes limits and other functions from the last snapshot on: once, on the shared runtime. The task ends with the
    /// last sender; what was told last stays.
    pub fn follow(&self, mut snapshots: Snapshots) {
        let _ = self.0.snapshots.set(snapshots.clone());
        self.0.limits.set(&snapshots.borrow_and_update());
        let inner = Arc::downgrade(&self.0);
        chassis::task::spawn("limits of functions and tenants", async move {
            while snapshots.changed().await.is_ok() {
                let Some(inner) = inner.upgrade() else { return };
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                inner.limits.set(&snapshot);
            }
        });
    }

    /// The walk of a call.
    async fn walk(&self, target: &Target, call: Call) -> Result<http::Response<Body>, Fault> {
        // The revision, by weight or by what the caller sticks by.
        let pool = self.choose(target, &call)?;
        match self.serve(&pool, call).await {
            Ok(response) => Ok(response),
            // Nobody could be asked: something better than the fault, where the owner has it. On the heap, as all that
            // few calls need: the state of a call is copied as often as the call is handed on.
            Err(refusal) => Box::pin(self.degrade(&pool, refusal)).await,
        }
    }

    fn choose(&self, target: &Target, call: &Call) -> Result<Arc<Pool>, Fault> {
        let headers = call.request.headers();
        let kept = if target.revisions.len() > 1 { self.kept(target, headers) } else { None };
        let pool = match kept {
            Some(pool) => pool,
            None => self.pool(choose::revision(target, headers)?),
        };
        // A revision may have had instances before it had calls; whose it is, the first call's target says.
        pool.gate.get_or_init(|| self.0.limits.gate(&target.function, &target.tenant));
        Ok(pool)
    }

    /// Of several revisions, the one whose instance the caller had before, while it takes calls and the revision has a
    /// share. What a caller sticks by goes before: it draws the same revision each time by itself.
    fn kept(&self, target: &Target, headers: &http::HeaderMap) -> Option<Arc<Pool>> {
        let near = choose::near(headers)?;
        if choose::sticks(target, headers) {
            return None;
        }
        let pools = self.0.pools.read();
        let shares = target.revisions.iter().filter(|weighted| weighted.weight > 0);
        let mut shares = shares.filter_map(|weighted| pools.get(&weighted.revision.id));
        shares.find(|pool| pool.policy.affinity && pool.has(near)).cloned()
    }

    /// Brings a call to an instance of the pool, and to another one where the first saw nothing of it.
    async fn serve(&self, pool: &Arc<Pool>, mut call: Call) -> Result<http::Response<Body>, Refusal> {
        let near = pool.policy.affinity.then(|| choose::near(call.request.headers())).flatten();
        let keep = pool.stale.as_ref().and_then(|stale| Some((stale, Stale::key(&call.request)?)));
        // A slot of a little loaded instance, or a bounded wait for one.
        let mut asked = pool.ask(&call, near);
        let mut offers = 0;
        loop {
            let (link, permit) = match asked {
                (Waiting::Granted(granted), _) => granted,
                // On the heap: most calls have a slot at once.
                asked => match Box::pin(pool.settle(asked)).await {
                    Ok(granted) => granted,
                    Err(fault) => return Err(Refusal::unsent(fault, call)),
                },
            };
            let instance = permit.info.instance;
            // User code has its time from here on: a wait is bounded by itself.
            call.deadline = clock::now() + pool.revision.spec.timeout.duration();
            // The instance, and a second one where an answer is late and the owner wants that.
            offers += 1;
            let spare = pool.policy.hedge.and_then(|patience| Some((patience, hedge::copy(&call)?)));
            let answer = match spare {
                None => link.call(call, permit).await,
                Some((patience, spare)) => {
                    Box::pin(hedge::race(pool, link.call(call, permit), spare, instance, patience)).await
                }
            };
            let refusal = match answer {
                Ok(mut response) => {
                    response.headers_mut().insert(http::HeaderName::from_static(REVISION), pool.name.clone());
                    if pool.policy.affinity && near != Some(instance) {
                        choose::stay(response.headers_mut(), instance);
                    }
                    if let Some((stale, key)) = keep {
                        stale.keep(key, &response, clock::now());
                    }
                    return Ok(response);
                }
                Err(refusal) => refusal,
            };
            // No byte reached user code: the next instance has it, while the budget lasts.
            call = match refusal.call {
                Some(call) if offers < OFFERS_MAX => *call,
                _ => return Err(refusal.fault.into()),
            };
            asked = match pool.ask_again(&call, instance) {
                Some(asked) => asked,
                None => return Err(refusal.fault.into()),
            };
        }
    }

    fn pool(&self, revision: &Arc<Revision>) -> Arc<Pool> {
        if let Some(pool) = self.0.pools.read().get(&revision.id) {
            return Arc::clone(pool);
        }
        let mut pools = self.0.pools.write();
        Arc::clone(
            pools
                .entry(revision.id.clone())
                .or_insert_with(|| Pool::new(Arc::clone(revision), Arc::clone(&self.0.house), &self.0.metrics)),
        )
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        self.0.pools.read().values().cloned().collect()
    }

    fn pools_of(&self, function: &FunctionName) -> Vec<Arc<Pool>> {
        self.0.pools.read().values().filter(|pool| pool.revision.id.function == *function).cloned().collect()
    }
}

const REVISION: &str = types::api::REVISION_HEADER;

impl Invoke for Dispatcher {
    fn invoke<'a>(&'a self, target: &'a Target, call: Call) -> BoxFuture<'a, Result<http::Response<Body>, Fault>> {
        Box::pin(self.walk(target, call))
    }
}

impl wire::Invocations for Dispatcher {
    fn recent(&self, function: &FunctionName, limit: usize) -> Vec<Invocation> {
        let mut all: Vec<_> = self.pools_of(function).iter().flat_map(|pool| pool.recent(limit)).collect();
        all.sort_by_key(|invocation| std::cmp::Reverse(invocation.started));
        all.truncate(limit);
        all
    }

    fn events(&self, function: &FunctionName) -> Vec<Event> {
        let mut all: Vec<_> = self.pools_of(function).iter().flat_map(|pool| pool.events()).collect();
        all.sort_by_key(|event| std::cmp::Reverse(event.time));
        all
    }

    fn tally(&self, revision: &RevisionId) -> Option<Tally> {
        self.0.pools.read().get(revision).map(|pool| pool.tally())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
