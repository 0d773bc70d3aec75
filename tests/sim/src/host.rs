//! A host that pretends: a start takes its time, a call takes what the load says, and instances are counted by the second.

use chassis::clock;
use fastrand::Rng;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use types::{Fault, InstanceId, Revision, Timestamp, api::InstanceView};
use wire::{Body, BoxFuture, Call, End, Exit, Host, Link, Permit, Refusal, Started, Stop};

/// How long the call takes, as an extension of its request.
#[derive(Debug, Clone, Copy)]
pub struct Takes(pub Duration);

struct Worker {
    host: Arc<SimHost>,
    id: InstanceId,
}

impl Link for Worker {
    fn call<'a>(&'a self, call: Call, permit: Permit) -> BoxFuture<'a, Result<http::Response<Body>, Refusal>> {
        Box::pin(async move {
            let takes = call.request.extensions().get::<Takes>().map_or(Duration::ZERO, |takes| takes.0);
            self.host.served(permit.info.waited, permit.info.cold);
            tokio::time::sleep(takes).await;
            // An instance that was ended under a call has cut it.
            if !self.host.runs(self.id) {
                self.host.state.lock().cut += 1;
            }
            permit.finish(End::ok(200));
            Ok(http::Response::new(Body::Empty))
        })
    }
}

#[derive(Default)]
struct State {
    rng: Rng,
    running: HashMap<InstanceId, Run>,
    /// Those that are gone: seconds that they were there.
    spent: f64,
    peak: usize,
    starts: u64,
    waits: Vec<Duration>,
    cold: u64,
    cut: u64,
}

struct Run {
    since: Instant,
    exit: watch::Sender<Option<Exit>>,
}

/// The instances of the simulation.
pub struct SimHost {
    start: Duration,
    state: Mutex<State>,
    this: std::sync::Weak<Self>,
}

/// What the host saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// From the beginning of the start to the end, of all instances.
    pub instance_seconds: f64,
    pub peak: usize,
    pub starts: u64,
    /// Of each call, in order of their slots.
    pub waits: Vec<Duration>,
    pub cold: u64,
    /// Calls whose instance ended under them.
    pub cut: u64,
}

impl SimHost {
    /// Starts take `start`, give or take a fifth.
    pub fn new(start: Duration, seed: u64) -> Arc<Self> {
        let state = State { rng: Rng::with_seed(seed), ..State::default() };
        Arc::new_cyclic(|this| Self { start, state: Mutex::new(state), this: this.clone() })
    }

    fn runs(&self, id: InstanceId) -> bool {
        self.state.lock().running.contains_key(&id)
    }

    fn served(&self, waited: Duration, cold: bool) {
        let mut state = self.state.lock();
        state.waits.push(waited);
        state.cold += u64::from(cold);
    }

    pub fn running(&self) -> usize {
        self.state.lock().running.len()
    }

    pub fn seen(&self) -> Seen {
        let (state, now) = (self.state.lock(), clock::now());
        let alive: f64 = state.running.values().map(|run| now.duration_since(run.since).as_secs_f64()).sum();
        Seen {
            instance_seconds: state.spent + alive,
            peak: state.peak,
            starts: state.starts,
            waits: state.waits.clone(),
            cold: state.cold,
            cut: state.cut,
        }
    }

    async fn start_one(self: Arc<Self>) -> Result<Started, Fault> {
        let (id, (exit, receiver)) = (InstanceId::random(), watch::channel(None));
        let takes = {
            let mut state = self.state.lock();
            state.running.insert(id, Run { since: clock::now(), exit });
            state.starts += 1;
            state.peak = state.peak.max(state.running.len());
            self.start.mul_f64(0.8 + 0.4 * state.rng.f64())
        };
        tokio::time::sleep(takes).await;
        let link = Arc::new(Worker { host: self, id });
        Ok(Started { id, link, phases: vec![("load", takes)], at: Timestamp(0), exit: receiver })
    }
}

impl Host for SimHost {
    fn start(&self, _: Arc<Revision>) -> BoxFuture<'_, Result<Started, Fault>> {
        Box::pin(async {
            match self.this.upgrade() {
                Some(host) => host.start_one().await,
                None => Err(Fault::internal("the host is gone")),
            }
        })
    }

    fn stop(&self, id: InstanceId, _: Stop) -> BoxFuture<'_, ()> {
        let mut state = self.state.lock();
        if let Some(run) = state.running.remove(&id) {
            state.spent += clock::now().duration_since(run.since).as_secs_f64();
            run.exit.send_replace(Some(Exit::Stopped));
        }
        Box::pin(std::future::ready(()))
    }

    fn instances(&self) -> Vec<InstanceView> {
        Vec::new()
    }
}
