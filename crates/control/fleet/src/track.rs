//! What the fleet remembers of one revision between two looks.

use crate::{
    calendar::Calendar,
    explain::Verdict,
    growth::{Budget, Growth},
    hold::Held,
    usual::Usual,
    window::{self, Sums, Windows, seconds},
};
use std::time::{Duration, Instant};
use types::{Fault, Scale};
use wire::{Activity, Load};

/// After a failed start, the next attempt waits this long, doubled with each further failure.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Track {
    pub(crate) starting: u32,
    pub(crate) last_used: Instant,
    pub(crate) windows: Windows,
    pub(crate) held: Held,
    pub(crate) crowd: Held,
    pub(crate) budget: Budget,
    pub(crate) calendar: Calendar,
    pub(crate) usual: Usual,
    pub(crate) verdict: Option<Box<Verdict>>,
    /// The sums of the last look, when it was, and the longest start since then.
    seen: Activity,
    seen_at: Instant,
    start: f32,
    /// Changes under way that need so many instances of it each, with or without traffic.
    holds: Vec<u32>,
    failure: Option<Failure>,
}

struct Failure {
    fault: Fault,
    until: Instant,
    backoff: Duration,
}

impl Track {
    pub(crate) fn new(growth: Growth, scale: &Scale, now: Instant) -> Self {
        Self {
            starting: 0,
            last_used: now,
            windows: Windows::default(),
            held: Held::default(),
            crowd: Held::default(),
            budget: Budget::new(growth, now),
            calendar: Calendar::new(scale),
            usual: Usual::default(),
            verdict: None,
            seen: Activity::default(),
            seen_at: now,
            start: 0.0,
            holds: Vec::new(),
            failure: None,
        }
    }

    /// Takes a look's numbers in, and the core seconds used since the last look.
    pub(crate) fn see(&mut self, load: &Load, cpu: f32, second: u64, now: Instant) {
        let (sums, before) = (&load.activity, std::mem::replace(&mut self.seen, load.activity));
        let calls = load.waiting + in_flight(load);
        let count = |now: u64, then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        let news = Sums {
            span: seconds(now.saturating_duration_since(self.seen_at)),
            area: seconds(sums.area.saturating_sub(before.area)),
            peak: load.peak.max(calls),
            arrivals: count(sums.arrivals, before.arrivals),
            rejected: count(sums.rejected, before.rejected),
            ended: count(sums.ended, before.ended),
            busy: seconds(sums.busy.saturating_sub(before.busy)),
            cpu,
            start: std::mem::take(&mut self.start),
        };
        self.seen_at = now;
        self.windows.add(second, &news);
        self.usual.add(&news, &self.windows.steady(window::SECONDS));
        if news.peak > 0 || news.arrivals > 0 {
            self.last_used = now;
        }
    }

    /// A look at which it had neither instance nor call.
    pub(crate) fn see_nothing(&mut self, second: u64, now: Instant) {
        let span = seconds(now.saturating_duration_since(self.seen_at));
        self.seen_at = now;
        self.windows.add(second, &Sums { span, ..Sums::default() });
    }

    /// No look of `now` was about it.
    pub(crate) fn has_not_seen(&self, now: Instant) -> bool {
        self.seen_at < now
    }

    pub(crate) fn hold(&mut self, instances: u32) {
        self.holds.push(instances);
    }

    /// Its traffic is about to come, or not: it was used until now.
    pub(crate) fn let_go(&mut self, instances: u32, now: Instant) {
        if let Some(index) = self.holds.iter().position(|held| *held == instances) {
            self.holds.swap_remove(index);
        }
        self.last_used = self.last_used.max(now);
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.holds.is_empty()
    }

    /// Instances that are held: the most that one change needs.
    pub(crate) fn floor(&self) -> u32 {
        self.holds.iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn started(&mut self, took: Duration) {
        self.failure = None;
        self.start = self.start.max(seconds(took));
    }

    pub(crate) fn failed(&mut self, fault: &Fault, now: Instant) {
        let backoff = match &self.failure {
            Some(failure) => (failure.backoff * 2).min(BACKOFF_MAX),
            None => BACKOFF_MIN,
        };
        self.failure = Some(Failure { fault: fault.clone(), until: now + backoff, backoff });
    }

    /// The last fault, while the next attempt has to wait.
    pub(crate) fn failing(&self, now: Instant) -> Option<Fault> {
        self.failure.as_ref().filter(|failure| now < failure.until).map(|failure| failure.fault.clone())
    }

    /// What it costs in memory.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Windows>()
            + self.windows.bytes()
            + self.held.bytes()
            + self.crowd.bytes()
            + self.verdict.as_ref().map_or(0, |verdict| size_of_val(&**verdict))
    }
}

