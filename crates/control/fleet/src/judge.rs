//! One revision at a look: what is asked of it, what is wanted, and what follows.

use crate::{
    Fleet, View,
    decide::{Facts, Policy, decide},
    explain::{Verdict, explain},
    growth::{self, Short},
    parts::{self, Limits},
    track::{Track, in_flight},
    window::{self, seconds},
};
use std::time::Duration;
use types::{Fault, FunctionName, scaling::Scaling};
use wire::Load;

/// The last seconds of the window, which say that something has changed.
const PANIC: usize = 6;
/// Where the manifest says nothing. The averages fall slowly by themselves; longer costs more than it saves in waits:
/// measured in `tests/sim`.
const DOWN_DELAY: Duration = Duration::from_secs(3);

/// What follows from a look.
struct Order {
    start: u32,
    retire: u32,
    /// Why nothing is started, though it is wanted.
    failing: Option<Fault>,
}

impl Fleet {
    /// One revision: what is wanted, and what follows from it. `cpu` is in core seconds since the last look.
    pub(crate) fn consider(&self, load: &Load, cpu: f32, view: &View<'_>) {
        let order = self.judge(load, cpu, view);
        match order.failing {
            // It has just failed to start: who waits is told so, at once.
            Some(fault) => self.0.directory.fail(&load.revision.id, &fault),
            None => (0..order.start).for_each(|_| drop(self.start(&load.revision))),
        }
        if order.retire > 0 {
            self.retire(load, order.retire as usize);
        }
    }

    fn judge(&self, load: &Load, cpu: f32, view: &View<'_>) -> Order {
        let is_live = view.is_live(&load.revision.id);
        let predicted = if is_live { self.remember(load, view) } else { 0.0 };
        let mut tracks = self.0.tracks.lock();
        let track = tracks
            .entry(load.revision.id.clone())
            .or_insert_with(|| Track::new(self.0.options.growth, &load.revision.spec.scale, view.now));
        let second = self.second(view.now);
        track.see(load, cpu, second, view.now);
        let scale = &load.revision.spec.scale;
        let limits = parts::limits(&load.revision.id, scale, track.calendar.floor(view.wall), view.snapshot);
        let policy = self.policy(load, &limits);
        let facts = self.facts(load, track, (limits.floor, predicted), is_live, view);
        let decision = decide(&facts, &policy);
        let delay = load.revision.spec.scale.down_delay.map_or(DOWN_DELAY, types::Millis::duration).as_secs();
        // What a change holds is held on for the delay, until its traffic has come.
        let lasting = decision.lasting.max(track.floor());
        let held = match facts.used_lately || decision.asked > 0 {
            true => {
                // Held for its own second only: a peak of chance is not paid for over the whole delay.
                let crowd = track.crowd.most(second, decision.asked, 0);
                track.held.most(second, lasting, delay).max(crowd)
            }
            // Idle for longer than it is to stay: nothing holds it any more.
            false => {
                track.crowd.most(second, 0, 0);
                track.held.most(second, 0, 0)
            }
        };
        let wanted = held.clamp(policy.min, policy.max.max(policy.min));
        let draining = load.instances.len() as u32 - facts.ready;
        let (have, missing) = (facts.ready + facts.starting, wanted.saturating_sub(facts.ready + facts.starting));
        let failing = track.failing(view.now).filter(|_| missing > 0);
        let (start, short) = match failing {
            Some(_) => (0, None),
            None => self.within_growth(track, missing, view),
        };
        let verdict = Verdict {
            facts,
            policy,
            part: limits.part,
            decision,
            held,
            wanted,
            delay,
            draining,
            short,
            time: view.wall,
        };
        match &mut track.verdict {
            Some(last) => **last = verdict,
            none => *none = Some(Box::new(verdict)),
        }
        let excess = (facts.ready + facts.starting).saturating_sub(wanted);
        if view.tick && excess > 0 {
            self.give_up(&load.revision.id, track, excess.min(facts.starting));
        }
        Order {
            start,
            // What is starting may be what is too much: only the tick retires, and only of what is there.
            retire: if view.tick && wanted < have { have - wanted } else { 0 }.min(facts.ready.saturating_sub(wanted)),
            failing,
        }
    }

