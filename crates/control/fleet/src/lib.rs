//! How many instances each revision has: looks at what is asked, decides, starts and retires.
//!
//! [`Fleet::run`] looks once a second, and at once when calls wait. A look is [`Fleet::look`]: read the load → put it
//! into the revision's [`window`] → [`decide`], a pure function, together with the calendar and what [`predict`] knows
//! of the last days → start what is missing within the [`growth`] budget, retire what is too much. `explain` says it in
//! words.
//!
//! **Invariant**: never on the path of a request. While it is silent, warm calls go on.

mod act;
mod book;
mod calendar;
mod cpu;
pub mod decide;
mod explain;
pub mod growth;
mod heir;
mod hold;
mod judge;
mod parts;
pub mod predict;
mod share;
mod staffing;
mod starts;
mod steady;
mod track;
mod turns;
mod usual;
pub mod window;

use book::Book;
use chassis::{Shutdown, clock, task};
use cpu::Meters;
use growth::{Budget, Growth};
use parking_lot::Mutex;
use starts::Starts;
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Notify;
use track::Track;
use types::{Fault, FunctionName, InstanceId, Revision, RevisionId, Timestamp, scaling::Scaling};
use wire::{Activity, BoxFuture, Demand, Directory, Ensured, Host, Load, Scaler, Share, Snapshot, Snapshots};

/// The fleet's limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// Between two looks without a reason.
    pub tick: Duration,
    /// Instances that start at once on this host, probes not counted: `turns` says whose.
    pub starts_max: usize,
    /// Longest wait for the instances of a share of calls, after the first one, before an alias moves.
    pub settle: Duration,
    /// A revision that no alias points to keeps idle instances for this long: a rollback finds them.
    pub retire_after: Duration,
    /// How fast a revision may gain instances.
    pub growth: Growth,
    /// How fast all revisions of this host together may.
    pub growth_host: Growth,
    /// Deferred calls that wait are to be worked off within this time.
    pub drain: Duration,
    /// Cores of the host.
    pub cores: u32,
    /// Where the demand of the last days is kept over a restart; `None` forgets it.
    pub history: Option<PathBuf>,
    /// Where a platform that is taken over leaves word for its heir; `None` leaves none.
    pub will: Option<PathBuf>,
    /// The calendar's clock.
    pub wall: fn() -> Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            tick: Duration::from_secs(1),
            starts_max: cores * 8,
            settle: Duration::from_secs(30),
            retire_after: Duration::from_secs(30),
            growth: Growth::default(),
            growth_host: Growth { starts: 2000, ..Growth::default() },
            drain: Duration::from_secs(10),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            history: None,
            will: None,
            wall: || Timestamp::from(SystemTime::now()),
        }
    }
}

/// What is gone is forgotten this often, and with each change of the snapshot.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The demand of the last days is written this often, and at the end.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// The fleet. Clones share it.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    options: Options,
    host: Arc<dyn Host>,
    directory: Arc<dyn Directory>,
    snapshots: Snapshots,
    tracks: Mutex<HashMap<RevisionId, Track>>,
    book: Mutex<Book>,
    meters: Mutex<Meters>,
    /// From when on seconds are counted.
    epoch: Instant,
    /// Revisions whose calls wait, or whose instance is gone: looked at before the next tick.
    nudged: Mutex<HashMap<RevisionId, Arc<Revision>>>,
    wake: Notify,
    starts: Starts,
    /// A start has ended, either way.
    news: Notify,
    /// What is left of the host's growth.
    budget: Mutex<Budget>,
    /// Nothing starts any more.
    stopping: Shutdown,
}

