//! One run: a load through the real dispatcher, with one of the scalers.

use crate::{
    host::{SimHost, Takes},
    knative::Knative,
    report::Report,
    shape::Arrival,
};
use chassis::{Shutdown, clock};
use dispatch::Dispatcher;
use fleet::Fleet;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use types::{InvocationId, Timestamp};
use wire::{Body, Call, Demand, Directory, Host, Invoke, Shape, Snapshot, Target};

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaler {
    Mayfly,
    Knative,
}

impl Scaler {
    pub const BOTH: [Self; 2] = [Self::Mayfly, Self::Knative];
}

/// What is scaled.
#[derive(Debug, Clone)]
pub struct Setup {
    pub scaler: Scaler,
    /// Beyond name and runtime, as in a manifest.
    pub manifest: String,
    /// How long a start takes.
    pub start: Duration,
    /// The calendar's time at the beginning.
    pub wall: fn() -> Timestamp,
}

impl Setup {
    pub fn new(scaler: Scaler, manifest: &str, start: Duration) -> Self {
        Self { scaler, manifest: manifest.to_owned(), start, wall: || Timestamp(0) }
    }
}

/// A function with its dispatcher, host and scaler.
pub struct World {
    pub host: Arc<SimHost>,
    pub dispatcher: Dispatcher,
    pub target: Arc<Target>,
    pub fleet: Option<Fleet>,
    shutdown: Shutdown,
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

impl World {
    /// Must be called on a runtime whose clock is paused.
    pub fn new(setup: &Setup, seed: u64) -> Self {
        let target = target(&setup.manifest);
        let host = SimHost::new(setup.start, seed);
        let dispatcher = Dispatcher::new(dispatch::Options::default(), &chassis::metrics::Metrics::default());
        let (snapshots, receiver) = watch::channel(Arc::new(wire::sample::snapshot(&target)));
        let shutdown = Shutdown::new();
        let (peer, directory) =
            (Arc::clone(&host) as Arc<dyn Host>, Arc::new(dispatcher.clone()) as Arc<dyn Directory>);
        let (demand, fleet): (Arc<dyn Demand>, _) = match setup.scaler {
            Scaler::Mayfly => {
                let options = fleet::Options { starts_max: 10_000, wall: setup.wall, ..fleet::Options::default() };
                let fleet = Fleet::new(options, peer, directory, receiver);
                tokio::spawn(fleet.clone().run(shutdown.clone()));
                (Arc::new(fleet.clone()), Some(fleet))
            }
            Scaler::Knative => {
                let revision = Arc::clone(&target.revisions[0].revision);
                let knative = Knative::new(peer, directory, revision);
                tokio::spawn(Arc::clone(&knative).run(shutdown.clone()));
                (knative, None)
            }
        };
        dispatcher.connect(demand);
        Self { host, dispatcher, target, fleet, shutdown, _snapshots: snapshots }
    }

    /// Makes one call; true where it was answered.
    pub fn call(&self, takes: Duration) -> tokio::task::JoinHandle<bool> {
        let (dispatcher, target, now) = (self.dispatcher.clone(), Arc::clone(&self.target), clock::now());
        let mut request = http::Request::new(Body::Empty);
        request.extensions_mut().insert(Takes(takes));
        let call = Call {
            id: InvocationId::random(),
            request: Box::new(request),
            shape: Shape::Http,
            arrived: now,
            deadline: now,
            peer: None,
        };
        tokio::spawn(async move { dispatcher.invoke(&target, call).await.is_ok() })
    }

    /// Makes the calls when they are due, waits for all, and then for `rest`: what is left running costs too.
    pub async fn run(&self, arrivals: &[Arrival], rest: Duration) -> Report {
        let begin = tokio::time::Instant::now();
        let mut calls = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            tokio::time::sleep_until(begin + arrival.at).await;
            calls.push(self.call(arrival.takes));
        }
        let mut failed = 0;
        for call in calls {
            failed += usize::from(!call.await.unwrap_or(false));
        }
        tokio::time::sleep(rest).await;
        let used = arrivals.iter().map(|one| one.takes.as_secs_f64()).sum();
        Report::new(self.host.seen(), arrivals.len(), failed, used, most_at_once(arrivals))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Runs a future on a clock that jumps to the next timer whenever nothing is left to do.
pub fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    #[allow(clippy::expect_used)]
    runtime.expect("a runtime without I/O can always be made").block_on(future)
}

fn most_at_once(arrivals: &[Arrival]) -> usize {
    let mut edges: Vec<(Duration, i32)> =
        arrivals.iter().flat_map(|one| [(one.at, 1), (one.at + one.takes, -1)]).collect();
    edges.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in edges {
        now += step;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or(0)
}

fn target(extra: &str) -> Arc<Target> {
    #[allow(clippy::expect_used)]
    let revision =
        wire::sample::revision("hello", &format!("timeout='15m'\n{extra}")).expect("the setup's manifest is one");
    wire::sample::target(&revision)
}