    /// How many of the missing ones may be started now, and what is short of it.
    fn within_growth(&self, track: &mut Track, missing: u32, view: &View<'_>) -> (u32, Option<Short>) {
        let options = &self.0.options;
        let mut host = self.0.budget.lock();
        growth::take((&mut track.budget, options.growth), (&mut host, options.growth_host), missing, view.now)
    }

    fn policy(&self, load: &Load, limits: &Limits) -> Policy {
        let spec = &load.revision.spec;
        let share = |per_cent: u32| per_cent as f32 / 100.0;
        Policy {
            slots: spec.concurrency,
            min: limits.min,
            max: limits.max,
            target: spec.scale.target.map(share),
            cpu: spec.scale.cpu_target(spec.runtime, spec.contract, spec.concurrency).map(share),
            cores: self.0.options.cores,
            drain: seconds(self.0.options.drain),
        }
    }

    fn facts(
        &self,
        load: &Load,
        track: &Track,
        (schedule, predicted): (u32, f32),
        is_live: bool,
        view: &View<'_>,
    ) -> Facts {
        let spec = &load.revision.spec;
        let is_known = is_live || view.snapshot.functions.contains_key(&load.revision.id.function);
        let keep = match (is_live, is_known) {
            (true, _) => spec.scale.idle.duration(),
            (false, true) => self.0.options.retire_after,
            (false, false) => Duration::ZERO,
        };
        let span = spec.scale.window.map_or(window::SECONDS, |window| window.duration().as_secs() as usize);
        let is_used = track.is_held() || view.now.saturating_duration_since(track.last_used) < keep;
        // What its window remembers is worth nothing any more where it is not to stay.
        let sums = |seconds, back| if is_used { track.windows.sum(seconds, back) } else { window::Sums::default() };
        Facts {
            ready: load.instances.iter().filter(|instance| !instance.draining).count() as u32,
            starting: track.starting,
            in_flight: in_flight(load),
            waiting: load.waiting.saturating_sub(load.deferred),
            oldest_wait: seconds(load.activity.oldest_wait),
            start: seconds(load.activity.usual_start),
            duration: track.usual.duration(),
            stable: sums(span, 0),
            panic: sums(PANIC, 0),
            steady: if is_used { track.windows.steady(span) } else { window::Sums::default() },
            lag: load.deferred,
            schedule,
            predicted,
            used_lately: is_used,
        }
    }

    /// Notes the demand of a function that wants prediction, and says what its last days had.
    fn remember(&self, load: &Load, view: &View<'_>) -> f32 {
        let id = &load.revision.id;
        if !load.revision.spec.scale.predict {
            return 0.0;
        }
        let mut book = self.0.book.lock();
        if view.tick {
            let calls = self.0.tracks.lock().get(id).map_or(0.0, |track| track.windows.sum(PANIC, 0).calls());
            book.note(&id.function, view.wall, calls);
        }
        book.predict(&id.function, view.wall)
    }

    pub(crate) fn explain_now(&self, function: &FunctionName) -> Vec<Scaling> {
        let tracks = self.0.tracks.lock();
        let own = tracks.iter().filter(|(id, _)| id.function == *function);
        let now = chassis::clock::now();
        let mut all: Vec<_> = own
            .filter_map(|(id, track)| {
                let verdict = track.verdict.as_ref()?;
                let failing = track.failing(now).map(|fault| fault.to_string());
                Some(explain(id, verdict, track.budget.left(), failing))
            })
            .collect();
        all.sort_by_key(|scaling| std::cmp::Reverse(scaling.revision.number));
        all
    }
}

/// Calls that somebody waits for, with an instance or without.
pub(crate) fn busy(load: &Load) -> u32 {
    in_flight(load) + load.waiting.saturating_sub(load.deferred)
}
