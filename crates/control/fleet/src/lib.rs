//! How many instances each revision has: looks at what is asked, decides, starts and retires.
//!
//! [`Fleet::run`] looks once a second, and at once when calls wait. A look is [`Fleet::look`]: read the load → decide
//! ([`decide`], a pure function) → start what is missing, retire what is too much.
//!
//! **Invariant**: never on the path of a request. While it is silent, warm calls go on.

mod act;
pub mod decide;
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
use wire::{BoxFuture, Demand, Directory, Ensured, Host, Load, Scaler, Snapshot, Snapshots};

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
    /// Revisions whose calls wait, or whose instance is gone: looked at before the next tick.
    nudged: Mutex<HashMap<RevisionId, Arc<Revision>>>,
    wake: Notify,
    starts: Semaphore,
    /// Nothing starts any more.
    stopping: Shutdown,
}

/// What a look knows beside the load.
struct View<'a> {
    snapshot: &'a Snapshot,
    now: Instant,
    /// A second has passed: windows move, and what is too much is retired.
    tick: bool,
}

impl View<'_> {
    fn is_live(&self, id: &RevisionId) -> bool {
        let function = self.snapshot.functions.get(&id.function);
        let mut targets = function.into_iter().flat_map(|function| function.aliases.values());
        targets.any(|target| target.revisions.iter().any(|weighted| weighted.revision.id == *id))
    }
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
            nudged: Mutex::default(),
            wake: Notify::new(),
            starts,
            stopping: Shutdown::new(),
        }))
    }

    /// Looks until `shutdown`, then ends all instances.
    pub async fn run(self, shutdown: Shutdown) {
        let mut snapshots = self.0.snapshots.clone();
        let mut ticks = tokio::time::interval(self.0.options.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut minimums = minimums(&snapshots.borrow_and_update());
        loop {
            let tick = tokio::select! {
                _ = ticks.tick() => true,
                () = self.0.wake.notified() => false,
                Ok(()) = snapshots.changed() => {
                    minimums = self::minimums(&snapshots.borrow_and_update());
                    true
                }
                () = shutdown.cancelled() => break,
            };
            let snapshot = Arc::clone(&self.0.snapshots.borrow());
            let view = View { snapshot: &snapshot, now: Instant::now(), tick };
            if tick { self.look(&view, &minimums) } else { self.look_at_nudged(&view) }
        }
        // Before the instances are listed: one that becomes ready later finds it, and is ended by who started it.
        self.0.stopping.cancel();
        self.stop_all().await;
    }

    /// One look at everything.
    fn look(&self, view: &View<'_>, minimums: &[Arc<Revision>]) {
        for load in with_idle_minimums(self.0.directory.load(), minimums) {
            self.consider(&load, view);
        }
        self.0.directory.retain(&|id| view.is_live(id));
        let mut tracks = self.0.tracks.lock();
        tracks.retain(|id, track| {
            track.starting > 0 || track.is_held() || view.is_live(id) || self.0.directory.load_of(id).is_some()
        });
    }

    /// One look at those that cannot wait for the next tick.
    fn look_at_nudged(&self, view: &View<'_>) {
        let nudged = std::mem::take(&mut *self.0.nudged.lock());
        for load in nudged.keys().filter_map(|id| self.0.directory.load_of(id)) {
            self.consider(&load, view);
        }
    }

    pub(crate) fn nudge_now(&self, revision: &Arc<Revision>) {
        self.0.nudged.lock().entry(revision.id.clone()).or_insert_with(|| Arc::clone(revision));
        self.0.wake.notify_one();
    }

    /// One revision: what is wanted, and what follows from it.
    fn consider(&self, load: &Load, view: &View<'_>) {
        let revision = &load.revision;
        let ready = load.instances.iter().filter(|instance| !instance.draining).count() as u32;
        let (want, starting, failing) = self.judge(load, view);
        if want > ready + starting {
            match failing {
                // It has just failed to start: who waits is told so, at once.
                Some(fault) => self.0.directory.fail(&revision.id, &fault),
                None => (0..want - ready - starting).for_each(|_| self.start(revision)),
            }
        } else if want < ready && view.tick {
            self.retire(load, (ready - want) as usize);
        }
    }

    /// Instances wanted, instances starting, and why none can be started now.
    fn judge(&self, load: &Load, view: &View<'_>) -> (u32, u32, Option<Fault>) {
        let spec = &load.revision.spec;
        let is_live = view.is_live(&load.revision.id);
        let is_known = view.snapshot.functions.contains_key(&load.revision.id.function);
        let keep = match (is_live, is_known) {
            (true, _) => spec.scale.idle.duration(),
            (false, true) => self.0.options.retire_after,
            (false, false) => Duration::ZERO,
        };
        let min = if is_live { spec.scale.min } else { 0 };
        let policy = Policy { slots: spec.concurrency, min, max: spec.scale.max };
        let mut tracks = self.0.tracks.lock();
        let track = tracks.entry(load.revision.id.clone()).or_insert_with(|| Track::new(view.now));
        track.seen(load, view.now, view.tick);
        let asked = Asked {
            now: track.now,
            window_max: track.window_max(),
            used_lately: track.is_held() || view.now.duration_since(track.last_used) < keep,
        };
        (wanted(asked, policy), track.starting, track.failing(view.now))
    }
}

/// The revisions that want instances without traffic.
fn minimums(snapshot: &Snapshot) -> Vec<Arc<Revision>> {
    let targets = snapshot.functions.values().flat_map(|function| function.aliases.values());
    let revisions = targets.flat_map(|target| target.revisions.iter().map(|weighted| &weighted.revision));
    revisions.filter(|revision| revision.spec.scale.min > 0).cloned().collect()
}

/// The loads, and an empty one for each revision that wants instances without having had a call.
fn with_idle_minimums(mut loads: Vec<Load>, minimums: &[Arc<Revision>]) -> Vec<Load> {
    for revision in minimums {
        if !loads.iter().any(|load| load.revision.id == revision.id) {
            loads.push(Load { revision: Arc::clone(revision), waiting: 0, peak: 0, instances: Vec::new() });
        }
    }
    loads
}

impl Demand for Fleet {
    fn nudge(&self, revision: &Arc<Revision>) {
        self.nudge_now(revision);
    }

    fn overdue(&self, revision: &Arc<Revision>, id: InstanceId) {
        let (fleet, revision) = (self.clone(), Arc::clone(revision));
        task::spawn("end an overdue instance", async move { fleet.end_overdue(&revision, id).await });
    }
}

impl Scaler for Fleet {
    fn ensure(&self, revision: Arc<Revision>) -> BoxFuture<'_, Result<Ensured, Fault>> {
        Box::pin(async move { self.ensure_one(&revision).await })
    }
}

#[cfg(test)]
mod tests;
