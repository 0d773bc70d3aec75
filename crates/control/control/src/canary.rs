//! Moves aliases on to their new revisions by steps, or back, by what calls of both revisions do meanwhile.
//!
//! [`judge`] decides on plain data; `registry::canary` writes a turn; [`metrics`] tells it in numbers. What is counted lives in the dispatcher's memory:
//! after a restart a step begins anew, and never ends sooner than it would have.

mod judge;
mod metrics;

pub use metrics::Metrics;

use crate::{
    Deps,
    registry::{Canaries, Registry, Stored, Turn},
};
use chassis::clock;
use judge::{Verdict, Window, judge};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use types::{Alias, AliasName, FunctionName, RevisionId, Timestamp, canary::Rollout};
use wire::{Ensured, Invocations, Logs, Scaler, Share, Tally};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What calls did so far in the step of each canary, for people.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeMap<Key, String>>>);

impl Seen {
    /// Of one function, by alias.
    pub(crate) fn of(&self, function: &FunctionName) -> BTreeMap<AliasName, String> {
        let seen = self.0.lock();
        seen.iter()
            .filter(|((name, _), _)| name == function)
            .map(|((_, alias), text)| (alias.clone(), text.clone()))
            .collect()
    }
}

/// Watches over all canaries.
pub(crate) struct Watcher {
    registry: Registry,
    canaries: Canaries,
    invocations: Arc<dyn Invocations>,
    logs: Arc<dyn Logs>,
    scaler: Arc<dyn Scaler>,
    /// The next step's instances, as long as they start; by the step that was under way then.
    ahead: HashMap<Key, (Timestamp, JoinHandle<Option<Ensured>>)>,
    steps: HashMap<Key, Step>,
    seen: Seen,
    metrics: Metrics,
}

type Key = (FunctionName, AliasName);

/// A step that is watched: the counts when that began.
struct Step {
    /// Which one: when it began by its record.
    since: Timestamp,
    began: Instant,
    old: Tally,
    new: Tally,
}

impl Watcher {
    pub(crate) fn new(deps: &Deps, seen: Seen) -> Self {
        let (invocations, logs) = (Arc::clone(&deps.invocations), Arc::clone(&deps.logs));
        let canaries = deps.registry.canaries();
        Self {
            registry: deps.registry.clone(),
            canaries,
            invocations,
            logs,
            scaler: Arc::clone(&deps.scaler),
            ahead: HashMap::new(),
            steps: HashMap::new(),
            seen,
            metrics: deps.canary_metrics.clone(),
        }
    }

    /// Looks until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => self.look().await,
                () = shutdown.cancelled() => break,
            }
        }
        // Whoever decides next tells where they stand.
        self.metrics.keep(|_, _| false);
    }

    async fn look(&mut self) {
        let under_way = self.canaries.now();
        let is_there = |name: &FunctionName, alias: &AliasName| {
            under_way.iter().any(|stored| stored.value.function == *name && stored.value.name == *alias)
        };
        self.steps.retain(|(name, alias), _| is_there(name, alias));
        self.ahead.retain(|(name, alias), _| is_there(name, alias));
        self.seen.0.lock().retain(|(name, alias), _| is_there(name, alias));
        self.metrics.keep(is_there);
        for stored in under_way {
            let Some(rollout) = &stored.value.canary else { continue };
            let window = self.window(&stored.value, rollout);
            let key = (stored.value.function.clone(), stored.value.name.clone());
            self.seen.0.lock().insert(key, window.to_string());
            let lasts = rollout.lasts().duration();
            let verdict = judge(&window, lasts, &rollout.plan);
            let waits = verdict == Verdict::Stay && window.lasted >= lasts;
            self.metrics.looked(&stored.value, rollout, verdict, waits);
            let (turn, why) = match verdict {
                Verdict::Stay => continue,
                Verdict::On => (Turn::On, window.to_string()),
                Verdict::Back(reason) => (Turn::Back, format!("{reason}; {window}")),
            };
            // Back is never waited for: what fails is left at once, and what is missing starts meanwhile.
            let prepared = self.prepared(&stored.value, rollout, turn).await;
            if let (Turn::On, None) = (turn, &prepared) {
                continue;
            }
            self.turn(&stored, turn, &why).await;
        }
    }

    /// What both revisions did since the step began, or since this process watches it.
    fn window(&mut self, alias: &Alias, rollout: &Rollout) -> Window {
        let tally = |number| {
            let id = RevisionId { function: alias.function.clone(), number };
            self.invocations.tally(&id).unwrap_or_default()
        };
        let (old, new, now) = (tally(rollout.from), tally(rollout.to), clock::now());
        let key = (alias.function.clone(), alias.name.clone());
        let fresh = || Step { since: rollout.since, began: now, old, new };
        let step = self.steps.entry(key).or_insert_with(fresh);
        if step.since != rollout.since {
            *step = fresh();
        }
        Window { old: old.since(&step.old), new: new.since(&step.new), lasted: now - step.began }
    }

    /// The instances for what comes after `turn`; `None` as long as they start.
    async fn prepared(&mut self, alias: &Alias, rollout: &Rollout, turn: Turn) -> Option<Ensured> {
        let next = rollout.next(rollout.since).map_or(100, |next| next.weight());
        let (number, percent) = match turn {
            Turn::On => (rollout.to, next),
            Turn::Back => (rollout.from, 100),
        };
        let key = (alias.function.clone(), alias.name.clone());
        let (since, ahead) = match self.ahead.remove(&key) {
            Some((since, ahead)) if since == rollout.since && turn == Turn::On => (since, ahead),
            _ => (rollout.since, tokio::spawn(self.ensure(alias, number, percent))),
        };
        if turn == Turn::On && !ahead.is_finished() {
            self.ahead.insert(key, (since, ahead));
            return None;
        }
        match turn {
            Turn::On => ahead.await.ok().flatten(),
            Turn::Back => None,
        }
    }

    /// The instances for a share of the calls, as a task of its own; `None` where there is none to be had.
    fn ensure(&self, alias: &Alias, number: u32, percent: u8) -> impl Future<Output = Option<Ensured>> + use<> {
        let id = RevisionId { function: alias.function.clone(), number };
        let (revision, scaler) = (self.registry.revision(&id), Arc::clone(&self.scaler));
        let share = Share { alias: alias.name.clone(), percent };
        async move { scaler.ensure(Arc::new(revision.ok()?), share).await.ok() }
    }

    /// A turn that cannot be written is taken again at the next look, if it still is right then.
    async fn turn(&self, seen: &Stored<Alias>, turn: Turn, why: &str) {
        match self.registry.turn(seen, turn, why).await {
            Ok(Some(event)) => {
                tracing::info!(revision = %event.revision, what = event.what.as_str(), "{}", event.text);
                self.logs.note(&event);
            }
            // Somebody else moved it in this moment.
            Ok(None) => {}
            Err(fault) => tracing::error!(function = %seen.value.function, %fault, "a canary cannot be moved"),
        }
    }
}
