//! How many instances each revision has: looks at what is asked, decides, starts and retires.
//!
//! [`Fleet::run`] looks once a second, and at once when calls wait. A look is [`Fleet::look`]: read the load → decide
//! ([`decide`], a pure function) → start what is missing, retire what is too much.
//!
//! **Invariant**: never on the path of a request. While it is silent, warm calls go on.

pub mod decide;
mod act;
mod track;

use chassis::{Shutdown, task};
use decide::{Demand as Asked, Policy, wanted};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, Semaphore};
use track::Track;
use types::{Fault, InstanceId, Revision, RevisionId};
use wire::{BoxFuture, Demand, Directory, Host, Load, Scaler, Snapshot, Snapshots};

/// The fleet's limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// Between two looks without a reason.
    pub tick: Duration,
    /// Instances that start at once on this host.
    pub starts_max: usize,
    /// A revision that no alias points to keeps idle instances for this long: a rollback finds them.
    pub retire_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { tick: Duration::from_secs(1), starts_max: cores * 8, retire_after: Duration::from_secs(30) }
    }
}

/// The fleet. Clones share it.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    options: Options,
    host: Arc<dyn Host>,
    directory: Arc<dyn Directory>,
    snapshots: Snapshots,
    tracks: Mutex<HashMap<RevisionId, Track>>,
    /// Calls wait, or an instance is gone: look now.
    nudged: Notify,
    starts: Semaphore,
}

impl Fleet {
    pub fn new(options: Options, host: Arc<dyn Host>, directory: Arc<dyn Directory>, snapshots: Snapshots) -> Self {
        let starts = Semaphore::new(options.starts_max);
        Self(Arc::new(Inner {
            options,
            host,
            directory,
            snapshots,
            tracks: Mutex::default(),
            nudged: Notify::new(),
            starts,
        }))
    }

    /// Looks until `shutdown`, then ends all instances.
    pub async fn run(self, shutdown: Shutdown) {
        let mut snapshots = self.0.snapshots.clone();
        let mut ticks = tokio::time::interval(self.0.options.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.0.nudged.notified() => false,
                Ok(()) = snapshots.changed() => false,
                () = shutdown.cancelled() => break,
            };
            self.look(tick);
        }
        self.stop_all().await;
    }

    /// One look at everything.
    fn look(&self, tick: bool) {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        let live = live(&snapshot);
        let now = Instant::now();
        for load in with_idle_minimums(self.0.directory.load(), &live) {
            self.consider(&load, &live, &snapshot, now, tick);
        }
        if tick {
            self.0.directory.retain(&|id| live.contains_key(id));
            let loads = self.0.directory.load();
            let known = |id: &RevisionId| live.contains_key(id) || loads.iter().any(|load| load.revision.id == *id);
            self.0.tracks.lock().retain(|id, track| track.starting > 0 || known(id));
        }
    }

    /// One revision: what is wanted, and what follows from it.
    fn consider(
        &self,
        load: &Load,
        live: &HashMap<RevisionId, Arc<Revision>>,
        snapshot: &Snapshot,
        now: Instant,
        tick: bool,
    ) {
        let revision = &load.revision;
        let is_live = live.contains_key(&revision.id);
        let is_known = snapshot.functions.contains_key(&revision.id.function);
        let scale = &revision.spec.scale;
        let policy = Policy {
            slots: revision.spec.concurrency,
            min: if is_live { scale.min } else { 0 },
            max: scale.max,
        };
        let ready = load.instances.iter().filter(|instance| !instance.draining).count() as u32;
        let (want, starting, failing) = {
            let mut tracks = self.0.tracks.lock();
            let track = tracks.entry(revision.id.clone()).or_insert_with(|| Track::new(now));
            track.seen(load, now, tick);
            let keep = match (is_live, is_known) {
                (true, _) => scale.idle.duration(),
                (false, true) => self.0.options.retire_after,
                (false, false) => Duration::ZERO,
            };
            let asked = Asked {
                now: track.now,
                window_max: track.window_max(),
                used_lately: track.is_held(now) || now.duration_since(track.last_used) < keep,
            };
            (wanted(asked, policy), track.starting, track.failing(now))
        };
        if want > ready + starting {
            match failing {
                // It has just failed to start: who waits is told so, at once.
                Some(fault) => self.0.directory.fail(&revision.id, &fault),
                None => (0..want - ready - starting).for_each(|_| self.start(revision)),
            }
        } else if want < ready && tick {
            self.retire(load, (ready - want) as usize);
        }
    }
}

/// The revisions that aliases point to.
fn live(snapshot: &Snapshot) -> HashMap<RevisionId, Arc<Revision>> {
    let targets = snapshot.functions.values().flat_map(|function| function.aliases.values());
    let revisions = targets.flat_map(|target| target.revisions.iter().map(|weighted| &weighted.revision));
    revisions.map(|revision| (revision.id.clone(), Arc::clone(revision))).collect()
}

/// The loads, and an empty one for each revision that wants instances without having had a call.
fn with_idle_minimums(mut loads: Vec<Load>, live: &HashMap<RevisionId, Arc<Revision>>) -> Vec<Load> {
    let silent = live.values().filter(|revision| revision.spec.scale.min > 0);
    let missing: Vec<_> = silent
        .filter(|revision| !loads.iter().any(|load| load.revision.id == revision.id))
        .map(|revision| Load { revision: Arc::clone(revision), waiting: 0, peak: 0, instances: Vec::new() })
        .collect();
    loads.extend(missing);
    loads
}

impl Demand for Fleet {
    fn nudge(&self, _revision: &Arc<Revision>) {
        self.0.nudged.notify_one();
    }

    fn overdue(&self, revision: &Arc<Revision>, id: InstanceId) {
        let (fleet, revision) = (self.clone(), Arc::clone(revision));
        task::spawn("end an overdue instance", async move { fleet.end_overdue(&revision, id).await });
    }
}

impl Scaler for Fleet {
    fn ensure(&self, revision: Arc<Revision>) -> BoxFuture<'_, Result<Vec<(&'static str, Duration)>, Fault>> {
        Box::pin(async move { self.ensure_one(&revision).await })
    }
}