pub(crate) fn in_flight(load: &Load) -> u32 {
    load.instances.iter().map(|instance| instance.in_flight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Code;

    fn track(now: Instant) -> Track {
        Track::new(Growth::default(), &Scale::default(), now)
    }

    #[test]
    fn failures_back_off_and_are_forgiven() {
        let start = Instant::now();
        let mut track = track(start);
        let fault = Fault::new(Code::StartFailed, "x");
        assert_eq!(track.failing(start), None);
        track.failed(&fault, start);
        assert_eq!(track.failing(start), Some(fault.clone()));
        assert_eq!(track.failing(start + BACKOFF_MIN), None);
        track.failed(&fault, start);
        assert!(track.failing(start + BACKOFF_MIN).is_some());
        for _ in 0..20 {
            track.failed(&fault, start);
        }
        assert_eq!(track.failing(start + BACKOFF_MAX), None);
        track.started(Duration::ZERO);
        assert_eq!(track.failing(start), None);
    }

    /// The bench of the windows: figures of a debug build are printed, bounds are for any.
    #[test]
    fn a_hundred_thousand_functions_with_twenty_thousand_active() {
        let (all, active, start) = (100_000, 20_000, Instant::now());
        let revision = wire::sample::revision("a", "").unwrap();
        let mut tracks: Vec<Track> = (0..all).map(|_| track(start)).collect();
        let mut activity = Activity::default();
        let mut seen = Duration::ZERO;
        for second in 1..=60_u64 {
            activity.arrivals += 20;
            activity.ended += 20;
            activity.area += Duration::from_secs(4);
            activity.busy += Duration::from_secs(4);
            let instances = Vec::new();
            let load = Load {
                revision: std::sync::Arc::clone(&revision),
                waiting: 4,
                deferred: 0,
                peak: 9,
                activity,
                instances,
            };
            let begun = Instant::now();
            for track in tracks.iter_mut().take(active) {
                track.see(&load, 0.0, second, start + Duration::from_secs(second));
            }
            seen += begun.elapsed();
        }
        let begun = Instant::now();
        let policy =
            crate::decide::Policy { slots: 1, min: 0, max: 50, target: None, cpu: None, cores: 2, drain: 10.0 };
        let mut asked = 0_u64;
        for track in tracks.iter().take(active) {
            let facts = crate::decide::Facts {
                in_flight: 4,
                start: 1.0,
                duration: track.usual.duration(),
                stable: track.windows.sum(window::SECONDS, 0),
                panic: track.windows.sum(6, 0),
                steady: track.windows.steady(window::SECONDS),
                ..crate::decide::Facts::default()
            };
            asked += u64::from(crate::decide::decide(&facts, &policy).asked);
        }
        let decided = begun.elapsed();
        let begun = Instant::now();
        tracks.iter_mut().skip(active).for_each(|track| track.see_nothing(61, start + Duration::from_secs(61)));
        let quiet = begun.elapsed();
        let bytes = |track: &Track| track.bytes() + size_of::<Verdict>();
        let (idle, busy) = (bytes(&tracks[all - 1]), bytes(&tracks[0]));
        let each = |time: Duration, count: usize| time.as_nanos() as f64 / count as f64;
        println!(
            "bytes: idle {idle}, active {busy}; ns: record {:.0}, decision {:.0}, quiet tick {:.0}; a tick of 20,000: {:?}",
            each(seen, active * 60),
            each(decided, active),
            each(quiet, all - active),
            decided + seen / 60,
        );
        assert!(idle <= 2048 && busy <= 8192, "{idle} and {busy} bytes");
        assert_eq!(asked, 7 * active as u64, "four calls at once want seven");
        assert!(decided + seen / 60 < Duration::from_secs(1), "a tick of all active ones fits into its second");
    }

    #[test]
    fn an_idle_revision_costs_less_than_two_kilobytes() {
        let bytes = track(Instant::now()).bytes() + size_of::<Verdict>();
        println!("an idle revision: {bytes} bytes, {} of them its windows", size_of::<Windows>());
        assert!(bytes <= 2048, "{bytes}");
    }
}