/// What a look knows beside the load.
struct View<'a> {
    snapshot: &'a Snapshot,
    now: Instant,
    wall: Timestamp,
    /// A second has passed: windows move, and what is too much is retired.
    tick: bool,
    /// What is gone is forgotten.
    sweep: bool,
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
        let starts = Starts::new(options.starts_max);
        let budget = Mutex::new(Budget::new(options.growth_host, clock::now()));
        let book = Mutex::new(Book::open(options.history.clone()));
        Self(Arc::new(Inner {
            book,
            meters: Mutex::default(),
            epoch: clock::now(),
            options,
            host,
            directory,
            snapshots,
            tracks: Mutex::default(),
            nudged: Mutex::default(),
            wake: Notify::new(),
            starts,
            budget,
            news: Notify::new(),
            stopping: Shutdown::new(),
        }))
    }

    /// Looks until `shutdown`, then ends all instances.
    pub async fn run(self, shutdown: Shutdown) {
        let mut snapshots = self.0.snapshots.clone();
        let mut ticks = tokio::time::interval(self.0.options.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut standing = standing(&snapshots.borrow_and_update());
        let (mut saved, mut swept) = (clock::now(), clock::now());
        loop {
            // In this order, so that two runs of a simulation are the same.
            let (tick, changed) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Ok(()) = snapshots.changed() => {
                    standing = self::standing(&snapshots.borrow_and_update());
                    (true, true)
                }
                _ = ticks.tick() => (true, false),
                () = self.0.wake.notified() => (false, false),
            };
            let snapshot = Arc::clone(&self.0.snapshots.borrow());
            let now = clock::now();
            let sweep = tick && (changed || now.duration_since(swept) >= SWEEP_EVERY);
            swept = if sweep { now } else { swept };
            let view = View { snapshot: &snapshot, now, wall: (self.0.options.wall)(), tick, sweep };
            if tick {
                self.look(&view, &standing)
            } else {
                self.look_at_nudged(&view)
            }
            if view.now.duration_since(saved) >= SAVE_EVERY {
                saved = view.now;
                task::spawn("save the demand of the last days", self.clone().save());
            }
        }
        // Before the instances are listed: one that becomes ready later finds it, and is ended by who started it.
        self.0.stopping.cancel();
        self.0.news.notify_waiters();
        self.stop_all().await;
        self.save().await;
    }

    /// One look at everything.
    fn look(&self, view: &View<'_>, standing: &[Arc<Revision>]) {
        let loads = with_standing(self.0.directory.load(), standing);
        let used = self.cpu(&loads);
        for load in &loads {
            self.consider(load, used.get(&load.revision.id).copied().unwrap_or(0.0), view);
        }
        self.quiet(view);
        if view.sweep {
            self.sweep(view);
        }
    }

    /// Forgets what is not there any more. Not at every look: it asks about each function that there is.
    fn sweep(&self, view: &View<'_>) {
        self.0.directory.retain(&|id| view.is_live(id));
        self.0.tracks.lock().retain(|id, track| {
            track.starting > 0 || track.is_held() || view.is_live(id) || self.0.directory.load_of(id).is_some()
        });
        self.0.book.lock().retain(|function| view.snapshot.functions.contains_key(function));
    }

    /// Time passes for those without an instance or a call, too: their windows empty.
    fn quiet(&self, view: &View<'_>) {
        let second = self.second(view.now);
        let mut tracks = self.0.tracks.lock();
        for (id, track) in tracks.iter_mut().filter(|(_, track)| track.has_not_seen(view.now)) {
            track.see_nothing(second, view.now);
            if track.starting > 0 && !track.is_held() {
                // Who waited for it is gone.
                self.give_up(id, track, track.starting);
            }
        }
    }

    /// One look at those that cannot wait for the next tick.
    fn look_at_nudged(&self, view: &View<'_>) {
        let nudged = std::mem::take(&mut *self.0.nudged.lock());
        for load in nudged.keys().filter_map(|id| self.0.directory.load_of(id)) {
            self.consider(&load, 0.0, view);
        }
    }

    pub(crate) fn nudge_now(&self, revision: &Arc<Revision>) {
        self.0.nudged.lock().entry(revision.id.clone()).or_insert_with(|| Arc::clone(revision));
        self.0.wake.notify_one();
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.0.epoch).as_secs()
    }

    async fn save(self) {
        let Some((file, bytes)) = self.0.book.lock().due_save() else { return };
        let written = tokio::task::spawn_blocking(move || book::write(&file, &bytes)).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "the demand of the last days cannot be kept");
        }
    }
}

/// The revisions that may want instances without traffic.
fn standing(snapshot: &Snapshot) -> Vec<Arc<Revision>> {
    let targets = snapshot.functions.values().flat_map(|function| function.aliases.values());
    let revisions = targets.flat_map(|target| target.revisions.iter().map(|weighted| &weighted.revision));
    let wants = |revision: &&Arc<Revision>| {
        let scale = &revision.spec.scale;
        scale.min > 0 || !scale.schedule.is_empty() || scale.predict
    };
    revisions.filter(wants).cloned().collect()
}

/// The loads, and an empty one for each revision that may want instances without having had a call.
fn with_standing(mut loads: Vec<Load>, standing: &[Arc<Revision>]) -> Vec<Load> {
    if standing.is_empty() {
        return loads;
    }
    let mut seen: HashSet<RevisionId> = loads.iter().map(|load| load.revision.id.clone()).collect();
    for revision in standing {
        if seen.insert(revision.id.clone()) {
            let revision = Arc::clone(revision);
            loads.push(Load {
                revision,
                waiting: 0,
                deferred: 0,
                peak: 0,
                activity: Activity::default(),
                instances: Vec::new(),
            });
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
    fn ensure(&self, revision: Arc<Revision>, share: Share) -> BoxFuture<'_, Result<Ensured, Fault>> {
        Box::pin(async move { self.ensure_share(&revision, &share).await })
    }

    fn explain(&self, function: &FunctionName) -> Vec<Scaling> {
        self.explain_now(function)
    }
}

#[cfg(test)]
mod tests;
